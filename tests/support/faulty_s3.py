"""Faults of a server, injected while it runs and counted as they fire: S3, or an emulator behind emulators.py.

A request's fate hangs on the seed, the request and how often it was asked before, not on what else is under way; so a
run repeats although its threads do not.
"""

import json
import os
import random
import re
import socket
import struct
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
Refusal = tuple[str, dict[str, str], bytes]  # status line, headers, body

CONTROL = "/_faults"  # no bucket may have this name

# S3's answers in place of the server's own: (status, code, message).
ANSWERS = {
    "slow_down": ("503 Service Unavailable", "SlowDown", "Please reduce your request rate."),
    "internal": ("500 Internal Server Error", "InternalError", "We encountered an internal error."),
    "request_timeout": ("400 Bad Request", "RequestTimeout", "Your socket connection was not read from in time."),
    "conflict": ("409 Conflict", "ConditionalRequestConflict", "A conflicting operation was in progress."),
    "forbidden": ("403 Forbidden", "AccessDenied", "Access Denied"),
    "expired": ("400 Bad Request", "ExpiredToken", "The provided token has expired."),
    "wrong": ("400 Bad Request", "InvalidRequest", "Missing required header for this request."),
    "no_bucket": ("404 Not Found", "NoSuchBucket", "The specified bucket does not exist"),
    "no_key": ("404 Not Found", "NoSuchKey", "The specified key does not exist."),
    "no_conditions": ("501 Not Implemented", "NotImplemented", "A header implies functionality not implemented."),
}
ETAGS = {"etag", "x-goog-generation"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of requests that fit: of `methods` (a regular expression), to a path and query with `path` in it.

    One of ANSWERS; `reset` (of the connection, before anything is done), `reset_after` and `slow_down_after` (it is
    done, but the answer is lost), `stall` (nothing comes for `stall_s`), `short_body` (half of the body, then the end),
    `garbled` (a body that is no XML), `other_etag` (the object is another one, and If-Match is ignored),
    `unconditional` (If-None-Match is ignored).
    """

    kind: str
    rate: float = 1.0
    methods: str = ".*"
    path: str = ""
    times: int | None = None  # how often at most
    for_s: float | None = None  # how long, from now
    stall_s: float = 60.0
    seed: int = 0


class Faults:
    """The server's side: a layer around the application. `refusals` are its answers by kind of fault."""

    def __init__(self, application: Application, refusals: Mapping[str, Refusal]) -> None:
        self._application = application
        self._refusals = refusals
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, float]] = []
        self._asked: Counter[tuple[str, ...]] = Counter()
        self._fired: Counter[str] = Counter()
        self._n_requests = 0
        self._cleared = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == CONTROL:
            return self._control(environ, start_response)
        conditional = "HTTP_IF_NONE_MATCH" in environ
        fault = self.fate(environ["REQUEST_METHOD"], environ["RAW_URI"], conditional=conditional)
        if fault is None:
            return self._application(environ, start_response)
        if fault.kind in self._refusals:
            return refuse(environ, start_response, self._refusals[fault.kind])
        if fault.kind == "stall":
            self.stall(fault)
            reset(environ)
        if fault.kind == "reset":
            reset(environ)
        if fault.kind == "other_etag" and "HTTP_X_MS_VERSION" not in environ:  # Azure's conditions are signed
            environ.pop("HTTP_IF_MATCH", None)
            environ["RAW_URI"] = environ["RAW_URI"].replace("ifGenerationMatch=", "ignored=")
        if fault.kind == "unconditional":
            environ.pop("HTTP_IF_NONE_MATCH", None)
            environ["RAW_URI"] = environ["RAW_URI"].replace("ifGenerationMatch=", "ignored=")
        status, headers, body = collected(self._application, environ)
        if fault.kind == "reset_after":
            reset(environ)
        if fault.kind == "slow_down_after":
            return refuse(environ, start_response, self._refusals["slow_down"])
        if fault.kind == "other_etag":
            headers = [(name, '"of another object"' if name.lower() in ETAGS else value) for name, value in headers]
        if fault.kind == "garbled":
            body = b"<html>" + body[6:]
        if fault.kind == "short_body":
            body = body[: len(body) // 2]
        start_response(status, headers)
        return [body]

    def fate(self, method: str, path: str, *, conditional: bool, only: str | None = None) -> Fault | None:
        """Return what is to happen to this request, counted as having happened; `only` asks for one kind."""
        with self._lock:
            self._n_requests += only is None
            for number, (fault, until) in enumerate(self._faults):
                if only not in (None, fault.kind) or time.monotonic() > until:
                    continue
                if not re.fullmatch(fault.methods, method) or fault.path not in path:
                    continue
                if (fault.kind == "short_body" and method != "GET") or (fault.kind == "conflict" and not conditional):
                    continue
                if fault.times is not None and self._asked[str(number), "fired"] >= fault.times:
                    continue
                request = (str(number), method, path)
                self._asked[request] += 1
                if random.Random(f"{fault.seed} {request} {self._asked[request]}").random() < fault.rate:
                    self._asked[str(number), "fired"] += 1
                    self._fired[fault.kind] += 1
                    return fault
        return None

    def stall(self, fault: Fault) -> None:
        self._cleared.wait(fault.stall_s)

    def _control(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        data = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with self._lock:
            if environ["REQUEST_METHOD"] == "DELETE":
                self._cleared.set()
                self._faults, self._cleared = [], threading.Event()
                self._asked.clear()
                self._fired.clear()
                self._n_requests = 0
            elif environ["REQUEST_METHOD"] == "POST":
                fault = Fault(**json.loads(data))
                self._faults.append((fault, time.monotonic() + (fault.for_s or float("inf"))))
            report = json.dumps({"fired": self._fired, "requests": self._n_requests}).encode()
        start_response("200 OK", [("Content-Length", str(len(report)))])
        return [report]


def s3_refusals() -> dict[str, Refusal]:
    def xml(status: str, code: str, message: str) -> Refusal:
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
        return status, {"Content-Type": "application/xml"}, body

    return {kind: xml(*answer) for kind, answer in ANSWERS.items()}


def refuse(environ: dict[str, Any], start_response: Any, refusal: Refusal) -> Iterable[bytes]:
    status, headers, body = refusal
    start_response(status, [*headers.items(), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def reset(environ: dict[str, Any]) -> None:
    """End the connection with a TCP reset."""
    connection: socket.socket = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())
    raise ConnectionResetError


def collected(application: Application, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return the whole answer."""
    began: list[Any] = []
    body = b"".join(application(environ, lambda *answer: began.extend(answer)))
    return began[0], began[1], body


class FaultyS3:
    """A test's side: says over HTTP what is to fail, and asks what did."""

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        """Make requests fail while the block runs, by the first fault that fits and comes up. Each kind must fire."""
        self.clear()
        for fault in faults:
            self.inject(fault)
        try:
            yield
            unfired = {fault.kind for fault in faults} - set(self.fired())
            assert not unfired, f"never fired: {unfired}"
        finally:
            self.clear()

    def inject(self, fault: Fault) -> None:
        self._ask("POST", json.dumps(asdict(fault)).encode())

    def clear(self) -> None:
        self._ask("DELETE")

    def fired(self) -> dict[str, int]:
        """Return how many faults of each kind there were since the last `clear`."""
        fired: dict[str, int] = self._ask("GET")["fired"]
        return fired

    def n_requests(self) -> int:
        return int(self._ask("GET")["requests"])

    def _ask(self, method: str, data: bytes | None = None) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.endpoint_url}{CONTROL}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            report: dict[str, Any] = json.load(answer)
        return report
