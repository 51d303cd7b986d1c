"""Records what a real server sends, byte for byte with its arrival times, for tests on machines that have none.

    python -m perf_tests.tools.record_stream --url http://127.0.0.1:8000 --model m --protocol sglang --server "sglang 0.5.17"

One request alone, then several at once, streamed. Writes perf_tests/fakes/recordings/SERVER-PROTOCOL.json, which is
committed and replayed by test_recordings.py; nobody writes one by hand. Refuses what the client would count as failed.
"""

import argparse
import dataclasses
import json
import random
import re
import sys
import time
from pathlib import Path
from typing import Any

from fixtures.client.key import api_key
from fixtures.client.load import exchange
from fixtures.client.protocol import PROTOCOLS
from fixtures.client.record import Record
from fixtures.client.request import Request, StreamError
from fixtures.client.response import Reads, read_response
from fixtures.client.target import Target
from perf_tests.paths import RECORDINGS

DIRECTORY = RECORDINGS
# Clear of the special tokens at the ends of a vocabulary.
TOKENS = range(1000, 30000)


@dataclasses.dataclass(frozen=True)
class Recording:
    """Responses of a server: per request what was asked for, and the raw bytes with seconds after the request was sent."""

    server: str
    protocol: str
    prompt_tokens: tuple[int, ...]
    output_len: int
    responses: tuple[tuple[tuple[float, bytes], ...], ...]


def load(path: Path) -> Recording:
    """A recording that was committed."""
    data = json.loads(path.read_text(encoding="utf-8"))
    responses = [tuple((when, text.encode("latin-1")) for when, text in response) for response in data["responses"]]
    return Recording(
        data["server"], data["protocol"], tuple(data["prompt_tokens"]), data["output_len"], tuple(responses)
    )


def save(path: Path, recording: Recording) -> None:
    """One read a line, as text: bytes are characters of the same number, so that a diff can be read."""
    responses = [[[round(when, 6), data.decode("latin-1")] for when, data in reads] for reads in recording.responses]
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = dataclasses.asdict(recording) | {"responses": responses}
    text = json.dumps(fields, indent=1)
    path.write_text(re.sub(r"\[\s+([\d.e-]+),\s+(\".*\")\s+\]", r"[\1, \2]", text) + "\n", encoding="utf-8")


def parsed(recording: Recording) -> list[Record]:
    """What the client makes of a recording. Raises StreamError if a request failed."""
    records = []
    for reads in recording.responses:
        response = read_response(list(reads))
        if response.status != 200 or not response.complete:
            raise StreamError(f"HTTP {response.status}, {'whole' if response.complete else 'cut off'}")
        record = Record(0.0, recording.output_len, sent=0.0)
        PROTOCOLS[recording.protocol].parse(response.body, record)
        records.append(record)
    return records


def record(target: Target, groups: list[list[Request]]) -> list[Reads]:
    """The responses to groups of requests, those of a group sent at once; times are counted from when each was sent."""
    found = []
    for group in groups:
        _, exchanges = exchange(target, group, len(group), time.perf_counter)
        found += [[(when - one.sent, data) for when, data in one.reads] for one in exchanges]
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Any = parser.add_argument
    add("--url", required=True)
    add("--model", required=True, help="the name that it serves the model under")
    add("--protocol", choices=tuple(PROTOCOLS), required=True)
    add("--server", required=True, help="what it is, with its version; names the file")
    add("--input-len", type=int, default=32)
    add("--output-len", type=int, default=32)
    add("--at-once", type=int, default=4)
    add("--out", type=Path, help="default: the committed recordings")
    args = parser.parse_args(arguments)
    ids = random.Random(args.server)
    prompts = [[ids.choice(TOKENS) for _ in range(args.input_len + i)] for i in range(1 + args.at_once)]
    requests = [Request(prompt, args.output_len) for prompt in prompts]
    groups = [requests[:1], requests[1:]]
    responses = record(Target(args.url, args.model, protocol=PROTOCOLS[args.protocol], api_key=api_key()), groups)
    lengths = tuple(len(prompt) for prompt in prompts)
    recording = Recording(args.server, args.protocol, lengths, args.output_len, tuple(map(tuple, responses)))
    try:
        parsed(recording)
    except StreamError as error:
        print(f"not recorded: {error}", file=sys.stderr)
        return 1
    name = re.sub(r"[^\w.]+", "-", f"{args.server}-{args.protocol}")
    path = args.out or DIRECTORY / f"{name}.json"
    save(path, recording)
    print(f"{path}: {len(responses)} responses, {path.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
