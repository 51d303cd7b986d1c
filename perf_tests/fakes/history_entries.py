"""Entries of a history: one metric of one cell, night after night."""

import dataclasses
import datetime

from fixtures.store.history import Entry

FIRST = datetime.datetime(2026, 3, 1, 2, 17, tzinfo=datetime.UTC)
ENTRY = Entry(
    time=FIRST.isoformat(),
    run="run",
    commit="0123456789abcdef",
    cell="vllm/m/tp2/batch-8",
    metric="latency",
    value=1.0,
    boots=1,
    baseline=1.0,
    tolerance=0.05,
    outcome="pass",
    fingerprint="f",
    engine_version="0.26.0",
)


def nights(values, **others):
    return [
        dataclasses.replace(
            ENTRY,
            time=(FIRST + datetime.timedelta(days=i)).isoformat(),
            run=f"r{i}",
            commit=f"c{i // 2}",
            value=value,
            **others,
        )
        for i, value in enumerate(values)
    ]
