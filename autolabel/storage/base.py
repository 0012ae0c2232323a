"""The interface of storages, and how errors that pass are retried.

Retries are bounded by time, not by number: at 20% of requests failing, six attempts all fail once in 16,000 requests,
so a job of ten million images would never come to its end. An outage shorter than `RETRY_FOR_S` is sat out.
"""

import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, TypeVar
from uuid import uuid4

from autolabel.errors import BadInput, StorageError
from autolabel.redaction import without_secrets
from autolabel.storage.uris import join

Self = TypeVar("Self", bound="Storage")
Result = TypeVar("Result")

RETRY_FOR_S = 300.0
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
WARN_AFTER_S = 10.0
# These say something about the object, and asking again would not change it.
PERMANENT = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)

log = logging.getLogger("autolabel")


class ObjectChanged(Exception):
    """The object that is there is not the object that was listed."""


class Unreachable(StorageError):
    """A web server that gives no answer, or none that can be used; nothing is known about others."""


class TooLarge(StorageError):
    """An object of more bytes than an image may have."""


class Disallowed(StorageError):
    """An object that its server asks programs of this kind not to use."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing. `etag` is the storage's own, or the mtime in nanoseconds where it has none.

    `modified_at` is in seconds since 1970 by the storage's clock, where it tells.
    """

    uri: str
    size_bytes: int | None = None
    etag: str | None = None
    modified_at: float | None = None


class Storage(ABC):
    """Objects by full URI. Methods raise FileNotFoundError, PermissionError, or StorageError after all retries.

    Of the options, `retry_for_s` is for how long an operation is tried, and `http` is for images behind URLs, which any
    manifest may name; the others are the driver's.
    """

    def __init__(self, scheme: str, options: dict[str, Any]) -> None:
        self.scheme = scheme
        self.options = {name: value for name, value in options.items() if name not in ("retry_for_s", "http")}
        self.retry_for_s: float = options.get("retry_for_s", RETRY_FOR_S)
        if not isinstance(self.retry_for_s, int | float) or not self.retry_for_s >= 0:
            raise BadInput(f"storage_options.retry_for_s: {self.retry_for_s!r} is not a number of seconds")

    def retrying_for(self: Self, seconds: float) -> Self:
        """Return the same storage, for a caller who has better things to do than to wait for longer."""
        other = copy(self)
        other.retry_for_s = min(seconds, self.retry_for_s)
        return other

    @abstractmethod
    def list(self, uri: str) -> Iterator[Listed]:
        """Yield every object below a folder, in no particular order; nothing where there is no such folder."""

    @abstractmethod
    def stat(self, uri: str) -> Listed:
        """Return the size and etag of one object."""

    @abstractmethod
    def read(self, uri: str, *, etag: str | None = None) -> bytes:
        """Return the whole object.

        Raises:
            ObjectChanged: `etag` is given and the object has another one.
        """

    def fetch(self, uri: str, *, etag: str | None = None) -> bytes:
        """Return the whole object, as `read`, of a name that is not the user's but comes from a listing or a manifest.

        Raises:
            Unreachable, TooLarge, Disallowed: of a web server, which the user need not know.
        """
        return self.read(uri, etag=etag)

    @abstractmethod
    def read_with(self, uri: str, work: Callable[[IO[bytes]], Result]) -> Result:
        """Return what `work` makes of a seekable reader, where only parts of a file are needed.

        `work` runs again from its start if the storage fails in between.
        """

    def create_once(self, uri: str, data: bytes) -> bool:
        """Create the object whole if its name is free; False, with nothing changed, where it is taken.

        On an object store the name may be taken by an attempt of this very call whose answer was lost: the object is
        ours, and the answer True, if it holds our bytes. Who must tell its own from another's writes something unique.
        """
        try:
            return self._create(uri, data)
        except OSError as error:  # whatever it is, no later write would fare better
            raise StorageError(f"{uri}: cannot be written: {error}") from error

    @abstractmethod
    def _create(self, uri: str, data: bytes) -> bool:
        """Create as `create_once` does, with the errors as they come."""

    @abstractmethod
    def replace(self, uri: str) -> AbstractContextManager[BinaryIO]:
        """Return a writer for a `with` block.

        The object appears whole at the end of the block, and not at all if the block raises.
        """

    def overwrite(self, uri: str, data: bytes) -> None:
        """Put a small object in the place of what may be there, whole."""
        with self.replace(uri) as file:
            file.write(data)

    def replace_if(self, uri: str, data: bytes, etag: str | None) -> bool:
        """Put a small object in the place of the one with this etag, whole; False where another is there, which stays.

        Where the storage cannot do both in one step, only one caller may do it at a time.
        """
        if self.stat(uri).etag != etag:
            return False
        self.overwrite(uri, data)
        return True

    @abstractmethod
    def delete(self, uri: str) -> None:
        """Remove an object; nothing happens where there is none."""

    def check_create_once(self, folder: str) -> None:
        """Try on an object of its own below a folder, which is removed again, whether the storage keeps a name taken.

        Raises:
            BadInput: it put a second object in the place of the first: two jobs, or two attempts at a unit, would
                overwrite each other's work there.
        """
        uri = join(folder, f".create-once-{uuid4().hex}")
        created = self.create_once(uri, b"the first")
        replaced = self.create_once(uri, b"another")
        try:
            self.delete(uri)
        except (OSError, StorageError) as error:  # who may create need not be allowed to remove
            log.warning("%s is left from trying the storage, and may go: %s", uri, error)
        if replaced or not created:
            raise BadInput(
                f"{folder}: this storage cannot hold an output: it lets a second object take the place of one that is "
                "there, although it is told not to (If-None-Match, or what that is called there)"
            )

    def list_prefix(self, uri: str) -> Iterator[Listed]:
        """Yield objects whose names begin with `uri`.

        Only object stores, where a prefix need not be a folder, have any.
        """
        return iter(())


def retrying(
    operation: Callable[[], Result], *, uri: str, transient: tuple[type[BaseException], ...], for_s: float
) -> Result:
    """Run `operation`, again after errors that may pass, with exponential backoff and full jitter.

    Raises:
        StorageError: it still fails after `for_s` seconds; the message names the URI and the last error.
    """
    began, n_failed, warned = time.monotonic(), 0, False
    while True:
        try:
            return operation()
        except PERMANENT:
            raise
        except transient as error:
            n_failed += 1
            tried_s = time.monotonic() - began
            message = without_secrets(f"{uri}: {type(error).__name__}: {error}")
            if tried_s >= for_s:
                raise StorageError(f"{message} (tried {n_failed} times in {tried_s:.0f} s)") from error
            if tried_s > WARN_AFTER_S and not warned:
                log.warning("%s; trying for up to %g s", message, for_s)
                warned = True
            longest_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (n_failed - 1))
            time.sleep(min(random.uniform(0, longest_s), for_s - tried_s))
