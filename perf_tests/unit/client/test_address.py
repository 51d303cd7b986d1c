"""Addresses as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client.__main__ import main
from fixtures.client.address import base_url
from fixtures.errors import UsageError
from perf_tests.fakes.commands import run_here
from perf_tests.fakes.server_process import mock_server

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://h:8000", "http://h:8000"),
        ("http://h", "http://h"),
        ("https://h.example/", "https://h.example"),
        ("HTTP://h:8000", "http://h:8000"),
        (" http://h:8000/\n", "http://h:8000"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("host.example", "http://host.example"),
        ("host.example:8000/base", "http://host.example:8000/base"),
        ("http://h:8000/v1", "http://h:8000"),
        ("http://h:8000/v1/", "http://h:8000"),
        ("h:8000/v1/completions", "http://h:8000"),
        ("http://h:8000/v1/models", "http://h:8000"),
        ("http://h:8000/generate", "http://h:8000"),
        ("http://h:8000/v1/chat/completions", "http://h:8000"),
        ("https://h/gateway/a/v1", "https://h/gateway/a"),
        ("https://h/v1beta", "https://h/v1beta"),
    ],
)
def test_an_address_is_taken_as_it_is_written(text, expected):
    assert base_url(text, "--url") == expected
    assert base_url(expected, "--url") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "ftp://h:8000",
        "http://h:99999",
        "http://h:port",
        "http://h:0",
        "http:/h:8000",
        "localhost:",
        "unix:/run/server.sock",
        "http://h:8000?model=m",
        "http://h:8000/#x",
        "http://[::1",
        "http://a b:8000",
        "http://h/\x00",
        "http://h/ä",
        f"http://{'x' * 70}.example",
        "a..b:8000",
    ],
)
def test_what_is_no_address_is_a_usage_error(text):
    with pytest.raises(UsageError, match=r"^--url: expected http://HOST:PORT"):
        base_url(text, "--url")


def test_a_password_in_an_address_is_refused_unquoted():
    with pytest.raises(UsageError, match="MOEGAUGE_API_KEY") as refused:
        base_url("http://me:secret@h:8000", "--url")
    assert "secret" not in str(refused.value)


@given(st.text(max_size=30) | st.text("htp:/[]@?#%.1v ", max_size=20))
def test_any_text_is_an_address_or_a_usage_error(text):
    try:
        url = base_url(text, "--url")
    except UsageError:
        return
    assert base_url(url, "--url") == url


def test_the_command_takes_an_address_without_a_scheme_and_with_v1():
    with mock_server("--ttft", "0.01", "--gap", "0.002") as url:
        for address in (url.removeprefix("http://"), f"{url}/v1"):
            done = run_here(main, "--url", address, "--model", "mock", "--num-prompts", "2", "--output-len", "3")
            assert done.returncode in (0, 2), done.stderr  # 2: a busy machine kept the client from its schedule
        elsewhere = run_here(main, "--url", f"{url}/elsewhere", "--model", "mock", "--num-prompts", "1")
    assert elsewhere.returncode == 1
    assert f"failed: HTTP 404 of {url}/elsewhere/v1/completions: " in elsewhere.stderr
    refused = run_here(main, "--url", "ftp://h", "--model", "mock")
    assert refused.returncode == 2
    assert "--url: expected http://HOST:PORT, found 'ftp://h'" in refused.stderr
