"""A history whose report docs/history.md prints."""

import datetime
import hashlib
import random

from fixtures.store.history import Entry

TOLERANCE = 0.05


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
