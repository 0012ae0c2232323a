"""Where the bytes of an image are: an object of its own, or a part of one that holds many."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Locator:
    """A place within an object that holds several images; what its kind does not need is None."""

    kind: str  # of inputs.KINDS
    container: str  # URI of the object
    member: str | None = None  # path in an archive
    row: int | None = None  # of a table
    offset: int | None = None  # of the first byte
    length: int | None = None  # in bytes
    frame: int | None = None  # of a video


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """One image of an input. Its URI names it, in labels and exports, and is where its bytes are if it has no locator.

    `size_bytes` and `etag` are of the object that is read, which is the container where there is one; `etag` is the
    storage's, or the mtime in nanoseconds where it has none. Both are None where nobody has said.
    """

    uri: str
    size_bytes: int | None = None
    etag: str | None = None
    locator: Locator | None = None
