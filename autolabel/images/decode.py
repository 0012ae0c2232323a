"""Bytes of an image file -> RGB pixels, upright if the job says so, or `RejectedImage(code, detail)`.

The format is told by content, never by name: JPEG (with MPO), PNG, WebP, BMP, TIFF and GIF. Rules, each one tested:

orientation   By EXIF (JPEG, PNG, WebP, TIFF, also from XMP; as `PIL.ImageOps.exif_transpose` reads it): it is
              recorded, and applied if asked for. Damaged EXIF, or a value outside 1..8, counts as 1.
transparency  Composited onto white, which is what a viewer shows and so what a labeller sees. What lies under full
              transparency is arbitrary, and dropping alpha would show it to the model. That goes for alpha channels,
              palettes and colour keys of up to 8 bits.
16-bit        The high byte, for gray and colour alike, so one picture gives the same pixels either way. 12-bit gray
              TIFFs likewise give their upper 8 bits.
32-bit        Integer and float gray, and signed 16-bit, declare no white: stretched from their least to their greatest
              finite value. NaN counts as the least; a constant image is black.
CMYK          By Pillow's plain formula, with Adobe's inversion in JPEG (YCCK too). LAB goes to sRGB.
ICC profiles  Are ignored, as by the tools that train on the labels.
several       The first frame of an animation, the first page of a TIFF. An APNG's default image counts as its first.
damage        A file that ends early is `truncated`, unless all pixels were there (a PNG without its last chunk). A
              JPEG that is corrupt in the middle gives what libjpeg makes of it: no reader can tell it from a picture.

Pillow's plugins are called by class: `Image.open` warns and refuses by a process-wide limit (`MAX_IMAGE_PIXELS`) that a
library may not change under its users. `max_pixels` takes its place and is checked before pixels are allocated; only
WebP keeps Pillow's limit too (178,956,970 pixels), because its plugin asks for it itself.
Functions here hold no state and may be called from many threads.
"""

import re
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from autolabel.errors import RejectCode, RejectedImage
from autolabel.images.formats import format_name


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """An image as the model gets it."""

    rgb: npt.NDArray[np.uint8]  # (h, w, 3), contiguous, writable
    orientation: int  # EXIF orientation 1..8, 1 where absent or invalid; recorded whether applied or not


def decode(data: bytes, *, apply_exif: bool, max_pixels: int) -> DecodedImage:
    """Return the pixels of an image file; bytes without any raise RejectedImage, and nothing else but MemoryError."""
    name, image = _open(data, max_pixels)
    orientation = _orientation(image, data)  # before load(), which closes a TIFF's tags
    try:
        image.load()
        rgb = _to_rgb(image)
        if apply_exif and orientation != 1:
            rgb = rgb.transpose(_TURNS[orientation])
        return DecodedImage(rgb=np.array(rgb), orientation=orientation)
    except MemoryError:
        raise
    except Exception as error:  # the border: decoders fail on bad bytes with any exception
        raise _rejection(error, name, data, image) from error


def probe_size(data: bytes, *, apply_exif: bool, max_pixels: int) -> tuple[int, int]:
    """Return (h, w) of the array that `decode` would give, from the headers alone: no pixel is decoded.

    `data` is the whole file: TIFF and WebP may keep their orientation at its end. Raises RejectedImage.
    """
    _, image = _open(data, max_pixels)
    width, height = image.size
    return (width, height) if apply_exif and _orientation(image, data) >= 5 else (height, width)


class _JpegWithoutDpi(JpegImageFile):
    """Reads no EXIF as it opens: damage there costs the orientation alone, even where warnings are errors."""

    def _read_dpi_from_exif(self) -> None:
        pass


class _TiffAsStored(TiffImageFile):
    """TIFF as it is stored: Pillow's own class turns it by its orientation, asked or not."""

    def _setup(self) -> None:
        super()._setup()
        self._size = self._tile_size

    def load_prepare(self) -> None:
        ImageFile.load_prepare(self)  # past the process-wide limit on pixels

    def load_end(self) -> None:
        pass  # here the parent turns the image


_READERS: dict[str, type[ImageFile]] = {
    "JPEG": _JpegWithoutDpi,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "TIFF": _TiffAsStored,
    "GIF": GifImageFile,
}
_TURN = Image.Transpose
_TURNS = {2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE}
_TURNS |= {6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90}


