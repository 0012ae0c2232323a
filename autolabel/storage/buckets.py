"""Object stores: buckets of objects under flat names, read and written under conditions.

S3, Google Cloud Storage and Azure Blob Storage differ in a handful of requests and in their errors. What follows from
these, for all that `Storage` promises, is here.
"""

import asyncio
import errno
import io
import mimetypes
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, Any, BinaryIO, Protocol, cast

from autolabel.errors import StorageError
from autolabel.storage.base import Listed, ObjectChanged, Result, retrying
from autolabel.storage.remote import RemoteStorage

CONNECT_S = 5.0  # what a client waits for at most, unless storage_options say otherwise
ANSWER_S = 15.0
SLOWEST_UP_BYTES_PER_S = 100_000
SLOWEST_DOWN_BYTES_PER_S = 10_000  # an actor's threads may share a slow line; it is a trickle that must end
BLOCK_BYTES = 32 << 20  # of a large upload: S3 takes 10,000 of at least 5 MiB, Google multiples of 256 KiB
READ_AHEAD_BYTES = 1 << 20
PAGE_ITEMS = 1000  # of a listing: what S3 and Google give at most

ABSENT = "*"  # in place of an etag: there must be no object
Page = tuple[list[Listed], str | None]


class Upload(Protocol):
    """An object that is sent in blocks, and appears when it is finished."""

    def send(self, block: bytes) -> None: ...

    def finish(self, last: bytes) -> None:
        """Raises FileNotFoundError where the upload is no more: an earlier attempt at this, whose answer was lost."""

    def abort(self) -> None: ...


