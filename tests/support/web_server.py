"""Web servers on loopback ports, each of which misbehaves in the way that a path asks for."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Web:
    """A server. `files` are what it serves well, by path; the methods below tell the paths at which it does not."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.files: dict[str, bytes] = {}
        self.n_requests: Counter[str] = Counter()
        self.most_at_once = 0
        self.agents: set[str] = set()
        self._at_once = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer((address, port), type("Handler", (Handler,), {"web": self}))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.origin = f"http://{address}:{self.port}"

    def url(self, path: str) -> str:
        return f"{self.origin}/{path}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._server.shutdown()
            self._server.server_close()

    @contextmanager
    def answering(self, path: str) -> Iterator[int]:
        """Count a request; its number among those for this path."""
        with self._lock:
            self.n_requests[path] += 1
            number = self.n_requests[path]
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield number
        finally:
            with self._lock:
                self._at_once -= 1

    def wait(self, seconds: float) -> bool:
        """Whether the server is to go on."""
        return not self._ended.wait(seconds)


class Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = (
            unquote(parts.path.lstrip("/")),
            {name: values[0] for name, values in parse_qs(parts.query).items()},
        )
        self.web.agents.add(self.headers["User-Agent"])
        with self.web.answering(path) as number:
            if path in self.web.files:
                time.sleep(float(query.get("after_s", 0)))
                self.answer(200, self.web.files[path], {"X-Robots-Tag": query["robots"]} if "robots" in query else {})
            else:
                getattr(self, f"do_{path.partition('/')[0]}", self.do_missing)(query, number)

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_missing(self, query: dict[str, str], number: int) -> None:
        self.answer(404)

    def do_status(self, query: dict[str, str], number: int) -> None:
        """Answer `status`, with `retry_after`, until the request number `times`; then with a file."""
        if number > int(query.get("times", 1_000_000)):
            self.answer(200, b"at last")
        else:
            told = {"Retry-After": query["retry_after"]} if "retry_after" in query else {}
            self.answer(int(query["status"]), headers=told)

    def do_redirect(self, query: dict[str, str], number: int) -> None:
        self.answer(302, headers={"Location": query["to"]})

    def do_loop(self, query: dict[str, str], number: int) -> None:
        self.answer(302, headers={"Location": self.path})

    def do_html(self, query: dict[str, str], number: int) -> None:
        self.answer(200, b"<!doctype html><html>", {"Content-Type": "text/html"})

    def do_short(self, query: dict[str, str], number: int) -> None:
        """Half of a body, then the end."""
        self.answer(200, b"half", {"Content-Length": "8"})
        self.close_connection = True

    def do_claims(self, query: dict[str, str], number: int) -> None:
        """Claim a body of `length` bytes."""
        self.answer(200, b"", {"Content-Length": query["length"]})
        self.close_connection = True

    def do_large(self, query: dict[str, str], number: int) -> None:
        """300 MB without a length."""
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(300):
                self.wfile.write(bytes(1_000_000))
        except OSError:
            pass
        self.close_connection = True

    def do_silent(self, query: dict[str, str], number: int) -> None:
        self.web.wait(600)
        self.close_connection = True

    def do_endless(self, query: dict[str, str], number: int) -> None:
        """A byte now and then."""
        self.answer(200, b"", {"Content-Length": "1000000"})
        try:
            while self.web.wait(0.5):
                self.wfile.write(b"x")
        except OSError:
            pass
        self.close_connection = True


@contextmanager
def web_server(address: str = "127.0.0.1", port: int = 0) -> Iterator[Web]:
    web = Web(address, port)
    web.start()
    try:
        yield web
    finally:
        web.stop()
