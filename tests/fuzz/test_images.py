"""Any bytes are an image or a rejection."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import RejectedImage
from autolabel.images.decode import decode, probe_size
from tests.support.bad_images import bad_images, good_images
from tests.support.fuzzing import fuzz, little_memory, spoilt

MAX_PIXELS = 1_000_000


@pytest.fixture(scope="module")
def image_files() -> list[bytes]:
    return [*good_images().values(), *(data for data, _ in bad_images().values())]


def test_any_bytes_are_an_image_or_a_rejection(image_files: list[bytes]) -> None:
    outcomes: Counter[str] = Counter()

    @fuzz(700, 8000)
    @given(st.one_of(spoilt(image_files), spoilt(image_files), st.binary(max_size=300)))
    def check(data: bytes) -> None:
        try:
            decoded = decode(data, apply_exif=True, max_pixels=MAX_PIXELS)
        except RejectedImage as rejection:
            outcomes[rejection.code if rejection.detail else "without a detail"] += 1
        else:
            height, width, channels = decoded.rgb.shape
            assert channels == 3
            assert decoded.rgb.dtype == np.uint8
            assert 0 < height * width <= MAX_PIXELS
            assert 1 <= decoded.orientation <= 8
            assert probe_size(data, apply_exif=True, max_pixels=MAX_PIXELS) == (height, width)
            outcomes["decoded"] += 1

    with little_memory():
        check()
    assert outcomes["decoded"] > 30
    assert "without a detail" not in outcomes
    assert len(outcomes) >= 7, outcomes
