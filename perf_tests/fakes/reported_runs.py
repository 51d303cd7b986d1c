"""Small runs to report: a calm one, and one with something of each outcome under names that must not become markup."""

import dataclasses

from fixtures.claims.ledger import ledger
from fixtures.metrics import METRICS
from fixtures.report import html, nights, page
from fixtures.store.run import BlockRecord, CellRecord, Judged, Run
from fixtures.store.sample import Sample
from perf_tests.fakes.synthetic_run import synthetic_run

EVIL = "<script>alert(1)</script>|`*"


def calm():
    return synthetic_run(cells=4, models=("llama-3.1-8b-twin",))


def judged(metric, outcome, **others):
    return Judged(metric, outcome, "why", METRICS[metric].tolerance, **others)


def worse():
    """Something of each outcome, under names that must not become markup."""
    block = BlockRecord(
        f"vllm/{EVIL}/tp1",
        "vllm",
        EVIL,
        1,
        "bf16",
        {"hardware": EVIL, "devices": 1, "model": {}, "engine": EVIL, "tensor_parallel": 1, "weights": EVIL},
        f"baselines/{EVIL}.json",
    )
    sample = Sample(
        "b1", "h1", "2026-03-31T02:17:00+00:00", {"latency": 0.44}, {"latency": (0.44,)}, {"engine_version": EVIL}, EVIL
    )
    slower = judged(
        "latency",
        "regression",
        value=0.44,
        baseline=0.4,
        change=0.1,
        error=0.01,
        detectable=0.06,
        known=(0.4, 0.401, 0.399),
        command=f"pytest '--cells={EVIL}'",
    )
    fewer = judged("completed", "regression", value=7.0, baseline=8.0, change=-0.125, known=(8.0,) * 3)
    open_ = judged(
        "latency",
        "inconclusive",
        value=0.43,
        baseline=0.4,
        change=0.075,
        error=0.02,
        detectable=0.09,
        known=(0.4,),
        command="pytest --cells=b",
    )
    kind = {"kind": "batch", "batch_size": 8, "input_len": 32, "output_len": 64}
    cells = (
        CellRecord(f"{block.id}/a", block.id, "a", kind, (sample,), (slower, fewer), changed=("driver 1 -> 2",)),
        CellRecord(f"{block.id}/b", block.id, "b", kind, (dataclasses.replace(sample, invalid=""),), (open_,)),
        CellRecord(f"{block.id}/c", block.id, "c", kind, (), (), error=f"it died; its last lines:\n{EVIL}\n```"),
        CellRecord(f"{block.id}/d", block.id, "d", kind, (sample,), (judged("latency", "no baseline", value=0.4),)),
    )
    return Run(
        "r1",
        "2026-03-31T02:17:00+00:00",
        EVIL,
        EVIL,
        (block,),
        cells,
        claims={"h100-memory": ("failed",)},
        remarks=(f"changed: {EVIL}",),
    )


def rendered(run, entries=(), logs=()):
    return html.render(page.build(run, ledger(), nights.nights(run, entries), logs))
