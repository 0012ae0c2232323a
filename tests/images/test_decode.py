"""Decoding: every rule of `autolabel.images.decode`, good and bad files, bytes at random."""

import io
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from autolabel.errors import RejectCode, RejectedImage
from autolabel.images.decode import _READERS, DecodedImage, decode, probe_size
from tests.support import bad_images as make

MAX_PIXELS = 200_000_000
GOOD = make.good_images()
BAD = make.bad_images()
GRAY16 = np.array([[0, 1, 255, 256], [32767, 32768, 65279, 65535]], np.uint16)

# Pillow warns of damaged metadata; the suite may turn warnings into errors, users do not.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def decoded(data: bytes, *, apply_exif: bool = True, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    return decode(data, apply_exif=apply_exif, max_pixels=max_pixels)


def rgb_of(image: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", GOOD)
def test_good_image_decodes_whatever_its_name(name: str) -> None:
    image = decoded(GOOD[name])
    assert image.rgb.dtype == np.uint8
    assert image.rgb.ndim == 3
    assert image.rgb.shape[2] == 3
    assert image.rgb.flags.c_contiguous
    assert image.rgb.flags.writeable
    assert image.rgb.std() > 5 or "ycck" in name or "LAB" in name, "a picture became a blank"
    for apply_exif in (True, False):
        h, w, _ = decoded(GOOD[name], apply_exif=apply_exif).rgb.shape
        assert probe_size(GOOD[name], apply_exif=apply_exif, max_pixels=MAX_PIXELS) == (h, w)


@pytest.mark.parametrize("name", BAD)
def test_bad_image_is_rejected_with_its_code(name: str) -> None:
    data, code = BAD[name]
    with pytest.raises(RejectedImage) as caught:
        decoded(data)
    assert caught.value.code == code, caught.value
    assert caught.value.detail


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("not an image/page.jpg", "HTML"),
        ("not an image/s3 error.jpg", "XML"),
        ("not an image/notes.png", "text"),
        ("not an image/paper.jpg", "PDF"),
        ("not an image/archive.jpg", "ZIP"),
        ("not an image/zeros.jpg", "zero bytes"),
        ("not an image/pointer.jpg", "Git LFS"),
        ("not an image/one byte.jpg", "beginning with the bytes ff"),
        ("unsupported/photo.heic", "HEIC"),
        ("unsupported/photo.avif", "AVIF"),
        ("unsupported/photo.jp2", "JPEG 2000"),
        ("unsupported/photo.jxl", "JPEG XL"),
        ("unsupported/layers.psd", "PSD"),
        ("unsupported/drawing.svg", "SVG"),
        ("unsupported/favicon.ico", "ICO"),
        ("unsupported/photo.pcx", "PCX"),
        ("too many pixels/400 MP.png", "20000 x 20000 = 400000000 pixels, more than image.max_pixels = 200000000"),
    ],
)
def test_detail_says_what_it_is(name: str, words: str) -> None:
    with pytest.raises(RejectedImage) as caught:
        decoded(BAD[name][0])
    assert words in caught.value.detail


# --- frame ---


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_by_exif_transpose_and_always_recorded(format_name: str, orientation: int) -> None:
    lossless = {"lossless": True} if format_name == "WEBP" else {}
    data = make.oriented(format_name, orientation, **lossless)
    upright, stored = decoded(data), decoded(data, apply_exif=False)
    assert upright.orientation == stored.orientation == orientation
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(upright.rgb, rgb_of(ImageOps.exif_transpose(image)))
    plain = make.encoded(make.picture(), format_name, **lossless)
    np.testing.assert_array_equal(stored.rgb, decoded(plain).rgb)
    w, h = make.SIZE_WH
    assert upright.rgb.shape[:2] == ((w, h) if orientation >= 5 else (h, w))
    assert probe_size(data, apply_exif=True, max_pixels=MAX_PIXELS) == upright.rgb.shape[:2]
    assert probe_size(data, apply_exif=False, max_pixels=MAX_PIXELS) == (h, w)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_orientation_of_a_compressed_tiff(compression: str) -> None:
    data = make.oriented("TIFF", 6, compression=compression)
    np.testing.assert_array_equal(decoded(data, apply_exif=False).rgb, rgb_of(make.picture()))
    np.testing.assert_array_equal(decoded(data).rgb, np.rot90(rgb_of(make.picture()), -1))


