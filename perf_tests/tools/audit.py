"""Known vulnerabilities of locked packages, by pip-audit: python -m perf_tests.tools.audit requirements/suite.txt

Exits with 1 if there is one, or if pip-audit cannot read the file. Where the database of vulnerabilities cannot be reached
one line says so, and nothing fails.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# How pip-audit says that it had no answer.
NO_ANSWER = ("could not connect", "connection", "timed out", "max retries", "name resolution", "service unavailable")
SECONDS = 300


def outcome(output: str, errors: str) -> tuple[int, str]:
    """The exit status and what to say, from what pip-audit wrote as JSON and what it complained of."""
    if not output.strip():
        last = (errors.strip().splitlines() or ["pip-audit said nothing"])[-1]
        if any(words in errors.lower() for words in NO_ANSWER):
            return 0, f"audit skipped, the database of vulnerabilities cannot be reached: {last}"
        return 1, f"pip-audit failed: {last}"
    packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        return 0, f"audit skipped, the database of vulnerabilities knows none of {len(packages)} packages: a mirror?"
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, "
        f"fixed in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in audited
        for vulnerability in package["vulns"]
    ]
    unknown = [package["name"] for package in packages if "vulns" not in package]
    counted = f"{len(audited)} packages audited, {len(found)} vulnerabilities"
    if unknown:
        counted += f"; unknown to the database: {', '.join(unknown)}"
    return int(bool(found)), "\n".join([*found, counted])


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        written = Path(directory) / "audit.json"
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        command += ["--format", "json", "--output", str(written)]
        for path in sys.argv[1:]:
            command += ["--requirement", path]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
            errors = done.stderr
        except subprocess.TimeoutExpired:
            errors = f"timed out after {SECONDS} s"
        status, text = outcome(written.read_text() if written.exists() else "", errors)
    print(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
