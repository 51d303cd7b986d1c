"""A server of exactly known timing, in a process of its own. It speaks just enough HTTP/1.1, /v1/completions as vLLM does and
/generate as SGLang does.

    python -m perf_tests.fakes.mock_server --port 0 --ttft 0.05 --gap 0.01

Prints ``listening on PORT`` once it serves. Every request is logged with CLOCK_MONOTONIC times (received, then every
chunk written) and a hash of its prompt, which GET /log returns: the truth that a client on the same machine is held
against. ``--fault`` makes it misbehave in one of the ways that FAULTS lists, from the first request on or ``--after`` so
many. Under ``/forms/NAME/v1/completions`` it answers with that form of perf_tests/fakes/conformance.py.
"""

import argparse
import array
import asyncio
import base64
import collections
import gzip
import json
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from perf_tests.fakes.engine_metrics import EngineMetrics, drafted

HTTP_FAULTS = (
    "http-400",
    "http-500",
    "http-503",
    "html",
    "html-502",
    "plain",
    "gzip",
    "trickled-head",
    "close-idle",
    "raw",
)
STREAM_FAULTS = ("bad-json", "bad-sse", "cut", "no-done", "split-characters", "empty-chunks", "abort")
BAD_COUNTS = ("usage-nan", "usage-huge", "usage-fraction")
USAGE_FAULTS = ("no-usage", "wrong-count", "late-usage-twice", "usage-twice", *BAD_COUNTS)
SERVER_FAULTS = ("stall", "slow", "leak", "exit", "exit-mid-stream", "exit-idle")
FAULTS = ("none", *HTTP_FAULTS, *STREAM_FAULTS, *USAGE_FAULTS, *SERVER_FAULTS)
HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>a proxy's page</body>\r\n</html>\r\n"
# Counts that are none, as the server's JSON has them.
NO_COUNTS = {"usage-nan": b"NaN", "usage-huge": b"1e999", "usage-fraction": b"8.5"}
FINISHED = {"type": "length", "length": 0}
SLOWER = 10
LEAK_BYTES = 8 * 2**20
IDLE_SECONDS = 0.02
PACKET_SECONDS = 0.001
CLOSE_SECONDS = 0.002


def _passes(gap: float, since: float) -> list[dict[str, Any]]:
    """Events of torch's profiler: eight passes of so many microseconds from ``since`` on, each a matrix product."""
    common = {"ph": "X", "pid": 1, "tid": 1, "args": {}}
    return [
        common | {"cat": cat, "name": name, "ts": since + i * gap, "dur": 0.9 * gap}
        for i in range(8)
        for cat, name in (("user_annotation", "execute_context_0(0)_generation_1(1)"), ("cpu_op", "aten::mm"))
    ]


class Connection(asyncio.Protocol):
    def __init__(self, server: "MockServer") -> None:
        self.server = server
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, error: Exception | None) -> None:
        if stream := self.server.streams.pop(self.transport, None):
            stream.abort()

    def data_received(self, data: bytes) -> None:
        received = time.monotonic()
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, rest = self.buffer.split(b"\r\n\r\n", 1)
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.strip().lower() == b"content-length":
                    length = int(value)
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            if self.server.args.api_key and f"Bearer {self.server.args.api_key}\r".encode() not in head + b"\r":
                self.server.refuse(self.transport, head)
                continue
            self.server.handle(self.transport, head.split(b" ", 2)[1].decode(), rest[:length], received)


def logged(request: dict[str, Any], received: float) -> dict[str, Any]:
    """What is written down of a request as it comes: when, which prompt, and that one's last id."""
    prompt = request["prompt"]
    return {"received": received, "prompt": hash(tuple(prompt)), "last": (prompt or [0])[-1]}


