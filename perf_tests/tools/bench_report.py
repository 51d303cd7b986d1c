"""How long a report takes to write and to open: python -m perf_tests.tools.bench_report [--check]

200 cells, three boots each, 30 nights of history, 20 logs; opened in a headless Chromium if there is one. With --check it
exits with 1 if it takes more than 5 s to write, 3 MB, or 1 s to open.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from fixtures.report import reports
from perf_tests.fakes.synthetic_run import synthetic_history, synthetic_run
from perf_tests.tools import browser

CELLS, BOOTS, NIGHTS, LOGS = 200, 3, 30, 20
SECONDS_TO_WRITE, BYTES, SECONDS_TO_OPEN = 5.0, 3_000_000, 1.0


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(arguments).check
    run = synthetic_run(CELLS, boots=BOOTS, changes={3: 0.2, 50: 0.3, 100: -0.2})
    history = synthetic_history(run, NIGHTS)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "logs").mkdir()
        for i in range(LOGS):
            line = "INFO 03-31 02:17:00 [core.py:55] Initializing an engine with a rather long configuration\n"
            (directory / "logs" / f"{i:02d}.log").write_text(line * 500)
        since = time.perf_counter()
        reports.write(directory, run, history)
        took, size = time.perf_counter() - since, (directory / "report.html").stat().st_size
        opened = _open(directory / "report.html") if browser.find() else None
    print(f"{CELLS} cells, {BOOTS} boots, {NIGHTS} nights, {LOGS} logs: report.html")
    print(f"written in  {took:.2f} s (goal {SECONDS_TO_WRITE:g} s)")
    print(f"size        {size / 1e6:.2f} MB (goal {BYTES / 1e6:g} MB)")
    print("opened in   " + ("no browser here" if opened is None else f"{opened:.2f} s (goal {SECONDS_TO_OPEN:g} s)"))
    late = took > SECONDS_TO_WRITE or size > BYTES or (opened or 0) > SECONDS_TO_OPEN
    return int(check and late)


def _open(path):
    """Seconds from the navigation to the end of the load event, the median of five."""
    times = []
    with browser.browser() as one:
        for _ in range(5):
            one.open(path)
            times.append(one.run("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1e3)
    return sorted(times)[2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
