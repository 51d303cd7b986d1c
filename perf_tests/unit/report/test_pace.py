"""The curve of throughput against pace."""

import dataclasses

import pytest

from fixtures.report.figures import paces, svg
from fixtures.report.pace import Point, curves
from fixtures.store.run import BlockRecord, CellRecord, Run
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu

BLOCK = BlockRecord("vllm/m/tp2", "vllm", "m", 2, "bf16", {"hardware": "NVIDIA H200", "devices": 2})


def cell(name, rate, tpot, throughput, **workload):
    given = {"kind": "online", "rate": rate, "num_prompts": 8, "input_len": 75, "output_len": 128} | workload
    values = {"tpot_p50": tpot, "output_throughput": throughput}
    return CellRecord(f"{BLOCK.id}/{name}", BLOCK.id, name, given, (sample(**values),))


def run(*cells):
    fields = {field.name: None for field in dataclasses.fields(Run)}
    return Run(**fields | {"blocks": (BLOCK,), "cells": cells})


def test_a_ladder_of_rates_is_a_curve_of_what_each_user_and_each_card_gets():
    found = curves(run(cell("c", 8, 0.02, 800), cell("a", 1, 0.01, 100), cell("b", 4, 0.0125, 440)))
    assert found == {BLOCK.id: (Point(1, 100, 50), Point(4, 80, 220), Point(8, 50, 400))}
    assert "800" not in svg(paces({"x": [(1, 100, 50)]}, (4, 3)))


def test_other_traffic_is_no_point_of_it_and_two_points_no_curve():
    ladder = [cell("a", 1, 0.01, 100), cell("b", 4, 0.0125, 440)]
    others = [cell("c", 8, 0.02, 800, lengths="sharegpt"), cell("d", 2, 0.02, 800, end_rate=9)]
    assert curves(run(*ladder, *others)) == {}
    limits = cell("e", 8, 0.02, 800, num_prompts=64, slo_ttft=0.2, slo_tpot=0.03)
    assert [point.rate for point in curves(run(*ladder, limits))[BLOCK.id]] == [1, 4, 8]
