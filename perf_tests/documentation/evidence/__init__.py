"""Evidence: the boots that constants, the ledger's numbers, tables and printed screens rest on.

A set is a directory beside this file, laid out like ``baselines/`` and named by engine releases and weights. It is frozen:
baselines move, and nothing that is written here changes with them. ``python -m perf_tests.documentation.freeze`` adds a set.
"""

from pathlib import Path

SETS = Path(__file__).parent
# The set that everything generated rests on. The others are kept for comparison.
CURRENT = SETS / "vllm-0.26.0-sglang-0.5.17-dummy"
# The locked release of vLLM with random weights, on the cards whose deployments serve these.
TODAY = SETS / "vllm-0.33.0-random"
# The sets of the releases that the suite installs, by engine.
LOCKED = {"vllm": TODAY, "sglang": SETS / "sglang-0.5.23-random"}
WEIGHTS = CURRENT.name.rpartition("-")[2]


def block(hardware: str, engine: str, parallel: str = "tp1", of: Path = CURRENT) -> Path:
    """The directory of one engine's boots on ``hardware``, which is called as in ``baselines/``, at ``parallel``."""
    return of / hardware / f"{engine}-{parallel}-{of.name.rpartition('-')[2]}"
