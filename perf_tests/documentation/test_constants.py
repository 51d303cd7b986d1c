"""Constants are written into hardware.toml in place."""

import re

import pytest

from fixtures.analytical.hardware import DATA
from perf_tests.documentation import calibrate, constants

pytestmark = pytest.mark.cpu

FOUND = {
    ("gpu.h100", "moe_whole_seconds"): 3e-05,
    ('platform."vllm-0.26".gpu.h200', "step_seconds"): 0.0004321,
}
TEXT = """\
# What stays.
[gpu.h100]
moe_whole_seconds = { value = 2e-05, kind = "calibrated", source = "whole-runs" }  # so does this

[gpu.h200]
moe_whole_seconds = { value = 2e-05, kind = "assumed", source = "alike" }

[platform."vllm-0.26".gpu.h200]
step_seconds = { value = 0.0003181, kind = "calibrated", source = "card-runs" }
"""


def test_figures_are_replaced_and_all_else_stays():
    wanted = TEXT.replace("2e-05", "3e-05").replace("0.0003181", "0.0004321")
    assert constants.with_constants(TEXT, FOUND) == wanted


def test_a_figure_that_differs_by_its_last_digit_stays():
    near, far, wanted = (
        TEXT.replace("2e-05", "3e-05").replace("0.0003181", x) for x in ("0.000432", "0.0004323", "0.0004321")
    )
    assert constants.with_constants(near, FOUND) == near
    assert constants.with_constants(far, FOUND) == wanted


@pytest.mark.parametrize(("source", "follows"), [("alike", True), ("unmeasured", True), ("bench-cpu", False)])
def test_a_card_that_has_it_from_the_h100_follows_it(source, follows):
    text = f'[gpu.other]\nmoe_whole_seconds = {{ value = 1e-05, kind = "assumed", source = "{source}" }}\n'
    text += text.replace("other", "h100").replace("assumed", "calibrated").replace(source, "whole-runs")
    found = constants.with_constants(text, {("gpu.h100", "moe_whole_seconds"): 3e-05})
    assert found.count("3e-05") == 1 + follows


def test_a_constant_without_a_line_is_named():
    with pytest.raises(LookupError, match=r"hardware.toml: no line for kernel_seconds in \[gpu.b300\]"):
        constants.with_constants(TEXT, FOUND | {("gpu.b300", "kernel_seconds"): 1.0})


def test_uncertainties_are_replaced_section_by_section(monkeypatch):
    """With the host terms that ship, as a fit takes seconds."""
    monkeypatch.setattr(constants, "rounded", calibrate.shipped)
    text = DATA.read_text(encoding="utf-8")
    assert constants.with_uncertainties(text) == text
    assert constants.with_uncertainties(re.sub(r"error = [\d.]+", "error = 0.5000", text)) == text
    less = re.sub(r"^kv_capacity = \{ error.*\n", "", text, flags=re.MULTILINE)
    assert less != text
    assert constants.with_uncertainties(less) == text
