"""S3 and what speaks its protocol: paged listings, reads that check the etag, create-once by a conditional PUT."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError
from fsspec.asyn import sync

from autolabel.errors import BadInput, StorageError
from autolabel.storage.base import Listed, ObjectChanged, Result
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


class S3Storage(RemoteStorage):
    """Uses s3fs for connections, credentials and `storage_options`; reads in one request where s3fs takes two."""

    transient = (*RemoteStorage.transient, BotoCoreError)

    def __init__(self, scheme: str, options: dict[str, Any]) -> None:
        # Attempts are counted in one place, which is base.retrying.
        client = {"retries": {"total_max_attempts": 1}, **options.get("config_kwargs", {})}
        super().__init__(scheme, {"use_listings_cache": False, **options, "config_kwargs": client})
        self.fs.retries = 1

    def list(self, uri: str) -> Iterator[Listed]:
        bucket, key = self._split(uri)
        return self._pages(bucket, f"{key.rstrip('/')}/" if key.strip("/") else "")

    def list_prefix(self, uri: str) -> Iterator[Listed]:
        return self._pages(*self._split(uri))

    def stat(self, uri: str) -> Listed:
        bucket, key = self._split(uri)
        found = self._ask(uri, lambda: self.fs.call_s3("head_object", Bucket=bucket, Key=key))
        return Listed(uri, found["ContentLength"], found["ETag"].strip('"'))

    def read(self, uri: str, *, etag: str | None = None) -> bytes:
        bucket, key = self._split(uri)
        condition = {} if etag is None else {"IfMatch": f'"{etag}"'}

        async def get() -> bytes:
            response = await self.fs._call_s3("get_object", Bucket=bucket, Key=key, **condition)
            async with response["Body"] as body:
                data: bytes = await body.read()
            if len(data) != response["ContentLength"]:
                raise OSError(f"{len(data)} bytes came of {response['ContentLength']}")
            return data

        def read() -> bytes:
            data: bytes = sync(self.fs.loop, get)
            return data

        return self._ask(uri, read)

    def _pages(self, bucket: str, prefix: str) -> Iterator[Listed]:
        token: dict[str, str] = {}
        while True:
            request = {"Bucket": bucket, "Prefix": prefix, **token}
            ask = partial(self.fs.call_s3, "list_objects_v2", **request)
            page: dict[str, Any] = self._ask(f"{self.scheme}://{bucket}/{prefix}", ask)
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):  # the marker of an empty folder
                    yield Listed(f"{self.scheme}://{bucket}/{item['Key']}", item["Size"], item["ETag"].strip('"'))
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
            code = code_of(error)
            if code in ACCOUNT_ERRORS:
                raise StorageError(f"{uri}: {code}: {error}") from error
            if isinstance(error, PermissionError):
                raise PermissionError(f"{uri}: {code}: {error}") from error
            if code in ("PreconditionFailed", "412") and not isinstance(error, FileExistsError):
                raise ObjectChanged("its etag is no longer the listed one") from error
            raise


def code_of(error: OSError) -> str | None:
    """The S3 error code behind the Python exception that s3fs made of it."""
    cause = error.__cause__
    return cause.response["Error"].get("Code") if isinstance(cause, ClientError) else None
