"""Any counts are a mask or refused."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autolabel.masks.rle import Rle, decode, encode, run_lengths
from autolabel.output.mask_checks import extent, mask_problems
from tests.support.fuzzing import fuzz, little_memory

COUNTS = st.one_of(
    st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=30),
    st.text(max_size=10),
    st.lists(st.booleans(), min_size=1, max_size=60).map(lambda bits: encode(np.array([bits])).counts),
)
SIDES = st.one_of(st.integers(1, 60), st.sampled_from([-1, 2**16, 2**31 - 1]))


def test_any_counts_are_a_mask_or_refused() -> None:
    outcomes: Counter[bool] = Counter()

    @fuzz(1500, 15_000)
    @given(COUNTS, SIDES, SIDES, st.booleans())
    def check(counts: str, height: int, width: int, fits: bool) -> None:
        if fits and counts.isascii():  # as wide as the runs say, so that more than none are masks
            height, width = 1, max(1, min(60, sum(ord(character) - 48 for character in counts)))
        rle = Rle(size_hw=(height, width), counts=counts)
        segmentation = {"size": [height, width], "counts": counts}
        told = list(
            mask_problems({"segmentation": segmentation, "area": 1, "bbox": [0.0, 0.0, 1.0, 1.0]}, (height, width))
        )
        try:
            runs = run_lengths(rle)
        except ValueError:
            assert told[0].startswith("mask does not decode")
            outcomes[False] += 1
            return
        assert runs.sum() == height * width
        if height * width <= 3600:
            mask = decode(rle)
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if len(rows):
                box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
                assert extent(runs, height) == (mask.sum(), box)
            assert ("mask is not written as pycocotools writes it" in told) == (encode(mask) != rle)
            outcomes[True] += 1

    with little_memory():
        check()
    assert min(outcomes[True], outcomes[False]) > 50, outcomes


@given(st.integers(1, 12), st.integers(1, 12), st.data())
@fuzz(300, 3000)
def test_the_extent_of_a_mask_is_that_of_its_pixels(height: int, width: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [0] * 4
    if len(rows):
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    assert extent(run_lengths(encode(mask)), height) == (mask.sum(), box)
