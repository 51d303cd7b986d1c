"""Makes a recording of a boot: of a server's log the lines that the suite reads, without paths, addresses and process ids.

    python -m perf_tests.tools.record_boot --engine vllm .moegauge/RUN/logs/01-vllm-llama-3.1-8b-tp1.log > NAME.log

Put it into perf_tests/fakes/recordings/boots/ with an entry in boots.toml there; test_recorded_boots.py replays it. What the
suite doesn't read but might have to, such as the line of a phase under another name, is kept with --keep REGEX.
"""

import argparse
import re
import sys
from pathlib import Path

from fixtures.command import command
from fixtures.engines.registry import ENGINES
from fixtures.engines.releases import Releases
from fixtures.errors import UsageError

_PATH = re.compile(r"(?<![\w.:<])(?:/[\w.,=@+~-]+){2,}")
_ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")
_PROCESS = re.compile(r"pid=\d+")
# The served name is of one boot alone.
_NAME = re.compile(r"-\d{8}T\d{6}-[0-9a-f]{6}")
# Of the vLLM engine's configuration what is read.
_CONFIGURED = re.compile(r"(Initializing a V\d LLM engine \([^)]+\) with config: ).*")
_READ = re.compile(
    r"enforce_eager=\w+|enable_prefix_caching=\w+|disable_custom_all_reduce=\w+"
    r"|'mode': <CompilationMode[^>]+>|'cudagraph_mode': <[^>]+>"
)
# Of SGLang's options nothing is: its endpoint tells them.
_OPTIONS = re.compile(r"(server_args=).+")


def recording(releases: Releases, log: str, keep: str = "") -> str:
    """The lines of a log that any release's entries read, or that ``keep`` matches."""
    patterns = [one.pattern for one in (*releases.value, *releases.choice)]
    patterns += [re.escape(one.mark) for one in releases.phase] + ([keep] if keep else [])
    read = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    return "".join(f"{_anonymous(line)}\n" for line in log.splitlines() if read.search(line))


def _anonymous(line: str) -> str:
    line = _CONFIGURED.sub(lambda found: found[1] + ", ".join(_READ.findall(found[0])), line)
    line = _OPTIONS.sub(r"\1...", line)
    line = _ADDRESS.sub("127.0.0.1", _PATH.sub(lambda found: _shortened(found[0]), line))
    return _NAME.sub("", _PROCESS.sub("pid=1", line))


def _shortened(path: str) -> str:
    """The last two parts of a path, or what follows ``configs``: a table's directory may say which Triton it was tuned with."""
    parts = path.split("/")[1:]
    return "/" + "/".join(parts[parts.index("configs") :] if "configs" in parts else parts[-2:])


@command
def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "python -m perf_tests.tools.record_boot",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", required=True, choices=[name for name, one in ENGINES.items() if one.releases])
    parser.add_argument("--keep", default="", metavar="REGEX")
    parser.add_argument("log", type=Path)
    args = parser.parse_args(arguments)
    releases = ENGINES[args.engine].releases
    assert releases is not None
    try:
        log = args.log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{args.log}: cannot be read: {error.strerror}") from None
    print(recording(releases, log, args.keep), end="")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
