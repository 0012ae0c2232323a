"""The format of an image file, told by its first bytes."""

import re

from PIL import Image

from autolabel.errors import RejectCode, RejectedImage

# What the first bytes say, in this order. Camera raws and JPEG XR are TIFFs at first sight, so they come before TIFF.
_UNSUPPORTED = (
    ("HEIC", rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)"),
    ("AVIF", rb"....ftypavi[fs]"),
    ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ("JPEG XL", rb"\0\0\0\x0cJXL |\xff\x0a"),
    ("JPEG XR", rb"II\xbc\x01"),
    ("camera raw", rb"II\x2a\0....CR|IIR[OS]|IIU\0|FUJIFILMCCD|....ftypcrx "),
    ("PSD", rb"8BPS"),
    ("SVG", rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]"),
    ("ICO", rb"\0\0[\x01\x02]\0[\x01-\xff]\0"),
    ("PNM", rb"P[1-7fF]\s[\d#W]"),
    ("OpenEXR or Radiance HDR", rb"v/1\x01|#\?RADIANCE"),
    ("FITS or DICOM", rb"SIMPLE  =|.{128}DICM"),
    ("EPS", rb"%!PS-Adobe.{1,8}EPSF"),
)
_SUPPORTED = (
    ("JPEG", rb"\xff\xd8\xff"),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("WEBP", rb"RIFF....WEBP"),
    ("TIFF", rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]"),
    ("GIF", rb"GIF8[79]a"),
    ("BMP", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
)
_OTHER = (
    ("HTML", rb"(?i)(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)?(<!doctype html|<html|<head|<body)"),
    ("XML", rb"(\xef\xbb\xbf)?\s*<\?xml|\s*<Error>"),
    ("PDF", rb"%PDF-"),
    ("ZIP", rb"PK[\x03\x05]"),
    ("gzip or tar", rb"\x1f\x8b|.{257}ustar"),
    ("a video", rb"....(ftyp|moov|mdat)|\x1a\x45\xdf\xa3|RIFF....AVI "),
    ("Git LFS pointer", rb"version https://git-lfs"),
    ("JSON", rb'(\xef\xbb\xbf)?\s*([\[{]\s*["\[{\d\]}])'),
)


def format_name(data: bytes) -> str:
    """Return JPEG, PNG, WEBP, TIFF, GIF or BMP; raise RejectedImage that says what the bytes look like instead."""
    if not data:
        raise RejectedImage(RejectCode.EMPTY_FILE, "0 bytes")
    head = data[:1024]
    if name := _match(_UNSUPPORTED, head):
        raise RejectedImage(RejectCode.UNSUPPORTED_FORMAT, f"{name} is not read here")
    if name := _match(_SUPPORTED, head):
        return name
    if looks := _match(_OTHER, head):
        pass
    elif not head.strip(b"\0"):
        looks = "zero bytes"
    elif not re.search(rb"[\0-\x08\x0e-\x1f\x7f\xc0\xc1\xf5-\xff]", head):
        looks = "text"
    elif len(head) > 16 and (name := _pillow_name(head[:16])):
        raise RejectedImage(RejectCode.UNSUPPORTED_FORMAT, f"{name} is not read here")
    else:
        looks = f"unknown content, beginning with the bytes {head[:8].hex(' ')}"
    raise RejectedImage(RejectCode.NOT_AN_IMAGE, f"looks like {looks} ({len(data)} bytes)")


def _match(signatures: tuple[tuple[str, bytes], ...], head: bytes) -> str | None:
    return next((name for name, pattern in signatures if re.match(pattern, head, re.DOTALL)), None)


def _pillow_name(prefix: bytes) -> str | None:
    """Return the name of a rarer format that one of Pillow's other plugins would try to read."""
    Image.init()
    supported = {name for name, _ in _SUPPORTED}
    plugins = {name: accept for name, (_, accept) in Image.OPEN.items() if name not in supported}
    return next((name for name, accept in plugins.items() if accept and accept(prefix) is True), None)
