"""Any storage with an fsspec driver."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, BinaryIO, cast

import aiohttp
import fsspec
from fsspec.exceptions import FSTimeoutError

from autolabel.errors import BadInput
from autolabel.storage.base import Listed, ObjectChanged, Result, Storage, retrying


class RemoteStorage(Storage):
    """The fsspec driver of one scheme."""

    transient: tuple[type[BaseException], ...] = (OSError, FSTimeoutError, TimeoutError, aiohttp.ClientError)

    def __init__(self, scheme: str, options: dict[str, Any]) -> None:
        super().__init__(scheme, options)
        try:
            self.fs: Any = fsspec.filesystem(scheme, **options)
        except ValueError as error:
            raise BadInput(f"{scheme}://: {error}") from error
        except ImportError as error:
            raise BadInput(f"{scheme}://: its driver is not installed: {error}") from error
        except TypeError as error:
            raise BadInput(f"{scheme}://: storage_options: {error}") from error

    def list(self, uri: str) -> Iterator[Listed]:
        root = self._path(uri)
        for folder, _, files in self.fs.walk(root, detail=True):
            for info in files.values():
                yield self._listed(info)
            self.fs.invalidate_cache(folder)  # hold one folder, not the whole listing

    def stat(self, uri: str) -> Listed:
        return self._ask(uri, lambda: self._listed(self.fs.info(self._path(uri))))

    def read(self, uri: str, *, etag: str | None = None) -> bytes:
        data: bytes = self._ask(uri, lambda: self.fs.cat_file(self._path(uri)))
        if etag is not None and (found := self.stat(uri)).etag != etag:
            raise ObjectChanged(f"etag {found.etag}, listed with {etag}")
        return data

    def open(self, uri: str) -> IO[bytes]:
        return cast(IO[bytes], self.fs.open(self._path(uri), "rb"))

    def _create(self, uri: str, data: bytes) -> bool:
        # After an attempt whose answer was lost the name may be taken by our own bytes: the reader of the file cannot
        # tell, and need not, since every attempt at a unit writes the same rows.
        try:
            self._ask(uri, lambda: self.fs.pipe_file(self._path(uri), data, mode="create"))
        except (FileExistsError, ObjectChanged):  # S3 answers 412; some servers do not say which condition failed
            return False
        return True

    @contextmanager
    def replace(self, uri: str) -> Iterator[BinaryIO]:
        file = self.fs.open(self._path(uri), "wb", autocommit=False)  # leaving a plain `with` would commit a torn file
        try:
            yield file
        except BaseException:
            file.close()
            file.discard()
            raise
        file.close()
        file.commit()

    def _ask(self, uri: str, request: Callable[[], Result]) -> Result:
        def checked() -> Result:
            try:
                return request()
            except aiohttp.ClientResponseError as error:  # of http:// and https://
                if error.status in (404, 410):
                    raise FileNotFoundError(f"{uri}: {error.status} {error.message}") from error
                if 400 <= error.status < 500 and error.status not in (408, 425, 429):
                    raise PermissionError(f"{uri}: {error.status} {error.message}") from error
                raise

        return retrying(checked, uri=uri, transient=self.transient)

    def _path(self, uri: str) -> str:
        path: str = self.fs._strip_protocol(uri)
        return path

    def _listed(self, info: dict[str, Any]) -> Listed:
        etag = info.get("ETag") or info.get("etag")
        etag = None if etag is None else str(etag).strip('"')
        name = info["name"]
        uri = name if "://" in name else f"{self.scheme}://{name.lstrip('/')}"
        return Listed(uri, info.get("size"), etag)
