"""Samples of boots that never were, and the files that hold them."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fixtures.store.sample import Sample

STARTED = "2026-03-01T00:00:00+00:00"


def sample(boot: str = "1", invalid: str = "", **others: Any) -> Sample:
    """One boot's values: metrics by their names, or fields of a Sample by theirs."""
    fields = {field.name for field in dataclasses.fields(Sample)}
    metrics = {name: value for name, value in others.items() if name not in fields}
    given = {name: value for name, value in others.items() if name in fields}
    common = {"host_id": "h", "started": STARTED, "metrics": metrics, "repetitions": {}, "provenance": {}}
    return Sample(boot=boot, invalid=invalid, **common | given)


def record(cell: str, boots: Iterable[Sample], workload: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A cell's entry in a file of baselines, by the cell's id."""
    extra = {"workload": dict(workload or {"kind": "batch"}), "boots": [dataclasses.asdict(boot) for boot in boots]}
    return {"fullname": cell, "stats": {"median": 0.05}, "extra_info": extra}


def dealt(values: Mapping[str, Sequence[float]], hosts: Sequence[str] = ("a", "b"), invalid: str = "") -> list[Sample]:
    """Boots by the values of each metric, dealt over hosts."""
    count = len(next(iter(values.values())))
    return [
        sample(str(i), invalid, host_id=hosts[i % len(hosts)], metrics={name: v[i] for name, v in values.items()})
        for i in range(count)
    ]


def results(
    path: Path,
    cells: Mapping[str, Sequence[Sample]],
    fingerprint: Mapping[str, Any] = MappingProxyType({"engine": "vllm"}),
    workload: Mapping[str, Any] | None = None,
    kinds: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write a file of this suite's kind: boots by the cell's name, all of one workload but for what ``kinds`` names."""
    document = {
        "machine_info": {"fingerprint": dict(fingerprint)},
        "benchmarks": [
            record(name, boots, {"kind": kinds[name]} if name in kinds else workload) for name, boots in cells.items()
        ],
    }
    path.write_text(json.dumps(document))
    return path
