"""Two years of five deployments as a site: how long it takes to build, how large it is, how soon it opens in Chromium.

python -m perf_tests.tools.bench_site [--directory DIR]      exit status 1 beyond a limit
"""

import argparse
import datetime
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fixtures.command import command
from fixtures.site.__main__ import main as build
from fixtures.store import history
from fixtures.store.history import Entry
from perf_tests.tools import browser

DEPLOYMENTS, NIGHTS = ("h100x1", "h200x1", "h100x2", "h200x2", "cpu"), 730
WORKLOADS = ("batch-1", "batch-8", "batch-32", "batch-128", "online-4", "offline-150")
CELLS = tuple(f"vllm/{model}/tp1/{name}" for model in ("llama-3.1-8b", "mixtral-8x7b") for name in WORKLOADS)
METRICS = {"latency": 2.0, "tpot_p50": 0.02, "ttft_p50": 0.1, "output_throughput": 900.0, "output_tokens": 4096.0}
MEGABYTES, SECONDS_TO_BUILD, SECONDS_TO_OPEN = 6.0, 20.0, 1.0


def entries(deployment: str, seed: int, nights: int = NIGHTS) -> Iterator[Entry]:
    """Nights with noise of 1%, a step of 5% in each tenth series, and three releases."""
    rng = np.random.default_rng(seed)
    first = datetime.datetime(2025, 1, 1, 2, 17, tzinfo=datetime.UTC)
    steps = {
        (cell, metric): int(rng.integers(50, nights)) for cell in CELLS for metric in METRICS if rng.random() < 0.1
    }
    for night in range(nights):
        time_ = (first + datetime.timedelta(days=night)).isoformat()
        for cell in CELLS:
            for metric, centre in METRICS.items():
                noise = 1.0 if metric == "output_tokens" else float(rng.normal(1, 0.01))
                worse = night >= steps.get((cell, metric), nights)
                value = centre * noise * (1.05 if worse and metric != "output_tokens" else 1.0)
                outcome = "regression" if worse and night % 9 == 0 else "pass"
                yield Entry(
                    time=time_,
                    run=f"{time_[:10].replace('-', '')}-021700-{seed}{night:03x}",
                    commit=f"{night // 2:040x}",
                    cell=cell,
                    metric=metric,
                    value=value,
                    boots=1,
                    baseline=centre,
                    tolerance=0.05,
                    outcome=outcome,
                    fingerprint=f"{deployment:.12}",
                    engine_version=f"0.{26 + 2 * (night // 250)}.0",
                    link=f"https://github.com/acme/serving/actions/runs/{17_000_000_000 + 1_234_567 * night}/attempts/1",
                )


@command
def main(arguments: list[str]) -> int:
    """Build it and open it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="keep histories and site here")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        directory = args.directory or Path(name)
        directory.mkdir(parents=True, exist_ok=True)
        paths = [directory / f"{deployment}.jsonl" for deployment in DEPLOYMENTS]
        for seed, path in enumerate(paths):
            path.unlink(missing_ok=True)
            history.append(path, entries(path.stem, seed))
        began = time.perf_counter()
        build([*map(str, paths), "--out", str(directory / "site")])
        seconds = time.perf_counter() - began
        page = directory / "site" / "index.html"
        megabytes = page.stat().st_size / 1e6
        print(f"built in {seconds:.1f} s (limit {SECONDS_TO_BUILD:.0f}), {megabytes:.2f} MB (limit {MEGABYTES:.0f})")
        opened = _opens(page)
    return int(seconds > SECONDS_TO_BUILD or megabytes > MEGABYTES or opened > SECONDS_TO_OPEN)


def _opens(page: Path) -> float:
    """Seconds until the page has loaded, the middle of five; 0 without a browser."""
    if browser.find() is None:
        print("no Chromium here: not opened")
        return 0.0
    seconds = []
    with browser.browser() as one:
        for _ in range(5):
            one.open(page)
            seconds.append(one.run("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1e3)
    middle = sorted(seconds)[2]
    print(f"opened in {middle:.2f} s, {min(seconds):.2f} to {max(seconds):.2f} (limit {SECONDS_TO_OPEN:.0f})")
    return middle


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
