"""An S3 server in a process of its own: moto's application behind werkzeug's threaded server, on a loopback port.

`python tests/s3_server.py [latency in seconds]` prints its address and serves until it is ended.
"""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # keep connections, as S3 does

    def log_request(self, *args: Any) -> None:
        pass


def delayed(application: Application, latency_s: float) -> Application:
    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        time.sleep(latency_s)
        return application(environ, start_response)

    return answer


if __name__ == "__main__":
    latency_s = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    application = delayed(DomainDispatcherApplication(create_backend_app), latency_s)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=QuietHandler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
