"""What a session is made of that judges a recorded run again."""

from pathlib import Path

import pytest

from fixtures.deployments import deployment as deployment_module
from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.plugin.options import command
from fixtures.session.build import build
from fixtures.session.options import Options
from fixtures.store import run as runs
from fixtures.store.run import BlockRecord, CellRecord, Run
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu

DEPLOYMENT = load("h200x1", ENGINES)
DIRECTORY = Path(deployment_module.__file__).parent
VLLM, BATCH_32, SGLANG = (
    next(one for one in cells(DEPLOYMENT, [f"{engine}/mixtral-8x7b/*"]) if one.workload.name == name)
    for engine, name in (("vllm", "batch-1"), ("vllm", "batch-32"), ("sglang", "batch-1"))
)


def boots(*names):
    """Of which no pair is like the one before."""
    told = {"engine_version": "0.33.0"}
    return tuple(sample(name, latency=0.5, ttft_first=0.02 * 2 ** (ord(name) % 4), provenance=told) for name in names)


def run_of(directory, *recorded, **others):
    """A run in a directory: cells with their boots and those beside them, workloads changed as told."""
    blocks, found = {}, []
    for cell, own, beside, changed in recorded:
        identity = {"devices": 1, "model": {}, "engine": cell.block.engine, "tensor_parallel": 1, "weights": "random"}
        card = {"hardware": "a card of its own"} | identity
        blocks[cell.block.id] = BlockRecord(cell.block.id, cell.block.engine, cell.block.model, 1, "bf16", card)
        workload = cell.workload.definition() | changed
        found.append(CellRecord(cell.id, cell.block.id, cell.workload.name, workload, boots=own, beside=beside))
    run = Run("r", "2026-03-01T00:00:00+00:00", "h200x1", "one", tuple(blocks.values()), tuple(found), **others)
    directory.joinpath(runs.FILE).write_text(runs.text(run))
    return directory


def session_of(directory, **options):
    return build(Options(replay=directory, **options), directory / "root", lambda text, passing=False: None)


def test_a_control_engine_is_that_of_the_engines_that_had_one(tmp_path):
    """Of the others none is measured by it: a control engine would measure BATCH_32 too."""
    run = run_of(
        tmp_path, (VLLM, boots("1"), boots("2"), {}), (BATCH_32, boots("1"), (), {}), (SGLANG, boots("3"), (), {})
    )
    config = session_of(run)
    reference = config.session.judge.reference
    assert set(config.cells) == {VLLM, BATCH_32, SGLANG}
    config.session.judge.read_baselines()
    assert list(reference.other.cells) == [VLLM]
    assert len(reference.arms(0)) == 2
    for cell in config.cells:
        config.session.measure(cell)
    config.session.verdict(VLLM, config.session.judge.metrics(VLLM)[0])
    config.session.verdict(SGLANG, config.session.judge.metrics(SGLANG)[0])
    assert [boot.boot for boot in reference.other.boots[VLLM]] == ["2"]
    assert not reference.other.error


@pytest.mark.parametrize(
    ("recorded", "given", "expected"), [(True, False, True), (None, True, True), (False, False, False)]
)
def test_whether_both_engines_were_up_at_the_same_time(tmp_path, recorded, given, expected):
    run = run_of(tmp_path, (VLLM, boots("1"), boots("2"), {}), candidate="vllm of new", side_by_side=recorded)
    config = session_of(run, side_by_side=given)
    assert config.session.judge.reference.side_by_side == expected
    assert not config.notes


def test_a_run_that_does_not_tell_is_taken_for_booted_in_turn_and_that_is_said(tmp_path):
    config = session_of(run_of(tmp_path, (VLLM, boots("1"), boots("2"), {}), candidate="vllm of new"))
    assert not config.session.judge.reference.side_by_side
    assert "if they were, give --side-by-side" in config.notes[0]


def test_what_it_ran_on_is_what_the_recording_says(tmp_path):
    config = session_of(run_of(tmp_path, (VLLM, boots("1"), (), {})))
    assert config.session.judge.reference.fingerprint(VLLM.block)["hardware"] == "a card of its own"
    assert config.session.replays


def test_no_time_limit_of_a_deployment_leaves_anything_out(tmp_path):
    limited = tmp_path / "h200x1.toml"
    limited.write_text("time_limit = 60\n" + (DIRECTORY / "h200x1.toml").read_text())
    config = session_of(run_of(tmp_path, (VLLM, boots("1"), (), {})), deployment=str(limited))
    assert (config.deployment.in_turn, config.deployment.time_limit) == (False, 0.0)


def test_a_boot_that_one_side_lacks_ends_nothing(tmp_path):
    """Of the third pair the other engine comes first."""
    run = run_of(tmp_path, (VLLM, boots(*"135"), boots(*"24"), {}), candidate="vllm of new", side_by_side=False)
    config = session_of(run)
    config.session.judge.read_baselines()
    config.session.verdict(VLLM, config.session.judge.metrics(VLLM)[0])
    reference = config.session.judge.reference
    assert [boot.boot for boot in reference.judged.boots[VLLM]] == ["1", "3", "5"]
    assert [boot.boot for boot in reference.other.boots[VLLM]] == ["2", "4"]


@pytest.mark.parametrize(("given", "expected"), [(None, 7), (2, 2), (9, 7)])
def test_all_boots_are_judged_unless_fewer_are_asked_for(tmp_path, given, expected):
    run = run_of(
        tmp_path, (VLLM, boots(*"1234567"), boots(*"abcdefg"), {}), candidate="vllm of new", side_by_side=False
    )
    assert session_of(run, max_boots=given).session.max_boots == expected


def test_cells_of_another_workload_are_named(tmp_path):
    changed = {"output_len": 65}
    config = session_of(run_of(tmp_path, (VLLM, boots("1"), (), {}), (SGLANG, boots("2"), (), changed)))
    assert config.cells == [VLLM]
    assert config.notes == (f"--replay: measured under another workload, and not judged: {SGLANG.id}",)
    with pytest.raises(UsageError, match="holds no cell of deployment 'h200x1' but under other workloads"):
        session_of(run_of(tmp_path, (VLLM, boots("1"), (), changed)))


def test_no_command_is_told_for_what_is_not_known(tmp_path):
    run = run_of(tmp_path, (VLLM, boots("1"), (), {}))
    assert command(Options(replay=run), "h200x1", [VLLM]) == ""
    asked = Options(
        deployment="d.toml", baselines=tmp_path, weights=(("m", "random"),), cells=("x",), side_by_side=False
    )
    told = command(asked, "h200x1", (), replay=run)
    assert told.endswith(f"-m serving --deployment=d.toml --replay={run} --weights=m=random --baselines={tmp_path}")
