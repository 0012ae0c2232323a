"""Step 1 of 7, list: from `input.uri` to the images that are there; and the one door by which their bytes come back.

A kind of input lists its images (`listing`) with a locator that names the kind, and fetches one by it. A new kind is a
module and a line in KINDS.
"""

from collections.abc import Callable
from typing import Any

from autolabel.inputs.locations import ImageLocation
from autolabel.inputs.whole_objects import fetch_object
from autolabel.storage import Storage, open_storage

WHOLE_OBJECT = "object"  # the kind of an image without a locator

KINDS: dict[str, Callable[[ImageLocation, Storage], bytes]] = {
    WHOLE_OBJECT: fetch_object,
}


def fetch_image(image: ImageLocation, storage_options: dict[str, Any]) -> bytes:
    """Return the bytes of an image file, wherever they lie.

    Raises:
        RejectedImage: this image is gone, was replaced, or may not be read.
        StorageError: the storage keeps failing; nothing is known about the image.
    """
    kind, uri = (image.locator.kind, image.locator.container) if image.locator else (WHOLE_OBJECT, image.uri)
    return KINDS[kind](image, open_storage(uri, storage_options))
