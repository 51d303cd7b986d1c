"""The vocabulary of metrics."""

import pytest

from fixtures.metrics import METRICS, metrics_of

pytestmark = pytest.mark.cpu


def test_ratios_are_recorded_in_x():
    for one in METRICS.values():
        if one.reference:
            assert (one.unit, one.factor, one.gated) == ("x", 1, False)
            assert one.tolerance >= 1 if one.beyond else one.tolerance == 0.01, "a bound, or a change"
            assert one.of in METRICS


def test_what_is_derived_names_what_observes_it():
    derived = {one.name: METRICS[one.unless] for one in METRICS.values() if one.unless}
    assert derived == {"decode_step": METRICS["tpot_p50"], "decode_time": METRICS["tpot_p50"]}
    assert all(one.gated for one in derived.values())


def test_metrics_of_a_kind_come_in_the_order_of_the_report():
    names = [metric.name for metric in metrics_of("startup")]
    assert names == [
        "weight_memory",
        "kv_capacity",
        "kv_shortfall",
        "startup_memory",
        "boot_time",
        "load_time",
        "compile_time",
        "capture_time",
        "idle_power",
    ]
    assert metrics_of("nothing") == []
