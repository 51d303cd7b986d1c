"""The samples as a table, and the notebook that starts from it."""

import csv
import dataclasses
import json
import sys

import pytest

from fixtures.store import export
from perf_tests.documentation import evidence
from perf_tests.fakes import samples
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu
WRONG_OUTPUTS = json.dumps(dataclasses.asdict(samples.sample(outputs=("-1.5; 7",))) | {"cell": "x", "workload": {}})


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_baselines_as_csv(tmp_path, capsys):
    out = tmp_path / "samples.csv"
    directory = evidence.block("h200x1", "vllm")
    assert export.main([str(directory), "--out", str(out)]) == 0
    lines = table(out)
    assert capsys.readouterr().out == f"{out}: {len(lines)} lines\n"
    assert tuple(lines[0]) == export.COLUMNS
    latency = [one for one in lines if one["metric"] == "latency" and one["workload"] == "batch-1"]
    boots = {one["boot"] for one in latency if one["model"] == "mixtral-8x7b"}
    (cell,) = [
        b for b in json.loads((directory / "mixtral-8x7b.json").read_text())["benchmarks"] if b["name"] == "batch-1"
    ]
    assert boots == {boot["boot"] for boot in cell["extra_info"]["boots"]}
    own = [one for one in latency if one["boot"] in boots]
    assert sorted(one["repetition"] for one in own) == sorted([*"12345", "median"] * len(boots))
    served = {(one["unit"], one["hardware"], one["weights"], one["tensor_parallel"]) for one in own}
    assert served == {("ms", "NVIDIA H200", "dummy", "1")}
    assert all(500 < float(one["value"]) < 600 for one in own)


def test_a_run_as_csv_keeps_invalid_samples_and_candidates_apart(tmp_path):
    sample = {
        "boot": "b",
        "host_id": "h",
        "started": "s",
        "metrics": {"latency": 0.5},
        "repetitions": {"latency": [0.4, 0.6]},
        "provenance": {},
        "cell": "vllm/org/model/tp2/batch-1",
        "workload": {},
    }
    lines = [sample | {"control": True}, sample | {"candidate": True, "invalid": "throttled, and more"}]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert export.write(tmp_path, tmp_path / "out.csv") == 6
    found = table(tmp_path / "out.csv")
    assert {(one["model"], one["weights"]) for one in found} == {("org/model", "")}
    assert [one["value"] for one in found] == ["500.0", "400.0", "600.0"] * 2
    assert [(one["candidate"], one["control"], one["invalid"]) for one in found[2:4]] == [
        ("False", "True", ""),
        ("True", "False", "throttled, and more"),
    ]


def test_whole_and_split_experts_differ(tmp_path):
    sample = {
        "boot": "b",
        "host_id": "h",
        "started": "s",
        "metrics": {"latency": 0.5},
        "repetitions": {},
        "provenance": {},
        "workload": {},
    }
    spreads = {
        "tp2": ("2", "1", "1"),
        "tp2ep2": ("2", "2", "1"),
        "tp4pp2": ("4", "1", "2"),
        "tp4ep4pp2": ("4", "4", "2"),
    }
    lines = [json.dumps(sample | {"cell": f"vllm/m/{spread}/batch-1"}) for spread in spreads]
    (tmp_path / "samples.jsonl").write_text("\n".join(lines) + "\n")
    export.write(tmp_path, tmp_path / "out.csv")
    found = [
        tuple(one[f"{what}_parallel"] for what in ("tensor", "expert", "pipeline"))
        for one in table(tmp_path / "out.csv")
    ]
    assert found == list(spreads.values())


@pytest.mark.parametrize(
    ("content", "out", "message"),
    [
        (None, "a.csv", "neither samples.jsonl nor baselines there"),
        ("{", "a.csv", "samples.jsonl:1: not a sample of a run"),
        ("[]", "a.csv", "samples.jsonl:1: not a sample of a run"),
        ('{"cell": "x", "workload": {}}', "a.csv", "samples.jsonl:1: missing key 'boot'"),
        (WRONG_OUTPUTS, "a.csv", "samples.jsonl:1: outputs[0]: expected four lists of numbers apart by semicolons"),
        ("", "a.txt", "expected a name that ends in .csv or .parquet"),
    ],
)
def test_what_cannot_be_exported_is_named(tmp_path, capsys, content, out, message):
    if content is not None:
        (tmp_path / "samples.jsonl").write_text(content and f"{content}\n")
    assert export.main([str(tmp_path), "--out", str(tmp_path / out)]) == 2
    assert message in capsys.readouterr().err


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "samples.jsonl").write_text("")
    assert export.main([str(tmp_path), "--out", str(tmp_path / "a.parquet")]) == 2
    assert "Parquet needs pyarrow: pip install pyarrow, or name a .csv" in capsys.readouterr().err


def test_parquet_holds_the_same_as_csv(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is optional")
    export.write(evidence.CURRENT / "h200x1", tmp_path / "a.parquet")
    found = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert found == list(export.records(evidence.CURRENT / "h200x1"))


def test_the_notebook_runs(monkeypatch, tmp_path):
    """Its code cells, one after the other, as Jupyter would run them; nothing of Jupyter is needed."""
    (tmp_path / "baselines").symlink_to(evidence.TODAY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    notebook = json.loads((ROOT / "docs" / "baselines.ipynb").read_text(encoding="utf-8"))
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"baselines.ipynb {cell['id']}", "exec"), names)
    assert (names["spread"]["cv [%]"] < 10).all()
    models = [text.get_text() for text in names["axes"].get_legend().get_texts()]
    shown = sorted(path.stem for path in evidence.block("h200x1", "vllm", of=evidence.TODAY).glob("*.json"))
    assert {"llama-3.1-8b", "mixtral-8x7b"} < set(shown)
    assert models == shown
