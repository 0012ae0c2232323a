"""Parts of masks from their run lengths, against scipy's labelling of their pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from autolabel.masks.components import shares_outside_largest
from autolabel.masks.rle import Rle, encode, run_lengths
from autolabel.masks.runs import run_lengths_of

SIZES = st.tuples(st.integers(1, 14), st.integers(1, 14))
MASKS = arrays(bool, SIZES).filter(lambda mask: mask.any())
MANY = st.lists(MASKS, max_size=5)


def shares(rles: list[Rle]) -> np.ndarray:
    size_hw = np.array([rle.size_hw for rle in rles], np.int64).reshape(-1, 2)
    return shares_outside_largest([rle.counts for rle in rles], size_hw)


def share_by_scipy(mask: np.ndarray) -> float:
    labelled, n = ndimage.label(mask, np.ones((3, 3)))
    return float(1 - max(ndimage.sum_labels(mask, labelled, range(1, n + 1))) / mask.sum())


@settings(deadline=None, max_examples=60)
@given(MANY)
def test_parts_are_those_that_scipy_finds(masks: list[np.ndarray]) -> None:
    assert shares([encode(mask) for mask in masks]) == pytest.approx([share_by_scipy(mask) for mask in masks])


@settings(deadline=None, max_examples=60)
@given(MANY)
def test_run_lengths_are_those_of_each_mask(masks: list[np.ndarray]) -> None:
    rles = [encode(mask) for mask in masks]
    if not rles:
        return
    runs, owner = run_lengths_of([rle.counts for rle in rles])
    for index, rle in enumerate(rles):
        assert runs[owner == index].tolist() == run_lengths(rle).tolist()


def test_large_masks_with_many_parts_and_holes() -> None:
    rng = np.random.default_rng(0)
    smooth = [ndimage.gaussian_filter(rng.normal(size=(400, 600)), sigma) for sigma in (1, 3, 10)]
    masks = [picture > level for picture in smooth for level in (0, picture.std())]
    assert len({round(share_by_scipy(mask), 3) for mask in masks}) > 4
    assert shares([encode(mask) for mask in masks]) == pytest.approx([share_by_scipy(mask) for mask in masks])


def test_a_spiral_is_one_part() -> None:
    mask = np.zeros((41, 41), bool)
    for ring in range(0, 20, 2):
        mask[ring, ring : 41 - ring] = mask[40 - ring, ring : 41 - ring] = True
        mask[ring + 2 : 41 - ring, ring] = mask[ring : 41 - ring, 40 - ring] = True
        mask[ring + 2, ring : ring + 3] = True
    assert share_by_scipy(mask) == 0.0
    assert shares([encode(mask)]).tolist() == [0.0]


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (encode(np.zeros((4, 4), bool)), "mask 0 is empty"),
        (Rle(size_hw=(4, 4), counts="\x7f"), "other characters"),
        (Rle(size_hw=(4, 4), counts="\u20ac" * 3), "other characters|add up"),
        (Rle(size_hw=(4, 4), counts="0P"), "end within a number"),
        (Rle(size_hw=(4, 4), counts="P" * 7 + "0"), "32 bits"),
        (Rle(size_hw=(4, 5), counts=encode(np.ones((4, 4), bool)).counts), "add up"),
    ],
)
def test_what_is_no_mask_is_refused(rle: Rle, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shares([rle])
