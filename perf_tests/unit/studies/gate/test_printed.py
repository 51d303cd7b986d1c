"""Operating characteristics as they are printed."""

import json

import pytest

from fixtures.studies.gate.__main__ import main as study
from perf_tests.documentation import evidence

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["power", "--cv", "0.01", "--baseline-boots", "10", "--nights", "5"], ["40 metrics a night", "1.0%  10"]),
        (
            ["power", "--baselines", str(evidence.block("h200x1", "vllm")), "--nights", "5"],
            ["latency ", "28 gated metrics"],
        ),
        (["rivals", "--nights", "20"], ["this gate", "pytest-benchmark", "asv"]),
    ],
)
def test_operating_characteristics_are_printed(capsys, arguments, lines):
    assert study(arguments) == 0
    printed = capsys.readouterr().out
    for line in lines:
        assert line in printed


def test_cells_with_few_boots_are_listed(capsys, tmp_path):
    data = json.loads((evidence.block("h200x1", "vllm") / "llama-3.1-8b.json").read_text())
    for count, record in zip((1, 2, 3), data["benchmarks"][:3], strict=True):
        record["extra_info"]["boots"] = record["extra_info"]["boots"][:1] * count
    data["benchmarks"] = data["benchmarks"][:3]
    (tmp_path / "b.json").write_text(json.dumps(data))
    assert study(["power", "--baselines", str(tmp_path), "--nights", "2"]) == 0
    one, two, three = (record["fullname"] for record in data["benchmarks"])
    printed = capsys.readouterr().out
    assert f"\n1 boot (3 recommended), 1 cell: {one}\n" in printed
    assert f"\n2 boots (3 recommended), 1 cell: {two}\n" in printed
    assert three not in printed
