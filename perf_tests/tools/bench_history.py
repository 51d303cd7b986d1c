"""What the history finds, and how many false change points: simulated nights through the code that reads real ones.

    tox -e history-bench                    prints the table of docs/history.md; a quarter of an hour, seeds fixed
    tox -e history-bench -- --check         compare the report of an example history with the committed one; --update writes it

A night's value is one boot's. A team looks every night: a metric's false points are all distinct ones that any night
reports. "slow": 5% of nights are 10% slow.
"""

import argparse
import datetime
import functools
import hashlib
import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from otava.analysis import compute_change_points
from tabulate import tabulate

from fixtures.gate.rule import MAX_BOOTS, Step
from fixtures.gate.trial import Trial
from fixtures.history.__main__ import report
from fixtures.history.points import FEWEST_NIGHTS, MAX_P, WINDOW, change_points
from fixtures.store.history import Entry
from fixtures.studies.gate import power
from fixtures.studies.gate.power import World

GOLDEN = Path(__file__).with_name("history_report.txt")
MONTH, FOUR_WEEKS, TOLERANCE = 30, 28, 0.05
WEEKLY, STEP = 0.01, 0.08
# A point that lies up to so many nights before the change still points at it.
EARLY = 7
HEADERS = (
    "noise",
    "rule",
    "drift found in 28 nights",
    "median night",
    "step found",
    "median night",
    "false points per metric and month",
)
WORLDS = {"CV 1%": World(0.01), "CV 1%, slow": World(0.01, 0.05), "CV 2%": World(0.02)}


def plainly(max_p: float, window: int) -> Callable[[list[float]], list[int]]:
    def run(values: list[float]) -> list[int]:
        return [point.index for point in compute_change_points(values, window, max_p)[0]]

    return run


RULES = {
    "Otava's defaults": plainly(0.001, 50),
    f"window {WINDOW}, p < {MAX_P:g}": plainly(MAX_P, WINDOW),
    "and clipped: used": lambda values: [index for index, _ in change_points(values)],
}


def nights(
    rng: np.random.Generator, world: World, before: int, after: int, change: Callable[[int], float]
) -> list[float]:
    """Values around one, and ``change`` of the nights that passed since it began added for the last ``after``."""
    level = np.array([1.0] * before + [1 + change(i) for i in range(1, after + 1)])
    return [float(value) for value in level * world.boots(rng, 1, before + after)[0]]


def drift(night: int) -> float:
    return (1 + WEEKLY) ** (night / 7) - 1


def step(night: int) -> float:
    return STEP


def found(
    rule: Callable[[list[float]], list[int]], world: World, change: Callable[[int], float], runs: int
) -> list[int]:
    """Nights until a change is reported, those only that are within four weeks; 28 to 60 stable nights come before."""
    rng, hits = np.random.default_rng(1), []
    for _ in range(runs):
        before = int(rng.integers(28, 61))
        values = nights(rng, world, before, FOUR_WEEKS, change)
        for night in range(1, FOUR_WEEKS + 1):
            until = values[: before + night]
            after = [i for i in rule(until) if i >= before - EARLY]
            if any(statistics.median(until[i:]) > statistics.median(until[:i]) for i in after):
                hits.append(night)
                break
    return hits


def false_points(rule: Callable[[list[float]], list[int]], world: World, runs: int, months: int) -> float:
    """Distinct change points per metric and month without a change, over ``months`` months from the first report on."""
    rng, count = np.random.default_rng(2), 0
    for _ in range(runs):
        values = nights(rng, world, FEWEST_NIGHTS + months * MONTH, 0, step)
        count += len({index for last in range(FEWEST_NIGHTS, len(values) + 1) for index in rule(values[:last])})
    return count / (runs * months)


def gate_finds(world: World, change: Callable[[int], float], runs: int, horizon: int) -> list[int]:
    """Nights until the gate reports a regression against an anchor of ten boots; those only that it does report."""
    rng, hits = np.random.default_rng(3), []
    for _ in range(runs):
        questions = power.baseline_questions(world.boots(rng, 4, 10), TOLERANCE)[:1]
        for night in range(1, horizon + 1):
            draw = functools.partial(_boot, rng, world, change(night))
            steps, _ = power.night(Trial(questions, 1), draw, MAX_BOOTS)
            if steps[0] == Step.REGRESSION:
                hits.append(night)
                break
    return hits


