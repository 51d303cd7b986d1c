"""The default platform against latencies that others published."""

import statistics

import pytest

from perf_tests.documentation import published

pytestmark = pytest.mark.cpu


def test_the_default_platform_predicts_published_latencies():
    groups = {}
    for point in published.points():
        groups.setdefault((point.model, point.gpu, point.tp), []).append(point.error)
    for group, found in groups.items():
        print(
            group,
            f"n={len(found)}",
            f"mean error {statistics.mean(map(abs, found)):.1%}",
            f"bias {statistics.mean(found):+.1%}",
        )
        assert statistics.mean(map(abs, found)) < 0.12, group
    everything = [abs(e) for found in groups.values() for e in found]
    print(f"all: n={len(everything)} mean {statistics.mean(everything):.1%} worst {max(everything):.1%}")
    assert statistics.mean(everything) < 0.10


def test_a_part_of_the_error_cancels_between_sizes():
    """Of one machine: twice the cards against half of them, as claims about TP=2 ask."""
    steps = {(p.model, p.gpu, p.batch, p.tp): p.error for p in published.points() if p.quantity == "decode_step"}
    sizes = [(error, steps[*key, tp // 2]) for (*key, tp), error in steps.items() if (*key, tp // 2) in steps]
    ratios = [abs((1 + more) / (1 + fewer) - 1) for more, fewer in sizes]
    errors = [abs(more) for more, _ in sizes]
    print(f"n={len(ratios)} mean {statistics.mean(ratios):.1%} worst {max(ratios):.1%}, of the steps themselves")
    print(f"mean {statistics.mean(errors):.1%} worst {max(errors):.1%}")
    assert len(ratios) == 10
    assert statistics.mean(ratios) < statistics.mean(errors)
    assert max(ratios) < max(errors)
