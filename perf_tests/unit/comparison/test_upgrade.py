"""Two releases by pairs of boots: intervals that hold the truth, and all cells together, whose boots they share."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.comparison import upgrade
from fixtures.comparison.upgrade import BOOT, COLUMNS, DECODE, THROUGHPUT, TTFT, pairs_needed
from fixtures.metrics import METRICS

pytestmark = pytest.mark.cpu


def block(values):
    """Cells of decode steps with these ratios [cells, pairs]."""
    return {f"cell-{i}": ("decode_step", dict(enumerate(own))) for i, own in enumerate(np.asarray(values).tolist())}


def test_every_column_has_one_direction_and_known_metrics():
    for column in COLUMNS:
        assert len({METRICS[name].direction for name in column.metrics}) == 1
    assert TTFT.of(["ttft_p50", "ttft_first"]) == "ttft_first"
    assert TTFT.of(["latency"]) is None


def test_all_together_are_the_geometric_mean_and_student_over_pairs():
    ratios = np.array([[1.02, 1.04, 1.03], [1.10, 1.12, 1.08]])
    found = upgrade.together(DECODE, [block(ratios)])
    means = np.log(ratios).mean(axis=0)
    reach = 4.30265 * means.std(ddof=1) / math.sqrt(3)
    assert found.change == pytest.approx(np.expm1(means.mean()))
    assert (found.low, found.high) == pytest.approx(tuple(np.expm1([means.mean() - reach, means.mean() + reach])))
    assert (found.pairs, found.reads) == (3, -1)


def test_of_one_pair_nothing_is_known():
    found = upgrade.together(DECODE, [block([[1.2], [1.3]])])
    assert (found.known, found.settled, found.reads, pairs_needed(found)) == (False, False, 0, 2)
    assert not any(one.known or one.beyond for one in upgrade.by_cell(DECODE, block([[1.2], [1.3]])))
    assert upgrade.together(DECODE, [{}]) is None


@given(st.integers(0, 2**32 - 1), st.floats(0.8, 1.25), st.integers(2, 6))
@settings(max_examples=50)
def test_both_ways_round_the_change_is_the_inverse(seed, factor, pairs):
    ratios = factor * np.exp(np.random.default_rng(seed).normal(0, 0.02, (5, pairs)))
    there, back = (upgrade.together(DECODE, [block(values)]) for values in (ratios, 1 / ratios))
    assert 1 + there.change == pytest.approx(1 / (1 + back.change))
    assert (1 + there.low, 1 + there.high) == pytest.approx((1 / (1 + back.high), 1 / (1 + back.low)))


@pytest.mark.parametrize(("shared", "blocks"), [(0.0, 1), (0.02, 1), (0.02, 2)])
def test_the_interval_of_all_together_holds_the_truth_19_times_out_of_20(shared, blocks):
    """Cells of a boot may share its luck: an interval from the cells' scatter alone would be far too narrow then."""
    random, held, nights = np.random.default_rng(5), 0, 2000
    for _ in range(nights):
        found = upgrade.together(
            DECODE,
            [
                block(1.03 * np.exp(random.normal(0, 0.01, (7, 3)) + random.normal(0, shared, (1, 3))))
                for _ in range(blocks)
            ],
        )
        held += found.low <= 0.03 <= found.high
    assert 0.935 <= held / nights <= 0.985, "95%, of two blocks a little more: Satterthwaite's degrees are whole"


def test_the_interval_of_a_cell_holds_the_truth_by_the_noise_of_all():
    random, held, beyond, nights = np.random.default_rng(6), 0, 0, 400
    for _ in range(nights):
        found = upgrade.by_cell(DECODE, block(np.exp(random.normal(0, 0.01, (7, 3)))))
        held += sum(one.low <= 0 <= one.high for one in found)
        beyond += any(one.beyond for one in found)
    assert 0.93 <= held / (7 * nights) <= 0.97
    assert beyond / nights <= 0.09, (
        "of seven cells that did not change one is beyond doubt in 5% of nights, and a few more"
    )


def test_a_cell_that_lacks_a_pair_counts_by_the_others():
    cells = block([[1.02, 1.04, 1.03], [1.02, 1.04, 1.03]])
    del cells["cell-1"][1][1]
    found = upgrade.together(DECODE, [cells])
    assert found.change == pytest.approx(0.0275, abs=0.001)
    assert found.known


def test_an_interval_that_allows_for_anything_is_none():
    wild = upgrade.together(DECODE, [block([[1.0, 4.0]])])
    assert (wild.known, wild.settled, wild.reads) == (False, False, 0)


def test_what_reads_as_better_follows_the_direction_and_the_size():
    faster = np.array([[1.04, 1.05, 1.045]])
    assert upgrade.together(DECODE, [block(faster)]).reads == -1
    assert upgrade.together(THROUGHPUT, [block(faster)]).reads == 1
    assert upgrade.together(DECODE, [block([[1.004, 1.0041, 1.0039]])]).reads == 0, "nobody decides by that"


def test_more_pairs_are_asked_for_until_the_interval_is_as_narrow_as_wanted():
    wide = upgrade.together(DECODE, [block([[1.0, 1.06, 0.94]])])
    assert not wide.settled
    assert pairs_needed(wide) == math.ceil(3 * (wide.half_width / 0.03) ** 2)
    assert upgrade.together(BOOT, [block([[1.0, 1.01, 0.99]])]).settled
