"""The boots that ``python -m fixtures.demo`` plays back: some cells of the evidence, in boots that served all of them."""

import json
from typing import Any

from perf_tests.documentation import evidence
from perf_tests.paths import ROOT

DIRECTORY = ROOT / "fixtures" / "demo" / "recorded"
MODELS = ("llama-3.1-8b", "mixtral-8x7b")
CELLS = ("startup", "batch-1", "batch-8", "batch-32", "offline-150", "online-4")


def text(model: str) -> str:
    """The file of a model, a boot of a cell to a line."""
    path = evidence.block("h200x1", "vllm") / f"{model}.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in document["benchmarks"] if cell["name"] in CELLS]
    everywhere = set.intersection(*({boot["boot"] for boot in _valid(cell)} for cell in cells))
    lines = []
    for cell in cells:
        boots = [boot for boot in _valid(cell) if boot["boot"] in everywhere]
        joined = ",\n".join(json.dumps(boot, sort_keys=True) for boot in boots)
        workload = json.dumps(cell["extra_info"]["workload"], sort_keys=True)
        lines.append(
            f'{{"fullname": "{cell["fullname"]}", "extra_info": {{"workload": {workload}, "boots": [\n{joined}]}}}}'
        )
    return f'{{"machine_info": {json.dumps(document["machine_info"])}, "benchmarks": [\n' + ",\n".join(lines) + "]}\n"


def _valid(cell: dict[str, Any]) -> list[dict[str, Any]]:
    return [boot for boot in cell["extra_info"]["boots"] if not boot["invalid"]]
