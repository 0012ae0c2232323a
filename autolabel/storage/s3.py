"""S3 and what speaks its protocol: paged listings, reads that check the etag, create-once by a conditional PUT."""

import asyncio
import errno
import mimetypes
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError
from fsspec.asyn import sync, sync_wrapper
from s3fs import S3FileSystem

from autolabel.errors import BadInput, StorageError
from autolabel.storage.base import PERMANENT, Listed, ObjectChanged, Result
from autolabel.storage.remote import RemoteStorage

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

# What a client waits for, unless storage_options.config_kwargs says otherwise.
TIMEOUTS_S = {"connect_timeout": 5.0, "read_timeout": 15.0}
SLOWEST_BYTES_PER_S = 100_000  # of an upload
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
        bound_s += len(request.get("Body", b"")) / SLOWEST_BYTES_PER_S
        try:
            return await asyncio.wait_for(super()._call_s3(method, *arguments, **request), bound_s)
        except TimeoutError as error:  # fsspec would make an error without a message of it
            raise OSError(errno.EIO, f"no answer for {bound_s:.0f} s") from error

    call_s3 = sync_wrapper(_call_s3)


class S3Storage(RemoteStorage):
    """Uses s3fs for connections, credentials and `storage_options`; reads in one request where s3fs takes two."""

    transient = (*RemoteStorage.transient, BotoCoreError)

    def _driver(self, options: dict[str, Any]) -> Any:
        client = {"retries": {"total_max_attempts": 1}, "max_pool_connections": CONNECTIONS, **TIMEOUTS_S}
        client |= options.get("config_kwargs", {})
        return BoundedS3(**{"use_listings_cache": False, **options, "config_kwargs": client})

    def list(self, uri: str) -> Iterator[Listed]:
        bucket, key = self._split(uri)
        return self._pages(bucket, f"{key.rstrip('/')}/" if key.strip("/") else "")

    def list_prefix(self, uri: str) -> Iterator[Listed]:
        return self._pages(*self._split(uri))

    def stat(self, uri: str) -> Listed:
        bucket, key = self._split(uri)
        head = self._ask(uri, lambda: self.fs.call_s3("head_object", Bucket=bucket, Key=key))
        return listed(uri, head["ContentLength"], head)

    def read(self, uri: str, *, etag: str | None = None) -> bytes:
        bucket, key = self._split(uri)
        condition = {} if etag is None else {"IfMatch": f'"{etag}"'}

        async def get() -> bytes:
            response = await self.fs._call_s3("get_object", Bucket=bucket, Key=key, **condition)
            async with response["Body"] as body:
                data: bytes = await body.read()
            if len(data) != response["ContentLength"]:
                raise OSError(errno.EIO, f"{len(data)} bytes came of {response['ContentLength']}")
            if etag is not None and (current := response["ETag"].strip('"')) != etag:  # not every server knows If-Match
                raise ObjectChanged(f"etag {current}, listed with {etag}")
            return data

        def read() -> bytes:
            data: bytes = sync(self.fs.loop, get)
            return data

        return self._ask(uri, read)

    def replace_if(self, uri: str, data: bytes, etag: str | None) -> bool:
        bucket, key = self._split(uri)
        condition = {} if etag is None else {"IfMatch": f'"{etag}"'}
        put = partial(self.fs.call_s3, "put_object", Bucket=bucket, Key=key, Body=data, **condition)
        try:
            self._ask(uri, put)
        except (FileExistsError, ObjectChanged):  # 412; or the answer to an earlier attempt of this call was lost
            return self._holds(uri, data)
        return True

    def _attributes_of(self, uri: str) -> dict[str, str]:
        """Return the type, by which a browser shows a page that it would save otherwise."""
        content_type, _ = mimetypes.guess_type(uri)
        return {"ContentType": content_type} if content_type else {}

    def _writer(self, uri: str) -> Any:
        """Return a writer whose parts are sent again one by one: what was written cannot be written again."""
        file = super()._writer(uri)
        send_once = file._call_s3
        file._call_s3 = lambda *arguments, **request: self._ask(uri, partial(send_once, *arguments, **request))
        return file

    def _pages(self, bucket: str, prefix: str) -> Iterator[Listed]:
        token: dict[str, str] = {}
        while True:
            request = {"Bucket": bucket, "Prefix": prefix, **token}
            ask = partial(self.fs.call_s3, "list_objects_v2", **request)
            page: dict[str, Any] = self._ask(f"{self.scheme}://{bucket}/{prefix}", ask)
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):  # the marker of an empty folder
                    yield listed(f"{self.scheme}://{bucket}/{item['Key']}", item["Size"], item)
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _path(self, uri: str) -> str:
        return uri.partition("://")[2]  # a key is taken as it is; s3fs would strip and normalise

    def _split(self, uri: str) -> tuple[str, str]:
        bucket, _, key = self._path(uri).partition("/")
        return bucket, key

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


def answer_of(error: OSError) -> tuple[int, str | None]:
    """Return the HTTP status and S3 error code behind the exception that s3fs made of them; 0 where none came."""
    cause = error.__cause__
    if not isinstance(cause, ClientError):
        return 0, None
    return cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), cause.response["Error"].get("Code")


def listed(uri: str, size_bytes: int, entry: dict[str, Any]) -> Listed:
    return Listed(uri, size_bytes, entry["ETag"].strip('"'), entry["LastModified"].timestamp())
