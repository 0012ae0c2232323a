"""Which split an image is in: by a hash of its name, so that it is in the same one in every export.

Images that are added later move no other image. Pictures that belong together (frames of a video, several photos of
one object) are not kept together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate

DEFAULT_SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Shares of the images by the name of their split, in order; they sum to 1."""

    shares: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.shares)

    def split_of(self, name: str) -> str:
        """Return the split of an image by its name relative to the input root."""
        place = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) / 2**64
        ends = accumulate(self.shares.values())
        return next((split for split, end in zip(self.names, ends, strict=True) if place < end), self.names[-1])