def _boot(rng: np.random.Generator, world: World, effect: float) -> NDArray[np.float64]:
    """One boot of one metric."""
    return world.boots(rng, 1, 1)[:, 0] + effect


def simulate(runs: int, series: int, months: int) -> None:
    print(f"{runs} drifts of {WEEKLY:.0%} a week and steps of {STEP:.0%}, 28 to 60 stable nights before each;")
    print(f"{series} metrics without a change over {months} months")
    rows = []
    for noise, world in WORLDS.items():
        for name, rule in RULES.items():
            drifts, steps = found(rule, world, drift, runs), found(rule, world, step, runs)
            false = false_points(rule, world, series, months)
            rows.append((noise, name, *_hits(drifts, runs), *_hits(steps, runs), f"{false:.2%}"))
        drifts, steps = (gate_finds(world, change, runs, FOUR_WEEKS) for change in (drift, step))
        name = f"gate alone, tolerance {TOLERANCE:.0%}"
        rows.append((noise, name, *_hits(drifts, runs), *_hits(steps, runs), ""))
    print(tabulate(rows, HEADERS, maxheadercolwidths=14, disable_numparse=True))


def _hits(nights: list[int], runs: int) -> tuple[str, str]:
    """The share of runs in which a change was found, and the median night of finding it."""
    return f"{len(nights) / runs:.1%}", f"{statistics.median(nights):.0f}" if nights else "-"


# -- an example ------------------------------------------------------------------------------------------------------------


def example() -> list[Entry]:
    """Forty-two nights of six metrics: what only the history shows, what only the anchor, what both, and what neither."""
    rng = random.Random(7)
    cells = {
        ("batch-8", "latency"): lambda night: 1.01 ** (max(0, night - 14) / 7),  # a drift
        ("batch-32", "latency"): lambda night: 1.08 if night >= 40 else 1.0,  # two nights old
        ("online-4", "tpot_p50"): lambda night: 1.07,  # from before the history began
        ("offline-500", "total_throughput"): lambda night: 0.94 if night >= 30 else 1.0,
        ("batch-1", "latency"): lambda night: 0.95 if night >= 22 else 1.0,
        ("online-1", "tpot_p50"): lambda night: 1.0,
    }
    first = datetime.datetime(2026, 3, 1, 2, 17, tzinfo=datetime.UTC)
    entries = []
    for night in range(42):
        began, commit = first + datetime.timedelta(days=night), hashlib.sha1(bytes([night // 2])).hexdigest()[:12]
        for (workload, metric), level in cells.items():
            if workload == "online-1" and night < 37:
                continue  # new
            centre = 2.0 if metric == "latency" else 0.02 if metric == "tpot_p50" else 9000.0
            value = centre * level(night) * rng.gauss(1, 0.01) * (1.1 if rng.random() < 0.03 else 1.0)
            outcome = "regression" if abs(level(night) - 1) > 1.12 * TOLERANCE else "pass"
            entries.append(
                Entry(
                    time=began.isoformat(),
                    run=f"run-{night}",
                    commit=commit,
                    cell=f"vllm/mixtral-8x7b/tp2/{workload}",
                    metric=metric,
                    value=value,
                    boots=1,
                    baseline=centre,
                    tolerance=TOLERANCE,
                    outcome=outcome,
                    fingerprint="3f2a9c1b7d5e",
                    engine_version="0.26.0" if night < 22 else "0.26.1",
                )
            )
    return entries


def check(update: bool) -> int:
    """Compare the report of the example with the committed one, or commit it; returns the exit status."""
    status, text = report(example())
    text = f"{text}\n\nexit status {status}\n"
    if update:
        GOLDEN.write_text(text)
    elif text != GOLDEN.read_text():
        print(f"{text}\nThe report above is not {GOLDEN.name}: correct what changed it, or commit it with --update")
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare an example's report with the committed one")
    parser.add_argument("--update", action="store_true", help="write the committed one")
    parser.add_argument("--runs", type=int, default=300, help="drifts and steps; default 300")
    parser.add_argument("--series", type=int, default=100, help="metrics without a change; default 100")
    parser.add_argument("--months", type=int, default=12, help="months of each; default 12")
    args = parser.parse_args()
    if args.check or args.update:
        return check(args.update)
    simulate(args.runs, args.series, args.months)
    return 0


if __name__ == "__main__":
    sys.exit(main())
