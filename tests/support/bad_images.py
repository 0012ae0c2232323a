"""A folder full of image files, good and bad, built at run time: relative name -> bytes.

`good_images()` must all be labelled, `bad_images()` all be rejected with the code given (at `max_pixels` of 200 M).
The names are as awkward as those that buckets hold; the contents do not depend on the machine or the hour.
"""

import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, PngImagePlugin

from autolabel.errors import RejectCode

SIZE_WH = (48, 32)


def picture(mode: str = "RGB", size_wh: tuple[int, int] = SIZE_WH) -> Image.Image:
    """Return something to look at, in which every turn and flip is another picture."""
    w, h = size_wh
    image = Image.new("RGB", size_wh, (70, 130, 200))
    draw = ImageDraw.Draw(image)
    draw.rectangle((w // 8, h // 2, w // 2, h - 3), fill=(220, 40, 30))
    draw.ellipse((w // 2, 2, w - 4, h // 2), fill=(250, 220, 40))
    return image if mode == "RGB" else image.convert(mode)


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, format_name, **options)  # saving leaves its settings on the image
    return buffer.getvalue()


def two_frames() -> dict[str, Any]:
    return {"save_all": True, "append_images": [picture().rotate(180)]}


def oriented(format_name: str, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(), format_name, exif=exif, **options)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples: npt.NDArray[Any], color_type: int, *before_pixels: bytes, after_pixels: bytes = b"") -> bytes:
    """Return a PNG of uint8 or uint16 samples (h, w) or (h, w, c); types: 0 gray, 2 RGB, 3 palette, 4 LA, 6 RGBA."""
    h, w = samples.shape[:2]
    bits = 8 * samples.dtype.itemsize
    rows = b"".join(b"\0" + row.tobytes() for row in samples.astype(samples.dtype.newbyteorder(">")))
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, bits, color_type, 0, 0, 0))
        + b"".join(before_pixels)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + after_pixels
        + png_chunk(b"IEND", b"")
    )