def test_png_orientation_after_the_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    chunk = make.png_chunk(b"eXIf", exif.tobytes()[6:])
    data = make.png(rgb_of(make.picture()), 2, after_pixels=chunk)
    assert decoded(data).orientation == 8
    np.testing.assert_array_equal(decoded(data).rgb, np.rot90(rgb_of(make.picture())))
    assert probe_size(data, apply_exif=True, max_pixels=MAX_PIXELS) == make.SIZE_WH


def test_orientation_from_xmp() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    data = make.encoded(make.picture(), "JPEG", xmp=xmp)
    assert decoded(data).orientation == 3


def exif_with(orientation: Any, kind: int) -> bytes:
    value = int(orientation).to_bytes(4, "little")
    entry = (0x0112).to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little") + value
    return b"Exif\0\0II\x2a\0\x08\0\0\0\x01\0" + entry + bytes(4)


@pytest.mark.parametrize(
    ("case", "exif"),
    [
        ("zero", exif_with(0, 3)),
        ("nine", exif_with(9, 3)),
        ("huge", exif_with(2**31, 4)),
        ("wrong type", exif_with(6, 2)),
        ("cut", exif_with(6, 3)[:14]),
        ("wild offset", b"Exif\0\0II\x2a\0\xff\xff\xff\x7f"),
        ("no TIFF header", b"Exif\0\0nonsense"),
        ("empty", b"Exif\0\0"),
    ],
)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("warnings_are", ["ignore", "error"])
def test_damaged_orientation_counts_as_1(format_name: str, case: str, exif: bytes, warnings_are: Any) -> None:
    data = make.encoded(make.picture(), format_name, exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter(warnings_are)
        image = decoded(data)
    assert image.orientation == 1
    assert image.rgb.shape[:2] == make.SIZE_WH[::-1]


# --- samples ---


@pytest.mark.parametrize(
    ("case", "data"),
    [
        ("png", make.png(GRAY16, 0)),
        ("tiff little endian", make.tiff(GRAY16)),
        ("tiff big endian", make.tiff(GRAY16, order=">")),
        ("tiff lzw", make.encoded(Image.fromarray(GRAY16), "TIFF", compression="tiff_lzw")),
        ("tiff white is zero", make.tiff(65535 - GRAY16, (262, 3, 0))),
    ],
)
def test_16_bit_gray_gives_its_high_byte(case: str, data: bytes) -> None:
    expected = np.array([[0, 0, 0, 1], [127, 128, 254, 255]], np.uint8)
    np.testing.assert_array_equal(decoded(data).rgb, np.repeat(expected[..., None], 3, axis=2))


def test_12_bit_gray_gives_its_upper_8_bits() -> None:
    packed = np.array([[0x0F, 0xF8, 0x01]], np.uint8)  # two samples of 12 bits: 0x0ff, 0x801
    data = make.tiff(packed, (256, 4, 2), (258, 3, 12))
    assert decoded(data).rgb[0, :, 0].tolist() == [0x0F, 0x80]


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (6, 4)])
def test_16_bit_colour_gives_its_high_byte(color_type: int, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (5, 7, channels), np.uint16)
    samples[..., 3:] = 65535
    np.testing.assert_array_equal(decoded(make.png(samples, color_type)).rgb, samples[..., :3] >> 8)


def test_one_picture_is_the_same_as_16_bit_gray_and_as_16_bit_colour() -> None:
    colour = make.png(np.repeat(GRAY16[..., None], 3, axis=2), 2)
    np.testing.assert_array_equal(decoded(make.png(GRAY16, 0)).rgb, decoded(colour).rgb)


