"""The load client over TLS, against a server of a certificate of its own."""

import concurrent.futures
import contextlib
import shutil
import socket
import ssl
import subprocess

import pytest

from fixtures.client.load import run
from fixtures.client.request import Request
from fixtures.client.target import Target
from perf_tests.fakes.conformance import FORMS, TOKENS

pytestmark = [pytest.mark.cpu, pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")]
PIECES = [piece for _, piece in FORMS["plain"].pieces]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(made, cwd=directory, check=True, capture_output=True)
    return directory


@contextlib.contextmanager
def secure_server(certificate, answers):
    """A server whose connections each give so many answers, in several writes; yields its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # it was shut down
                return
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                for _ in range(answers):
                    head, _, body = secure.recv(65536).partition(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length:")[2].split()[0])
                    while len(body) < length:
                        body += secure.recv(65536)
                    for piece in PIECES:
                        secure.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener, concurrent.futures.ThreadPoolExecutor(1) as thread:
        serving = thread.submit(serve)
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        serving.result(20)


def test_streams_over_tls_are_whole_and_their_times_those_of_the_reading(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "certificate.pem"))
    # A prompt that no socket's buffer takes at once.
    requests = [Request([7] * 400_000, TOKENS)] + [Request([5] * 16, TOKENS)] * 2
    with secure_server(certificate, answers=3) as url:
        records = run(Target(url, "m", timeout=20), requests, concurrency=1)
    assert [record.error for record in records] == [""] * 3
    assert all(len(record.chunks) == TOKENS for record in records)
    assert not any(record.stamped for record in records)
    assert all(min(record.delays) >= 0 for record in records)


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate):
    with secure_server(certificate, answers=0) as url:
        (record,) = run(Target(url, "m", timeout=20), [Request([5] * 16, TOKENS)])
    assert record.error.startswith("cannot connect: [SSL: CERTIFICATE_VERIFY_FAILED]")
