"""Errors, and what the caller is told of them.

Exceptions
    AutolabelError                exit code 1
    ├── BadInput                  exit code 2: settings, prompts or inputs, all problems at once
    │   └── CheckpointError       exit code 2: a checkpoint that is missing, gated, broken or another model's
    ├── Refused                   exit code 3: the output is of a job with other settings, or in another run's hands
    ├── StorageError              exit code 1: a storage that still fails after all retries
    └── JobFailed                 exit code 1: the pipeline ended before every unit was done
        └── DeviceUnusable        exit code 1: a GPU was asked for, and cannot be used
    RejectedImage                 never leaves a job: it becomes that image's row

A bad image is data, not an error: its row says `rejected`, with one of the codes below.
"""

import difflib
import reprlib
from collections.abc import Collection, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any


class AutolabelError(Exception):
    """Base of everything a command reports in one message, without a traceback."""

    exit_code = 1


class BadInput(AutolabelError):
    """Settings, prompts, exemplars or inputs that cannot be used; `problems` names every one."""

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(self.problems)  # args rebuild the exception when it crosses a process border

    def __str__(self) -> str:
        return "\n".join(self.problems)


class CheckpointError(BadInput):
    """A checkpoint that is missing, gated, truncated, malicious, or not of this architecture."""


class Refused(AutolabelError):
    """The output holds a job with other settings, or another run holds the output; the message says which."""

    exit_code = 3


class StorageError(AutolabelError):
    """A storage that keeps failing: the job ends, and the next run continues it."""


class JobFailed(AutolabelError):
    """The pipeline ended before every unit was done."""


class DeviceUnusable(JobFailed):
    """A process was given a GPU and cannot use it; labelling on its CPU instead would take a hundred times as long."""


class RejectCode(StrEnum):
    """Reasons why an image could not be labelled."""

    EMPTY_FILE = "empty_file"  # zero bytes
    NOT_AN_IMAGE = "not_an_image"  # bytes of no image format
    UNSUPPORTED_FORMAT = "unsupported_format"  # an image format that is not read here
    TRUNCATED = "truncated"  # the file ends before the image does
    CORRUPT = "corrupt"  # the decoder refuses the content
    DECODER_DIED = "decoder_died"  # decoding it crashed, or took more memory than there was
    OUT_OF_MEMORY = "out_of_memory"  # the model's device has no room for it alone, though it has for a blank image
    TOO_MANY_PIXELS = "too_many_pixels"  # over `image.max_pixels`, known before decoding
    MISSING = "missing"  # listed, but no longer there
    CHANGED = "changed"  # another size, etag or mtime than the plan's
    FORBIDDEN = "forbidden"  # this object alone may not be read
    UNREACHABLE = "unreachable"  # its web server does not answer, although others do
    TOO_LARGE = "too_large"  # more bytes than `input.storage_options.http.max_mb`, known before all have come
    DISALLOWED = "disallowed"  # its web server asks by X-Robots-Tag that it be not used
    SIZE_MISMATCH = "size_mismatch"  # its boxes or points were drawn on an image of another size


class RejectedImage(Exception):
    """This image cannot be labelled; raised by reading and decoding, turned into a row by the labeler."""

    def __init__(self, code: RejectCode, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def quoted_value(value: Any) -> str:
    """Return a value as a message quotes it: short, whatever its size or depth."""
    quoting = reprlib.Repr()
    quoting.maxlevel, quoting.maxstring = 2, 60
    return quoting.repr(value)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return ` (did you mean 'car'?)`, or nothing if no known name is close."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def did_you_mean_beside(path: Path) -> str:
    """Return ` (did you mean 'photos'?)` where a path that leads nowhere has a similar one beside it."""
    try:
        return "" if path.exists() else did_you_mean(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:
        return ""
