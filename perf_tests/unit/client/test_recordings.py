"""The client on streams that were recorded from real servers, replayed byte for byte, their pace sped up alike."""

import re

import pytest

from fixtures.client.load import run
from fixtures.client.protocol import PROTOCOLS
from fixtures.client.request import Request
from fixtures.client.target import Target
from perf_tests.fakes.server_process import mock_server, server_log
from perf_tests.tools import record_stream

pytestmark = pytest.mark.cpu
RECORDED = sorted(record_stream.DIRECTORY.glob("*.json"))
# Timers of the event loop.
TICK = 0.002
SPEED = 4
NONE = "no recording yet: beside a GPU, python -m perf_tests.tools.record_stream makes one of a real server"


def replayed(path):
    """Replay a recording to the client and hold what it makes of it against the recording itself."""
    recording = record_stream.load(path)
    expected = record_stream.parsed(recording)
    with mock_server("--replay", str(path), "--speed", str(SPEED)) as url:
        target = Target(url, "any", timeout=60, protocol=PROTOCOLS[recording.protocol])
        # One after the other: which response is whose must not depend on who connects first.
        planned = [Request([7] * length, recording.output_len) for length in recording.prompt_tokens]
        records = run(target, planned, concurrency=1)
        log = server_log(url)
    assert [record.error for record in records] == [""] * len(expected)
    rows = zip(records, expected, recording.prompt_tokens, recording.responses, log, strict=True)
    for record, known, length, reads, entry in rows:
        assert (record.prompt_tokens, record.completion_tokens) == (length, recording.output_len)
        assert known.prompt_tokens == length
        assert 1 <= len(record.chunks) == len(known.chunks)
        assert record.chunks == sorted(record.chunks)
        assert len(entry["written"]) == len(reads), "replayed as it arrived"
        for chunk, when in zip(record.chunks, known.chunks, strict=True):
            assert chunk - record.scheduled > when / SPEED - TICK, "never sooner than it was"


@pytest.mark.parametrize(
    "path",
    RECORDED or [pytest.param(None, marks=pytest.mark.skip(reason=NONE))],
    ids=[path.stem for path in RECORDED] or ["none"],
)
def test_a_recorded_stream_is_parsed_as_it_was(path):
    replayed(path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("options", [(), ("--tokens-per-chunk", "3", "--incremental"), ("--fault", "empty-chunks")])
def test_what_is_recorded_here_and_now_is_replayed(protocol, options, tmp_path, capsys):
    path = tmp_path / "recording.json"
    arguments = ["--model", "mock", "--protocol", protocol, "--server", "mock", "--output-len", "8", "--out", str(path)]
    with mock_server("--ttft", "0.01", "--gap", "0.003", *options) as url:
        assert record_stream.main(["--url", url, *arguments]) == 0
    assert "5 responses" in capsys.readouterr().out
    recording = record_stream.load(path)
    record_stream.save(tmp_path / "again.json", recording)
    assert (tmp_path / "again.json").read_text() == path.read_text()
    lines = re.findall(r'^ *\[[\d.e-]+, ".*"\],?$', path.read_text(), re.MULTILINE)
    assert len(lines) == sum(map(len, recording.responses)), "a read a line"
    replayed(path)


def test_what_the_client_would_count_as_failed_is_not_recorded(tmp_path, capsys):
    path = tmp_path / "recording.json"
    arguments = ["--model", "mock", "--protocol", "sglang", "--server", "mock", "--output-len", "8", "--out", str(path)]
    with mock_server("--ttft", "0", "--gap", "0", "--fault", "wrong-count") as url:
        assert record_stream.main(["--url", url, *arguments]) == 1
    assert "not recorded: asked for 8 tokens" in capsys.readouterr().err
    assert not path.exists()