class BucketStorage(RemoteStorage):
    """The methods of a storage, from the requests of an object store; what fails is asked again, request by request.

    A request is made once, within a bounded time, and raises FileNotFoundError, PermissionError, ObjectChanged,
    FileExistsError, StorageError for what no other object would fare better with, or `transient` for what may pass.
    """

    @abstractmethod
    def _page(self, bucket: str, prefix: str, token: str | None) -> Page:
        """Request some of the objects whose names begin with `prefix`, and what to ask for the next ones with."""

    @abstractmethod
    def _head(self, bucket: str, key: str) -> Listed:
        """Request what is known of an object."""

    @abstractmethod
    def _get(self, bucket: str, key: str, *, etag: str | None, span: tuple[int, int] | None = None) -> bytes:
        """Request an object, or `span`, its (offset, length)."""

    @abstractmethod
    def _put(self, bucket: str, key: str, data: bytes, *, expected: str | None = None) -> None:
        """Request that an object be written whole; in the place of the one with the etag `expected`, or of none."""

    @abstractmethod
    def _remove(self, bucket: str, key: str) -> None:
        """Request that an object be removed."""

    @abstractmethod
    def _upload(self, uri: str) -> Upload:
        """Begin an object that is sent in blocks; its requests are asked again by themselves."""

    def list(self, uri: str) -> Iterator[Listed]:
        bucket, key = self._split(uri)
        return self._pages(bucket, f"{key.rstrip('/')}/" if key.strip("/") else "")

    def list_prefix(self, uri: str) -> Iterator[Listed]:
        return self._pages(*self._split(uri))

    def _pages(self, bucket: str, prefix: str) -> Iterator[Listed]:
        token: str | None = None
        while True:
            items, token = self._ask(self._uri(bucket, prefix), partial(self._page, bucket, prefix, token))
            yield from (item for item in items if not item.uri.endswith("/"))  # the marker of an empty folder
            if token is None:
                return

    def stat(self, uri: str) -> Listed:
        return self._ask(uri, partial(self._head, *self._split(uri)))

    def read(self, uri: str, *, etag: str | None = None) -> bytes:
        return self._ask(uri, partial(self._get, *self._split(uri), etag=etag))

    def read_with(self, uri: str, work: Callable[[IO[bytes]], Result]) -> Result:
        def opened() -> Result:
            found = self.stat(uri)

            def get(offset: int, length: int) -> bytes:
                return self._ask(uri, partial(self._get, *self._split(uri), etag=found.etag, span=(offset, length)))

            with io.BufferedReader(Ranges(found.size_bytes or 0, get), READ_AHEAD_BYTES) as file:
                return work(file)

        return retrying(opened, uri=uri, transient=(ObjectChanged,), for_s=self.retry_for_s)

    def _create(self, uri: str, data: bytes) -> bool:
        return self._put_if(uri, data, ABSENT)

    def replace_if(self, uri: str, data: bytes, etag: str | None) -> bool:
        return self._put_if(uri, data, etag)

    def _put_if(self, uri: str, data: bytes, expected: str | None) -> bool:
        try:
            self._ask(uri, partial(self._put, *self._split(uri), data, expected=expected))
        except (FileExistsError, ObjectChanged):  # or the answer to an earlier attempt of this call was lost
            return self._holds(uri, data)
        return True

    def overwrite(self, uri: str, data: bytes) -> None:
        with self._writing(uri):
            self._ask(uri, partial(self._put, *self._split(uri), data))

    @contextmanager
    def replace(self, uri: str) -> Iterator[BinaryIO]:
        file = Blocks(partial(self._upload, uri))
        with self._writing(uri):
            try:
                yield cast(BinaryIO, file)
                if file.upload is None:
                    self.overwrite(uri, file.rest)
                    return
                try:
                    file.upload.finish(file.rest)
                except FileNotFoundError:
                    if self.stat(uri).size_bytes != file.n_bytes:
                        raise
            except BaseException:
                if file.upload is not None:
                    with suppress(Exception):  # what was sent is garbage, and the first error is what counts
                        file.upload.abort()
                raise

    @contextmanager
    def _writing(self, uri: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # whatever it is, no later write would fare better
            raise StorageError(f"{uri}: cannot be written: {error}") from error

    def delete(self, uri: str) -> None:
        with suppress(FileNotFoundError):
            self._ask(uri, partial(self._remove, *self._split(uri)))

    def _path(self, uri: str) -> str:
        return uri.partition("://")[2]  # a key is taken as it is; drivers would strip and normalise

    def _split(self, uri: str) -> tuple[str, str]:
        bucket, _, key = self._path(uri).partition("/")
        return bucket, key

    def _uri(self, bucket: str, key: str) -> str:
        return f"{self.scheme}://{bucket}/{key}"


class Ranges(io.RawIOBase):
    """A seekable reader of an object; `get` requests (offset, length) of it."""

    def __init__(self, size_bytes: int, get: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size_bytes, self._get, self._at = size_bytes, get, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size_bytes - self._at)
        if length <= 0:
            return 0
        buffer[:length] = self._get(self._at, length)
        self._at += length
        return length


class Blocks(io.RawIOBase):
    """A writer that begins an upload when it holds a block; `rest` is what has not been sent."""

    def __init__(self, begin: Callable[[], Upload]) -> None:
        super().__init__()
        self._begin = begin
        self._buffer = bytearray()
        self.upload: Upload | None = None
        self.n_bytes = 0

    @property
    def rest(self) -> bytes:
        return bytes(self._buffer)

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.n_bytes

    def write(self, data: Any) -> int:
        self._buffer += data
        self.n_bytes += len(data)
        while len(self._buffer) > BLOCK_BYTES:  # so that something is left to finish with
            self.upload = self.upload or self._begin()
            self.upload.send(bytes(self._buffer[:BLOCK_BYTES]))
            del self._buffer[:BLOCK_BYTES]
        return len(data)


def content_type_of(key: str) -> str:
    """Return the type by which a browser shows a page that it would save otherwise."""
    return mimetypes.guess_type(key)[0] or "application/octet-stream"


async def within(seconds: float, request: Awaitable[Result]) -> Result:
    """Wait for an answer; drivers' own timeouts leave gaps, such as a server that never reads what is sent to it."""
    try:
        return await asyncio.wait_for(request, seconds)
    except TimeoutError as error:  # fsspec would make an error without a message of it
        raise OSError(errno.EIO, f"no answer for {seconds:.0f} s") from error
