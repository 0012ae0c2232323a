"""The lists of a JSON file, entry by entry as it streams, in memory that its size and its depth do not move."""

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import ijson
import numpy as np

from autolabel.errors import BadInput

BUFFER_BYTES = 1 << 20
MAX_DEPTH = 100  # of lists and objects; COCO needs 5
ESCAPED = re.compile(rb"\\.", re.DOTALL)
ALL_BUT_MARKS = bytes(set(range(256)) - set(b'[]{}"'))


def rows(file: IO[bytes], table: str, place: str) -> Iterator[Any]:
    """Give the entries of one of a file's lists, as they are read.

    Raises:
        BadInput: by `place`, where it is no JSON.
    """
    file.seek(0)
    with told_as_bad_input(place):
        shallow = ShallowFile(file)
        yield from ijson.items(shallow, f"{table}.item", use_float=True, buf_size=BUFFER_BYTES)


@contextmanager
def told_as_bad_input(place: str) -> Iterator[None]:
    try:
        yield
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise BadInput(f"{place}: not JSON: {' '.join(str(error).split())}") from error


class ShallowFile:
    """A JSON file that may not be nested deep: ijson takes memory of the square of the depth, gigabytes for 100 KB."""

    def __init__(self, file: IO[bytes]) -> None:
        """Begin behind a byte order mark, if there is one."""
        self._file = file
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        self._depth = 0
        self._in_text = False
        self._escape = b""  # the first half of one, at the end of what was read

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes; raise JSONError where they go too deep."""
        data = self._file.read(n_bytes)
        unescaped = ESCAPED.sub(b"", self._escape + data)
        self._escape = b"\\" if unescaped.endswith(b"\\") else b""
        texts_between = unescaped.translate(None, ALL_BUT_MARKS).split(b'"')
        brackets = np.frombuffer(b"".join(texts_between[self._in_text :: 2]), np.uint8)
        self._in_text ^= len(texts_between) % 2 == 0
        if len(brackets):
            depth = self._depth + np.cumsum(np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1))
            if depth.max() > MAX_DEPTH:
                raise ijson.JSONError(f"nested deeper than {MAX_DEPTH}")
            self._depth = int(depth[-1])
        return data
