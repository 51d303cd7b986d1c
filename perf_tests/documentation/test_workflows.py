"""What the workflows say about the suite is true of it."""

import json
import re
from unittest.mock import MagicMock

import pytest

from fixtures.deployments.deployment import load, shipped
from fixtures.engines.registry import ENGINES
from fixtures.hardware import choice
from fixtures.plugin import options as plugin
from perf_tests.paths import ROOT
from perf_tests.workflows import WORKFLOWS, run_blocks

pytestmark = pytest.mark.cpu
NIGHTLY = ROOT / ".github" / "workflows" / "nightly.yml"
NIGHTLY_DOC = ROOT / "docs" / "nightly.md"


def names(text):
    return sorted(name.strip() for name in text.split(","))


def test_run_blocks_are_found_in_every_form():
    text = "- run: a\n- if: b\n  run: |\n    c\n\n    d\n  env:\n    E: f\n- run: >-\n    g\n- uses: h\n"
    assert [block.split() for block in run_blocks(text)] == [["a"], ["|", "c", "d"], [">-", "g"]]


def test_a_night_measures_every_shipped_deployment_of_a_kind_of_card():
    deployments = {name: load(name, ENGINES) for name in shipped()}
    wanted = sorted(name for name, one in deployments.items() if one.needs_gpu and one.hardware.lower() != choice.ANY)
    text = NIGHTLY.read_text()
    (options,) = re.findall(r"^ *options: \[(.*)\]$", text, re.MULTILINE)
    assert names(options) == sorted(["all", *wanted])
    matrices = re.findall(r"NIGHTLY_DEPLOYMENTS \|\| '(\[.*\])'\) }}", text)
    assert len(matrices) == 2, "the jobs that measure and that propose"
    assert [sorted(json.loads(matrix)) for matrix in matrices] == [wanted, wanted]
    (in_gitlab,) = re.findall(r"- DEPLOYMENT: \[(.*?)\]", NIGHTLY_DOC.read_text())
    assert names(in_gitlab) == wanted


@pytest.mark.parametrize("path", [*WORKFLOWS, NIGHTLY_DOC], ids=lambda path: path.name)
def test_options_of_the_suite_exist(path):
    parser = MagicMock()
    plugin.pytest_addoption(parser)
    known = {call.args[0] for call in parser.getgroup.return_value.addoption.call_args_list}
    lines = [line.partition("-- ")[2] for line in path.read_text().splitlines() if " -e perf -- " in line]
    lines += re.findall(r"MODE: (.*)", path.read_text())
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", "\n".join(lines)))
    assert used, "the workflow runs the suite"
    assert used <= known


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_expression_is_pasted_into_a_shell(path):
    blocks = list(run_blocks(path.read_text()))
    assert blocks
    for block in blocks:
        assert "${{" not in block, "pass it through env"


def test_only_the_job_that_proposes_may_write_and_no_night_is_cut_off_by_the_next():
    text = NIGHTLY.read_text()
    measuring, _, proposing = text.partition("\n  propose:\n")
    assert "contents: read" in measuring
    assert ": write" not in measuring
    assert "self-hosted" not in proposing
    assert "cancel-in-progress: true" not in text
    assert "group: nightly-${{ matrix.deployment }}" in measuring
