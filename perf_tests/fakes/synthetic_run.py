"""A run as large as is wanted, its samples drawn and judged by the gate, with a bit of everything in it."""

import datetime
import random
import zlib

from fixtures.gate.noise import pool
from fixtures.gate.verdict import judge
from fixtures.metrics import METRICS
from fixtures.store.history import Entry
from fixtures.store.run import BlockRecord, CellRecord, Judged, RoutingRecord, Run
from fixtures.store.sample import Sample

BEGAN = datetime.datetime(2026, 3, 31, 2, 17, tzinfo=datetime.UTC)
SHAPE = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
MOE = SHAPE | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000}
# What a cell's metrics are about, in base units.
TYPICAL = {
    "latency": 0.4,
    "per_token_latency": 0.006,
    "prefill_time": 0.03,
    "decode_step": 0.0058,
    "tpot_p50": 0.006,
    "tpot_p99": 0.008,
    "ttft_p50": 0.03,
    "ttft_p99": 0.06,
    "itl_p50": 0.006,
    "itl_p99": 0.012,
    "output_throughput": 2000.0,
    "hbm_floor_share": 0.6,
    "model_error": 0.03,
    "latency_to_dense": 2.5,
    "completed": 8.0,
    "output_tokens": 512.0,
}
MODELLED = ("hbm_floor_share", "model_error", "latency_to_dense")
GATED = ("latency", "tpot_p50", "completed", "output_tokens")


def synthetic_run(
    cells=200, seed=1, boots=2, known=10, models=("llama-3.1-8b", "mixtral-8x7b"), noise=0.01, changes=None
):
    """A run of batch cells on one card. ``changes`` are relative changes of latency by the number of the cell."""
    rng = random.Random(seed)
    blocks, records = [], []
    per_block = max(1, cells // (2 * len(models)))
    for i in range(cells):
        number = i // per_block
        engine, model = ("vllm", "sglang")[number % 2], models[number // 2 % len(models)]
        tp = 1 + number // (2 * len(models))
        block = f"{engine}/{model}/tp{tp}"
        if block not in [one.id for one in blocks]:
            shape = MOE if "mixtral" in model else SHAPE
            fingerprint = {
                "hardware": "NVIDIA H200",
                "devices": tp,
                "model": shape,
                "tensor_parallel": tp,
                "engine": engine,
                "weights": "dummy",
            }
            blocks.append(BlockRecord(block, engine, model, tp, "bf16", fingerprint))
        records.append(_cell(rng, block, i % per_block, boots, known, noise, (changes or {}).get(i, 0.0)))
    return Run(
        id="20260331-021700-1a2b",
        began=BEGAN.isoformat(),
        deployment="h200x1",
        description="1 x NVIDIA H200",
        blocks=tuple(blocks),
        cells=tuple(records),
        claims={"llama-weights-measured": ("passed",)},
        remarks=("baseline written: baselines/h200x1",),
    )


def _cell(rng, block, i, boots, known, noise, change):
    size = 2 ** (i % 9)
    name = f"batch-{size}" if i < 9 else f"batch-{size}-{i // 9}"
    workload = {"kind": "batch", "batch_size": size, "input_len": 32 if i < 9 else 32 + i, "output_len": 64}

    def values(metric, factor=1.0):
        if METRICS[metric].direction == "equal" and metric != "model_error":
            return TYPICAL[metric]
        grows = size**0.2 if METRICS[metric].unit in ("ms", "tok/s") else 1.0
        return TYPICAL[metric] * factor * grows * rng.gauss(1, noise)

    # Twins of models on no known card: nothing is expected of them.
    names = [metric for metric in TYPICAL if "twin" not in block or metric not in MODELLED]

    def sample(boot):
        slower = {"latency": 1 + change, "tpot_p50": 1 + change, "decode_step": 1 + change}
        repetitions = {m: tuple(values(m, slower.get(m, 1)) for _ in range(5)) for m in names}
        condition = {"index": 0, "temperature": 50, "sm_clock": 1980, "power": 500.0, "ecc_errors": 0, "slowdowns": []}
        return Sample(
            boot=f"20260331T02{boot:02d}00-{zlib.crc32(block.encode()) % 4096:03x}",
            host_id="a822b35e",
            started=BEGAN.isoformat(),
            metrics={m: sorted(v)[2] for m, v in repetitions.items()},
            repetitions=repetitions,
            provenance={"engine_version": "0.26.0", "driver": "580.159.04", "cpu": "Xeon", "commit": "abc"},
            conditions=(condition,),
        )

    samples = tuple(sample(boot) for boot in range(boots))
    judged = []
    for metric in GATED:
        before = tuple(values(metric) for _ in range(known))
        now = [s.metrics[metric] for s in samples]
        tolerance = METRICS[metric].tolerance
        verdict = judge(METRICS[metric], tolerance, before, now, pool([before]))
        command = f"pytest -m serving --cells={block}/{name}" if verdict.outcome == "regression" else ""
        judged.append(
            Judged(
                metric=metric,
                outcome=str(verdict.outcome),
                reason=verdict.reason,
                tolerance=tolerance,
                value=verdict.value,
                baseline=verdict.baseline,
                change=verdict.change,
                error=verdict.error,
                detectable=verdict.detectable,
                known=before,
                command=command,
            )
        )
    changed = ("engine version 0.25.1 -> 0.26.0",) if change else ()
    return CellRecord(f"{block}/{name}", block, name, workload, samples, tuple(judged), changed=changed)


def synthetic_history(run, nights=30, seed=2):
    """What so many nights before kept of the run's cells; every fifth one moves to another level halfway."""
    rng = random.Random(seed)
    entries = []
    for night in range(nights):
        began = (BEGAN - datetime.timedelta(days=nights - night)).isoformat()
        for i, cell in enumerate(run.cells):
            for judged in cell.judged:
                value = judged.baseline
                if METRICS[judged.metric].direction != "equal":
                    value *= rng.gauss(1.04 if i % 5 == 0 and night >= nights // 2 else 1.0, 0.01)
                entries.append(
                    Entry(
                        time=began,
                        run=f"run-{night}",
                        commit=f"c{night:04d}",
                        cell=cell.id,
                        metric=judged.metric,
                        value=value,
                        boots=1,
                        baseline=judged.baseline,
                        tolerance=judged.tolerance,
                        outcome="pass",
                        fingerprint="f00d",
                        engine_version="0.26.0",
                    )
                )
    return entries


def routing(cell, layers=32, experts=8, seed=3):
    """Shares of tokens that sum to one in each layer."""
    rng = random.Random(seed)
    weights = [[rng.uniform(0.5, 1.5) for _ in range(experts)] for _ in range(layers)]
    return RoutingRecord(cell.id, tuple(tuple(w / sum(layer) for w in layer) for layer in weights))
