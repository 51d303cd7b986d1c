"""What the client makes of the bytes of a response whose times are known, without a socket."""

from fixtures.client.arrivals import Arrivals
from fixtures.client.exchange import Exchange
from fixtures.client.outcome import record_of
from fixtures.client.protocol import PROTOCOLS
from fixtures.client.record import Record
from fixtures.client.request import Request
from fixtures.client.target import Target
from perf_tests.fakes.conformance import TOKENS, Form, Pieces


def parsed(form: Form, pieces: Pieces) -> Record:
    """The record of a request, sent and due at 0, that was answered with these pieces instead of the form's own."""
    exchange = Exchange(
        b"", due=0.0, sent=0.0, reads=Arrivals.of(read for read in pieces if read[1]), closed=form.closes
    )
    target = Target("http://SERVER", "m", protocol=PROTOCOLS[form.protocol])
    return record_of(target, Request([], TOKENS), exchange, 0.0)
