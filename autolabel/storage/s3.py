"""S3 and what speaks its protocol."""

import errno
from collections.abc import Callable
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError
from fsspec.asyn import sync, sync_wrapper
from s3fs import S3FileSystem

from autolabel.errors import BadInput, StorageError
from autolabel.storage import buckets
from autolabel.storage.base import PERMANENT, Listed, ObjectChanged, Result
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

# Errors of the account or the bucket: no other object would fare better, so they end the job and reject no image.
ACCOUNT_ERRORS = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "NoSuchBucket",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
# Of a request that would be wrong again, all but these: S3 answers 400 to some that another try gets right.
PASSING_ERRORS = {
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "XAmzContentSHA256Mismatch",
}
PASSING_STATUSES = {408, 409, 425, 429}  # 409: a conditional PUT met another one of the same name
PERMANENT_5XX = {501, 505}

CONNECTIONS = 32  # more than the threads of an actor, so that those which stall do not hold up the others


class BoundedS3(S3FileSystem):  # type: ignore[misc]
    """s3fs, with one attempt at each request, and a bound on its time.

    aiohttp's own timeouts leave gaps: a server that never asks for the body of a PUT (`Expect: 100-continue`), or never
    reads it, is waited for without end.
    """

    retries = 1  # attempts: base.retrying makes more

    async def _call_s3(self, method: str, *arguments: Any, **request: Any) -> Any:
        config = self._prepare_config_kwargs()
        bound_s = config["connect_timeout"] + config["read_timeout"]
        bound_s += len(request.get("Body", b"")) / SLOWEST_UP_BYTES_PER_S
        return await within(bound_s, super()._call_s3(method, *arguments, **request))

    call_s3 = sync_wrapper(_call_s3)


class S3Storage(BucketStorage):
    """Uses s3fs for connections, credentials and `storage_options`."""

    transient = (*BucketStorage.transient, BotoCoreError)

    def _driver(self, options: dict[str, Any]) -> Any:
        timeouts_s = {"connect_timeout": CONNECT_S, "read_timeout": ANSWER_S}
        client = {"retries": {"total_max_attempts": 1}, "max_pool_connections": CONNECTIONS, **timeouts_s}
        client |= options.get("config_kwargs", {})
        return BoundedS3(**{"use_listings_cache": False, **options, "config_kwargs": client})

    def _page(self, bucket: str, prefix: str, token: str | None) -> Page:
        after = {"ContinuationToken": token} if token else {}
        page = self.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=buckets.PAGE_ITEMS, **after)
        items = [listed(self._uri(bucket, item["Key"]), item["Size"], item) for item in page.get("Contents", ())]
        return items, page["NextContinuationToken"] if page.get("IsTruncated") else None

    def _head(self, bucket: str, key: str) -> Listed:
        head = self.fs.call_s3("head_object", Bucket=bucket, Key=key)
        return listed(self._uri(bucket, key), head["ContentLength"], head)

    def _get(self, bucket: str, key: str, *, etag: str | None, span: tuple[int, int] | None = None) -> bytes:
        condition = {} if etag is None else {"IfMatch": f'"{etag}"'}
        if span is not None:
            condition["Range"] = f"bytes={span[0]}-{sum(span) - 1}"

        async def get() -> bytes:
            response = await self.fs._call_s3("get_object", Bucket=bucket, Key=key, **condition)
            n_bytes = response["ContentLength"]
            async with response["Body"] as body:
                data: bytes = await within(ANSWER_S + n_bytes / SLOWEST_DOWN_BYTES_PER_S, body.read())
            if len(data) != n_bytes or (span is not None and n_bytes != span[1]):
                raise OSError(errno.EIO, f"{len(data)} bytes came of {n_bytes if span is None else span[1]}")
            if etag is not None and (current := response["ETag"].strip('"')) != etag:  # not every server knows If-Match
                raise ObjectChanged(f"etag {current}, listed with {etag}")
            return data

        data: bytes = sync(self.fs.loop, get)
        return data

    def _put(self, bucket: str, key: str, data: bytes, *, expected: str | None = None) -> None:
        condition = {} if expected is None else {"IfMatch": f'"{expected}"'}
        if expected == ABSENT:
            condition = {"IfNoneMatch": "*"}
        told = {"Body": data, "ContentType": content_type_of(key)}
        self.fs.call_s3("put_object", Bucket=bucket, Key=key, **told, **condition)

    def _remove(self, bucket: str, key: str) -> None:
        self.fs.call_s3("delete_object", Bucket=bucket, Key=key)

    def _upload(self, uri: str) -> Upload:
        return S3Upload(self, uri)

    def _answer(self, uri: str, request: Callable[[], Result]) -> Result:
        try:
            return super()._answer(uri, request)
        except NoCredentialsError as error:
            raise StorageError(f"{uri}: no AWS credentials found in the environment") from error
        except ParamValidationError as error:
            raise BadInput(f"{uri}: not a bucket and a key: {error}") from error
        except OSError as error:
            status, code = answer_of(error)
            if code in ACCOUNT_ERRORS:
                raise StorageError(f"{uri}: {code}: {error}") from error
            if isinstance(error, PermissionError):
                raise PermissionError(f"{uri}: {code}: {error}") from error
            if code == "KeyTooLongError":
                raise FileNotFoundError(f"{uri}: {error}") from error
            if isinstance(error, PERMANENT):
                raise
            if code in ("PreconditionFailed", "412"):
                raise ObjectChanged("its etag is no longer the listed one") from error
            refused = 300 <= status < 500 and status not in PASSING_STATUSES and code not in PASSING_ERRORS
            if refused or status in PERMANENT_5XX:
                raise StorageError(f"{uri}: {code}: {error}") from error
            raise


class S3Upload:
    """A multipart upload."""

    def __init__(self, storage: S3Storage, uri: str) -> None:
        self._storage, self._uri = storage, uri
        self._bucket, self._key = storage._split(uri)
        self._parts: list[dict[str, Any]] = []
        self._id: dict[str, str] = {}
        self._id["UploadId"] = self._ask("create_multipart_upload", ContentType=content_type_of(self._key))["UploadId"]

    def send(self, block: bytes) -> None:
        number = len(self._parts) + 1
        etag = self._ask("upload_part", PartNumber=number, Body=block)["ETag"]
        self._parts.append({"PartNumber": number, "ETag": etag})

    def finish(self, last: bytes) -> None:
        self.send(last)
        self._ask("complete_multipart_upload", MultipartUpload={"Parts": self._parts})

    def abort(self) -> None:
        self._ask("abort_multipart_upload")

    def _ask(self, method: str, **request: Any) -> dict[str, Any]:
        call = partial(self._storage.fs.call_s3, method, Bucket=self._bucket, Key=self._key, **self._id, **request)
        answer: dict[str, Any] = self._storage._ask(self._uri, call)
        return answer


def answer_of(error: OSError) -> tuple[int, str | None]:
    """Return the HTTP status and S3 error code behind the exception that s3fs made of them; 0 where none came."""
    cause = error.__cause__
    if not isinstance(cause, ClientError):
        return 0, None
    return cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), cause.response["Error"].get("Code")


def listed(uri: str, size_bytes: int, entry: dict[str, Any]) -> Listed:
    return Listed(uri, size_bytes, entry["ETag"].strip('"'), entry["LastModified"].timestamp())
