"""Damaged responses by the thousand: does the client ever raise, hang, or tell a number that isn't true?

    python -m perf_tests.tools.mutate_client [--count 20000] [--sockets 2000] [--seed 1]

Takes the forms of perf_tests/fakes/conformance.py, damages the bytes of each somewhere, cuts them anywhere, and has the client
make a record and a summary of them; so many of them also come from a server, over sockets, which ends or keeps the
connection as it likes. Ends with 1 and the seed of what went wrong. Twenty thousand take a minute or two.
"""

import argparse
import base64
import itertools
import math
import random
import re
import sys
import time

from fixtures.client.load import run
from fixtures.client.metrics import summarize
from fixtures.client.record import Record
from fixtures.client.request import Request
from fixtures.client.target import Target
from perf_tests.fakes.conformance import FORMS, GAP, HTTP, STREAMS, TOKENS, TTFT, Form, Pieces, chunk
from perf_tests.fakes.mutations import PIECES
from perf_tests.fakes.responses import parsed
from perf_tests.fakes.server_process import mock_server

TIMEOUT = 2.0
BATCH = 100
FRAMED_SHARE = 0.8
CHUNK = re.compile(rb"[0-9a-f]+\r\n(.*)\r\n", re.DOTALL)
# Of these the true pace is known whatever bytes are lost: a text a token, and no count of the server's beside it.
UNTOLD = ("usage", "no-text", "half")
EVEN = {f.name for f in (*STREAMS, *HTTP) if (f.tpot, f.ttft) == (GAP, TTFT) and not f.name.startswith(UNTOLD)}


def damaged(form: Form, rng: random.Random) -> Pieces:
    """The form's pieces with some bytes cut, replaced, repeated or inserted, and cut anywhere.

    Mostly that is done inside of chunks whose sizes are right again: else nothing but the framing would ever be tried.
    """
    pieces, framed = list(form.pieces), rng.random() < FRAMED_SHARE
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(pieces))
        when, piece = pieces[place]
        chunked = CHUNK.fullmatch(piece) if framed else None
        content = bytearray(chunked[1] if chunked else piece)
        start = rng.randint(0, len(content))
        end = min(len(content), start + rng.randint(0, rng.choice((3, 12, 200))))
        content[start:end] = rng.choice(
            (b"", rng.randbytes(rng.randint(0, 6)), bytes(content[start:end] * 2), rng.choice(PIECES))
        )
        pieces[place] = (when, chunk(bytes(content)) if chunked and content else bytes(content))
    if not rng.randrange(8):  # a piece is lost, or comes twice
        place = rng.randrange(len(pieces))
        pieces[place : place + 1] = pieces[place : place + 1] * rng.choice((0, 2))
    found = []
    for when, piece in pieces:
        places = sorted(rng.randint(0, len(piece)) for _ in range(rng.randint(0, 3)))
        found += [(when, piece[a:b]) for a, b in itertools.pairwise((0, *places, len(piece)))]
    return found


def wrong(form: Form, record: Record) -> str:
    """What is not sound or not true of a record, or an empty string."""
    found = summarize([record])
    if record.error:
        return "" if "\n" not in record.error and len(record.error) < 800 and found.failed == 1 else "an odd cause"
    if record.completion_tokens != TOKENS or not record.chunks or record.chunks != sorted(record.chunks):
        return "counted, and not what was asked for"
    if sum(record.tokens) not in (0, TOKENS) or len(record.tokens) not in (0, len(record.chunks)):
        return "tokens that don't add up"
    if found.ttft_p50 <= 0 or found.tpot_p50 <= 0 or found.itl_p50 <= 0:
        return "a time of nothing"
    # One event lost and another one doubled make as many as there should be: nobody can see that.
    apart = len(set(record.chunks)) == len(record.chunks)
    if apart and form.name in EVEN and not (math.isnan(found.tpot_p50) or abs(found.tpot_p50 / GAP - 1) < 0.03):
        return f"TPOT {found.tpot_p50:.6f} s instead of {GAP} s"
    return ""


def in_memory(count: int, seed: int) -> tuple[int, list[str]]:
    """How many of so many damaged responses counted as delivered, and what went wrong."""
    counted, bad = 0, []
    for i in range(count):
        rng = random.Random(f"{seed} {i}")
        form = rng.choice(list(FORMS.values()))
        try:
            record = parsed(form, damaged(form, rng))
            counted += not record.error
            reason = wrong(form, record)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if reason:
            bad.append(f"seed {seed}, number {i}, form {form.name}: {reason}")
    return counted, bad


def over_sockets(count: int, seed: int) -> tuple[int, list[str]]:
    """The same of responses that a server sends at once and then closes."""
    counted, bad = 0, []
    with mock_server("--fault", "raw") as url:
        target = Target(url, "mock", timeout=TIMEOUT)
        for first in range(0, count, BATCH):
            rng = random.Random(f"{seed} sockets {first}")
            forms = rng.choices(list(FORMS.values()), k=min(BATCH, count - first))
            sent = [b"".join(piece for _, piece in damaged(form, rng)) for form in forms]
            began = time.monotonic()
            records = run(target, [Request(base64.b64encode(data).decode(), TOKENS) for data in sent])
            if time.monotonic() - began > 2 * TIMEOUT + 5:
                bad.append(f"seed {seed}, sockets from {first}: {time.monotonic() - began:.1f} s")
            for i, (form, record) in enumerate(zip(forms, records, strict=True), first):
                counted += not record.error
                reason = "" if record.error and "\n" not in record.error else wrong(FORMS["held"], record)
                if reason:
                    bad.append(f"seed {seed}, sockets number {i}, form {form.name}: {reason}")
    return counted, bad


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--sockets", type=int, default=2_000, help="so many more over sockets")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    found = []
    for name, part, count in (("in memory", in_memory, args.count), ("over sockets", over_sockets, args.sockets)):
        counted, bad = part(count, args.seed)
        found += bad
        print(f"{name}: {count} damaged responses, {counted} counted all the same, {len(bad)} wrong", flush=True)
    print("\n".join(found[:50]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
