"""Windows of a tiled TIFF, without the pixels around them: what satellites and microscopes write is too large for more.

Tiles of 8-bit gray or RGB, compressed or not. Any other TIFF is decoded as a whole, by `decode`, as is one that its
EXIF orientation turns.
"""

import logging
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from tifffile import PHOTOMETRIC, TiffFile

from autolabel.errors import RejectCode, RejectedImage
from autolabel.images.formats import format_name
from autolabel.images.windows import Window

logging.getLogger("tifffile").setLevel(
    logging.CRITICAL
)  # what it says of a damaged file stands in the row of that file

READ_HERE = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)
ORIENTATION = 274  # the tag
LARGEST_TILE_PX = 4096  # a side: what is larger saves nothing, and is damage for the most part


class TiledTiff:
    """A tiled TIFF whose tiles are decoded as windows ask for them."""

    def __init__(self, page: Any, data: bytes, orientation: int) -> None:
        self._page, self._data = page, data
        self.orientation = orientation  # 1..8
        self.size_hw: tuple[int, int] = (page.imagelength, page.imagewidth)

    def region(self, window: Window) -> npt.NDArray[np.uint8]:
        """Return the pixels (h, w, 3) of a window.

        Raises:
            RejectedImage: a tile that it lies on is damaged.
        """
        try:
            return self._region(window)
        except (RejectedImage, MemoryError):
            raise
        except Exception as error:  # the border: decoders fail on bad bytes with any exception
            raise RejectedImage(RejectCode.CORRUPT, f"TIFF: {error or type(error).__name__}") from error

    def _region(self, window: Window) -> npt.NDArray[np.uint8]:
        page = self._page
        tile_h, tile_w = page.tilelength, page.tilewidth
        n_across = -(-page.imagewidth // tile_w)
        first_row, first_column = window.top // tile_h, window.left // tile_w
        last_row, last_column = -(-window.bottom // tile_h), -(-window.right // tile_w)
        shape = (last_row - first_row) * tile_h, (last_column - first_column) * tile_w, page.samplesperpixel
        pixels = np.zeros(shape, np.uint8)
        for row in range(first_row, last_row):
            for column in range(first_column, last_column):
                tile = self._tile(row * n_across + column)
                top, left = (row - first_row) * tile_h, (column - first_column) * tile_w
                pixels[top : top + len(tile), left : left + tile.shape[1]] = tile
        top, left = window.top - first_row * tile_h, window.left - first_column * tile_w
        cut = pixels[top : top + window.height, left : left + window.width]
        return np.ascontiguousarray(np.broadcast_to(cut, (*window.size_hw, 3)))

    def _tile(self, index: int) -> npt.NDArray[np.uint8]:
        """Return the pixels (h, w, samples) of a tile; of one that is left out, black ones."""
        page = self._page
        offset, n_bytes = page.dataoffsets[index], page.databytecounts[index]
        if not n_bytes:
            return np.zeros((0, 0, page.samplesperpixel), np.uint8)
        if offset + n_bytes > len(self._data):
            raise RejectedImage(
                RejectCode.TRUNCATED, f"TIFF: tile {index} lies behind the end ({len(self._data)} bytes)"
            )
        decoded, _, _ = page.decode(self._data[offset : offset + n_bytes], index, jpegtables=page.jpegtables)
        tile: npt.NDArray[np.uint8] = decoded[0]
        return tile


def open_tiled(data: bytes, *, apply_exif: bool, max_pixels: int) -> TiledTiff | None:
    """Return a TIFF that can be read by tiles; None for whatever else the bytes are, which `decode` tells.

    Raises:
        RejectedImage: it has more pixels than `max_pixels`.
    """
    if data[:2] not in (b"II", b"MM") or format_name(data) != "TIFF":
        return None
    try:
        page: Any = TiffFile(BytesIO(data)).pages.first
        value = page.tags.valueof(ORIENTATION, 1)
        orientation = int(value) if value in range(1, 9) else 1
        known = page.is_tiled and page.dtype == np.uint8 and page.planarconfig == 1 and page.photometric in READ_HERE
        known = known and page.samplesperpixel in (1, 3) and not page.extrasamples and page.imagedepth == 1
        height, width = page.imagelength, page.imagewidth
        known = known and type(height) is type(width) is int and min(height, width) > 0
        known = known and 0 < page.tilelength <= LARGEST_TILE_PX and 0 < page.tilewidth <= LARGEST_TILE_PX
    except MemoryError:
        raise
    except Exception:  # the border, as above: `decode` says what is wrong with it
        return None
    if not known or (apply_exif and orientation != 1):
        return None
    if height * width > max_pixels:
        detail = f"{width} x {height} = {height * width} pixels, more than image.max_pixels = {max_pixels}"
        raise RejectedImage(RejectCode.TOO_MANY_PIXELS, detail)
    return TiledTiff(page, data, orientation)
