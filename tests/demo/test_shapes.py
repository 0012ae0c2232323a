"""Coverage has the area that geometry says, wherever and however a shape is turned."""

import math

import numpy as np
import pytest

from autolabel.demo.phrases import SHAPES
from autolabel.demo.shapes import coverage, outline, patch_side

RADIUS_PX = 40.0
AREAS = {  # of shapes within the unit circle
    "circle": math.pi,
    "square": 2.0,
    "triangle": 3 * math.sqrt(3) / 4,
    "star": 10 * 0.5 * 0.45 * math.sin(math.pi / 5),
    "ring": math.pi * (1 - 0.55**2),
    "cross": (4 * 2 * 0.36 * (1 - 0.36) + (2 * 0.36) ** 2) / (1 + 0.36**2),
}


@pytest.mark.parametrize("shape", AREAS)
@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_areas_are_those_of_geometry(shape: str, angle: float) -> None:
    covered = coverage(shape, radius_px=RADIUS_PX, angle=angle, offset_xy=(0.3, -0.4))
    assert covered.sum() == pytest.approx(AREAS[shape] * RADIUS_PX**2, rel=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_lies_within_the_unit_circle_and_its_patch(shape: str) -> None:
    polygon, hole = outline(shape)
    assert np.hypot(*polygon.T).max() <= 1.02
    assert (hole is not None) == (shape == "ring")
    covered = coverage(shape, radius_px=RADIUS_PX, angle=1.0, offset_xy=(0.5, 0.5))
    assert covered.shape == (patch_side(RADIUS_PX),) * 2
    assert covered.max() == 1
    for edge in (covered[0], covered[-1], covered[:, 0], covered[:, -1]):
        assert not edge.any()


def test_a_ring_has_its_hole_and_a_moon_its_bite() -> None:
    middle = patch_side(RADIUS_PX) // 2
    assert coverage("ring", radius_px=RADIUS_PX, angle=0, offset_xy=(0, 0))[middle, middle] == 0
    moon = coverage("moon", radius_px=RADIUS_PX, angle=0, offset_xy=(0, 0))
    assert moon[middle, middle] == 0
    assert moon[middle, middle - 35] == 1
    assert moon[middle, middle + 35] == 0


def test_an_unknown_shape_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        outline("dodecahedron")
