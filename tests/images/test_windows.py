"""Tiles and crops of images of any size: no pixel is left out, and neighbours share what they should."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autolabel.images.windows import Window, crops, starts, tiles, whole
from tests.support.fuzzing import fuzz

SIDES = st.integers(1, 500)


@st.composite
def sizes_and_overlaps(draw: st.DrawFn) -> tuple[int, int]:
    """Draw a tile's side and an overlap of at most half of it, as validation has it."""
    size_px = draw(st.integers(1, 200))
    return size_px, draw(st.integers(0, size_px // 2))


def n_looks(size_hw: tuple[int, int], windows: list[Window]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Return how many windows see each pixel."""
    n = np.zeros(size_hw, np.int64)
    for window in windows:
        n[window.top : window.bottom, window.left : window.right] += 1
    return n


@fuzz(50, 10_000)
@given(SIDES, SIDES, sizes_and_overlaps())
@example(100, 100, (100, 20))
@example(101, 100, (100, 50))
@example(7, 500, (64, 32))
@example(1, 1, (64, 0))
@example(180, 180, (100, 20))
def test_tiles_cover_an_image_and_share_the_overlap(height: int, width: int, size_and_overlap: tuple[int, int]) -> None:
    size_px, overlap_px = size_and_overlap
    found = tiles((height, width), size_px=size_px, overlap_px=overlap_px)
    assert n_looks((height, width), found).min() >= 1
    assert {window.size_hw for window in found} == {(min(size_px, height), min(size_px, width))}
    assert all(window.left >= 0 and window.top >= 0 for window in found)
    assert all(window.right <= width and window.bottom <= height for window in found)
    lefts, tops = sorted({window.left for window in found}), sorted({window.top for window in found})
    assert [(window.top, window.left) for window in found] == [(top, left) for top in tops for left in lefts]
    for at, length in ((lefts, width), (tops, height)):
        assert (np.diff(at) <= size_px - overlap_px).all()
        assert np.diff(at, n=2).size == 0 or np.ptp(np.diff(at)) <= 1  # as even as whole pixels allow
        assert len(at) == 1 or (len(at) - 2) * (size_px - overlap_px) + size_px < length  # one less is too few


def test_what_tiles_look_like() -> None:
    assert tiles((100, 250), size_px=100, overlap_px=20) == [
        Window(left=left, top=0, width=100, height=100) for left in (0, 75, 150)
    ]
    assert starts(180, 100, 20) == [0, 80]
    assert starts(181, 100, 20) == [0, 40, 81]


@pytest.mark.parametrize("size_hw", [(100, 100), (64, 100), (1, 1), (3, 99)])
def test_an_image_no_larger_than_a_tile_is_one_window(size_hw: tuple[int, int]) -> None:
    assert tiles(size_hw, size_px=100, overlap_px=50) == [whole(size_hw)]


def test_a_window_is_the_part_of_the_image() -> None:
    rgb = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    window = Window(left=2, top=1, width=4, height=3)
    assert (window.right, window.bottom, window.size_hw) == (6, 4, (3, 4))
    assert np.array_equal(window.of(rgb), rgb[1:4, 2:6])
    assert np.shares_memory(window.of(rgb), rgb)
    assert np.array_equal(whole((6, 8)).of(rgb), rgb)


WINDOWS = st.builds(
    Window, left=st.integers(0, 20), top=st.integers(0, 20), width=st.integers(1, 20), height=st.integers(1, 20)
)


@fuzz(100, 10_000)
@given(WINDOWS, WINDOWS)
@example(Window(left=0, top=0, width=5, height=5), Window(left=5, top=0, width=5, height=5))
def test_what_two_windows_share_is_what_both_see(one: Window, other: Window) -> None:
    both = n_looks((40, 40), [one, other]) == 2
    shared = one.shared_with(other)
    assert shared == other.shared_with(one)
    assert np.array_equal(both, n_looks((40, 40), [shared] if shared else []) == 1)


@fuzz(40, 10_000)
@given(st.integers(256, 700), st.integers(256, 700), st.integers(0, 4))
def test_crops_are_layers_that_cover_an_image(height: int, width: int, n_layers: int) -> None:
    found = crops((height, width), n_layers)
    assert found[0] == whole((height, width))
    start = 0
    for layer in range(n_layers + 1):
        of_layer = found[start : start + 4**layer]
        assert n_looks((height, width), of_layer).min() >= 1
        start += 4**layer
    assert start == len(found)


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 5), (1, 300), (10, 10)])
def test_an_image_of_few_pixels_has_fewer_crops(size_hw: tuple[int, int]) -> None:
    found = crops(size_hw, 4)
    assert 1 < len(found) < sum(4**layer for layer in range(5))
    assert all(window.shared_with(whole(size_hw)) == window for window in found)
    assert n_looks(size_hw, found[1:]).min() >= 4  # by every layer


def test_crops_overlap_as_those_of_sam() -> None:
    """Sizes as segment_anything.utils.amg.generate_crop_boxes has them."""
    overlap = int(512 / 1500 * 600)
    assert crops((600, 900), 1)[1:] == [
        Window(left=left, top=top, width=552 if left == 0 else 900 - left, height=402 if top == 0 else 600 - top)
        for top in (0, 402 - overlap)
        for left in (0, 552 - overlap)
    ]
