"""First tokens that two engines up at the same time take in turn: how far pairs differ in them, no baseline's boots tell."""

import numpy as np
import pytest

from fixtures.deployments.cell import cells
from fixtures.gate.verdict import Outcome
from fixtures.metrics import METRICS
from fixtures.session.cause_trials import CauseTrials
from fixtures.session.judge import Judge
from fixtures.session.reference.baselines import CommittedBaselines
from fixtures.session.reference.candidate import Candidate
from fixtures.session.reference.control import ControlEngine, Release
from perf_tests.fakes.deployments import TWIN, head, load, workload
from perf_tests.fakes.judging import Draws, commit, judge_beside, nothing
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu
TEXT = head([TWIN], max_model_len=256, gated=("prefill_time", "decode_step", "completed")) + "".join(
    workload(f"batch-{n}", "batch", batch_size=n, repetitions=1) for n in (1, 8, 32, 64)
)
# First tokens of vLLM 0.33.0 on an H200, its passes that take in requests held up for 2 ms, over those without that: three
# pairs side by side, in batches of 1, 8 and 32 (and once more of 32); and how the host's pace went from pair to pair.
PLANTED = ((1.128, 1.128, 1.129), (1.116, 1.123, 1.117), (1.055, 1.066, 1.056), (1.056, 1.055, 1.066))
UNCHANGED = ((1.0, 1.004, 0.997), (0.998, 1.003, 1.001), (1.002, 0.999, 1.0), (1.0, 0.997, 1.003))
PACE = (1.0, 0.96, 0.84)


class Night:
    """Three boots of four cells beside those of another engine, and a baseline whose boots differ by 7% in first tokens.

    What a host's pace does to boots it does to all cells alike.
    """

    def __init__(self, root, known=(1, 8, 32, 64)):
        self.root, self.deployment = root, load(root, TEXT)
        self.cells = cells(self.deployment)
        random = np.random.default_rng(5)
        pace = 1 + 0.07 * random.normal(0, 1, 10)
        stored = {
            cell: [
                sample(str(i), host_id="h", prefill_time=float(x), decode_step=float(1 + random.normal(0, 0.002)))
                for i, x in enumerate(pace)
            ]
            for cell in self.cells
            if cell.workload.batch_size in known
        }
        commit(judge_beside(self.deployment, self.cells, root), stored)

    def candidate(self, side_by_side):
        committed = CommittedBaselines(self.deployment, [], self.root, Draws(nothing))
        return Candidate(committed, Draws(nothing), "the candidate", side_by_side)

    def control(self, side_by_side):
        committed = CommittedBaselines(self.deployment, [], self.root, Draws(nothing))
        release = Release({"vllm": self.root}, {"vllm": ""})
        return ControlEngine(committed, Draws(nothing), release, self.cells, side_by_side)

    def judged(self, reference, ratios, invalid=()):
        """The verdicts on the metrics of all cells, and on the causes by name."""
        judge = Judge(self.deployment, self.cells, reference)
        judge.read_baselines()
        trial = causes = None
        for pair, pace in enumerate(PACE):
            for cell, own in zip(self.cells, ratios, strict=True):
                why = "disturbed" if cell.workload.batch_size in invalid else ""
                decode = 1 + 0.001 * (pair - 1)
                made = sample(f"own-{pair}", why, host_id="h", prefill_time=pace * own[pair], decode_step=decode)
                reference.judged.boots.setdefault(cell, []).append(made)
                if reference.other.measures(cell):
                    made = sample(f"other-{pair}", host_id="h", prefill_time=pace, decode_step=1.0)
                    reference.other.boots.setdefault(cell, []).append(made)
            if trial is None:
                trial = judge.trial(self.cells)
                causes = CauseTrials(judge, {self.cells[0].block: trial})
            else:
                trial.add_boots()
                causes.judge()
        verdicts = {
            (cell.workload.batch_size, name): trial.verdict(cell, METRICS[name])
            for cell in self.cells
            for name in ("prefill_time", "decode_step")
        }
        return verdicts, {cause.name: one.verdict for cause, one in causes.conclude([]).items()}


def test_two_milliseconds_are_told_by_name(tmp_path):
    verdicts, causes = (night := Night(tmp_path)).judged(night.candidate(side_by_side=True), PLANTED)
    assert causes["prefill"].outcome is Outcome.REGRESSION
    assert causes["prefill"].change == pytest.approx(0.09, abs=0.01)
    assert {verdicts[size, "prefill_time"].outcome for size in (1, 8)} == {Outcome.REGRESSION}


def test_booted_in_turn_they_are_not(tmp_path):
    verdicts, causes = (night := Night(tmp_path)).judged(night.candidate(side_by_side=False), PLANTED)
    assert causes["prefill"].outcome is Outcome.INCONCLUSIVE
    assert Outcome.REGRESSION not in {one.outcome for one in verdicts.values()}


def test_what_did_not_change_passes(tmp_path):
    verdicts, causes = (night := Night(tmp_path)).judged(night.candidate(side_by_side=True), UNCHANGED)
    assert {one.outcome for one in verdicts.values()} == {Outcome.PASS}
    assert causes["prefill"].outcome is Outcome.PASS
    assert causes["prefill"].detectable < 0.05


def test_of_all_else_the_baseline_tells_the_noise_as_in_turn(tmp_path):
    """A boot's luck is in its decode steps, whatever was up beside it."""
    night = Night(tmp_path)
    beside, _ = night.judged(night.candidate(side_by_side=True), UNCHANGED)
    in_turn, _ = night.judged(night.candidate(side_by_side=False), UNCHANGED)
    assert beside[1, "decode_step"] == in_turn[1, "decode_step"]
    assert beside[1, "prefill_time"].detectable < in_turn[1, "prefill_time"].detectable / 5


def test_a_cell_that_the_baseline_lacks_costs_the_other_causes_nothing(tmp_path):
    found = []
    for known in ((1, 8, 32, 64), (1, 8, 32)):
        root = tmp_path / str(len(known))
        root.mkdir()
        night = Night(root, known)
        found.append(night.judged(night.candidate(side_by_side=True), UNCHANGED)[1]["decode"].detectable)
    assert found[1] == pytest.approx(found[0], rel=0.25)


@pytest.mark.parametrize("invalid", [(8,), (1, 8)])
def test_cells_without_a_valid_pair_take_no_others_along(tmp_path, invalid):
    night = Night(tmp_path)
    _, causes = night.judged(night.candidate(side_by_side=True), UNCHANGED, invalid)
    assert causes["prefill"].outcome is Outcome.PASS, causes["prefill"].reason


def test_beside_a_control_the_cells_that_it_does_not_measure_keep_their_baseline(tmp_path):
    night = Night(tmp_path)
    reference = night.control(side_by_side=True)
    assert [reference.other.measures(cell) for cell in night.cells] == [True, False, True, False]
    _, causes = night.judged(reference, UNCHANGED)
    assert causes["prefill"].outcome is not Outcome.NO_BASELINE
    assert causes["prefill"].change is not None, causes["prefill"].reason