def _open(data: bytes, max_pixels: int) -> tuple[str, ImageFile]:
    """Return the format name and the image with its headers read, its size within `max_pixels`."""
    name = format_name(data)
    if name == "WEBP":
        _check_size(_webp_size_wh(data), max_pixels)  # before its plugin opens, which allocates
    try:
        image = _READERS[name](BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:  # the border, as in decode
        raise _rejection(error, name, data, None) from error
    _check_size(image.size, max_pixels)
    if min(image.size) < 1:
        raise RejectedImage(RejectCode.CORRUPT, f"{name}: {image.width} x {image.height} pixels")
    return name, image


def _check_size(size_wh: tuple[int, int], max_pixels: int) -> None:
    width, height = size_wh
    if width * height > max_pixels:
        detail = f"{width} x {height} = {width * height} pixels, more than image.max_pixels = {max_pixels}"
        raise RejectedImage(RejectCode.TOO_MANY_PIXELS, detail)


def _webp_size_wh(data: bytes) -> tuple[int, int]:
    """Return the canvas size by the first chunk (RFC 9649, sections 2.5 to 2.7).

    Too few bytes give a wrong size, no error.
    """
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _orientation(image: ImageFile, data: bytes) -> int:
    try:
        if isinstance(image, PngImageFile):
            image = PngImageFile(BytesIO(_png_metadata(data)))
        value = Image.Image.getexif(image).get(0x0112)
    except MemoryError:
        raise
    except Exception:  # damaged metadata of a good picture, which Pillow may meet with any exception
        return 1
    return value if type(value) is int and 1 <= value <= 8 else 1


def _png_metadata(data: bytes) -> bytes:
    """Return a PNG without its pixels: its eXIf chunk may follow them, and Pillow would decode them to get there."""
    kept, start = [data[:8]], 8
    while start + 12 <= len(data):
        stop = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] in (b"IHDR", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"IEND"):
            kept.append(data[start:stop])
        start = stop
    return b"".join(kept)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_gray8(image)).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # None is for inPlace=True
        return converted
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode == "La":  # premultiplied; Pillow converts it to LA alone
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _gray8(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return gray of more than 8 bits as uint8 (h, w)."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    values = np.asarray(image)
    gray: npt.NDArray[np.uint8]
    if image.mode.startswith("I;16"):
        bits = tags.get(258, (16,))[0]
        gray = (values >> (bits - 8)).astype(np.uint8)
    else:
        if image.mode == "I" and tags and tags.get(339, (1,))[0] == 1:
            values = values.view(np.uint32)  # Pillow reads unsigned samples as signed
        finite = np.isfinite(values)
        low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
        level = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low) - low
        gray = np.rint(level / ((high - low) or 1) * 255).astype(np.uint8)
    return 255 - gray if tags.get(262) == 0 else gray  # WhiteIsZero, which Pillow applies up to 8 bits only


def _rejection(error: Exception, name: str, data: bytes, image: ImageFile | None) -> RejectedImage:
    """Return what a failed reader means: cut, not read here, or corrupt."""
    message = f"{name}: {str(error) or type(error).__name__}"
    if isinstance(error, Image.DecompressionBombError):
        return RejectedImage(RejectCode.TOO_MANY_PIXELS, message)
    if "truncated" in message.lower() or _ends_early(name, data, image):
        return RejectedImage(RejectCode.TRUNCATED, f"{message} ({len(data)} bytes)")
    if re.search(r"Unsupported BMP|unknown pixel mode|unknown data organization", message):
        return RejectedImage(RejectCode.UNSUPPORTED_FORMAT, message)
    return RejectedImage(RejectCode.CORRUPT, message)


def _ends_early(name: str, data: bytes, image: ImageFile | None) -> bool:
    """Return whether the file lacks its end, by the format's own account of its length."""
    match name:
        case "JPEG":
            return b"\xff\xd9" not in data
        case "PNG":
            return b"IEND" not in data[-1024:]
        case "GIF":
            return not data.rstrip(b"\0").endswith(b";")
        case "WEBP":
            return int.from_bytes(data[4:8], "little") + 8 > len(data)
        case "TIFF":
            return _tiff_ends_early(data, image)
        case _:
            return False  # a cut BMP is told by Pillow's message


def _tiff_ends_early(data: bytes, image: ImageFile | None) -> bool:
    if not isinstance(image, TiffImageFile):  # the directory could not be read: is it there?
        order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
        start = data[8:16] if 43 in data[2:4] else data[4:8]
        return len(data) < 8 or int.from_bytes(start, order) + 2 > len(data)
    offsets, sizes = (image.tag_v2.get(a) or image.tag_v2.get(b) or () for a, b in ((273, 324), (279, 325)))
    return any(offset + size > len(data) for offset, size in zip(offsets, sizes, strict=False))
