"""Runs the load client of any checkout on cores of its own: told as JSON on standard input, it writes what its records say.

Part of bench_fidelity, which compares builds: nothing of this checkout is imported but what the named one has too.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    job = json.load(sys.stdin)
    os.sched_setaffinity(0, job["cores"])
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    sys.path.insert(0, job["checkout"])
    import numpy as np

    from fixtures.client.load import Target, run  # where both builds have it
    from fixtures.client.request import Request

    requests = [Request([i, *[1] * 31], job["tokens"], at) for i, at in enumerate(job["schedule"])]
    more = {"workers": job["workers"]} if job["workers"] > 1 else {}
    # Not the most so far, which importing may have taken.
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    before, began = pages * resource.getpagesize() // 1024, time.perf_counter()
    records = run(Target(job["url"], "mock", timeout=20.0), requests, **more)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failed = [record.error for record in records if record.error]
    good = [(i, record) for i, record in enumerate(records) if not record.error]
    np.savez(
        job["out"],
        ids=np.array([i for i, _ in good]),
        scheduled=np.array([record.scheduled for _, record in good]),
        sent=np.array([record.sent for _, record in good]),
        worker=np.array([getattr(record, "worker", 0) for _, record in good]),
        chunks=np.array([record.chunks for _, record in good], dtype=np.float64),
        delays=np.array([getattr(record, "delays", []) for _, record in good], dtype=np.float32),
        stamped=np.array([getattr(record, "stamped", False) for _, record in good]),
    )
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(one.ru_utime + one.ru_stime for one in used)
    print(
        json.dumps(
            {
                "processor_seconds": processor,
                "failed": failed[:3],
                "failures": len(failed),
                "seconds": seconds,
                "kib": after - before,
            }
        )
    )


if __name__ == "__main__":
    main()
