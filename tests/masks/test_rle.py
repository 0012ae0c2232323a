"""Run lengths against pycocotools and numpy as oracles."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pycocotools import mask as coco

from autolabel.masks.rle import (
    Rle,
    area,
    bbox_xywh,
    common,
    decode,
    decode_crop,
    encode,
    pairwise_overlap,
    placed,
    rectangle,
    union,
)
from tests.support.fuzzing import fuzz

Mask = npt.NDArray[np.bool_]


def blobs(n: int, size_hw: tuple[int, int], seed: int = 0) -> Mask:
    """Masks (n, h, w): ellipses of many sizes with holes, some cut by the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    drawn = []
    for _ in range(n):
        cy, cx = rng.uniform(0, size_hw[0]), rng.uniform(0, size_hw[1])
        ry, rx = rng.uniform(1, size_hw[0]), rng.uniform(1, size_hw[1])
        distance = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
        drawn.append((distance < 1) & (distance > rng.choice([-1, 0.2])))
    return np.array(drawn)


def noise(size_hw: tuple[int, int], share: float, seed: int = 0) -> Mask:
    return np.random.default_rng(seed).random(size_hw) < share


MASKS = [
    pytest.param(np.zeros((7, 5), bool), id="empty"),
    pytest.param(np.ones((7, 5), bool), id="full"),
    pytest.param(np.ones((1, 1), bool), id="one pixel"),
    pytest.param(np.zeros((1, 1), bool), id="no pixel of one"),
    pytest.param(np.eye(40, dtype=bool), id="diagonal"),
    pytest.param(noise((60, 33), 0.5), id="noise"),
    pytest.param(noise((1, 500), 0.1), id="row"),
    pytest.param(noise((500, 1), 0.9), id="column"),
    *(pytest.param(mask, id=f"blob {index}") for index, mask in enumerate(blobs(5, (90, 120)))),
]


@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_survives_and_is_measured(mask: Mask) -> None:
    rle = encode(mask)
    assert rle.to_coco() == {
        "size": list(mask.shape),
        "counts": coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode(),
    }
    assert np.array_equal(decode(rle), mask)
    assert decode(rle).flags.c_contiguous
    assert area(rle) == mask.sum()
    assert type(area(rle)) is int
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    expected = (
        (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1) if len(rows) else (0, 0, 0, 0)
    )
    assert bbox_xywh(rle) == expected
    assert {type(number) for number in bbox_xywh(rle)} == {float}


@pytest.mark.parametrize("mask", MASKS)
def test_a_crop_is_the_mask_within_its_box(mask: Mask) -> None:
    (left, top), crop = decode_crop(encode(mask))
    x, y, width, height = map(int, coco.toBbox(encode(mask).to_coco()))
    assert (left, top, *crop.shape) == (x, y, height, width)
    assert np.array_equal(crop, mask[y : y + height, x : x + width])
    assert crop.flags.c_contiguous


def test_a_crop_is_tight_around_runs_of_no_length() -> None:
    coded = coco.frPyObjects({"counts": [1, 0, 7, 2, 6, 0, 4], "size": [4, 5]}, 4, 5)
    (left, top), crop = decode_crop(Rle(size_hw=(4, 5), counts=coded["counts"].decode()))
    assert (left, top) == (2, 0)
    assert crop.tolist() == [[True], [True]]


