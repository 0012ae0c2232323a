"""Drawings against masks that pycocotools and scipy made something of."""

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco
from scipy import ndimage

from autolabel.masks.drawing import FILL, SMALLEST_SIDE_PX, DrawnInstance, color_of, draw
from autolabel.masks.rle import Rle, encode

GRAY = 90
RED = (255, 0, 0)


def ring(size_hw: tuple[int, int] = (300, 400)) -> Rle:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    distance = np.hypot(y - size_hw[0] * 0.55, x - size_hw[1] * 0.5) / size_hw[1]
    return encode((distance < 0.2) & (distance > 0.1))


def gray(size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.full((*size_hw, 3), GRAY, np.uint8)


def drawn(mask: Rle, label: str = "", **options: int) -> npt.NDArray[np.uint8]:
    return draw(gray(mask.size_hw), [DrawnInstance(mask=mask, label=label, color_rgb=RED)], **options)


def test_the_mask_is_tinted_and_the_rest_untouched() -> None:
    picture, mask = drawn(ring()), coco.decode(ring().to_coco()).astype(bool)
    around = np.ones((9, 9), bool)
    inside, outside = ndimage.binary_erosion(mask, around), ~ndimage.binary_dilation(mask, around)
    tint = np.rint(GRAY + (np.array(RED) - GRAY) * FILL)
    assert (picture[inside] == tint).all()
    assert (picture[outside] == GRAY).all()
    assert outside[165, 200], "the hole"
    edge = mask & ~ndimage.binary_erosion(mask)
    assert not (picture[edge] == tint).all(axis=1).any()


def test_a_label_is_written_beside_its_mask() -> None:
    changed = (drawn(ring(), "ring 0.93") != drawn(ring())).any(axis=2)
    rows, columns = np.nonzero(changed)
    top, left = 165 - 80, 200 - 80
    assert top - 30 < rows.min()
    assert rows.max() < top
    assert abs(columns.min() - left) <= 1


def test_labels_cover_no_other_and_stay_inside() -> None:
    mask = encode(np.ones((256, 256), bool))
    instances = [DrawnInstance(mask=mask, label=f"whole {n}", color_rgb=color_of(n)) for n in range(9)]
    picture = draw(gray((256, 256)), instances)
    visible = [(picture == instance.color_rgb).all(axis=2).sum() for instance in instances]
    assert visible[0] > 300
    assert visible[1] == pytest.approx(visible[0], rel=0.2)
    assert visible[2:-1] == [0] * 6, "no place was free"


@pytest.mark.parametrize(
    ("size_hw", "max_side_px", "expected_hw"),
    [
        pytest.param((300, 400), None, (300, 400), id="as it is"),
        pytest.param((300, 400), 200, (150, 200), id="shrunk"),
        pytest.param((300, 400), 500, (300, 400), id="not enlarged"),
        pytest.param((30, 40), None, (192, SMALLEST_SIDE_PX), id="enlarged"),
        pytest.param((30, 40), 100, (75, 100), id="enlarged to what is asked"),
        pytest.param((1, 4000), 400, (1, 400), id="a line"),
        pytest.param((4000, 1), None, (4000, 1), id="a column"),
    ],
)
def test_sizes(size_hw: tuple[int, int], max_side_px: int | None, expected_hw: tuple[int, int]) -> None:
    full = encode(np.ones(size_hw, bool))
    picture = draw(gray(size_hw), [DrawnInstance(mask=full, label="a label", color_rgb=RED)], max_side_px=max_side_px)
    assert picture.shape == (*expected_hw, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize("max_side_px", [40, 100, 400, 800])
def test_a_shrunk_mask_lies_where_it_lay(max_side_px: int) -> None:
    size_hw = (600, 800)
    mask = np.zeros(size_hw, bool)
    mask[120:360, 400:640] = True
    picture = drawn(encode(mask), max_side_px=max_side_px)
    rows, columns = np.nonzero((picture != GRAY).any(axis=2))
    scale = max_side_px / 800
    for found, expected in ((rows, (120, 360)), (columns, (400, 640))):
        assert abs(found.min() - expected[0] * scale) <= 3
        assert abs(found.max() + 1 - expected[1] * scale) <= 3


def test_one_pixel_is_seen_in_a_thumbnail() -> None:
    mask = np.zeros((3000, 4000), bool)
    mask[1500, 1000] = True
    picture = drawn(encode(mask), max_side_px=200)
    assert (picture[75, 50] != GRAY).any()


@pytest.mark.parametrize("max_side_px", [1, 2, 50, 99])
@pytest.mark.parametrize("size_hw", [(101, 100), (25, 201), (300, 7)])
def test_the_last_pixel_is_inside_whatever_is_rounded(size_hw: tuple[int, int], max_side_px: int) -> None:
    for row, column in ((0, 0), (-1, -1)):
        mask = np.zeros(size_hw, bool)
        mask[row, column] = True
        picture = drawn(encode(mask), max_side_px=max_side_px)
        assert (picture[row, column] != GRAY).any()


def test_a_small_mask_is_seen_on_a_large_one() -> None:
    small, large = np.zeros((300, 300), bool), np.ones((300, 300), bool)
    small[140:160, 140:160] = True
    blue = (0, 0, 255)
    masks = [(small, blue), (large, RED)]
    instances = [DrawnInstance(mask=encode(mask), label="", color_rgb=color) for mask, color in masks]
    for order in (instances, instances[::-1]):
        red, _, over_blue = draw(gray((300, 300)), order)[150, 150].astype(int)
        assert over_blue > red


def test_the_picture_given_is_left_as_it_is() -> None:
    picture = gray((300, 400))
    draw(picture, [DrawnInstance(mask=ring(), label="ring", color_rgb=RED)])
    assert (picture == GRAY).all()


def test_an_empty_mask_and_no_instances_draw_nothing() -> None:
    assert (drawn(encode(np.zeros((300, 300), bool)), "nothing") == GRAY).all()
    assert (draw(gray((300, 300)), []) == GRAY).all()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(300, 400\) on a picture of \(400, 300\)"):
        draw(gray((400, 300)), [DrawnInstance(mask=ring(), label="", color_rgb=RED)])


@pytest.mark.parametrize("ground", [0, 255])
def test_colors_are_seen_on_light_and_dark_and_told_apart(ground: int) -> None:
    colors = [color_of(index) for index in range(8)]
    for index, color in enumerate(colors):
        assert contrast(color, (ground,) * 3) > 2
        assert all(np.linalg.norm(np.subtract(color, other)) > 60 for other in colors[:index])
        assert contrast(color, (0, 0, 0)) > 4.5, "labels are black on their colour"


def contrast(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """WCAG 2.2's contrast ratio."""

    def luminance(color: tuple[int, ...]) -> float:
        levels = np.array(color) / 255
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)
