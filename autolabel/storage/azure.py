"""Azure Blob Storage, by its own library."""

import errno
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

from adlfs import AzureBlobFileSystem
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.storage.blob import BlobBlock, ContentSettings
from fsspec.asyn import sync

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
# Errors of the account or the container: no other object would fare better, so they end the job and reject no image.
ACCOUNT_ERRORS = {
    "AccountIsDisabled",
    "AuthenticationFailed",
    "AuthorizationFailure",  # of the network that asks
    "ContainerBeingDeleted",
    "ContainerDisabled",
    "ContainerNotFound",
    "InsufficientAccountPermissions",
    "InvalidAuthenticationInfo",
    "NoAuthenticationInformation",
    "ResourceNotFound",
}
OUT_OF_REACH = {"BlobArchived", "BlobBeingRehydrated"}  # whose bytes are on tape


class AzureStorage(BucketStorage):
    """Uses adlfs for connections, credentials and `storage_options`, and makes the requests itself.

    adlfs would ask again for minutes by itself, lets Azure's errors through, which are no OSErrors, and completes a
    file that was given up when it collects it.
    """

    transient = (*BucketStorage.transient, AzureError)

    def _driver(self, options: dict[str, Any]) -> Any:
        return AzureBlobFileSystem(**{"use_listings_cache": False, **options})

    @property
    def _client_options(self) -> dict[str, Any]:
        """Return the options of each request: one attempt, as `base.retrying` makes more."""
        waits = {"connection_timeout": CONNECT_S, "read_timeout": ANSWER_S}
        return {"retry_total": 0, **{name: self.options.get(name) or wait_s for name, wait_s in waits.items()}}

    def _page(self, bucket: str, prefix: str, token: str | None) -> Page:
        container = self.fs.service_client.get_container_client(self._container(bucket))

        async def page() -> Page:
            wanted = {"name_starts_with": prefix, "results_per_page": buckets.PAGE_ITEMS}
            pages = container.list_blobs(**wanted, **self._client_options).by_page(token)
            async for items in pages:
                return [self._listed_as(bucket, item) async for item in items], pages.continuation_token or None
            return [], None

        return self._run(page())

    def _head(self, bucket: str, key: str) -> Listed:
        blob = self._blob(bucket, key)
        return self._listed_as(bucket, self._run(blob.get_blob_properties(**self._client_options)))

    def _get(self, bucket: str, key: str, *, etag: str | None, span: tuple[int, int] | None = None) -> bytes:
        condition = {} if etag is None else {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}
        offset, length = span or (None, None)
        client = self._client_options

        async def get() -> bytes:
            download = await self._blob(bucket, key).download_blob(offset, length, **condition, **client)
            seconds = client["read_timeout"] + download.size / SLOWEST_DOWN_BYTES_PER_S
            data: bytes = await within(seconds, download.readall())
            if len(data) != download.size or (span is not None and len(data) != span[1]):
                raise OSError(errno.EIO, f"{len(data)} bytes came of {download.size if span is None else span[1]}")
            if etag is not None and (current := download.properties.etag.strip('"')) != etag:
                raise ObjectChanged(f"etag {current}, listed with {etag}")
            return data

        return self._run(get())

    def _put(self, bucket: str, key: str, data: bytes, *, expected: str | None = None) -> None:
        condition: dict[str, Any] = {"overwrite": expected != ABSENT}
        if expected not in (None, ABSENT):
            condition |= {"etag": f'"{expected}"', "match_condition": MatchConditions.IfNotModified}
        put = self._blob(bucket, key).upload_blob(
            data, length=len(data), content_settings=content_settings(key), **condition, **self._client_options
        )
        self._run(put, n_bytes=len(data))

    def _remove(self, bucket: str, key: str) -> None:
        self._run(self._blob(bucket, key).delete_blob(**self._client_options))

    def _upload(self, uri: str) -> Upload:
        return AzureUpload(self, uri)

    def _blob(self, bucket: str, key: str) -> Any:
        return self.fs.service_client.get_blob_client(self._container(bucket), key)

    def _container(self, bucket: str) -> str:
        """Return the container of `container` or, as Hadoop has it, `container@account.dfs.core.windows.net`.

        Raises:
            BadInput: of another account than the one that storage_options or the environment name.
        """
        container, _, host = bucket.partition("@")
        account = self.fs.service_client.account_name
        if host and host.partition(".")[0] != account:
            raise BadInput(f"{self.scheme}://{bucket}: storage_options and the environment name the account {account}")
        return container

    def _listed_as(self, bucket: str, found: Any) -> Listed:
        return Listed(self._uri(bucket, found.name), found.size, found.etag.strip('"'), found.last_modified.timestamp())

    def _run(self, request: Coroutine[Any, Any, Result], n_bytes: int = 0) -> Result:
        client = self._client_options
        seconds = client["connection_timeout"] + client["read_timeout"] + n_bytes / SLOWEST_UP_BYTES_PER_S

        async def ask() -> Result:
            return await within(seconds, request)

        answer: Result = sync(self.fs.loop, ask)
        return answer

    def _answer(self, uri: str, request: Callable[[], Result]) -> Result:
        try:
            return super()._answer(uri, request)
        except AzureError as error:
            status, code = answer_of(error)
            told = f"{uri}: {code or type(error).__name__}: {str(error).partition(chr(10))[0]}"
            if isinstance(error, ClientAuthenticationError) or code in ACCOUNT_ERRORS or status == 401:
                raise StorageError(told) from error
            if status == 404 or (status == 400 and len(self._split(uri)[1]) > LONGEST_NAME):
                raise FileNotFoundError(told) from error
            if code == "BlobAlreadyExists":
                raise FileExistsError(told) from error
            if status == 412:
                raise ObjectChanged("its etag is no longer the listed one") from error
            if status == 403 or code in OUT_OF_REACH:
                raise PermissionError(told) from error
            if (300 <= status < 500 and status not in PASSING_STATUSES) or status in PERMANENT_5XX:
                raise StorageError(told) from error
            raise


class AzureUpload:
    """Blocks that become a blob when their list is committed; what is not is forgotten after a week."""

    def __init__(self, storage: AzureStorage, uri: str) -> None:
        self._storage, self._uri = storage, uri
        self._bucket, self._key = storage._split(uri)
        self._blocks: list[BlobBlock] = []

    def send(self, block: bytes) -> None:
        block_id = uuid4().hex
        self._ask("stage_block", len(block), block_id=block_id, data=block, length=len(block))
        self._blocks.append(BlobBlock(block_id=block_id))

    def finish(self, last: bytes) -> None:
        self.send(last)
        self._ask("commit_block_list", 0, block_list=self._blocks, content_settings=content_settings(self._key))

    def abort(self) -> None:
        pass

    def _ask(self, method: str, n_bytes: int, **request: Any) -> None:
        def ask() -> None:
            blob = self._storage._blob(self._bucket, self._key)
            self._storage._run(getattr(blob, method)(**request, **self._storage._client_options), n_bytes)

        self._storage._ask(self._uri, ask)


def content_settings(key: str) -> ContentSettings:
    return ContentSettings(content_type=content_type_of(key))


def answer_of(error: AzureError) -> tuple[int, str]:
    """HTTP status and Azure's error code; 0 and nothing where no answer came."""
    if not isinstance(error, HttpResponseError):
        return 0, ""
    code = getattr(error, "error_code", None) or ""
    return error.status_code or 0, str(getattr(code, "value", code))
