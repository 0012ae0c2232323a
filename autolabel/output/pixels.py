"""The pixels that labels belong to: an image read again, decoded as it was when it was labelled."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from autolabel.errors import RejectCode, RejectedImage
from autolabel.images.decode import decode
from autolabel.inputs import fetch_image
from autolabel.inputs.locations import ImageLocation
from autolabel.labels.types import ImageLabels
from autolabel.output.job_output import JobOutput


def read_labelled_pixels(output: JobOutput, image: ImageLabels, input_options: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Return the RGB pixels (h, w, 3) that boxes and masks of an image are in.

    Raises:
        RejectedImage: the image is gone, may not be read, cannot be decoded, or is another one than was labelled.
        StorageError: its storage keeps failing.
    """
    locator = output.plan.image(image.image_id).locator
    location = ImageLocation(image.uri, locator=locator)  # of any size and etag: the sha256 tells
    data = fetch_image(location, input_options)
    if image.sha256 is not None and hashlib.sha256(data).hexdigest() != image.sha256:
        raise RejectedImage(RejectCode.CHANGED, "not the bytes that were labelled")
    settings = output.record.settings.image
    rgb = decode(data, apply_exif=settings.apply_exif, max_pixels=settings.max_pixels).rgb
    if rgb.shape[:2] != image.size_hw:
        raise RejectedImage(RejectCode.SIZE_MISMATCH, f"{rgb.shape[1]} x {rgb.shape[0]} pixels, labelled with others")
    return rgb
