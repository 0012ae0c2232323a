"""A tiled TIFF by regions: the same pixels as its decoder gives, and nothing decoded that no window asks for."""

import io
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from autolabel.errors import RejectCode, RejectedImage
from autolabel.images.decode import decode
from autolabel.images.tiled_tiff import TiledTiff, open_tiled
from autolabel.images.windows import Window, tiles, whole

HEIGHT, WIDTH = 150, 210


def pixels(samples: int = 3) -> npt.NDArray[np.uint8]:
    shape = (HEIGHT, WIDTH, samples) if samples > 1 else (HEIGHT, WIDTH)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def written(data: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(
        file, data, **{"tile": (64, 48), "photometric": "rgb" if data.ndim == 3 else "minisblack", **options}
    )
    return file.getvalue()


def opened(data: bytes, **limits: Any) -> TiledTiff | None:
    return open_tiled(data, **{"apply_exif": True, "max_pixels": 10**9, **limits})


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits"])
def test_windows_are_parts_of_the_whole(compression: str | None, samples: int) -> None:
    data = written(pixels(samples), compression=compression)
    rgb = decode(data, apply_exif=True, max_pixels=10**9).rgb if compression != "zstd" else pixels(samples)
    rgb = np.broadcast_to(rgb if rgb.ndim == 3 else rgb[..., None], (HEIGHT, WIDTH, 3))
    tiled = opened(data)
    assert tiled is not None
    assert tiled.size_hw == (HEIGHT, WIDTH)
    odd = Window(left=47, top=63, width=2, height=3)
    for window in (whole(tiled.size_hw), odd, *tiles(tiled.size_hw, size_px=100, overlap_px=20)):
        assert (tiled.region(window) == window.of(rgb)).all()


def test_jpeg_tiles_look_as_the_decoder_has_them() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    smooth = np.stack([x, y, x + y], axis=2).astype(np.uint8)
    data = written(smooth, compression="jpeg", compressionargs={"level": 95})
    rgb = decode(data, apply_exif=True, max_pixels=10**9).rgb.astype(int)
    tiled = opened(data)
    assert tiled is not None
    assert np.abs(tiled.region(whole((HEIGHT, WIDTH))) - rgb).mean() < 2


def test_only_tiles_of_the_window_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    tiled = opened(written(pixels(), compression="zlib"))
    assert tiled is not None
    read: list[int] = []
    one = TiledTiff._tile

    def noted(self: TiledTiff, index: int) -> npt.NDArray[np.uint8]:
        read.append(index)
        return one(self, index)

    monkeypatch.setattr(TiledTiff, "_tile", noted)
    tiled.region(Window(left=50, top=70, width=40, height=50))
    assert read == [6]  # the second row's second, of five across


@pytest.mark.parametrize(
    "data",
    [
        written(pixels(), tile=None),
        written(pixels().astype(np.uint16)),
        written(np.dstack([pixels(), pixels(1)]), extrasamples=["unassalpha"]),
        written(pixels(), planarconfig="separate"),
        b"II*\0 and no more",
        b"not a TIFF at all",
    ],
    ids=["strips", "16 bits", "alpha", "planes", "damaged", "no TIFF"],
)
def test_what_is_not_read_by_tiles_is_left_to_the_decoder(data: bytes) -> None:
    assert opened(data) is None


def test_any_bytes_are_a_tiled_tiff_or_none() -> None:
    whole_file, rng = written(pixels(), compression="zlib"), np.random.default_rng(0)
    directory = int.from_bytes(whole_file[4:8], "little")
    for _ in range(300):
        data = bytearray(whole_file[: rng.integers(8, len(whole_file))] if rng.random() < 0.3 else whole_file)
        for at in rng.integers(4, min(len(data), directory + 200), 4):
            data[at] = rng.integers(256)
        with suppress(RejectedImage):
            tiled = opened(bytes(data), max_pixels=10**6)
            if tiled:
                tiled.region(Window(left=0, top=0, width=min(9, tiled.size_hw[1]), height=min(9, tiled.size_hw[0])))


def test_a_turned_one_is_left_to_the_decoder_unless_it_stays_turned() -> None:
    data = written(pixels(), extratags=[(274, "H", 1, 6, True)])
    assert opened(data) is None
    tiled = opened(data, apply_exif=False)
    assert tiled is not None
    assert tiled.orientation == 6


def test_damage_is_told() -> None:
    data = written(pixels(), compression="zlib")
    tiled = opened(data[: len(data) // 2])
    if tiled is not None:  # its directory was in the part that is there
        with pytest.raises(RejectedImage) as told:
            tiled.region(whole(tiled.size_hw))
        assert told.value.code in (RejectCode.TRUNCATED, RejectCode.CORRUPT)
    start = data.index(b"\x78", 200)
    torn = data[:start] + bytes(60) + data[start + 60 :]
    damaged = opened(torn)
    assert damaged is not None
    with pytest.raises(RejectedImage) as told:
        damaged.region(whole(damaged.size_hw))
    assert told.value.code == RejectCode.CORRUPT
    with pytest.raises(RejectedImage, match="more than image.max_pixels"):
        opened(data, max_pixels=100)
