"""Names for files that stand for an image, one for each: the image's own without its suffix, where that will do.

A name that could lead out of a folder, that a list of lines or a file system cannot hold, or that two images would
share (`a.jpg` and `a.png`) gives way to `by-id/` and the image's id.
"""

import re
import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

BY_ID = "by-id"
LONGEST_PART_BYTES, LONGEST_BYTES = 200, 600  # with room for a suffix, a temporary name and the output's own URI
LINE_ENDS = ("Cc", "Zl", "Zp")  # what str.splitlines ends lines at, and other control characters


class Stems:
    """Stems of the images of an output, from the names of all; 8 bytes of memory for each.

    A name must match `wanted` as a whole to be kept, for readers who mistake others.
    """

    def __init__(self, names: Iterable[str], *, wanted: str = r".*") -> None:
        self._wanted = re.compile(wanted, re.DOTALL | re.IGNORECASE)
        hashes = np.fromiter((_hash(stem(name)) for name in names), np.uint64)
        values, counts = np.unique(hashes, return_counts=True)
        self._shared = frozenset(values[counts > 1].tolist())

    def of(self, image_id: int, name: str) -> str:
        """Return a path with `/`, unique among the images, that stays within its folder."""
        own = stem(name)
        if is_plain(own) and self._wanted.fullmatch(name) and _hash(own) not in self._shared:
            return own
        return f"{BY_ID}/{image_id:012d}"


def stem(name: str) -> str:
    """Return a name without the suffix of its last part."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)


def is_plain(name: str) -> bool:
    """Tell whether it is a relative path of parts that every file system and every list takes."""
    parts = name.split("/")
    return (
        not {"", ".", ".."} & set(parts)
        and parts[0] != BY_ID
        and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:", parts[0])  # a scheme
        and not any(re.search(r"\.(txt|png|json)$", part) for part in parts[:-1])  # a file that an export may write
        and not any(unicodedata.category(character) in LINE_ENDS for character in name)
        and max(len(part.encode()) for part in parts) <= LONGEST_PART_BYTES
        and len(name.encode()) <= LONGEST_BYTES
    )


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
