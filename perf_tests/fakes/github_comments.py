"""GitHub's REST API of a pull request's comments, after its documentation: list by pages, create, update.

It is reached through ``HTTP_PROXY`` by the host ``github.localhost``, which the command line ``gh`` speaks plain HTTP with.
"""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

HOST, BOT, TOKEN = "github.localhost", "github-actions[bot]", "a-token"
PAGE, LARGEST_PAGE = 30, 100


class Comments:
    """The comments of one pull request. Methods that are ``failing`` get an error of the server, and ``cut`` ones no answer."""

    def __init__(self, repository: str, number: int) -> None:
        self.repository, self.number = repository, number
        self.comments: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.failing: set[str] = set()
        self.cut: set[str] = set()

    def add(self, login: str, body: str) -> int:
        """Write a comment; returns its id."""
        found = len(self.comments) + 1001
        self.comments.append({"id": found, "user": {"login": login}, "body": body})
        return found

    def bodies(self) -> dict[int, str]:
        """The comments by their ids."""
        return {one["id"]: one["body"] for one in self.comments}

    def answer(self, method: str, address: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Status, what is answered, and headers."""
        found = urlsplit(address)
        issue = f"/repos/{self.repository}/issues/{self.number}/comments"
        if method in self.failing:
            return 502, {"message": "Server Error"}, {}
        if method == "GET" and found.path == issue:
            asked = {name: int(values[0]) for name, values in parse_qs(found.query).items()}
            size, page = min(asked.get("per_page", PAGE), LARGEST_PAGE), asked.get("page", 1)
            more = f"<http://api.{HOST}{issue}?per_page={size}&page={page + 1}>"
            links = {"Link": f'{more}; rel="next"'} if page * size < len(self.comments) else {}
            return 200, self.comments[(page - 1) * size : page * size], links
        if method == "POST" and found.path == issue:
            self.add(BOT, json.loads(body)["body"])
            return 201, self.comments[-1], {}
        own = re.fullmatch(rf"/repos/{re.escape(self.repository)}/issues/comments/(\d+)", found.path)
        for comment in self.comments:
            if method == "PATCH" and own and comment["id"] == int(own[1]):
                comment["body"] = json.loads(body)["body"]
                return 200, comment, {}
        return 404, {"message": "Not Found"}, {}


@contextlib.contextmanager
def served(comments: Comments) -> Iterator[str]:
    """Serve the comments; yields the address that is to be the proxy."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command in comments.cut:
                self.close_connection = True
                return
            if urlsplit(self.path).netloc != f"api.{HOST}":
                status, said, headers = 502, {"message": f"no way to {self.path}"}, {}
            elif self.headers.get("Authorization") != f"token {TOKEN}":
                status, said, headers = 401, {"message": "Bad credentials"}, {}
            else:
                comments.requests.append(f"{self.command} {self.path}")
                status, said, headers = comments.answer(self.command, self.path, body)
            text = json.dumps(said).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(text)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = _answer

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
