"""A judge beside baselines in a directory, and a source of samples that boots nothing."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fixtures.deployments.cell import Cell
from fixtures.deployments.deployment import Deployment
from fixtures.errors import EngineError
from fixtures.gate.rule import MAX_BOOTS
from fixtures.session.judge import Judge
from fixtures.session.reference.baselines import CommittedBaselines
from fixtures.session.reference.candidate import Candidate
from fixtures.store import baseline
from fixtures.store.baseline import Update
from fixtures.store.sample import Sample
from perf_tests.fakes.samples import record


class Draws:
    """A source whose samples are drawn: ``draw`` gives one of a cell, ``stop`` ends the boot."""

    repeats = True

    def __init__(self, draw: Callable[[Cell, int], Sample]) -> None:
        self._draw, self.boot = draw, 0
        # What was prepared, measured and profiled, in this order.
        self.prepared: list[Cell] = []
        self.profiled: list[Cell] = []

    def prepare(self, cell: Cell) -> None:
        """Nothing boots."""
        self.prepared.append(cell)

    def measure(self, cells: Sequence[Cell], rounds: Any) -> dict[Cell, Sample | EngineError]:
        """Each cell's sample of the present boot."""
        return {cell: self.drawn(cell) for cell in cells}

    def drawn(self, cell: Cell) -> Sample | EngineError:
        """The cell's sample of the present boot, or why there is none."""
        try:
            return self._draw(cell, self.boot)
        except EngineError as error:
            return error

    def profile(self, cell: Cell, directory: Path) -> str:
        """A place, where nothing is."""
        self.profiled.append(cell)
        return str(directory)

    def give_up(self, cell: Cell, reason: str) -> None:
        """Nothing is up."""

    def stop(self) -> None:
        """The next boot begins."""
        self.boot += 1


def judge_of_candidate(
    deployment: Deployment,
    cells: Sequence[Cell],
    root: Path,
    draws: Draws,
    candidate: Draws,
    max_boots: int = MAX_BOOTS,
) -> Judge:
    """A judge of what ``candidate`` gives, by what ``draws`` does."""
    committed = CommittedBaselines(deployment, [], root, draws)
    return Judge(deployment, cells, Candidate(committed, candidate, "the candidate"), max_boots)


def nothing(cell: Cell, boot: int) -> Sample:
    """What is not to be measured."""
    raise AssertionError(f"{cell.id} is measured")


def judge_beside(
    deployment: Deployment, cells: Sequence[Cell], root: Path, draws: Draws | None = None, max_boots: int = MAX_BOOTS
) -> Judge:
    """A judge of what ``draws`` gives, or of boots that the test puts in place, by the baselines under ``root``."""
    return Judge(deployment, cells, CommittedBaselines(deployment, [], root, draws or Draws(nothing)), max_boots)


def commit(judge: Judge, stored: Mapping[Cell, Sequence[Sample]], of: str = "abc") -> Path:
    """Write the boots of cells of one engine and model as the baseline that the judge looks for; returns the file."""
    (block,) = {cell.block for cell in stored}
    path, fingerprint = judge.reference.path(block), judge.reference.fingerprint(block)
    records = [record(cell.id, boots, cell.workload.definition()) for cell, boots in stored.items()]
    baseline.write([Update(path, fingerprint, records, {"id": of})], "5.3.1", append=False)
    return path
