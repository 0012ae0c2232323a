"""An S3 server for tests, and what they put there."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class S3:
    """A running server. `options` are the storage_options to reach it."""

    endpoint_url: str

    @property
    def options(self) -> dict[str, Any]:
        return {"endpoint_url": self.endpoint_url}

    def make_bucket(self, name: str) -> str:
        import s3fs

        s3fs.S3FileSystem(**self.options).call_s3("create_bucket", Bucket=name)
        return f"s3://{name}"

    def put(self, uri: str, data: bytes) -> None:
        import s3fs

        bucket, _, key = uri.removeprefix("s3://").partition("/")
        s3fs.S3FileSystem(**self.options).call_s3("put_object", Bucket=bucket, Key=key, Body=data)


@contextmanager
def s3_server(latency_s: float = 0.0) -> Iterator[str]:
    """Start a server; yield its address."""
    command = [sys.executable, "-m", "tests.support.s3_server", str(latency_s)]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()
