"""The pixels that labels belong to: an image read again, decoded as it was when it was labelled."""

import hashlib

import numpy as np
import numpy.typing as npt

from autolabel.errors import RejectCode, RejectedImage
from autolabel.images.decode import decode
from autolabel.output.run_record import RunRecord


def read_labelled_pixels(data: bytes, sha256: str | None, record: RunRecord) -> npt.NDArray[np.uint8]:
    """RGB (h, w, 3) in the frame of the labels.

    Raises:
        RejectedImage: these are not the bytes that were labelled (`sha256`), or they cannot be decoded.
    """
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise RejectedImage(RejectCode.CHANGED, "not the bytes that were labelled")
    settings = record.settings["image"]
    return decode(data, apply_exif=settings["apply_exif"], max_pixels=settings["max_pixels"]).rgb
