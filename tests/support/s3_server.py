"""An S3 server in a process of its own: moto's application behind werkzeug's threaded server, on a loopback port.

`python -m tests.support.s3_server [latency in seconds]` prints its address and serves until it is ended;
faulty_s3.py makes it fail.
"""

import sys
import time
from collections.abc import Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.support.faulty_s3 import Application, Faults, s3_refusals


class QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # for `Expect: 100-continue`

    def log_request(self, *args: Any) -> None:
        pass

    def handle_expect_100(self) -> bool:
        """Stall before the body is asked for, as an S3 that stalls does: the client holds it back until then."""
        conditional = "If-None-Match" in self.headers
        fault = faults.fate(self.command, self.path, conditional=conditional, only="stall")
        if fault is None:
            return super().handle_expect_100()
        faults.stall(fault)
        self.close_connection = True
        return False


def delayed(application: Application, latency_s: float) -> Application:
    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        time.sleep(latency_s)
        return application(environ, start_response)

    return answer


if __name__ == "__main__":
    latency_s = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    faults = Faults(delayed(DomainDispatcherApplication(create_backend_app), latency_s), s3_refusals())
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=QuietHandler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
