"""Any storage with an fsspec driver."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import IO, Any, BinaryIO

import aiohttp
import fsspec
from fsspec.exceptions import FSTimeoutError

from autolabel.errors import BadInput, StorageError
from autolabel.redaction import without_secrets
from autolabel.storage.base import Listed, ObjectChanged, Result, Storage, retrying

MODIFIED = ("LastModified", "last_modified", "mtime")  # as S3, Azure and Google call it


class RemoteStorage(Storage):
    """The fsspec driver of one scheme."""

    transient: tuple[type[BaseException], ...] = (OSError, FSTimeoutError, TimeoutError, aiohttp.ClientError)

    def __init__(self, scheme: str, options: dict[str, Any]) -> None:
        super().__init__(scheme, options)
        try:
            self.fs: Any = self._driver(self.options)
        except ValueError as error:
            raise BadInput(f"{scheme}://: {error}") from error
        except ImportError as error:
            raise BadInput(f"{scheme}://: its driver is not installed: {error}") from error
        except TypeError as error:
            raise BadInput(f"{scheme}://: storage_options: {error}") from error

    def _driver(self, options: dict[str, Any]) -> Any:
        return fsspec.filesystem(self.scheme, **options)

    def list(self, uri: str) -> Iterator[Listed]:
        """Yield folder by folder, not by fsspec's walk: it leaves out in silence a folder that it cannot list."""
        root = self._path(uri)
        folders = [root]
        while folders:
            folder = folders.pop()
            try:
                entries = self._ask(f"{self.scheme}://{folder}", partial(self.fs.ls, folder, detail=True))
            except FileNotFoundError:
                if folder != root:
                    raise
                return
            for info in entries:
                if info["type"] == "directory":
                    folders.append(info["name"])
                elif info["name"].rstrip("/") != folder.rstrip("/"):  # `ls` of a file is that file
                    yield self._listed(info)
            self.fs.invalidate_cache(folder)  # hold one folder, not the whole listing

    def stat(self, uri: str) -> Listed:
        return self._ask(uri, lambda: self._listed(self.fs.info(self._path(uri))))

    def read(self, uri: str, *, etag: str | None = None) -> bytes:
        data: bytes = self._ask(uri, lambda: self.fs.cat_file(self._path(uri)))
        if etag is not None and (current := self.stat(uri)).etag != etag:
            raise ObjectChanged(f"etag {current.etag}, listed with {etag}")
        return data

    def read_with(self, uri: str, work: Callable[[IO[bytes]], Result]) -> Result:
        def opened() -> Result:
            with self.fs.open(self._path(uri), "rb") as file:
                return work(file)

        return self._ask(uri, opened)

    def _create(self, uri: str, data: bytes) -> bool:
        try:
            self._ask(uri, lambda: self.fs.pipe_file(self._path(uri), data, mode="create"))
        except (FileExistsError, ObjectChanged):  # S3 answers 412; some servers do not say which condition failed
            return self._holds(uri, data)  # whether there was an earlier attempt, aiohttp keeps to itself
        return True

    def _holds(self, uri: str, data: bytes) -> bool:
        try:
            return self.stat(uri).size_bytes == len(data) and self.read(uri) == data
        except FileNotFoundError:
            return False

    def overwrite(self, uri: str, data: bytes) -> None:
        try:
            self._ask(uri, lambda: self.fs.pipe_file(self._path(uri), data, **self._attributes_of(uri)))
        except OSError as error:
            raise StorageError(f"{uri}: cannot be written: {error}") from error

    def _attributes_of(self, uri: str) -> dict[str, str]:
        """Return what the driver is given of an object besides its bytes."""
        return {}

    @contextmanager
    def replace(self, uri: str) -> Iterator[BinaryIO]:
        # Leaving a plain `with` would commit a torn file.
        file = self._writer(uri)
        try:
            yield file
            file.close()
            file.commit()
        except BaseException as error:
            with suppress(*self.transient):  # what was uploaded is garbage then, and the first error is what counts
                file.discard()
            if isinstance(error, self.transient):
                raise StorageError(f"{uri}: cannot be written: {error}") from error
            raise

    def delete(self, uri: str) -> None:
        with suppress(FileNotFoundError):
            self._ask(uri, lambda: self.fs.rm_file(self._path(uri)))

    def _writer(self, uri: str) -> Any:
        return self._ask(uri, lambda: self.fs.open(self._path(uri), "wb", autocommit=False))

    def _ask(self, uri: str, request: Callable[[], Result]) -> Result:
        return retrying(lambda: self._answer(uri, request), uri=uri, transient=self.transient, for_s=self.retry_for_s)

    def _answer(self, uri: str, request: Callable[[], Result]) -> Result:
        """Make one attempt at a request, its errors in terms that callers know."""
        try:
            return request()
        except aiohttp.ClientResponseError as error:  # of http:// and https://
            if error.status in (404, 410):
                raise FileNotFoundError(without_secrets(f"{uri}: {error.status} {error.message}")) from error
            if 400 <= error.status < 500 and error.status not in (408, 425, 429):
                raise PermissionError(without_secrets(f"{uri}: {error.status} {error.message}")) from error
            raise
        except aiohttp.InvalidURL as error:
            raise FileNotFoundError(without_secrets(f"{uri}: not a URL: {error}")) from error
        except (TypeError, ValueError) as error:
            if type(error) not in (TypeError, ValueError):  # of a reader's own, such as pyarrow's
                raise
            raise BadInput(
                f"{uri}: refused by the {self.scheme} driver; check it and storage_options: {error}"
            ) from error

    def _path(self, uri: str) -> str:
        path: str = self.fs._strip_protocol(uri)
        return path

    def _listed(self, info: dict[str, Any]) -> Listed:
        etag = info.get("ETag") or info.get("etag")
        etag = None if etag is None else str(etag).strip('"')
        name = info["name"]
        uri = name if "://" in name else f"{self.scheme}://{name.lstrip('/')}"
        modified = next((info[name] for name in MODIFIED if isinstance(info.get(name), datetime)), None)
        return Listed(uri, info.get("size"), etag, modified and modified.timestamp())