def blank_png(width: int, height: int) -> bytes:
    """Return a black 1-bit PNG that is small on disk and large in memory; a size of 0 is written as it is."""
    rows = zlib.compressobj()
    row = bytes(1 + (width + 7) // 8)
    pixels = b"".join(rows.compress(row * 1000) for _ in range(height // 1000)) + rows.compress(row * (height % 1000))
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
        + png_chunk(b"IDAT", pixels + rows.flush())
        + png_chunk(b"IEND", b"")
    )


def tiff(samples: npt.NDArray[Any], *tags: tuple[int, int, int], order: Literal["<", ">"] = "<") -> bytes:
    """Return a one-strip TIFF of gray samples (h, w); tags are (id, type, value) and replace the usual ones."""
    content = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    h, w = samples.shape
    entries = {256: (4, w), 257: (4, h), 258: (3, 8 * samples.dtype.itemsize), 259: (3, 1), 262: (3, 1), 273: (4, 0)}
    entries |= {277: (3, 1), 278: (4, h), 279: (4, len(content))} | {tag: (kind, value) for tag, kind, value in tags}
    start = 8 + 2 + 12 * len(entries) + 4
    entries[273] = (4, start)
    directory = struct.pack(order + "H", len(entries))
    for tag, (kind, value) in sorted(entries.items()):
        directory += struct.pack(order + "HHI", tag, kind, 1)
        directory += struct.pack(order + "I", value) if kind == 4 else struct.pack(order + "HH", value, 0)
    head = b"II\x2a\0" if order == "<" else b"MM\0\x2a"
    return head + struct.pack(order + "I", 8) + directory + bytes(4) + content


def ycck_jpeg(cmyk: tuple[int, int, int, int]) -> bytes:
    """Return a flat JPEG that an Adobe program would write: CMYK inverted, its first three channels as YCbCr."""
    ycc = Image.new("RGB", (1, 1), cmyk[:3]).convert("YCbCr").getpixel((0, 0))
    assert isinstance(ycc, tuple)
    stored = (*ycc, 255 - cmyk[3])  # Pillow inverts as it writes, the decoder inverts what it makes of YCbCr
    plain = encoded(Image.new("CMYK", (16, 16), tuple(255 - value for value in stored)), "JPEG", quality=100)
    marker = plain.index(b"Adobe") + 11
    return plain[:marker] + b"\2" + plain[marker + 1 :]


def transparent(mode: str) -> Image.Image:
    """Return the picture with its left half transparent."""
    alpha = Image.new("L", SIZE_WH, 255)
    alpha.paste(0, (0, 0, SIZE_WH[0] // 2, SIZE_WH[1]))
    image = picture()
    image.putalpha(alpha)
    return image.convert(mode)


def good_images() -> dict[str, bytes]:
    """Return every kind of image that is labelled, under names that have broken other tools."""
    jpeg, rgb = encoded(picture(), "JPEG"), picture()
    gray16 = np.asarray(picture("L")).astype(np.uint16) * 257
    rgb16 = np.asarray(rgb).astype(np.uint16) * 257
    palette = picture("P")
    keyed = encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))
    names = {
        "plain.jpg": jpeg,
        "with space.jpg": jpeg,
        " leading and trailing .jpg": jpeg,
        "a+b.jpg": jpeg,
        "per%2Fcent%20.jpg": jpeg,
        "caf\u00e9.png": encoded(rgb, "PNG"),
        "cafe\u0301.png": encoded(rgb, "PNG"),
        "\u732b\U0001f431.jpg": jpeg,
        "hash#1.jpg": jpeg,
        "question?.jpg": jpeg,
        "star*[0-9]{a,b}.jpg": jpeg,
        "quote'\"&<b>.jpg": jpeg,
        "UPPER.JPG": jpeg,
        "case.jpg": jpeg,
        "Case.jpg": encoded(rgb.rotate(180), "JPEG"),
        "left/twin.jpg": jpeg,
        "right/twin.jpg": encoded(rgb.rotate(90, expand=True), "JPEG"),
        "left/twin.png": encoded(rgb, "PNG"),
        "a/deep/folder/of/images/one.two.three.jpeg": jpeg,
        "really a png.jpg": encoded(rgb, "PNG"),
        "really a jpeg.png": jpeg,
        f"{'long' * 50}.jpg": jpeg,
    }
    modes = {
        "jpeg/gray.jpg": encoded(picture("L"), "JPEG"),
        "jpeg/progressive.jpg": encoded(rgb, "JPEG", progressive=True),
        "jpeg/cmyk.jpg": encoded(picture("CMYK"), "JPEG"),
        "jpeg/ycck.jpg": ycck_jpeg((200, 30, 60, 20)),
        "jpeg/two views.jpg": encoded(rgb, "MPO", **two_frames()),
        "jpeg/trailing bytes.jpg": jpeg + bytes(100),
        "jpeg/damaged exif.jpg": encoded(rgb, "JPEG", exif=b"Exif\0\0II\x2a\0\xff\xff\xff\x7fgarbage"),
        "png/1.png": encoded(picture("1"), "PNG"),
        "png/L.png": encoded(picture("L"), "PNG"),
        "png/LA.png": encoded(transparent("LA"), "PNG"),
        "png/P.png": encoded(palette, "PNG"),
        "png/P with a transparent entry.png": keyed,
        "png/RGBA.png": encoded(transparent("RGBA"), "PNG"),
        "png/16 bit.png": png(gray16, 0),
        "png/16 bit colour.png": png(rgb16, 2),
        "png/animated.png": encoded(rgb, "PNG", **two_frames()),
        "png/no end chunk.png": encoded(rgb, "PNG")[:-12],
        "webp/lossy.webp": encoded(rgb, "WEBP"),
        "webp/lossless.webp": encoded(rgb, "WEBP", lossless=True),
        "webp/RGBA.webp": encoded(transparent("RGBA"), "WEBP", lossless=True),
        "webp/animated.webp": encoded(rgb, "WEBP", **two_frames()),
        "bmp/RGB.bmp": encoded(rgb, "BMP"),
        "bmp/P.bmp": encoded(palette, "BMP"),
        "bmp/1.bmp": encoded(picture("1"), "BMP"),
        "gif/static.gif": encoded(palette, "GIF"),
        "gif/animated.gif": encoded(palette, "GIF", **two_frames()),
        "gif/transparent.gif": encoded(transparent("RGBA"), "GIF"),
        "tiff/raw.tif": encoded(rgb, "TIFF"),
        "tiff/lzw.tif": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "tiff/deflate.tiff": encoded(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "tiff/jpeg.tiff": encoded(rgb, "TIFF", compression="jpeg"),
        "tiff/pages.tif": encoded(rgb, "TIFF", **two_frames()),
        "tiff/big.tif": encoded(rgb, "TIFF", big_tiff=True),
        "tiff/1.tif": encoded(picture("1"), "TIFF", compression="group4"),
        "tiff/PA.tif": encoded(transparent("RGBA").convert("P").convert("PA"), "TIFF"),
        "tiff/16 bit.tif": tiff(gray16),
        "tiff/16 bit big endian.tif": tiff(gray16, order=">"),
        "tiff/white is zero.tif": tiff(gray16, (262, 3, 0)),
        "tiff/I.tif": encoded(picture("I"), "TIFF"),
        "tiff/F.tif": encoded(picture("F"), "TIFF"),
        "tiff/CMYK.tif": encoded(picture("CMYK"), "TIFF"),
        "tiff/YCbCr.tif": encoded(picture("YCbCr"), "TIFF"),
        "tiff/LAB.tif": encoded(Image.frombytes("LAB", (2, 2), bytes([200, 20, 250] * 4)), "TIFF"),
    }
    turned = {f"exif/orientation {n}.jpg": oriented("JPEG", n) for n in range(1, 9)}
    turned |= {f"exif/orientation 6.{kind}": oriented(kind, 6) for kind in ("png", "webp", "tiff")}
    return names | modes | turned


def bad_images() -> dict[str, tuple[bytes, RejectCode]]:
    """Return everything that must be rejected, with its code."""
    rgb = picture()
    jpeg, whole_png = encoded(rgb, "JPEG"), encoded(rgb, "PNG")
    noise = Image.frombytes("RGB", (64, 64), np.random.default_rng(0).bytes(64 * 64 * 3))
    webp, gif = encoded(noise, "WEBP"), encoded(noise.convert("P"), "GIF")
    lzw = encoded(noise, "TIFF", compression="tiff_lzw")
    text_bomb = PngImagePlugin.PngInfo()
    text_bomb.add_text("comment", "x" * (4 << 20), zip=True)
    garbage_idat = png_chunk(b"IDAT", b"this is not a zlib stream" * 10)
    header = whole_png[:33]
    frame = jpeg.index(b"\xff\xc0") + 5
    huge_jpeg = jpeg[:frame] + struct.pack(">HH", 65500, 65500) + jpeg[frame + 4 :]
    huge_webp = b"RIFF" + struct.pack("<I", 26) + b"WEBPVP8L" + struct.pack("<IBI", 13, 0x2F, (16382 << 14) | 16382)
    huge_bmp = encoded(rgb, "BMP")[:18] + struct.pack("<ii", 60000, 60000) + encoded(rgb, "BMP")[26:]
    samples = np.zeros((4, 4), np.uint8)
    return {
        "not an image/page.jpg": (b"<!DOCTYPE html>\n<html><body>404</body></html>", RejectCode.NOT_AN_IMAGE),
        "not an image/s3 error.jpg": (b'<?xml version="1.0"?>\n<Error><Code>None', RejectCode.NOT_AN_IMAGE),
        "not an image/notes.png": ("just some text, na\u00efve".encode(), RejectCode.NOT_AN_IMAGE),
        "not an image/labels.jpg": (b'{"images": []}', RejectCode.NOT_AN_IMAGE),
        "not an image/paper.jpg": (b"%PDF-1.7\n" + bytes(64), RejectCode.NOT_AN_IMAGE),
        "not an image/archive.jpg": (b"PK\x03\x04" + bytes(64), RejectCode.NOT_AN_IMAGE),
        "not an image/clip.jpg": (b"\0\0\0\x18ftypisom" + bytes(64), RejectCode.NOT_AN_IMAGE),
        "not an image/pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\n", RejectCode.NOT_AN_IMAGE),
        "not an image/zeros.jpg": (bytes(1000), RejectCode.NOT_AN_IMAGE),
        "not an image/one byte.jpg": (b"\xff", RejectCode.NOT_AN_IMAGE),
        "not an image/no signature.png": (whole_png[8:], RejectCode.NOT_AN_IMAGE),
        "empty/empty.jpg": (b"", RejectCode.EMPTY_FILE),
        "truncated/half.jpg": (jpeg[: len(jpeg) // 2], RejectCode.TRUNCATED),
        "truncated/header.jpg": (jpeg[:100], RejectCode.TRUNCATED),
        "truncated/last bytes.jpg": (jpeg[:-20], RejectCode.TRUNCATED),
        "truncated/half.png": (whole_png[: len(whole_png) // 2], RejectCode.TRUNCATED),
        "truncated/signature.png": (whole_png[:8], RejectCode.TRUNCATED),
        "truncated/half.webp": (webp[: len(webp) // 2], RejectCode.TRUNCATED),
        "truncated/half.gif": (gif[: len(gif) // 2], RejectCode.TRUNCATED),
        "truncated/header.gif": (gif[:10], RejectCode.TRUNCATED),
        "truncated/half.bmp": (encoded(rgb, "BMP")[:1000], RejectCode.TRUNCATED),
        "truncated/half.tif": (encoded(rgb, "TIFF")[:1000], RejectCode.TRUNCATED),
        "truncated/half lzw.tif": (lzw[: len(lzw) // 2], RejectCode.TRUNCATED),
        "truncated/header.tif": (lzw[:6], RejectCode.TRUNCATED),
        "corrupt/garbage.jpg": (b"\xff\xd8\xff" + b"garbage" * 20 + b"\xff\xd9", RejectCode.CORRUPT),
        "corrupt/header checksum.png": (whole_png[:29] + b"\0\0\0\0" + whole_png[33:], RejectCode.CORRUPT),
        "corrupt/pixels.png": (header + garbage_idat + png_chunk(b"IEND", b""), RejectCode.CORRUPT),
        "corrupt/no pixels.png": (header + png_chunk(b"IEND", b""), RejectCode.CORRUPT),
        "corrupt/no width.png": (blank_png(0, 5), RejectCode.CORRUPT),
        "corrupt/no height.png": (blank_png(5, 0), RejectCode.CORRUPT),
        "corrupt/text bomb.png": (encoded(rgb, "PNG", pnginfo=text_bomb), RejectCode.CORRUPT),
        "corrupt/pixels.webp": (webp[:40] + b"\xff" * (len(webp) - 40), RejectCode.CORRUPT),
        "corrupt/no frame.gif": (gif[:13] + b";", RejectCode.CORRUPT),
        "corrupt/no tags.tif": (b"II\x2a\0\x08\0\0\0" + bytes(20), RejectCode.CORRUPT),
        "unsupported/photo.heic": (b"\0\0\0\x18ftypheic" + bytes(64), RejectCode.UNSUPPORTED_FORMAT),
        "unsupported/photo.avif": (encoded(rgb, "AVIF"), RejectCode.UNSUPPORTED_FORMAT),
        "unsupported/heic named.jpg": (b"\0\0\0\x18ftypmif1" + bytes(64), RejectCode.UNSUPPORTED_FORMAT),
        "unsupported/photo.jp2": (encoded(rgb, "JPEG2000"), RejectCode.UNSUPPORTED_FORMAT),
        "unsupported/photo.jxl": (b"\xff\x0a" + bytes(64), RejectCode.UNSUPPORTED_FORMAT),
        "unsupported/layers.psd": (b"8BPS\0\1" + bytes(64), RejectCode.UNSUPPORTED_FORMAT),
        "unsupported/drawing.svg": (b'<?xml version="1.0"?>\n<svg width="9">', RejectCode.UNSUPPORTED_FORMAT),
        "unsupported/favicon.ico": (encoded(rgb, "ICO"), RejectCode.UNSUPPORTED_FORMAT),
        "unsupported/photo.ppm": (encoded(rgb, "PPM"), RejectCode.UNSUPPORTED_FORMAT),
        "unsupported/photo.pcx": (encoded(rgb, "PCX"), RejectCode.UNSUPPORTED_FORMAT),
        "unsupported/raw.cr2": (b"II\x2a\0\x10\0\0\0CR\2\0" + bytes(64), RejectCode.UNSUPPORTED_FORMAT),
        "unsupported/17 bits.tif": (tiff(samples, (258, 3, 17)), RejectCode.UNSUPPORTED_FORMAT),
        "too many pixels/400 MP.png": (blank_png(20_000, 20_000), RejectCode.TOO_MANY_PIXELS),
        "too many pixels/claimed.jpg": (huge_jpeg, RejectCode.TOO_MANY_PIXELS),
        "too many pixels/claimed.webp": (huge_webp + bytes(4), RejectCode.TOO_MANY_PIXELS),
        "too many pixels/claimed.bmp": (huge_bmp, RejectCode.TOO_MANY_PIXELS),
        "too many pixels/claimed.gif": (gif[:6] + b"\xff\xff\xff\xff" + gif[10:], RejectCode.TOO_MANY_PIXELS),
        "too many pixels/claimed.tif": (
            tiff(samples, (256, 4, 100_000), (257, 4, 100_000)),
            RejectCode.TOO_MANY_PIXELS,
        ),
    }
