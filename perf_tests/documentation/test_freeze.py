"""Baselines become a set of evidence, named by releases and weights."""

import json
import shutil

import pytest

from fixtures.errors import UsageError
from perf_tests.documentation import evidence
from perf_tests.documentation.freeze import freeze

pytestmark = pytest.mark.cpu


@pytest.fixture
def baselines(tmp_path):
    """One card's, of two engines."""
    for engine in ("vllm", "sglang"):
        block = evidence.block("h200x1", engine)
        (tmp_path / "h200x1" / block.name).mkdir(parents=True)
        shutil.copy(block / "llama-3.1-8b.json", tmp_path / "h200x1" / block.name)
    return tmp_path / "h200x1"


def changed(directory, key, value):
    """With another value of a boot's provenance, or of the fingerprint, in one file."""
    (path,) = directory.glob("vllm-*/*.json")
    data = json.loads(path.read_text())
    if key in data["machine_info"]["fingerprint"]:
        data["machine_info"]["fingerprint"][key] = value
    else:
        data["benchmarks"][0]["extra_info"]["boots"][0]["provenance"][key] = value
    path.write_text(json.dumps(data))


def test_a_set_is_named_by_releases_and_weights_and_laid_out_as_the_baselines(baselines, tmp_path):
    for _ in range(2):  # again replaces it
        found = freeze(baselines.parent, ["h200x1"], tmp_path / "sets")
        assert found == tmp_path / "sets" / evidence.CURRENT.name
        names = [str(path.relative_to(found)) for path in sorted(found.rglob("*.json"))]
        assert names == [f"h200x1/{engine}-tp1-dummy/llama-3.1-8b.json" for engine in ("sglang", "vllm")]


def test_boots_that_are_no_baseline_stay_when_their_place_is_frozen_again(baselines, tmp_path, capsys):
    found = freeze(baselines.parent, ["h200x1"], tmp_path / "sets")
    (alone,) = found.glob("h200x1/vllm-*")
    shutil.copy(alone / "llama-3.1-8b.json", alone / "llama-3.1-8b-fp8.json")
    freeze(baselines.parent, ["h200x1"], tmp_path / "sets")
    assert (alone / "llama-3.1-8b-fp8.json").exists()
    assert "llama-3.1-8b-fp8.json: kept, which is in no baseline" in capsys.readouterr().out


def test_one_engine_of_a_kind_of_hardware_becomes_a_set(baselines, tmp_path):
    found = freeze(baselines.parent, ["h200x1/vllm-tp1-dummy"], tmp_path / "sets")
    assert found.name == "vllm-0.26.0-dummy"
    assert [str(path.relative_to(found)) for path in found.rglob("*.json")] == [
        "h200x1/vllm-tp1-dummy/llama-3.1-8b.json"
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("engine_version", "0.27.0", "vllm: expected one release and one kind of weights, found 0.26.0, 0.27.0"),
        ("weights", "real", "weights: expected one release and one kind of weights, found dummy, real"),
    ],
)
def test_boots_that_are_no_set_are_refused(baselines, tmp_path, key, value, message):
    changed(baselines, key, value)
    with pytest.raises(UsageError, match=message):
        freeze(baselines.parent, ["h200x1"], tmp_path / "sets")
    with pytest.raises(UsageError, match="no baselines there"):
        freeze(tmp_path, ["nothing"], tmp_path / "sets")
    assert not (tmp_path / "sets").exists()


def test_a_models_file_joins_a_set_beside_what_it_has(baselines, tmp_path):
    """As boots in a format that no committed deployment serves: of its baselines only this file is frozen."""
    sets, place = tmp_path / "sets", "h200x1/vllm-tp1-dummy"
    before = freeze(baselines.parent, [place], sets)
    (measured,) = (baselines / "vllm-tp1-dummy").glob("*.json")
    measured.rename(measured.with_name("llama-3.1-8b-fp8.json"))
    assert freeze(baselines.parent, [f"{place}/llama-3.1-8b-fp8.json"], sets) == before
    assert sorted(path.name for path in (before / place).iterdir()) == ["llama-3.1-8b-fp8.json", "llama-3.1-8b.json"]
