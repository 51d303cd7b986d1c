"""Baselines on disk: what is written is read back, damage is named, nothing is half-written."""

import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.errors import UsageError
from fixtures.store import baseline
from fixtures.store.baseline import Update
from perf_tests.fakes.samples import record, sample

pytestmark = pytest.mark.cpu
FINGERPRINT = {"hardware": "cpu", "devices": 0, "engine": "vllm", "tensor_parallel": 2, "weights": "random"}
CELL = "vllm/m/tp2/batch-1"


def boot(name):
    return sample(
        name, latency=1.23456789, repetitions={"latency": (1.23456789, 1.23456789)}, provenance={"commit": "abc"}
    )


def write(path, *records, append=False, fingerprint=FINGERPRINT):
    baseline.write([Update(path, fingerprint, records, {"id": "abc"})], "5.2.3", append)


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "a" / "b.json"
    write(path, record(CELL, [boot("1")]))
    found = baseline.read(path)
    assert found.fingerprint == FINGERPRINT
    (sample,) = found.cells[CELL].boots
    assert sample.metrics == {"latency": 1.23457}
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


def test_no_file_is_no_baseline(tmp_path):
    assert baseline.read(tmp_path / "none.json") is None


def test_append_adds_boots_and_refuses_one_that_is_there(tmp_path):
    path = tmp_path / "b.json"
    write(path, record(CELL, [boot("1")]))
    write(path, record(CELL, [boot("2")]), append=True)
    assert [b.boot for b in baseline.read(path).cells[CELL].boots] == ["1", "2"]
    with pytest.raises(UsageError, match=r"boot 2 is already in the baseline"):
        write(path, record(CELL, [boot("2")]), append=True)
    write(path, record(CELL, [boot("3")]))
    assert [b.boot for b in baseline.read(path).cells[CELL].boots] == ["3"]


def test_cells_that_were_not_measured_are_kept(tmp_path):
    path = tmp_path / "b.json"
    write(path, record(CELL, [boot("1")]), record("vllm/m/tp2/batch-8", [boot("1")]))
    write(path, record(CELL, [boot("2")]))
    assert {c: len(s.boots) for c, s in baseline.read(path).cells.items()} == {CELL: 1, "vllm/m/tp2/batch-8": 1}


def test_another_fingerprint_replaces_the_file_but_is_never_appended(tmp_path):
    path = tmp_path / "b.json"
    write(path, record(CELL, [boot("1")]), record("gone", [boot("1")]))
    other = FINGERPRINT | {"tensor_parallel": 1}
    with pytest.raises(UsageError, match="fingerprint differs"):
        write(path, record(CELL, [boot("2")]), append=True, fingerprint=other)
    write(path, record(CELL, [boot("2")]), fingerprint=other)
    assert list(baseline.read(path).cells) == [CELL]


def test_paths_follow_the_layout(tmp_path):
    gpu = FINGERPRINT | {"hardware": "NVIDIA H100 80GB HBM3", "devices": 2}
    assert (
        baseline.path_of(tmp_path, gpu, "m").relative_to(tmp_path).as_posix()
        == "h100-80gb-hbm3x2/vllm-tp2-random/m.json"
    )
    assert baseline.path_of(tmp_path, FINGERPRINT, "m").relative_to(tmp_path).as_posix() == "cpu/vllm-tp2-random/m.json"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t[: len(t) // 2], "not valid JSON"),
        (lambda t: t.replace('"schema": 1', '"schema": 2'), "schema 2, this version reads 1"),
        (lambda t: t.replace('"latency": 1.23457', '"latency": NaN', 1), "NaN is not a JSON number"),
        (
            lambda t: t.replace('"latency": 1.23457', '"latency": "fast"', 1),
            r"metrics.latency: expected a number, found 'fast'",
        ),
        (
            lambda t: t.replace('"latency": 1.23457', '"latency": -1', 1),
            r"benchmarks\[0\]: extra_info: boots\[0\]: metrics.latency: expected 0 or more, found -1",
        ),
        (lambda t: t.replace('"host_id"', '"hostid"'), "unknown key 'hostid'; did you mean 'host_id'"),
        (lambda t: t.replace('"boots"', '"boot_list"'), "boots: expected a list, found None"),
        (lambda t: "[]", "expected a JSON object"),
        (lambda t: "{}", "not a baseline"),
        (lambda t: t.replace('"schema": 1', '"schema": 1, "schema": 1'), "'schema' appears twice"),
    ],
)
def test_damage_is_named_with_file_and_place(tmp_path, damage, message):
    path = tmp_path / "b.json"
    write(path, record(CELL, [boot("1")]))
    path.write_text(damage(path.read_text()))
    with pytest.raises(UsageError, match=message) as caught:
        baseline.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_outputs_that_are_none_are_damage(tmp_path):
    path = tmp_path / "b.json"
    write(path, record(CELL, [dataclasses.replace(boot("1"), outputs=("-1.5; 7; 3; -0.2", "-1.5; 7; three; -0.2"))]))
    with pytest.raises(UsageError, match=r"b.json: benchmarks\[0\]: extra_info: boots\[0\]: outputs\[1\]: .*'three'"):
        baseline.read(path)


def test_a_boot_that_is_there_twice_is_no_further_evidence(tmp_path):
    path = tmp_path / "b.json"
    write(path, record(CELL, [boot("1"), boot("2")]))
    path.write_text(path.read_text().replace('"boot": "2"', '"boot": "1"'))
    with pytest.raises(UsageError, match=r"boots\[1\]: boot 1 appears twice"):
        baseline.read(path)


def test_counts_are_stored_as_they_are():
    assert baseline.rounded([1234567.0, 0.1234567, 2.0**60, {"a": (0.5, True, 3)}]) == [
        1234567.0,
        0.123457,
        1.15292e18,
        {"a": [0.5, True, 3]},
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.data())
def test_a_truncated_file_is_never_half_used(tmp_path, data):
    path = tmp_path / "b.json"
    path.unlink(missing_ok=True)
    write(path, record(CELL, [boot("1")]))
    text = path.read_text()
    path.write_text(text[: data.draw(st.integers(0, len(text.rstrip()) - 1))])
    with pytest.raises(UsageError):
        baseline.read(path)
    with pytest.raises(UsageError):  # nor overwritten: what is in it may be worth saving
        write(path, record(CELL, [boot("2")]))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "b.json"
    write(path, record(CELL, [boot("1")]))
    before = path.read_text()
    with pytest.raises(TypeError):
        write(path, record(CELL, [boot("2")]) | {"extra": object()})
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["b.json"]


def test_floats_are_rounded_to_six_digits_everywhere():
    assert baseline.rounded({"a": [1.23456789, 2], "b": (3e-9 / 7,)}) == {"a": [1.23457, 2], "b": [4.28571e-10]}
    assert json.dumps(baseline.rounded(0.1 + 0.2)) == "0.3"
