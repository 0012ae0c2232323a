"""What every storage can do, and how its passing errors are retried."""

import random
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, TypeVar

from autolabel.errors import StorageError

Result = TypeVar("Result")

ATTEMPTS = 6
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
# These say something about the object, and asking again would not change it.
PERMANENT = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


class ObjectChanged(Exception):
    """The object that is there is not the object that was listed."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing. `etag` is the storage's own, or the mtime in nanoseconds where it has none."""

    uri: str
    size_bytes: int | None = None
    etag: str | None = None


class Storage(ABC):
    """Objects by full URI. Methods raise FileNotFoundError, PermissionError, or StorageError after all retries."""

    def __init__(self, scheme: str, options: dict[str, Any]) -> None:
        self.scheme = scheme
        self.options = options

    @abstractmethod
    def list(self, uri: str) -> Iterator[Listed]:
        """Every object below a folder, in no particular order; nothing where there is no such folder."""

    @abstractmethod
    def stat(self, uri: str) -> Listed:
        """Size and etag of one object."""

    @abstractmethod
    def read(self, uri: str, *, etag: str | None = None) -> bytes:
        """The whole object.

        Raises:
            ObjectChanged: `etag` is given and the object has another one.
        """

    @abstractmethod
    def use(self, uri: str, work: Callable[[IO[bytes]], Result]) -> Result:
        """What `work` makes of a seekable reader, where only parts of a file are needed.

        `work` runs again from its start if the storage fails in between.
        """

    def create_once(self, uri: str, data: bytes) -> bool:
        """Create the object whole if its name is free; False, with nothing changed, where it is taken."""
        try:
            return self._create(uri, data)
        except OSError as error:  # whatever it is, no later write would fare better
            raise StorageError(f"{uri}: cannot be written: {error}") from error

    @abstractmethod
    def _create(self, uri: str, data: bytes) -> bool:
        """As `create_once`, with the errors as they come."""

    @abstractmethod
    def replace(self, uri: str) -> AbstractContextManager[BinaryIO]:
        """A writer whose object appears whole at the end of the `with` block, and not at all if the block raises."""

    def list_prefix(self, uri: str) -> Iterator[Listed]:
        """Objects whose names begin with `uri`; only object stores, where a prefix need not be a folder, have any."""
        return iter(())


def scheme_of(uri: str) -> str:
    """`s3` of `s3://bucket/key`; `file` where there is none."""
    match = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", uri)
    return match[1].lower() if match else "file"


def join(folder: str, name: str) -> str:
    """The URI of `name` in a folder."""
    return f"{folder.rstrip('/')}/{name}"


def retrying(operation: Callable[[], Result], *, uri: str, transient: tuple[type[BaseException], ...]) -> Result:
    """Run `operation`, again after errors that may pass, with exponential backoff and full jitter.

    Raises:
        StorageError: every attempt failed; the message names the URI and the last error.
    """
    for attempt in range(ATTEMPTS):
        try:
            return operation()
        except PERMANENT:
            raise
        except transient as error:
            if attempt == ATTEMPTS - 1:
                raise StorageError(f"{uri}: {type(error).__name__}: {error} (after {ATTEMPTS} attempts)") from error
            longest_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2**attempt)
            time.sleep(random.uniform(0, longest_s))
    raise AssertionError("unreachable")