def test_large_counts_survive() -> None:
    mask = np.zeros((9000, 9000), bool)
    mask[8999, 8999] = mask[4000, 10] = True
    assert np.array_equal(decode(encode(mask)), mask)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ("", "end within"),
        ("é", "other characters"),
        (" ", "other characters"),
        ("p", "other characters"),
        ("o", "end within"),
        ("0", "do not add up"),
        ("T1", "do not add up"),  # 36 of 35
        ("oooooooo0", "32 bits"),
        ("5O`1", "do not add up"),  # a negative run
    ],
)
def test_damaged_counts_are_refused(counts: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode(Rle(size_hw=(7, 5), counts=counts))


def test_random_counts_decode_or_are_refused() -> None:
    rng = np.random.default_rng(0)
    good = encode(noise((30, 30), 0.3)).counts
    refused = 0
    for _ in range(2000):
        changed = list(good)
        for _ in range(rng.integers(1, 4)):
            changed[rng.integers(len(changed))] = chr(rng.integers(48, 112))
        try:
            mask = decode(Rle(size_hw=(30, 30), counts="".join(changed)))
        except ValueError:
            refused += 1
        else:
            assert mask.shape == (30, 30)
    assert refused > 1000


# --- masks of windows, and of several masks one ---


@st.composite
def masks(draw: st.DrawFn, size_hw: tuple[int, int]) -> Mask:
    """Draw a mask that is empty, full, or speckled, so that runs end at every place of a column."""
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    return noise(size_hw, share, seed=draw(st.integers(0, 2**20)))


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
MARGINS = st.tuples(*[st.integers(0, 3)] * 4)


@fuzz(300, 20_000)
@given(SIZES.flatmap(masks), MARGINS)
@example(np.ones((3, 4), bool), (0, 0, 0, 0))  # all of the image
@example(np.ones((3, 4), bool), (2, 0, 1, 0))  # whole columns of it, one run
@example(np.ones((3, 4), bool), (0, 2, 0, 1))  # whole rows
def test_a_mask_of_a_window_is_placed_in_its_image(mask: Mask, margins: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = margins
    expected = np.pad(mask, ((top, bottom), (left, right)))
    height, width = expected.shape
    assert placed(encode(mask), (left, top), (height, width)) == encode(expected)


def test_a_mask_is_placed_far_out_in_a_large_image() -> None:
    found = placed(encode(np.ones((2, 3), bool)), (40_000, 30_000), (32_000, 45_000))  # 1.4 gigapixels
    assert (area(found), bbox_xywh(found)) == (6, (40_000, 30_000, 3, 2))


def test_runs_of_no_length_are_placed_as_none() -> None:
    coded = coco.frPyObjects({"counts": [1, 0, 7, 2, 6, 0, 4], "size": [4, 5]}, 4, 5)
    with_empty_runs = Rle(size_hw=(4, 5), counts=coded["counts"].decode())
    assert placed(with_empty_runs, (1, 2), (7, 7)) == encode(np.pad(decode(with_empty_runs), ((2, 1), (1, 1))))


@fuzz(100, 20_000)
@given(SIZES.flatmap(lambda size_hw: st.lists(masks(size_hw), min_size=1, max_size=4)))
def test_a_union_is_what_any_mask_covers(drawn: list[Mask]) -> None:
    assert union([encode(mask) for mask in drawn]) == encode(np.logical_or.reduce(drawn))


@fuzz(100, 20_000)
@given(SIZES.flatmap(lambda size_hw: st.tuples(st.lists(masks(size_hw), max_size=4), masks(size_hw))))
def test_what_is_common_is_the_intersection_of_each(drawn: tuple[list[Mask], Mask]) -> None:
    some, other = drawn
    assert common([encode(mask) for mask in some], encode(other)) == [encode(mask & other) for mask in some]


@fuzz(200, 20_000)
@given(st.data(), SIZES)
def test_a_rectangle_covers_its_box(data: st.DataObject, size_hw: tuple[int, int]) -> None:
    (height, width), expected = size_hw, np.zeros(size_hw, bool)
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box_width, box_height = data.draw(st.integers(1, width - left)), data.draw(st.integers(1, height - top))
    expected[top : top + box_height, left : left + box_width] = True
    assert rectangle((left, top, box_width, box_height), size_hw) == encode(expected)


class TestOverlap:
    @pytest.mark.parametrize("metric", ["iou", "ios"])
    def test_is_exact(self, metric: str) -> None:
        some, others = blobs(12, (40, 60), seed=1), blobs(9, (40, 60), seed=2)
        expected = np.zeros((12, 9))
        for i, one in enumerate(some):
            for j, other in enumerate(others):
                shared = int((one & other).sum())
                whole = int((one | other).sum()) if metric == "iou" else min(int(one.sum()), int(other.sum()))
                expected[i, j] = shared / whole
        found = pairwise_overlap([encode(m) for m in some], [encode(m) for m in others], metric)
        assert found.dtype == np.float64
        assert np.array_equal(found, expected)
        assert 20 < np.count_nonzero(found) < found.size

    @pytest.mark.parametrize("metric", ["iou", "ios"])
    def test_with_an_empty_mask_is_zero(self, metric: str) -> None:
        empty, full = encode(np.zeros((4, 4), bool)), encode(np.ones((4, 4), bool))
        assert pairwise_overlap([empty, full], [empty, full], metric).tolist() == [[0, 0], [0, 1]]

    @pytest.mark.parametrize("metric", ["iou", "ios"])
    def test_of_none_has_a_shape(self, metric: str) -> None:
        full = encode(np.ones((4, 4), bool))
        assert pairwise_overlap([], [full], metric).shape == (0, 1)
        assert pairwise_overlap([full], [], metric).shape == (1, 0)
        assert pairwise_overlap([], [], metric).shape == (0, 0)

    def test_of_300_masks(self) -> None:
        many = [encode(mask) for mask in blobs(300, (20, 20))]
        assert np.array_equal(np.diag(pairwise_overlap(many, many, "iou")), [float(area(rle) > 0) for rle in many])

    def test_another_metric_is_refused(self) -> None:
        with pytest.raises(ValueError, match="neither iou nor ios"):
            pairwise_overlap([], [], "dice")

    def test_ios_of_a_part_is_one(self) -> None:
        part = np.zeros((10, 10), bool)
        part[2:4, 2:4] = True
        assert pairwise_overlap([encode(part)], [encode(np.ones((10, 10), bool))], "ios").tolist() == [[1.0]]
