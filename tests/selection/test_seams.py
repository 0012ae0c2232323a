"""What tiles saw, joined: an object is one instance with its whole mask, two are two, whoever saw how much of them."""

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.images.windows import Window, crops, tiles, whole
from autolabel.labels.types import Instance
from autolabel.masks.rle import area, bbox_xywh, decode, encode
from autolabel.selection.seams import is_cut, joined, large, unique_in_crops
from tests.support.fuzzing import fuzz

Mask = npt.NDArray[np.bool_]
SIZE_HW = (100, 260)
A, B, C = tiles(SIZE_HW, size_px=100, overlap_px=20)  # 0 to 100, 80 to 180, 160 to 260
ROW = (A, B, C)


def box(left: int, top: int, width: int, height: int, size_hw: tuple[int, int] = SIZE_HW) -> Mask:
    mask = np.zeros(size_hw, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def instance(mask: Mask, score: float = 0.9, category_id: int = 1) -> Instance:
    rle = encode(mask)
    return Instance(
        category_id=category_id,
        prompt_id=category_id - 1,
        phrase="a",
        score=score,
        presence=1.0,
        rle=rle,
        area_px=area(rle),
        bbox_xywh=bbox_xywh(rle),
    )


def seen(window: Window, *masks: Mask, score: float = 0.9, category_id: int = 1) -> list[Instance]:
    """Return the parts of masks that a window sees."""
    inside = box(window.left, window.top, window.width, window.height, masks[0].shape) if masks else np.zeros(0, bool)
    return [instance(mask & inside, score, category_id) for mask in masks if (mask & inside).any()]


def as_sets(instances: Sequence[Instance]) -> list[tuple[int, str]]:
    """Return categories and masks, in no order."""
    return sorted((one.category_id, one.rle.counts) for one in instances)


def masks_of(instances: Sequence[Instance]) -> list[str]:
    for one in instances:
        assert (one.area_px, one.bbox_xywh) == (area(one.rle), bbox_xywh(one.rle))
    return sorted(one.rle.counts for one in instances)


def counts(*masks: Mask) -> list[str]:
    return sorted(encode(mask).counts for mask in masks)


def test_windows_are_as_this_file_counts_on() -> None:
    assert [(window.left, window.right) for window in ROW] == [(0, 100), (80, 180), (160, 260)]


# --- what is one, and what is not ---


def test_an_object_cut_by_a_border_is_one_with_its_whole_mask() -> None:
    across = box(60, 30, 70, 20)
    (found,) = joined(ROW, [seen(window, across) for window in ROW])
    assert (found.rle, found.area_px, found.bbox_xywh) == (encode(across), 1400, (60, 30, 70, 20))


def test_an_object_that_both_windows_see_whole_is_one() -> None:
    (found,) = joined(ROW, [seen(window, box(84, 30, 10, 10)) for window in ROW])
    assert found == instance(box(84, 30, 10, 10))


def test_an_object_larger_than_the_overlap_over_three_tiles_is_one() -> None:
    across = box(10, 30, 240, 40)
    (found,) = joined(ROW, [seen(window, across) for window in ROW])
    assert found.rle == encode(across)


def test_an_object_over_four_tiles_that_meet_in_a_corner_is_one() -> None:
    windows = tiles((180, 180), size_px=100, overlap_px=20)
    across = box(50, 40, 90, 110, (180, 180))
    assert len(windows) == 4
    (found,) = joined(windows, [seen(window, across) for window in windows])
    assert found.rle == encode(across)


def test_two_objects_that_touch_stay_two() -> None:
    upper, lower = box(60, 30, 60, 10), box(60, 40, 60, 10)
    found = joined(ROW, [seen(window, upper, lower) for window in ROW])
    assert masks_of(found) == counts(upper, lower)


def test_two_objects_that_touch_at_a_border_stay_two() -> None:
    left, right = box(40, 30, 50, 20), box(90, 30, 50, 20)
    found = joined(ROW, [seen(window, left, right) for window in ROW])
    assert masks_of(found) == counts(left, right)


def test_other_categories_are_not_joined() -> None:
    across = box(60, 30, 70, 20)
    found = joined(ROW, [seen(A, across, category_id=1), seen(B, across, category_id=2), []])
    assert as_sets(found) == as_sets([*seen(A, across, category_id=1), *seen(B, across, category_id=2)])


def test_masks_that_differ_where_both_windows_see_are_not_joined() -> None:
    in_a, in_b = box(60, 30, 40, 30), box(80, 50, 60, 30)  # 10 of 50 rows are common in the strip
    assert masks_of(joined(ROW, [[instance(in_a)], [instance(in_b)], []])) == counts(in_a, in_b)


def test_masks_nearly_the_same_are_joined() -> None:
    in_a, in_b = box(60, 30, 40, 30), box(80, 32, 60, 30)
    (found,) = joined(ROW, [[instance(in_a)], [instance(in_b)], []])
    assert found.rle == encode(in_a | in_b)


def test_a_poor_mask_over_two_objects_does_not_join_them() -> None:
    upper, lower = box(50, 20, 60, 30), box(50, 50, 60, 10)
    over_both = instance(box(80, 20, 18, 40), score=0.4)  # its middle is nearer to A's
    told = [seen(A, upper, lower), [over_both, *seen(B, upper, lower, score=0.8)], []]
    found = joined(ROW, told)
    assert masks_of(found) == counts(upper, lower)
    # Alone in its window, it goes to the object that it is most of.
    found = joined(ROW, [told[0], [over_both], []])
    assert masks_of(found) == masks_of([*seen(A, lower), instance(decode(over_both.rle) | decode(told[0][0].rle))])


def test_the_surest_pair_comes_first() -> None:
    """Two masks of a window may each be the same as one of the other: only one of them is."""
    across = box(60, 30, 70, 20)
    worse = instance(box(80, 30, 50, 16), score=0.5)
    (found, other) = joined(ROW, [seen(A, across), [worse, *seen(B, across, score=0.8)], []])
    assert found.rle == encode(across)
    assert other == worse


# --- whose word counts ---


def test_what_only_a_far_window_sees_is_not_there() -> None:
    near_a, near_b = box(82, 30, 6, 6), box(92, 30, 6, 6)
    assert joined(ROW, [[], seen(B, near_a), []]) == []
    assert joined(ROW, [seen(A, near_a), [], []]) == seen(A, near_a)
    assert joined(ROW, [seen(A, near_b), [], []]) == []
    assert joined(ROW, [[], seen(B, near_b), []]) == seen(B, near_b)


def test_the_score_is_that_of_the_window_that_sees_it_best() -> None:
    across = box(70, 30, 28, 20)  # its middle, and that of its part in B, are nearer to A's
    (found,) = joined(ROW, [seen(A, across, score=0.6), seen(B, across, score=0.95), []])
    assert (found.score, found.rle) == (0.6, encode(across))
    wide = box(40, 30, 120, 20)  # each window has a part in its middle
    (found,) = joined(ROW, [seen(A, wide, score=0.6), seen(B, wide, score=0.95), []])
    assert found.score == 0.95


def test_the_whole_image_tells_of_what_it_alone_sees() -> None:
    windows = [whole(SIZE_HW), *ROW]
    huge, small = box(5, 5, 250, 90), box(84, 30, 10, 10)
    (found,) = joined(windows, [[instance(huge)], [], [], []])
    assert found == instance(huge)
    found_both = joined(windows, [[instance(huge, score=0.7)], *(seen(window, huge, small) for window in ROW)])
    assert masks_of(found_both) == counts(huge, small)


def test_only_large_instances_of_the_whole_image_count() -> None:
    sides = [(20, 20), (21, 5), (5, 21), (40, 40)]
    told = [instance(box(10, 10, width, height)) for width, height in sides]
    assert large(told, 20) == told[1:]


# --- any objects ---


def separate_boxes(rng: random.Random, size_hw: tuple[int, int]) -> list[Mask]:
    """Return rectangles that do not touch, of all sizes up to the image's."""
    taken, drawn = np.zeros(size_hw, bool), []
    for _ in range(rng.randrange(1, 25)):
        width, height = (min(side, 1 + int(rng.random() ** 2 * side)) for side in reversed(size_hw))
        left, top = rng.randint(0, size_hw[1] - width), rng.randint(0, size_hw[0] - height)
        if not taken[max(0, top - 1) : top + height + 1, max(0, left - 1) : left + width + 1].any():
            drawn.append(box(left, top, width, height, size_hw))
            taken |= drawn[-1]
    return drawn


@fuzz(40, 5000)
@given(st.randoms(use_true_random=False), st.integers(20, 150), st.integers(20, 150), st.integers(16, 70), st.data())
def test_objects_cut_by_tiles_are_put_together_again(
    rng: random.Random, height: int, width: int, size_px: int, data: st.DataObject
) -> None:
    overlap_px = data.draw(st.integers(1, size_px // 2))
    windows = tiles((height, width), size_px=size_px, overlap_px=overlap_px)
    objects = separate_boxes(rng, (height, width))
    told = [seen(window, *objects) for window in windows]
    for of_window in told:
        rng.shuffle(of_window)
    assert masks_of(joined(windows, told)) == counts(*objects)


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_a_windows_instances_changes_nothing(seed: int) -> None:
    """Masks that windows see each in its own way, with scores of their own."""
    rng, shuffled = np.random.default_rng(seed), random.Random(seed)
    windows = tiles((180, 180), size_px=100, overlap_px=30)
    objects = separate_boxes(shuffled, (180, 180))

    def seen_badly(window: Window) -> list[Instance]:
        parts = [np.roll(mask, tuple(rng.integers(-2, 3, 2)), (0, 1)) for mask in objects]
        return [
            replace(part, score=float(rng.random()), category_id=int(rng.integers(1, 3)))
            for part in seen(window, *parts)
        ]

    told = [seen_badly(window) for window in windows]
    expected = joined(windows, told)
    assert 0 < len(expected) < sum(map(len, told))
    for _ in range(4):
        again = [shuffled.sample(of_window, len(of_window)) for of_window in told]
        assert sorted(joined(windows, again), key=score_of) == sorted(expected, key=score_of)


def score_of(one: Instance) -> float:
    return one.score


# --- crops ---

WHOLE, *QUARTERS = crops((200, 200), 1)


def of_square(left: int, top: int, width: int, height: int, score: float = 0.9) -> Instance:
    return instance(box(left, top, width, height, (200, 200)), score)


def test_quarters_are_as_this_file_counts_on() -> None:
    assert QUARTERS[0] == Window(left=0, top=0, width=134, height=134)
    assert (QUARTERS[3].left, QUARTERS[3].bottom) == (66, 200)


def test_of_the_same_in_two_crops_the_smaller_crops_mask_stays() -> None:
    rough, fine = of_square(31, 31, 40, 40, score=0.95), of_square(30, 30, 40, 40, score=0.6)
    assert unique_in_crops([WHOLE, *QUARTERS], [[rough], [fine], [], [], []], 0.7) == [fine]
    assert unique_in_crops([WHOLE, *QUARTERS], [[rough], [fine], [], [], []], 0.95) == [fine, rough]


def test_what_is_cut_off_by_a_crop_is_left_to_others() -> None:
    entire, part = of_square(20, 20, 160, 40), of_square(20, 20, 114, 40, score=0.99)
    assert unique_in_crops([WHOLE, *QUARTERS], [[entire], [part], [], [], []], 0.7) == [entire]


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        pytest.param((30, 30, 40, 40), False, id="inside"),
        pytest.param((30, 30, 104, 40), True, id="to the right edge"),
        pytest.param((30, 30, 84, 40), True, id="20 pixels from it"),
        pytest.param((30, 30, 83, 40), False, id="21 pixels from it"),
        pytest.param((30, 30, 40, 104), True, id="to the lower edge"),
        pytest.param((0, 0, 40, 40), False, id="to the image's own edges"),
        pytest.param((0, 30, 134, 40), True, id="to one of each"),
    ],
)
def test_a_mask_is_cut_at_the_edge_of_a_crop_but_not_of_the_image(
    mask: tuple[int, int, int, int], expected: bool
) -> None:
    assert is_cut(of_square(*mask), QUARTERS[0], (200, 200)) == expected
    flipped = (200 - mask[0] - mask[2], 200 - mask[1] - mask[3], *mask[2:])
    assert is_cut(of_square(*flipped), QUARTERS[3], (200, 200)) == expected
    assert not is_cut(of_square(*mask), WHOLE, (200, 200))
