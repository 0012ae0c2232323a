"""Drawings against masks that pycocotools and scipy made something of."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco
from scipy import ndimage

from autolabel.masks import captions
from autolabel.masks.drawing import FILL, SMALLEST_SIDE_PX, DrawnInstance, color_of, draw, n_sharing
from autolabel.masks.rle import Rle, bbox_xywh, encode

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


def disc(x: int, y: int, radius_px: int, size_hw: tuple[int, int] = (300, 400)) -> Rle:
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    return encode(np.hypot(rows - y, columns - x) <= radius_px)


@pytest.mark.parametrize("size_px", [400, 1600])
def test_a_label_stands_on_its_mask_where_that_has_the_room(size_px: int) -> None:
    """Though the corner of its box, and the centre of it, are not the mask's."""
    mask = ring((size_px * 3 // 4, size_px))
    changed = (drawn(mask, "0.93") != drawn(mask)).any(axis=2)
    decoded = coco.decode(mask.to_coco()).astype(bool)
    rows, columns = np.nonzero(changed)
    assert decoded[round(rows.mean()), round(columns.mean())]
    assert ndimage.label(changed)[1] == 1, "in one piece, without a line"


def test_a_label_of_a_small_mask_stands_beside_it_with_a_line() -> None:
    small = disc(200, 150, 6)
    changed = (drawn(small, "a long name 0.93") != drawn(small)).any(axis=2)
    decoded = coco.decode(small.to_coco()).astype(bool)
    assert (changed & decoded).sum() < 0.5 * decoded.sum(), "it hides its mask"
    parts, n_parts = ndimage.label(changed, np.ones((3, 3)))
    assert n_parts == 1
    assert parts[150, 200] == 1, "the line ends on the mask"


def test_labels_hide_no_small_mask_that_a_place_nearby_spares() -> None:
    masks = [disc(200, 150, 8), *(disc(x, 122, 8) for x in (150, 180, 200, 220, 250))]
    boxes = [caption_of(mask) for mask in masks]
    first = captions.place(boxes, [(100, 20)] + [(12, 12)] * 5, (400, 300))[0]
    assert first is not None
    assert not any(captions._overlap(first, box.box_xyxy) for box in boxes[1:])
    crossed = captions.place([replace(boxes[0], box_xyxy=(200, 150, 201, 151))], [(100, 20)], (400, 300))[0]
    assert crossed is not None
    assert any(captions._overlap(crossed, box.box_xyxy) for box in boxes[1:]), "where nobody is, it stands there"


def caption_of(mask: Rle) -> captions.Caption:
    x, y, width, height = (int(side) for side in bbox_xywh(mask))
    point = captions.innermost_point(mask)
    assert point is not None
    return captions.Caption(text="", color_rgb=RED, point_xy=point, box_xyxy=(x, y, x + width, y + height))


def test_labels_cover_no_other_stay_inside_and_those_without_a_place_are_counted() -> None:
    mask = encode(np.ones((256, 256), bool))
    captions_of_all = [
        captions.Caption(text="whole", color_rgb=RED, point_xy=(128.0, 128.0), box_xyxy=(0, 0, 256, 256))
    ] * 200
    places = captions.place(captions_of_all, [(60, 18)] * 200, (256, 256))
    placed = [box for box in places if box is not None]
    assert 9 < len(placed) < 200
    assert len(placed) * 60 * 18 <= captions.MOST_COVERED * 256 * 256, "they hide the picture"
    assert all(x0 >= 0 and y0 >= 0 and x1 <= 256 and y1 <= 256 for x0, y0, x1, y1 in placed)
    assert not any(captions._overlap(one, other) for n, one in enumerate(placed) for other in placed[:n])
    many = [DrawnInstance(mask=mask, label="whole", color_rgb=RED)] * 200
    picture = draw(gray((256, 256)), many)
    assert (picture == captions.MORE_RGB).all(axis=2).sum() > 300, "that there are more is said"
    assert not (draw(gray((256, 256)), many[:4]) == captions.MORE_RGB).all(axis=2).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (700, 1), (300, 400), (2000, 3000)])
def test_the_innermost_point_is_on_its_mask(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(7)
    for _ in range(5):
        mask = ndimage.uniform_filter(random.random(shape), 9) > 0.52
        mask[random.integers(shape[0]), random.integers(shape[1])] = True
        point = captions.innermost_point(encode(mask))
        assert point is not None
        x, y = (int(side) for side in point)
        near = mask[max(0, y - 12) : y + 13, max(0, x - 12) : x + 13]
        assert near.any()
        if max(shape) <= captions.SEARCHED_SIDE_PX:
            assert mask[y, x]
    assert captions.innermost_point(encode(np.zeros(shape, bool))) is None


@pytest.mark.parametrize("n_colors", [2, 3])
def test_masks_of_one_object_are_all_seen(n_colors: int) -> None:
    colors = [RED, (0, 0, 255), (0, 255, 0)][:n_colors]
    instances = [DrawnInstance(mask=disc(200, 150, 90 - n), label="", color_rgb=c) for n, c in enumerate(colors)]
    picture = draw(gray((300, 400)), instances).astype(int)
    inside = picture[100:200, 150:250]
    for color in colors:
        tint = np.rint(GRAY + (np.array(color) - GRAY) * FILL)
        share = (np.abs(inside - tint).max(axis=2) <= 1).mean()
        assert share > 0.5 / n_colors, f"{color} is hidden"
    lines = picture[ndimage.binary_dilation(coco.decode(disc(200, 150, 90).to_coco()), iterations=2)]
    assert all((np.abs(lines - color).max(axis=1) < 60).sum() > 50 for color in colors), "their lines, too"


def test_masks_of_one_colour_or_of_two_objects_have_no_stripes() -> None:
    masks = [disc(150, 150, 60), disc(151, 150, 60), disc(200, 150, 60)]
    same = [DrawnInstance(mask=mask, label="", color_rgb=RED) for mask in masks[:2]]
    apart = [DrawnInstance(mask=m, label="", color_rgb=c) for m, c in zip(masks[1:], (RED, (0, 0, 255)), strict=True)]
    assert n_sharing(same) == n_sharing(apart) == [0, 0]
    assert n_sharing([same[0], replace(same[1], color_rgb=(0, 0, 255))]) == [0, 1]


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
