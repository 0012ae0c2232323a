"""Google Cloud Storage, by its JSON API. An object's etag is its generation, which is new whenever its bytes are."""

import errno
import io
import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from aiohttp import ClientTimeout
from fsspec.asyn import sync
from gcsfs.core import GCSFileSystem
from google.auth.exceptions import GoogleAuthError, TransportError
from yarl import URL

from autolabel.errors import BadInput, StorageError
from autolabel.storage import buckets
from autolabel.storage.base import Listed, ObjectChanged, Result
from autolabel.storage.buckets import (
    ABSENT,
    ANSWER_S,
    CONNECT_S,
    SLOWEST_DOWN_BYTES_PER_S,
    SLOWEST_UP_BYTES_PER_S,
    BucketStorage,
    Page,
    Upload,
    content_type_of,
    within,
)

LONGEST_NAME = 1024
PASSING_STATUSES = {408, 429}
PERMANENT_5XX = {501, 505}
RATE_LIMITS = {"rateLimitExceeded", "userRateLimitExceeded"}  # which may come as 403
ACCOUNT_ERRORS = {"accountDisabled", "accessNotConfigured", "UserProjectAccountProblem", "userProjectMissing"}
LISTED = "items(name,size,generation,updated)"
RESUME_INCOMPLETE = 308


class GcsError(OSError):
    """An answer that is a refusal."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(errno.EIO, f"{status} {reason}: {message}".strip(": "))
        self.status, self.reason, self.message = status, reason, message


class GCSStorage(BucketStorage):
    """Uses gcsfs for connections, credentials and `storage_options`, and makes the requests itself.

    gcsfs would ask again for minutes by itself, knows of no condition but that of creating, and raises errors that do
    not tell what may pass: an OSError for 403, a ValueError for any message with the word "invalid".
    """

    transient = (*BucketStorage.transient, GoogleAuthError)

    def _driver(self, options: dict[str, Any]) -> Any:
        try:
            return GCSFileSystem(**{"use_listings_cache": False, **options})
        except (OSError, GoogleAuthError) as error:
            raise BadInput(f"{self.scheme}://: no credentials of Google Cloud: {error}") from error

    def _page(self, bucket: str, prefix: str, token: str | None) -> Page:
        wanted = {"prefix": prefix, "pageToken": token, "maxResults": str(buckets.PAGE_ITEMS)}
        page = self._json("GET", self._objects(bucket), {**wanted, "fields": f"{LISTED},nextPageToken"})
        return [self._listed_as(bucket, item) for item in page.get("items", ())], page.get("nextPageToken")

    def _head(self, bucket: str, key: str) -> Listed:
        return self._listed_as(bucket, self._json("GET", self._object(bucket, key), {}))

    def _get(self, bucket: str, key: str, *, etag: str | None, span: tuple[int, int] | None = None) -> bytes:
        wanted = {"alt": "media", "ifGenerationMatch": etag}
        headers = {} if span is None else {"Range": f"bytes={span[0]}-{sum(span) - 1}"}
        _, told, data = self._ask_once("GET", self._object(bucket, key), wanted, headers=headers)
        if span is not None and len(data) != span[1]:
            raise OSError(errno.EIO, f"{len(data)} bytes came of {span[1]}")
        if etag is not None and (current := told.get("x-goog-generation")) != etag:  # of emulators, some do not look
            raise ObjectChanged(f"generation {current}, listed with {etag}")
        return data

    def _put(self, bucket: str, key: str, data: bytes, *, expected: str | None = None) -> None:
        condition = "0" if expected == ABSENT else expected
        boundary = uuid4().hex
        about = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{json.dumps({'name': key})}\r\n"
        about += f"--{boundary}\r\nContent-Type: {content_type_of(key)}\r\n\r\n"
        body = b"".join((about.encode(), data, f"\r\n--{boundary}--\r\n".encode()))
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        wanted = {"uploadType": "multipart", "ifGenerationMatch": condition}
        self._ask_once("POST", self._uploads(bucket), wanted, headers=headers, body=body)

    def _remove(self, bucket: str, key: str) -> None:
        self._ask_once("DELETE", self._object(bucket, key), {})

    def _upload(self, uri: str) -> Upload:
        return GCSUpload(self, uri)

    def _objects(self, bucket: str) -> str:
        return f"{self.fs.base}b/{quote(bucket, safe='')}/o"

    def _object(self, bucket: str, key: str) -> str:
        return f"{self._objects(bucket)}/{quote(key, safe='')}"

    def _uploads(self, bucket: str) -> str:
        return self._objects(bucket).replace("/storage/v1/", "/upload/storage/v1/", 1)

    def _listed_as(self, bucket: str, item: dict[str, Any]) -> Listed:
        modified_at = datetime.fromisoformat(item["updated"]).timestamp()
        return Listed(self._uri(bucket, item["name"]), int(item["size"]), item["generation"], modified_at)

    def _json(self, method: str, url: str, wanted: dict[str, str | None]) -> dict[str, Any]:
        _, _, data = self._ask_once(method, url, wanted)
        try:
            document: dict[str, Any] = json.loads(data)
        except ValueError as error:
            raise OSError(errno.EIO, f"an answer that is no JSON: {data[:40]!r}") from error
        return document

    def _ask_once(
        self,
        method: str,
        url: str,
        wanted: dict[str, str | None],
        *,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Make a request; its status, headers in small letters, and body."""
        answer_s = self.options.get("requests_timeout") or ANSWER_S
        timeout = ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=answer_s)

        async def ask() -> tuple[int, dict[str, str], bytes]:
            await self.fs._set_session()
            began = self.fs.session.request(
                method,
                URL(url, encoded=True),
                params=self.fs._get_params(wanted),
                headers=self.fs._get_headers(headers or {}),
                data=None if body is None else io.BytesIO(body),  # sent piece by piece
                timeout=timeout,
                allow_redirects=False,
            )
            answer = await within(CONNECT_S + answer_s + len(body or b"") / SLOWEST_UP_BYTES_PER_S, began)
            async with answer:
                length = answer.content_length or 0
                data = await within(answer_s + length / SLOWEST_DOWN_BYTES_PER_S, answer.read())
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, data

        status, told, data = sync(self.fs.loop, ask)
        if status >= 300 and status != RESUME_INCOMPLETE:
            raise refusal(status, data)
        return status, told, data

    def _answer(self, uri: str, request: Callable[[], Result]) -> Result:
        try:
            return super()._answer(uri, request)
        except TransportError:
            raise
        except GoogleAuthError as error:
            raise StorageError(f"{uri}: no credentials of Google Cloud: {error}") from error
        except GcsError as error:
            _, key = self._split(uri)
            no_bucket = error.status == 404 and "bucket does not exist" in error.message
            no_account = error.status == 401 and "Invalid Credentials" not in error.message  # a renewed token ends that
            if no_bucket or no_account or error.reason in ACCOUNT_ERRORS:
                raise StorageError(f"{uri}: {error}") from error
            if error.status in (404, 410) or (error.status == 400 and len(key.encode()) > LONGEST_NAME):
                raise FileNotFoundError(f"{uri}: {error}") from error
            if error.status == 412:
                raise ObjectChanged("its generation is no longer the listed one") from error
            if error.status == 401 or error.reason in RATE_LIMITS:
                raise
            if error.status == 403:
                raise PermissionError(f"{uri}: {error}") from error
            if (error.status < 500 and error.status not in PASSING_STATUSES) or error.status in PERMANENT_5XX:
                raise StorageError(f"{uri}: {error}") from error
            raise