@pytest.mark.parametrize(
    ("case", "data", "expected"),
    [
        ("int32", make.encoded(Image.fromarray(np.array([[-100, 0, 100]], np.int32)), "TIFF"), [0, 128, 255]),
        ("uint32", make.tiff(np.array([[0, 2**31, 2**32 - 1]], np.uint32)), [0, 128, 255]),
        ("int16", make.tiff(np.array([[-32768, 0, 32767]], np.int16), (339, 3, 2)), [0, 128, 255]),
        ("float 0..1", make.encoded(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "TIFF"), [0, 128, 255]),
        (
            "float small",
            make.encoded(Image.fromarray(np.array([[0, 1e-9, 2e-9]], np.float32)), "TIFF"),
            [0, 128, 255],
        ),
        (
            "nan and infinities",
            make.encoded(Image.fromarray(np.array([[np.nan, -np.inf, 1, 2, np.inf]], np.float32)), "TIFF"),
            [0, 0, 0, 255, 255],
        ),
        ("float extremes", make.encoded(Image.fromarray(np.array([[-3e38, 3e38]], np.float32)), "TIFF"), [0, 255]),
        ("all nan", make.encoded(Image.fromarray(np.full((1, 2), np.nan, np.float32)), "TIFF"), [0, 0]),
        ("constant", make.encoded(Image.fromarray(np.full((1, 2), 7, np.int32)), "TIFF"), [0, 0]),
    ],
)
def test_32_bit_gray_is_stretched_between_its_finite_extremes(case: str, data: bytes, expected: list[int]) -> None:
    rgb = decoded(data).rgb
    assert rgb[0, :, 0].tolist() == expected
    assert (rgb == rgb[..., :1]).all()


