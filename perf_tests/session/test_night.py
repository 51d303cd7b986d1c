"""The tool that rehearses a GPU deployment's night."""

import pytest

from perf_tests.tools.bench_night import rehearse, seconds

pytestmark = pytest.mark.cpu

CELL = "vllm/llama-3.1-8b/tp1/long-prompt"


def test_a_night_is_rehearsed_without_a_card(tmp_path):
    printed = list(rehearse(tmp_path, "h200x1", "--ttft 0.01 --gap 0.001", compare=True, cells=[CELL]))
    assert list(seconds(printed))[-1] == CELL
    assert any("baseline is this session's engine" in line for line in printed), "\n".join(printed)


def test_seconds_are_those_of_the_progress():
    lines = [
        "a: measured (3 s); 1 of 2 cells, about 10 s left",
        "a: measured (0 s)",
        "b: warming up",
        "b: measured (4 s); 2 of 2 cells: all are measured",
    ]
    assert seconds(lines) == {"a": 3, "b": 4}
