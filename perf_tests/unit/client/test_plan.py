"""The requests of a workload, and the sweep over sizes."""

import dataclasses

import pytest

from fixtures.client.plan import first, plan, sweep
from fixtures.workloads.workload import Workload

pytestmark = pytest.mark.cpu
OFFLINE = Workload("w", "offline", num_prompts=50, input_len=20, output_len=30, lengths="sharegpt")


def test_traffic_is_the_same_for_every_model_and_prompts_are_fresh():
    a, b = plan(OFFLINE, 1000, 1024, "one"), plan(OFFLINE, 32_000, 1024, "two")
    shape = [(len(r.prompt), r.output_len, r.scheduled) for r in a]
    assert shape == [(len(r.prompt), r.output_len, r.scheduled) for r in b]
    assert not {tuple(r.prompt[:4]) for r in a} & {tuple(r.prompt[:4]) for r in b}
    assert plan(OFFLINE, 1000, 1024, "one") == a
    assert all(0 < token < 1000 for r in a for token in r.prompt)


def test_a_shared_prefix_is_shared_by_all_and_the_rest_by_none():
    workload = Workload("w", "batch", batch_size=4, input_len=100, prefix_len=80, output_len=1, repetitions=1)
    prompts = [r.prompt for label in ("warm", "0") for r in plan(workload, 32000, 4096, label)]
    assert {tuple(p[:80]) for p in prompts} == {tuple(prompts[0][:80])}
    assert len({tuple(p[80:]) for p in prompts}) == 8
    assert {len(p) for p in prompts} == {100}


def test_the_sweep_holds_every_size_class_and_divisibility():
    sizes = [len(r.prompt) for r in sweep(32000, 4096)]
    assert sizes == sorted(set(sizes))
    assert max(sizes) < 4096 - 1
    for tokens in (1, 16, 17, 128, 129, 132, 1024, 1025, 1028, 3072, 3073, 3076, 4080, 4081, 4084):
        assert tokens in sizes
    assert all(r.output_len == 1 for r in sweep(32000, 4096))


def test_for_the_first_token_all_is_the_same_but_the_answer():
    planned = plan(OFFLINE, 1000, 1024, "one")
    assert len({one.output_len for one in planned}) > 1
    assert first(planned) == [dataclasses.replace(one, output_len=1) for one in planned]
