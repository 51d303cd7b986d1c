"""Two files compared, this suite's or anybody's, and what ``python -m fixtures.gate`` prints."""

import json
import statistics
import subprocess
import sys

import pytest

from fixtures.gate import comparison
from fixtures.gate.__main__ import main
from perf_tests.documentation import evidence
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu


def result(path, values, extra=None):
    stats = {"data": values, "median": statistics.median(values)}
    path.write_text(json.dumps({"benchmarks": [{"fullname": "test_x", "stats": stats, "extra_info": extra or {}}]}))
    return str(path)


def test_anybodys_files_are_compared_by_duration(tmp_path, capsys):
    before = result(tmp_path / "a.json", [1.0, 1.01, 0.99, 1.0, 1.02])
    assert main([before, result(tmp_path / "b.json", [1.01, 1.0, 0.99, 1.0, 1.0])]) == 0
    assert main([before, result(tmp_path / "c.json", [1.3, 1.31, 1.29, 1.3, 1.32])]) == 1
    assert "regression" in capsys.readouterr().out
    assert main([before, result(tmp_path / "d.json", [1.3])]) == 2, "one sample confirms nothing"


def test_declared_extra_info_is_compared_in_its_direction(tmp_path):
    before, after = (result(tmp_path / f"{n}.json", [1.0], {"tokens": n}) for n in (100, 200))
    assert main([before, after, "--direction", "tokens=higher"]) == 0
    assert main([before, after, "--direction", "tokens=equal"]) == 1
    assert main([before, after, "--direction", "tokens=lower"]) == 2


def test_recorded_boots_compared_with_themselves_pass():
    path = str(evidence.block("h200x1", "vllm") / "mixtral-8x7b.json")
    assert main([path, path]) == 0


def test_benchmarks_of_one_file_alone_are_listed(tmp_path):
    before = tmp_path / "a.json"
    before.write_text('{"benchmarks": []}')
    lines, missing = comparison.compare(before, tmp_path / result(tmp_path / "b.json", [1.0]), {})
    assert (lines, missing) == ([], [f"test_x: only in {tmp_path / 'b.json'}"])
    assert comparison.exit_status(lines) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not valid JSON"), ("{}", "no list of benchmarks"), ('{"benchmarks": [1]}', r"benchmarks\[0\]: not a")],
)
def test_a_file_that_is_no_result_is_named(tmp_path, capsys, text, message):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    assert main([str(bad), str(bad)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {bad}")
    assert error.count("\n") == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error)


def test_the_module_runs(tmp_path):
    path = result(tmp_path / "a.json", [1.0, 1.0, 1.0])
    done = subprocess.run(
        [sys.executable, "-m", "fixtures.gate", path, path], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0
