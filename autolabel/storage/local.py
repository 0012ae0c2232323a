"""Local files. Creating once is a hard link, which the file system makes atomic."""

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import IO, BinaryIO, cast

from autolabel.errors import StorageError
from autolabel.storage.base import PERMANENT, Listed, ObjectChanged, Result, Storage
from autolabel.storage.uris import path_of


class LocalStorage(Storage):
    """Paths, absolute in every URI it gives, with or without `file://` in those it takes."""

    def list(self, uri: str) -> Iterator[Listed]:
        root = path_of(uri)
        seen: set[str] = set()

        def refuse(error: OSError) -> None:
            """Raise, since a folder that cannot be read must not pass for an empty one."""
            if error.filename != root or not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise StorageError(f"{error.filename}: cannot be listed: {error.strerror}") from error

        for folder, folders, names in os.walk(root, followlinks=True, onerror=refuse):
            real = os.path.realpath(folder)
            if real in seen:  # a link back up: its files have been listed
                folders.clear()
                continue
            seen.add(real)
            for name in names:
                path = os.path.join(folder, name)
                try:
                    stat = os.stat(path)
                except FileNotFoundError:
                    if os.path.islink(path):
                        yield Listed(path)  # a dangling link is an input that cannot be read, not one that is not there
                except OSError:
                    yield Listed(path)  # likewise; a file that was removed meanwhile is none
                else:
                    if S_ISREG(stat.st_mode):
                        yield listed(path, stat)

    def stat(self, uri: str) -> Listed:
        path = path_of(uri)
        return listed(path, os.stat(path))

    def read(self, uri: str, *, etag: str | None = None) -> bytes:
        try:
            with open(path_of(uri), "rb") as file:
                data = file.read()
                opened = listed(uri, os.fstat(file.fileno()))
        except PERMANENT:
            raise
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
                raise FileNotFoundError(str(error)) from error
            raise StorageError(f"{uri}: {error}") from error
        except ValueError as error:  # a NUL in its name
            raise FileNotFoundError(f"{uri!r}: {error}") from error
        if etag is not None and opened.etag != etag:
            raise ObjectChanged(f"modified at {opened.etag} ns, listed with {etag} ns")
        return data

    def read_with(self, uri: str, work: Callable[[IO[bytes]], Result]) -> Result:
        with open(path_of(uri), "rb") as file:
            return work(file)

    def _create(self, uri: str, data: bytes) -> bool:
        path = Path(path_of(uri))
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(path) as temporary:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        return True

    @contextmanager
    def replace(self, uri: str) -> Iterator[BinaryIO]:
        path = Path(path_of(uri))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary_beside(path) as temporary:
                with open(temporary, "wb") as file:
                    yield cast(BinaryIO, file)
                os.replace(temporary, path)
        except OSError as error:  # a full disk's does not say of which file
            raise StorageError(f"{uri}: cannot be written: {error}") from error

    def delete(self, uri: str) -> None:
        try:
            Path(path_of(uri)).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{uri}: cannot be removed: {error}") from error


def listed(path: str, stat: os.stat_result) -> Listed:
    return Listed(path, stat.st_size, str(stat.st_mtime_ns), stat.st_mtime)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yield a hidden name in the same folder, unseen by readers that glob for *.parquet; nothing is left there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
