"""What it costs the load client to read one event, in microseconds: as a whole, and by its parts.

    python -m perf_tests.tools.bench_read

One event at a time over a loopback connection; medians of rounds, with the least and the most. What the parts leave of the
whole is the calls between them.
"""

import select
import socket
import statistics
import time
from collections.abc import Callable

from tabulate import tabulate

from fixtures.client.arrivals import Arrivals
from fixtures.client.connection import READ_BYTES, Connection
from fixtures.client.exchange import Exchange
from fixtures.client.loop import Loop
from fixtures.client.response import Framing
from fixtures.client.stamp import SPACE, ask_for_stamps, stamp_of

EVENTS, ROUNDS = 20_000, 5
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DATA = b'data: {"id":"cmpl-0","object":"text_completion","choices":[{"index":0,"text":"x"}]}\n\n'
EVENT = b"%x\r\n%s\r\n" % (len(DATA), DATA)


class Stream:
    """A connection of the client's that an answer comes on, and the socket that it comes from."""

    def __init__(self) -> None:
        self.loop, self.exchange = Loop(), Exchange(b"GET / HTTP/1.1\r\n\r\n")
        listener = socket.create_server(("127.0.0.1", 0))
        connection = Connection(self.loop, [(socket.AF_INET, listener.getsockname())], "127.0.0.1", None)
        connection.connect(self)
        while not connection.open:
            self._turn()
        self.server, _ = listener.accept()
        listener.close()
        connection.send(self.exchange)
        self.server.send(HEAD)
        self._turn()

    def _turn(self) -> None:
        self.loop.serve(time.perf_counter() + 1, lambda: time.perf_counter() + 1)

    def opened(self, connection: Connection) -> None: ...
    def failed(self, connection: Connection, error: OSError) -> None: ...
    def ended(self, connection: Connection, exchange: Exchange, closed: bool) -> None: ...

    def read(self) -> float:
        """Microseconds to read an event that is there."""
        self.server.send(EVENT)
        since = time.perf_counter()
        self._turn()
        return 1e6 * (time.perf_counter() - since)


class Bare:
    """A stamped connection without the client."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = socket.create_connection(listener.getsockname())
            self.server, _ = listener.accept()
        ask_for_stamps(self.client)
        self.client.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.client.fileno(), select.EPOLLIN | select.EPOLLET)
        self.ancillary: list[tuple[int, int, bytes]] = []

    def poll(self) -> None:
        self.epoll.poll(0, 256)

    def take(self) -> None:
        _, self.ancillary, _, _ = self.client.recvmsg(READ_BYTES, SPACE)

    def read(self, part: Callable[[], None]) -> float:
        """Microseconds that a part takes while an event is there."""
        self.server.send(EVENT)
        since = time.perf_counter()
        part()
        seconds = time.perf_counter() - since
        if part != self.take:
            self.take()
        return 1e6 * seconds


def parts() -> dict[str, Callable[[], float]]:
    """What takes one measurement of each part, in microseconds."""
    stream, bare, framing, arrivals = Stream(), Bare(), Framing(), Arrivals()
    bare.read(bare.take)
    framing.feed(HEAD)

    def timed(part: Callable[[], object]) -> Callable[[], float]:
        def once() -> float:
            since = time.perf_counter()
            part()
            return 1e6 * (time.perf_counter() - since)

        return once

    return {
        "one event, as a whole": stream.read,
        "asking what is ready": lambda: bare.read(bare.poll),
        "taking it from the kernel": lambda: bare.read(bare.take),
        "reading the stamp": timed(lambda: time.time() - stamp_of(bare.ancillary)),
        "looking for the end": timed(lambda: framing.feed(EVENT)),
        "keeping it": timed(lambda: arrivals.add(0.5, 0.5, EVENT)),
        "nothing (what measuring takes)": timed(lambda: None),
    }


def main() -> None:
    rows = []
    for name, once in parts().items():
        rounds = [statistics.median(once() for _ in range(EVENTS)) for _ in range(ROUNDS)]
        rows.append((name, statistics.median(rounds), min(rounds), max(rounds)))
    print(tabulate(rows, headers=("part", "us", "least", "most"), floatfmt=".2f"))


if __name__ == "__main__":
    main()
