"""Windows: the parts of an image that the model looks at one by one, where one look at the whole shows too little."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

OVERLAP_OF_CROPS = 512 / 1500  # of the shorter side, for two crops a side: as SAM's mask generator has it


@dataclass(frozen=True, kw_only=True)
class Window:
    """A rectangle of an image, in its pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.height, self.width

    def of(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return this part of an image (h, w, 3), without a copy."""
        return rgb[self.top : self.bottom, self.left : self.right]

    def shared_with(self, other: "Window") -> "Window | None":
        """Return what both see; None if there is nothing."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        width, height = min(self.right, other.right) - left, min(self.bottom, other.bottom) - top
        return Window(left=left, top=top, width=width, height=height) if width > 0 and height > 0 else None


def whole(size_hw: tuple[int, int]) -> Window:
    """Return the window of all of an image."""
    return Window(left=0, top=0, width=size_hw[1], height=size_hw[0])


def tiles(size_hw: tuple[int, int], *, size_px: int, overlap_px: int) -> list[Window]:
    """Return windows of one size that cover an image, row by row; neighbours share `overlap_px` at least."""
    height, width = size_hw
    return [
        Window(left=left, top=top, width=min(size_px, width), height=min(size_px, height))
        for top in starts(height, size_px, overlap_px)
        for left in starts(width, size_px, overlap_px)
    ]


def starts(length: int, size: int, overlap: int) -> list[int]:
    """Return where windows of a size begin along a side, as far apart as they may be, and evenly."""
    n = max(1, math.ceil((length - overlap) / (size - overlap)))
    return [round(index * (length - size) / (n - 1)) for index in range(n)] if n > 1 else [0]


def crops(size_hw: tuple[int, int], n_layers: int) -> list[Window]:
    """Return the whole image, then 2 x 2 crops of it, then 4 x 4, and so on, as SAM's mask generator has them."""
    windows = [whole(size_hw)]
    for layer in range(1, n_layers + 1):
        n = 2**layer
        overlap = int(OVERLAP_OF_CROPS * min(size_hw) * 2 / n)
        crop_h, crop_w = (math.ceil((overlap * (n - 1) + side) / n) for side in size_hw)
        cut = [
            Window(left=x * (crop_w - overlap), top=y * (crop_h - overlap), width=crop_w, height=crop_h).shared_with(
                windows[0]
            )
            for y in range(n)
            for x in range(n)
        ]
        windows += [window for window in cut if window]  # of an image of few pixels, some begin outside of it
    return windows