class MockServer:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.log: list[dict[str, Any]] = []
        self.compiled: set[int] = set()
        self.requests = self.profiled_from = 0
        self.started = args.started or time.time()
        self.leaked: list[bytes] = []
        self.counted = EngineMetrics(args)
        self.in_flight = self.told_in_flight = self.before_first = 0
        # Those that are written, by their connection.
        self.streams: dict[Any, Stream] = {}
        self.cached: set[tuple[int, ...]] = set()
        # The response that was begun last on each connection.
        self.latest: weakref.WeakKeyDictionary[Any, Replay] = weakref.WeakKeyDictionary()
        self.healthy_from = time.monotonic() + args.unhealthy
        self.replayed: tuple[tuple[tuple[float, bytes], ...], ...] = ()
        if args.replay:
            from perf_tests.tools import record_stream

            self.replayed = record_stream.load(args.replay).responses

    def handle(self, transport: Any, path: str, body: bytes, received: float) -> None:
        if path.startswith("/forms/"):
            from perf_tests.fakes.conformance import FORMS

            form = FORMS[path.split("/")[2]]
            Replay(self, transport, tuple(form.pieces), received, form)
        elif path == "/log":
            log, self.log = self.log, []
            self.reply(transport, 200, json.dumps(log).encode())
        elif path == "/health":
            self.reply(transport, 200 if time.monotonic() >= self.healthy_from else 503, b"")
        elif path == "/v1/models":
            card = {"root": self.args.root} if self.args.root else {}
            card |= {"owned_by": self.args.owned_by} if self.args.owned_by else {}
            card |= {"max_model_len": self.args.max_model_len} if self.args.max_model_len else {}
            models = [{"id": name} | card for name in (*self.args.also, self.args.model)]
            self.reply(transport, 200, json.dumps({"data": models}).encode())
        elif path in ("/v1/completions", "/generate") and self.replayed:
            Replay(self, transport, self.replayed[self.requests % len(self.replayed)], received)
            self.requests += 1
        elif path in ("/v1/completions", "/generate"):
            self.requests += 1
            fault = self.args.fault if self.requests > self.args.after else "none"
            asked = json.loads(body)
            self.complete(transport, asked if path == "/v1/completions" else self.native(asked), received, fault)
        elif path == "/metrics" and not self.args.no_metrics:
            self.reply(transport, 200, self.metrics().encode(), "text/plain")
        elif path == "/version" and self.args.version:
            self.reply(transport, 200, json.dumps({"version": self.args.version}).encode())
        elif path == "/server_info" and self.args.server_info:
            self.reply(transport, 200, self.args.server_info.encode())
        elif path == "/freeze_gc" and not self.args.no_freeze:
            self.log.append({"frozen": True})
            self.reply(transport, 200, b"Garbage collection frozen.\n", "text/plain")
        elif path in ("/start_profile", "/stop_profile") and self.args.profile_directory:
            self.profile(path == "/stop_profile")
            self.reply(transport, 200, self.args.profile_says.encode(), "text/plain")
        else:
            self.reply(transport, 404, b'{"error": "not found"}')

    def metrics(self) -> str:
        """When its process was started, as Prometheus' client tells it, and what vLLM tells of its cache."""
        lines = ["# TYPE process_start_time_seconds gauge", f"process_start_time_seconds {self.started}"]
        if self.args.version:
            caching = not self.args.no_prefix_caching
            size = self.args.cache_block or 16
            labels = f'block_size="{size}",cache_dtype="auto",enable_prefix_caching="{caching}",engine="0"'
            labels += ',prefix_cache_retention_interval="0"' if self.args.cache_prompts else ""
            lines += ["# TYPE vllm:cache_config_info gauge", f"vllm:cache_config_info{{{labels}}} 1.0"]
        if self.args.counts == "vllm":
            # As of the last step: requests that are aborted make none.
            told = {"running": self.told_in_flight, "waiting": 0}
            lines += [
                f'vllm:num_requests_{state}{{engine="0",model_name="m"}} {count}' for state, count in told.items()
            ]
        return "\n".join([*lines, *self.counted.lines()]) + "\n"

    def hits(self, prompt: list[int]) -> int:
        """Tokens of a prompt that the prefix cache holds, in whole blocks; the last is always read again."""
        size = self.args.cache_block
        known = 0
        while size and known + size < len(prompt) and tuple(prompt[: known + size]) in self.cached:
            known += size
        return known

    def keep(self, prompt: list[int], answer: list[int]) -> None:
        """Have the cache hold a prompt and its answer, but for the last token, which nothing has read, or the prompt alone."""
        size, said = self.args.cache_block, prompt[:-1] if self.args.cache_prompts else [*prompt, *answer[:-1]]
        for end in range(size, len(said) + 1, size) if size else ():
            self.cached.add(tuple(said[:end]))

    def native(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A request to /generate in the words of /v1/completions; it names no model."""
        assert asked["sampling_params"]["ignore_eos"]
        prompt = asked["input_ids"] if "input_ids" in asked else asked["text"]
        tokens = asked["sampling_params"]["max_new_tokens"]
        info = {}
        if asked.get("return_routed_experts") and self.args.routed:
            experts = range((len(prompt) + tokens - 1) * self.args.routed)
            info["routed_experts"] = base64.b64encode(array.array("i", experts).tobytes()).decode()
        if asked.get("return_logprob") and not self.args.no_logprobs:
            own, likeliest = self.scores(prompt), [[-0.1, 9, None]]
            info["input_token_logprobs"] = [[None, prompt[0], None], *([value, token, None] for value, token in own)]
            info["input_top_logprobs"] = [None, *([likeliest] * len(own))]
            info["output_token_logprobs"] = [[-0.5 - self.args.off, 7, None]] * tokens
        common = {"model": self.args.model, "prompt": prompt, "max_tokens": tokens}
        return common | {"stream": asked.get("stream", False), "native": info}

    def scores(self, prompt: list[int]) -> list[tuple[float, int]]:
        """Log-probability and id of each of the prompt's tokens but the first: the token's own, and where it stands."""
        return [(-((token * 31 + i * 7) % 97) / 10 - 0.2 - self.args.off, token) for i, token in enumerate(prompt)][1:]

    def refuse(self, transport: Any, head: bytes) -> None:
        """Quote the key that isn't right, as some servers do."""
        given = head.partition(b"Bearer ")[2].split(b"\r", 1)[0].decode()
        message = f"invalid API key {given}" if given else "no API key"
        self.reply(transport, 401, json.dumps({"error": {"message": message}}).encode())

    def profile(self, ends: bool) -> None:
        """The trace says how many completions were asked for while it was taken."""
        if ends:
            trace = {"completions": self.requests - self.profiled_from}
            (Path(self.args.profile_directory) / "trace.json").write_text(json.dumps(trace))
            now = time.time_ns()
            rank = {"traceEvents": _passes(1e6 * self.args.gap, now / 1e3)}
            (Path(self.args.profile_directory) / f"rank0.{now}.pt.trace.json").write_text(json.dumps(rank))
        self.profiled_from = self.requests

    def reply(self, transport: Any, status: int, body: bytes, content_type: str = "application/json") -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        transport.write(head.encode() + body)

    def complete(self, transport: Any, request: dict[str, Any], received: float, fault: str) -> None:
        if fault == "exit":
            os._exit(3)
        if fault == "leak":
            self.leaked.append(os.urandom(LEAK_BYTES))
        if request["model"] not in (self.args.model, *self.args.also):
            self.reply(transport, 404, b'{"error": {"message": "The model does not exist."}}')
        elif fault == "http-400":
            self.reply(transport, 400, b'{"error": {"message": "prompt too long"}}')
        elif fault == "http-500":
            self.reply(transport, 500, b"Internal Server Error", "text/plain")
        elif fault == "http-503":
            self.reply(transport, 503, b"no worker is ready", "text/plain")
        elif fault == "html-502":
            self.reply(transport, 502, HTML, "text/html")
        elif fault == "raw":
            transport.write(base64.b64decode(request["prompt"]))
            transport.close()
        elif fault == "html":
            self.reply(transport, 200, b"<html>Bad gateway</html>", "text/html")
        elif self.args.jit and len(request["prompt"]) not in self.compiled:
            self.compiled.add(len(request["prompt"]))
            kernel = f"kernel_{len(request['prompt'])}"
            print(f"WARNING Triton kernel JIT compilation during inference: {kernel}. This causes a spike.", flush=True)
            asyncio.get_running_loop().call_later(self.args.jit, self.complete, transport, request, received, fault)
        elif request.get("stream"):
            (NativeStream if "native" in request else Stream)(self, transport, request, received, fault).start()
        else:
            self.whole(transport, request, received)

    def ttft(self, request: dict[str, Any]) -> float:
        """Seconds to the first chunk: of two modes, as a server's prefill in one or two passes, and longer beside others."""
        other: float = self.args.other_ttft
        own: float = other if other and request["prompt"][-1] % 2 else self.args.ttft
        if not self.args.ttft_beside:
            return own
        found = own + self.args.ttft_beside * self.before_first
        self.before_first += 1
        asyncio.get_running_loop().call_later(found, self.at_first)
        return found

    def at_first(self) -> None:
        """A request has its first token."""
        self.before_first -= 1

    def whole(self, transport: Any, request: dict[str, Any], received: float) -> None:
        """The response in one piece, when the last chunk of a stream would have been written."""
        tokens = request["max_tokens"]
        entry = logged(request, received) | {"tokens": tokens, "written": []}
        self.log.append(entry)

        def write() -> None:
            usage = {"prompt_tokens": len(request["prompt"]), "completion_tokens": tokens}
            entry["written"].append(time.monotonic())
            answer: dict[str, Any] = {"choices": [{"index": 0, "text": "x" * tokens}], "usage": usage}
            if request.get("prompt_logprobs") and not self.args.no_logprobs:
                scores = [
                    {str(token): {"logprob": value, "rank": 2}, "9": {"logprob": -0.1, "rank": 1}}
                    for value, token in self.scores(request["prompt"])
                ]
                told = {"tokens": ["token_id:7"] * tokens, "token_logprobs": [-0.5 - self.args.off] * tokens}
                answer["choices"][0] |= {"prompt_logprobs": [None, *scores], "logprobs": told}
            if "native" in request:
                info = usage | {"finish_reason": FINISHED} | request["native"]
                answer = {"output_ids": [7] * tokens, "meta_info": info}
            self.counted.ended(len(request["prompt"]), tokens, received, entry["written"], False)
            self.reply(transport, 200, json.dumps(answer).encode())

        not_before(received + self.ttft(request) + (tokens - 1) * self.args.gap, write)


def not_before(due: float, call: Callable[[], None]) -> None:
    """Call at a moment of the monotonic clock and never sooner: the loop's own timers are good to a millisecond."""
    loop = asyncio.get_running_loop()

    def attempt() -> None:
        if time.monotonic() < due:
            loop.call_soon(attempt)
        else:
            call()

    loop.call_at(due + loop.time() - time.monotonic(), attempt)


class Stream:
    """Writes chunk ``i`` at received + ttft + i x gap."""

    def __init__(
        self, server: MockServer, transport: Any, request: dict[str, Any], received: float, fault: str = "none"
    ) -> None:
        self.server, self.transport, self.received, self.fault = server, transport, received, fault
        self.prompt, self.tells_ids = request["prompt"], request.get("return_token_ids", False)
        self.tells_counts = request.get("stream_options", {}).get("continuous_usage_stats", False)
        self.prompt_tokens, self.hits = len(self.prompt), server.hits(self.prompt)
        self.tokens = request["max_tokens"]
        self.chunks = -(-self.tokens // server.args.tokens_per_chunk)
        self.aborted = False
        server.streams[transport] = self
        server.in_flight += 1
        server.told_in_flight = server.in_flight
        pace = (SLOWER if fault == "slow" else 1) * (1 + server.args.crowding * (server.in_flight - 1))
        self.ttft, self.gap = pace * server.ttft(request), pace * server.args.gap
        self.written: list[float] = []
        self.pieces: collections.deque[bytes] = collections.deque()
        entry = logged(request, received) | {"model": request["model"]}
        server.log.append(entry | {"tokens": self.tokens, "written": self.written})

    def start(self) -> None:
        kind = "text/plain" if self.fault == "plain" else "text/event-stream"
        encoding = "Content-Encoding: gzip\r\n" if self.fault == "gzip" else ""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{encoding}Transfer-Encoding: chunked\r\n\r\n".encode()
        if self.fault == "trickled-head":
            self.send(*(head[i : i + 1] for i in range(len(head))))
        else:
            self.send(head)
        self.later(self.ttft)

    def later(self, after: float) -> None:
        not_before(self.received + after, self.step)

    def abort(self) -> None:
        self.aborted = True
        self.server.in_flight -= 1

    def step(self) -> None:
        if self.aborted:
            return
        i, now = len(self.written), time.monotonic()  # the client may have it before a write returns
        fault = self.fault if i == min(2, self.chunks - 1) else ""
        if fault == "cut":
            self.transport.abort()
            return
        if fault == "stall":
            return
        if fault == "exit-mid-stream":
            os._exit(3)
        if self.fault == "empty-chunks":
            self.write(b": still here\n\n")
            self.write(self.event(""))
        if fault == "bad-json":
            self.write(b'data: {"choices": [{"te\n\n')
        elif fault == "bad-sse":
            self.write(b"<html>proxy error</html>\n\n")
            self.send(b"0\r\n\r\n")
            return
        else:
            self.write(self.event("→é" if self.fault == "split-characters" else "x"))
        self.written.append(now)
        if len(self.written) < self.chunks:
            self.later(self.ttft + len(self.written) * self.gap)
        else:
            self.finish()

    def event(self, text: str) -> bytes:
        """The next tokens, or without ``text`` none."""
        left = self.tokens - len(self.written) * self.server.args.tokens_per_chunk
        ids = [7] * min(left, self.server.args.tokens_per_chunk)
        told = f',"token_ids":{ids}' if self.tells_ids and not self.server.args.no_ids else ""
        choices = f'{{"index":0,"text":"{text}"{told}}}' if text else ""
        running = ""
        if self.tells_counts:
            usage = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.tokens - left + len(ids)}
            running = f',"usage":{json.dumps(usage)}'
        return f'data: {{"id":"cmpl-0","object":"text_completion","choices":[{choices}]{running}}}\n\n'.encode()

    def finish(self) -> None:
        fault = self.fault
        self.count()
        count = self.tokens - (fault == "wrong-count")
        usage: dict[str, Any] = {"prompt_tokens": self.prompt_tokens, "completion_tokens": count}
        if self.server.args.cache_block:
            usage["prompt_tokens_details"] = {"cached_tokens": self.hits}
        self.server.keep(self.prompt, [7] * self.tokens)
        event = b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
        if fault in NO_COUNTS:
            event = event.replace(f'"completion_tokens": {count}'.encode(), b'"completion_tokens": ' + NO_COUNTS[fault])
        if fault != "no-usage":
            self.write(event)
        if fault == "usage-twice":
            self.write(event)
        if fault == "late-usage-twice":
            self.write(event.replace(b'"completion_tokens": ', b'"completion_tokens": 9'))
        self.end()

    def count(self) -> None:
        self.server.counted.ended(self.prompt_tokens, self.tokens, self.received, self.written, True)

    def end(self) -> None:
        del self.server.streams[self.transport]
        self.server.in_flight -= 1
        self.server.told_in_flight = self.server.in_flight
        fault = self.fault
        if fault != "no-done":
            self.write(b"data: [DONE]\n\n")
        self.send(b"0\r\n\r\n")
        if fault == "close-idle":
            asyncio.get_running_loop().call_later(IDLE_SECONDS, self.transport.close)
        if fault == "exit-idle":
            asyncio.get_running_loop().call_later(IDLE_SECONDS, os._exit, 3)

    def write(self, data: bytes) -> None:
        if self.fault == "gzip":
            data = gzip.compress(data)
        framed = f"{len(data):x}\r\n".encode() + data + b"\r\n"
        cut = framed.find("→".encode()) + 1  # inside a character
        if self.fault == "split-characters" and cut:
            self.send(framed[:cut], framed[cut:])
        else:
            self.send(framed)

    def send(self, *pieces: bytes) -> None:
        """Write the pieces, a packet each; what is still to be written goes first."""
        if len(pieces) == 1 and not self.pieces:
            self.transport.write(pieces[0])
            return
        waiting = bool(self.pieces)
        self.pieces += pieces
        if not waiting:
            self.drain()

    def drain(self) -> None:
        if self.pieces:
            self.transport.write(self.pieces.popleft())
            asyncio.get_running_loop().call_later(PACKET_SECONDS, self.drain)


class NativeStream(Stream):
    """Events of SGLang's /generate: each says how many tokens there are so far, and holds them all, or with --incremental
    the new ones. The last one is the end: there is no event for the usage alone.
    """

    def event(self, text: str) -> bytes:
        delivered = len(self.written) * self.server.args.tokens_per_chunk
        count = min(delivered + self.server.args.tokens_per_chunk, self.tokens) if text else delivered
        last = count == self.tokens
        ids = [7] * (count - delivered if self.server.args.incremental else count)
        info: dict[str, Any] = {
            "id": "0",
            "finish_reason": FINISHED if last else None,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.hits,
        }
        info["completion_tokens"] = count - (last and self.fault == "wrong-count")
        if last and self.server.args.drafts:
            names = ("spec_verify_ct", "spec_num_proposed_drafts", "spec_num_correct_drafts")
            info |= dict(zip(names, drafted(self.server.args, self.tokens, self.chunks), strict=True))
        if last and self.fault == "no-usage":
            del info["completion_tokens"]
        if last and self.fault == "late-usage-twice":
            info["completion_tokens"] = 1
        if last and self.fault == "abort":
            info["finish_reason"] = {"type": "abort", "message": "out of memory", "status_code": 500}
        answer = {"output_ids": ids, "meta_info": info} | (
            {"text": text * len(ids)} if self.server.args.texts or text == "→é" else {}
        )
        data = f"data: {json.dumps(answer, ensure_ascii=False)}\n\n".encode()
        if last and self.fault in NO_COUNTS:
            data = data.replace(
                f'"completion_tokens": {count}'.encode(), b'"completion_tokens": ' + NO_COUNTS[self.fault]
            )
        return data

    def finish(self) -> None:
        self.count()
        self.server.keep(self.prompt, [7] * self.tokens)
        self.end()


class Replay:
    """Writes the bytes of a recorded response, each read when it arrived then, or ``speed`` times as soon.

    Those of a form may close the connection behind them, unless the next request is there already.
    """

    def __init__(
        self,
        server: MockServer,
        transport: Any,
        reads: tuple[tuple[float, bytes], ...],
        received: float,
        form: Any = None,
    ) -> None:
        self.server, self.transport = server, transport
        self.written: list[float] = []
        server.log.append({"received": received, "written": self.written} | ({"form": form.name} if form else {}))
        server.latest[transport] = self
        self.pieces = collections.deque(data for _, data in reads)
        for when, _ in reads:
            not_before(received + when / server.args.speed, self.write)
        if form and form.closes:
            not_before(received + reads[-1][0] / server.args.speed + CLOSE_SECONDS, self.close)

    def write(self) -> None:
        """The next piece, whichever was called for: timers of the same millisecond are called in any order."""
        self.written.append(time.monotonic())
        self.transport.write(self.pieces.popleft())

    def close(self) -> None:
        if self.server.latest.pop(self.transport, self) is self:
            self.transport.close()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", default="mock")
    parser.add_argument("--also", action="append", default=[], help="another model that it serves, listed before")
    parser.add_argument("--ttft", type=float, default=0.05, help="seconds from receiving a request to its first chunk")
    parser.add_argument(
        "--other-ttft", type=float, default=0.0, help="seconds to the first chunk of prompts that end with an odd id"
    )
    parser.add_argument(
        "--ttft-beside", type=float, default=0.0, help="seconds more for each that waits for its own beside it"
    )
    parser.add_argument("--gap", type=float, default=0.01, help="seconds between chunks")
    parser.add_argument("--crowding", type=float, default=0.0, help="how much slower each stream beside it makes one")
    parser.add_argument("--tokens-per-chunk", type=int, default=1)
    parser.add_argument(
        "--incremental", action="store_true", help="/generate: the new tokens in each event, not all of them"
    )
    parser.add_argument("--api-key", default="", help="what requests must carry as bearer token")
    parser.add_argument("--replay", type=Path, help="answer with the responses of this recording, one after the other")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times faster than recorded --replay is")
    parser.add_argument("--texts", action="store_true", help="/generate: a text beside the ids, as with a tokenizer")
    parser.add_argument("--routed", type=int, default=0, help="/generate: numbers per token that stand for experts")
    parser.add_argument(
        "--off", type=float, default=0.0, help="log-probabilities are lower by so much than they should be"
    )
    parser.add_argument("--no-logprobs", action="store_true", help="tell no log-probabilities")
    parser.add_argument("--no-freeze", action="store_true", help="know nothing of /freeze_gc")
    parser.add_argument("--server-info", default="", help="the JSON that /server_info answers")
    parser.add_argument("--version", default="", help="the version of vLLM that it tells")
    parser.add_argument("--no-prefix-caching", action="store_true", help="tell that there is no prefix cache")
    parser.add_argument("--cache-block", type=int, default=0, help="keep a prefix cache of blocks of so many tokens")
    parser.add_argument("--cache-prompts", action="store_true", help="keep nothing of answers, as vLLM of windows")
    parser.add_argument("--no-ids", action="store_true", help="/v1/completions: tell no ids of an answer's tokens")
    parser.add_argument("--max-model-len", type=int, default=0, help="the context that /v1/models tells")
    parser.add_argument("--owned-by", default="", help="whose the models are that /v1/models lists")
    parser.add_argument("--counts", choices=("vllm", "sglang"), default="", help="whose counters /metrics has")
    parser.add_argument(
        "--counts-more", type=int, default=0, help="tokens of each kind that it counts too many a request"
    )
    parser.add_argument("--counts-late", type=float, default=0.0, help="seconds that its own TTFT is too long")
    parser.add_argument("--queued", type=float, default=0.0, help="seconds that it says a request has waited")
    parser.add_argument("--preempts", type=int, default=0, help="one of so many requests is preempted, it says")
    parser.add_argument(
        "--cache-hits", type=float, default=0.0, help="share of a prompt that comes from a prefix cache, it says"
    )
    parser.add_argument(
        "--drafts", type=int, default=0, help="tokens of the drafts that it says to verify, one for each chunk"
    )
    parser.add_argument("--no-metrics", action="store_true", help="have no /metrics, as behind a gateway")
    parser.add_argument(
        "--started", type=float, default=0.0, help="when it says that it was started; default: when it was"
    )
    parser.add_argument("--fault", choices=FAULTS, default="none")
    parser.add_argument("--after", type=int, default=0, help="completions that are served well before the fault")
    parser.add_argument("--jit", type=float, default=0.0, help="seconds to compile for each new prompt length, logged")
    parser.add_argument("--boot", type=float, default=0.0, help="seconds before it listens")
    parser.add_argument("--unhealthy", type=float, default=0.0, help="seconds for which /health answers 503")
    parser.add_argument("--profile-directory", default="", help="where a profile goes, if one is asked for")
    parser.add_argument("--profile-says", default="", help="what the profiler's endpoints answer")
    parser.add_argument("--root", default="", help="what /v1/models says that the model was loaded from")
    parser.add_argument("--die", type=float, default=0.0, help="seconds after which it exits with status 3")
    parser.add_argument("--linger", type=float, default=0.0, help="seconds that it takes to end on SIGINT")
    parser.add_argument("--ignore-signals", action="store_true", help="ignore SIGINT and SIGTERM")
    return parser.parse_args(argv)


async def serve(args: argparse.Namespace) -> None:
    server = MockServer(args)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", args.port)
    print(f"listening on {listener.sockets[0].getsockname()[1]}", flush=True)
    if args.die:
        loop.call_later(args.die, lambda: sys.exit(3))
    await listener.serve_forever()


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.ignore_signals:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("mock: loading", flush=True)
    time.sleep(args.boot)
    try:
        uvloop.run(serve(args))
    except KeyboardInterrupt:
        time.sleep(args.linger)
        sys.exit(0)


if __name__ == "__main__":
    main()