@pytest.mark.parametrize(
    ("case", "data", "expected", "tolerance"),
    [
        ("cmyk jpeg", make.encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG"), (0, 255, 255), 2),
        ("cmyk jpeg key", make.encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "JPEG"), (0, 0, 0), 2),
        ("ycck jpeg", make.ycck_jpeg((200, 30, 60, 0)), (55, 225, 195), 3),
        ("cmyk tiff", make.encoded(Image.new("CMYK", (2, 2), (255, 0, 0, 0)), "TIFF"), (0, 255, 255), 0),
        ("lab tiff white", make.encoded(Image.frombytes("LAB", (1, 1), b"\xff\0\0"), "TIFF"), (255, 255, 255), 1),
        ("lab tiff gray", make.encoded(Image.frombytes("LAB", (1, 1), b"\x88\0\0"), "TIFF"), (127, 127, 127), 2),
        ("lab tiff pink", make.encoded(Image.frombytes("LAB", (1, 1), b"\x88\x50\0"), "TIFF"), (241, 17, 132), 6),
        ("ycbcr tiff", make.encoded(Image.new("YCbCr", (16, 16), (76, 85, 255)), "TIFF"), (254, 0, 0), 2),
        (
            "ycbcr tiff jpeg",
            make.encoded(Image.new("YCbCr", (16, 16), (76, 85, 255)), "TIFF", compression="jpeg"),
            (254, 0, 0),
            3,
        ),
    ],
)
def test_colour_spaces(case: str, data: bytes, expected: tuple[int, int, int], tolerance: int) -> None:
    assert np.abs(decoded(data).rgb.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize(
    ("case", "image", "format_name", "options"),
    [
        ("gray png", make.picture("L"), "PNG", {}),
        ("gray jpeg", make.picture("L"), "JPEG", {"quality": 100}),
        ("1-bit png", make.picture("1"), "PNG", {}),
        ("1-bit fax", make.picture("1"), "TIFF", {"compression": "group4"}),
        ("1-bit bmp", make.picture("1"), "BMP", {}),
        ("palette png", make.picture("P"), "PNG", {}),
        ("palette of 2 bits", make.picture().quantize(4), "PNG", {"bits": 2}),
        ("palette gif", make.picture("P"), "GIF", {}),
        ("palette bmp", make.picture("P"), "BMP", {}),
        ("palette tiff", make.picture("P"), "TIFF", {"compression": "tiff_lzw"}),
        ("rgb bmp", make.picture(), "BMP", {}),
        ("rgb webp", make.picture(), "WEBP", {"lossless": True}),
        ("rgb big tiff", make.picture(), "TIFF", {"big_tiff": True}),
    ],
)
def test_plain_modes_keep_their_colours(case: str, image: Image.Image, format_name: str, options: Any) -> None:
    difference = decoded(make.encoded(image, format_name, **options)).rgb.astype(int) - rgb_of(image)
    assert np.abs(difference).max() <= (2 if format_name == "JPEG" else 0)


@pytest.mark.parametrize(
    ("case", "data"),
    [
        ("RGBA png", make.encoded(make.transparent("RGBA"), "PNG")),
        ("RGBA webp", make.encoded(make.transparent("RGBA"), "WEBP", lossless=True, exact=True)),
        ("RGBA tiff", make.encoded(make.transparent("RGBA"), "TIFF")),
        ("LA png", make.encoded(make.transparent("LA"), "PNG")),
        ("LA tiff", make.encoded(make.transparent("LA"), "TIFF")),
        ("PA tiff", make.encoded(make.transparent("PA"), "TIFF")),
        ("gif", make.encoded(make.transparent("RGBA"), "GIF")),
        ("palette png", make.encoded(make.transparent("RGBA").quantize(16), "PNG")),
    ],
)
def test_transparent_pixels_are_white_and_the_others_stay(case: str, data: bytes) -> None:
    rgb = decoded(data).rgb
    half = make.SIZE_WH[0] // 2
    assert (rgb[:, :half] == 255).all()
    colours = rgb_of(make.picture("L" if case.startswith("LA") else "RGB"))[:, half:]
    lossy = case in ("PA tiff", "gif", "palette png")  # the palette was chosen by the encoder
    assert np.abs(rgb[:, half:].astype(int) - colours).mean() <= (16 if lossy else 0)


def test_half_transparent_is_blended_with_white() -> None:
    data = make.encoded(Image.new("RGBA", (2, 2), (0, 100, 200, 128)), "PNG")
    assert decoded(data).rgb[0, 0].tolist() == pytest.approx([127, 177, 227], abs=1)


@pytest.mark.parametrize(
    ("case", "mode", "key", "others"),
    [("gray key", "L", 9, 10), ("colour key", "RGB", (9, 8, 7), (9, 8, 6))],
)
def test_colour_key_of_a_png_is_white(case: str, mode: str, key: Any, others: Any) -> None:
    image = Image.new(mode, (2, 1), others)
    image.putpixel((0, 0), key)
    rgb = decoded(make.encoded(image, "PNG", transparency=key)).rgb
    assert rgb[0, 0].tolist() == [255, 255, 255]
    assert rgb[0, 1].tolist() == rgb_of(Image.new(mode, (1, 1), others))[0, 0].tolist()


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_several(format_name: str) -> None:
    first, second = Image.new("RGB", (8, 8), (200, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 200))
    options = {"lossless": True} if format_name == "WEBP" else {}
    data = make.encoded(first, format_name, save_all=True, append_images=[second], **options)
    assert (decoded(data).rgb == (200, 0, 0)).all()


def test_default_image_of_an_apng_counts_as_its_first() -> None:
    decode = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    data = make.encoded(decode[0], "PNG", save_all=True, append_images=decode[1:], default_image=True)
    assert (decoded(data).rgb == (255, 0, 0)).all()


# --- limits and damage ---


@pytest.mark.parametrize(
    ("case", "data"),
    [
        (kind, make.encoded(make.picture(), kind))
        for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
    ] + [("turned JPEG", make.oriented("JPEG", 6)), ("turned TIFF", make.oriented("TIFF", 6))],
)  # fmt: skip
def test_pixel_cap_is_exact_and_in_both_functions(case: str, data: bytes) -> None:
    pixels = make.SIZE_WH[0] * make.SIZE_WH[1]
    assert decoded(data, max_pixels=pixels).rgb.size == 3 * pixels
    for function in (decode, probe_size):
        with pytest.raises(RejectedImage) as caught:
            function(data, apply_exif=True, max_pixels=pixels - 1)
        assert caught.value.code == RejectCode.TOO_MANY_PIXELS
        assert "48 x 32 = 1536 pixels" in caught.value.detail
        assert "1535" in caught.value.detail


def test_bomb_costs_no_memory() -> None:
    """81 megapixels in 10 KB, and its claim in other formats: rejected without growing by so much as the pixels."""
    script = """
import resource
from autolabel.errors import RejectedImage
from autolabel.images.decode import decode, probe_size
from tests.support.bad_images import bad_images, blank_png
bombs = [blank_png(9000, 9000)] + [data for name, (data, _) in bad_images().items() if "claimed" in name]
assert len(bombs) == 6 and len(bombs[0]) < 11_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for data in bombs:
    for function in (decode, probe_size):
        try:
            function(data, apply_exif=True, max_pixels=50_000_000)
        except RejectedImage as error:
            assert error.code == "too_many_pixels", error
        else:
            raise AssertionError("decoded")
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 8_000, f"{grown} KB"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "WEBP"])
def test_pillows_process_wide_limit_is_neither_used_nor_touched(
    format_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large picture within `max_pixels` gives no warning and no error, and the limit stays as the user set it."""
    data = make.encoded(Image.new("1", (64, 40)), format_name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # 2560 pixels: Pillow's own reader would warn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decoded(data, max_pixels=2560).rgb.shape == (40, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 2000


def test_webp_over_pillows_own_limit_is_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make.encoded(Image.new("RGB", (64, 40)), "WEBP")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(RejectedImage) as caught:
        decoded(data)
    assert caught.value.code == RejectCode.TOO_MANY_PIXELS
    assert "2560" in caught.value.detail


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": exif_with(1, 3)}], ids=["VP8", "VP8L", "VP8X"])
def test_webp_over_the_cap_is_not_even_opened(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plugin allocates the canvas as it opens."""
    data = make.encoded(make.picture(), "WEBP", **options)
    opened: list[Any] = []
    monkeypatch.setitem(_READERS, "WEBP", opened.append)
    with pytest.raises(RejectedImage, match="48 x 32 = 1536 pixels"):
        decoded(data, max_pixels=1535)
    assert not opened


def test_corrupt_middle_of_a_jpeg_is_what_the_decoder_gives() -> None:
    data = bytearray(make.encoded(make.picture(size_wh=(256, 256)), "JPEG"))
    middle = data.index(b"\xff\xda") + 200
    data[middle : middle + 8] = b"\x55" * 8
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decoded(bytes(data)).rgb, rgb_of(image))


def test_memory_error_is_no_verdict_on_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("autolabel.images.decode._to_rgb", full)
    with pytest.raises(MemoryError):
        decoded(GOOD["plain.jpg"])


def damaged(rng: random.Random, data: bytes) -> bytes:
    damage: Callable[[], bytes] = rng.choice(
        [
            lambda: data[: rng.randrange(len(data))],
            lambda: data[: rng.randrange(min(200, len(data)))],
            lambda: flipped(rng, data, len(data), rng.randint(1, 20)),
            lambda: flipped(rng, data, min(200, len(data)), rng.randint(1, 5)),
            lambda: flipped(rng, data, min(40, len(data)), 1),
            lambda: data[: rng.randrange(len(data))] + rng.randbytes(rng.randrange(60)),
        ]
    )
    return damage()


def flipped(rng: random.Random, data: bytes, stop: int, count: int) -> bytes:
    changed = bytearray(data)
    for _ in range(count):
        changed[rng.randrange(stop)] ^= 1 << rng.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("name", [name for name in GOOD if "/" in name])
def test_any_bytes_give_pixels_or_a_rejection(name: str) -> None:
    rng = random.Random(name)
    rejected = 0
    for _ in range(40):
        data = damaged(rng, GOOD[name])
        for apply_exif in (True, False):
            try:
                image = decode(data, apply_exif=apply_exif, max_pixels=1_000_000)
            except RejectedImage:
                rejected += 1
            else:
                assert image.rgb.ndim == 3
                assert image.rgb.dtype == np.uint8
                size_hw = probe_size(data, apply_exif=apply_exif, max_pixels=1_000_000)
                assert size_hw == image.rgb.shape[:2]
    assert rejected, "no damage was found, so none was done"


def test_many_threads_get_the_same_pixels() -> None:
    names = [name for name in GOOD if "/" in name] * 3
    expected = {name: decoded(GOOD[name]) for name in names}
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda name: decoded(GOOD[name]), names))
    for name, result in zip(names, results, strict=True):
        np.testing.assert_array_equal(result.rgb, expected[name].rgb)
        assert result.orientation == expected[name].orientation