class GCSUpload:
    """A resumable upload: a session that takes bytes in order, and may be told again of those that it has."""

    def __init__(self, storage: GCSStorage, uri: str) -> None:
        self._storage, self._uri = storage, uri
        bucket, key = storage._split(uri)
        begun = partial(
            storage._ask_once,
            "POST",
            storage._uploads(bucket),
            {"uploadType": "resumable", "name": key},
            headers={"X-Upload-Content-Type": content_type_of(key), "Content-Type": "application/json"},
            body=b"{}",
        )
        _, told, _ = storage._ask(uri, begun)
        self._session = told["location"]
        self._n_sent = 0

    def send(self, block: bytes) -> None:
        self._put(block, "*")

    def finish(self, last: bytes) -> None:
        self._put(last, str(self._n_sent + len(last)))

    def abort(self) -> None:
        self._storage._ask_once("DELETE", self._session, {})

    def _put(self, data: bytes, total: str) -> None:
        """Send bytes until the session has them all; one that was interrupted says how many it has."""
        end, interrupted = self._n_sent + len(data), False

        def send() -> None:
            nonlocal interrupted
            while self._n_sent < end:
                place = "*" if interrupted else f"{self._n_sent}-{end - 1}"
                body = b"" if interrupted else data[self._n_sent - end :]
                headers = {"Content-Range": f"bytes {place}/{total}"}
                interrupted = True
                status, told, _ = self._storage._ask_once("PUT", self._session, {}, headers=headers, body=body)
                interrupted = False
                if status == RESUME_INCOMPLETE:
                    self._n_sent = int(told["range"].rpartition("-")[2]) + 1 if "range" in told else 0
                else:
                    self._n_sent = end

        self._storage._ask(self._uri, send)


def refusal(status: int, body: bytes) -> GcsError:
    """Return what an answer says of itself: JSON, or text where the bytes of an object were asked for."""
    try:
        error = json.loads(body)["error"]
        reasons = error.get("errors") or [{}]
        return GcsError(status, str(reasons[0].get("reason", "")), str(error.get("message", "")))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return GcsError(status, "", body[:200].decode(errors="replace").strip())
