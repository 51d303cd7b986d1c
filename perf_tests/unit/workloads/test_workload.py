"""Workloads: what contradicts itself, what they are stored as, and which metrics they yield."""

import pytest

from fixtures.errors import UsageError
from fixtures.workloads.workload import Workload

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_prompts": 10**6 + 1}, "num_prompts must be at most 1,000,000"),
        ({"slo_ttft": 0.1}, "slo_ttft and slo_tpot go together"),
        ({"slo_ttft": 0.1, "slo_tpot": 0.1, "kind": "offline"}, "goodput needs kind 'online'"),
        ({"stream": False}, "kind 'online' measures TTFT and needs stream = true"),
        ({"prefix_len": 9}, "prefix_len must be within input_len"),
        ({"prefix_len": 4, "lengths": "sharegpt"}, "of fixed lengths"),
    ],
)
def test_contradictions_in_a_workload_are_named(changes, message):
    traffic = {"kind": "online", "rate": 1, "num_prompts": 4, "input_len": 8, "output_len": 4}
    with pytest.raises(UsageError, match=message):
        Workload("w", **(traffic | changes)).validate("mine.toml")


def test_new_keys_leave_the_definition_of_older_workloads_alone():
    traffic = {"num_prompts": 4, "input_len": 8, "output_len": 4}
    plain = Workload("w", "offline", **traffic).definition()
    assert plain == {"kind": "offline", **traffic, "lengths": "fixed"}
    assert Workload("w", "offline", **traffic, stream=False).definition() == plain | {"stream": False}


@pytest.mark.parametrize(
    ("workload", "metric", "observed"),
    [
        (Workload("w", "batch"), "tpot_p50", True),
        (Workload("w", "batch", stream=False), "tpot_p50", False),
        (Workload("w", "batch", stream=False), "latency", True),
        (Workload("w", "online"), "goodput", False),
        (Workload("w", "online", slo_ttft=0.1, slo_tpot=0.1), "goodput", True),
    ],
)
def test_what_a_workload_yields(workload, metric, observed):
    assert workload.yields(metric) is observed
