"""Where tests find what they share."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
FAKES = ROOT / "perf_tests" / "fakes"
GOLDEN = ROOT / "perf_tests" / "documentation" / "golden"
RECORDINGS = FAKES / "recordings"
TRACES = FAKES / "traces"
