"""Step 3 of 7, load: from an image of the plan to what the model takes, fetched, decoded and resized ahead of it.

What is wrong with one image becomes its `Rejection`; a storage that fails raises, because nothing is known then about
the image.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from autolabel.config import ImageConfig
from autolabel.errors import RejectCode, RejectedImage
from autolabel.images.decode import decode
from autolabel.images.tiled_tiff import open_tiled
from autolabel.images.windows import Window
from autolabel.pipeline.timing import StageSeconds, timed
from autolabel.plan import PlannedImage
from autolabel.sam3.preprocess import resize

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """Facts about a decoded image, without its pixels."""

    size_hw: tuple[int, int]
    orientation: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """An image as the model takes it: `pixels` of each of its windows are uint8 (3, R, R)."""

    info: ImageInfo
    windows: tuple[Window, ...]
    pixels: tuple[torch.Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """An image that will not be labelled."""

    code: RejectCode
    detail: str
    sha256: str | None


def prefetch(
    items: Sequence[Item],
    work: Callable[[Item], Loaded],
    *,
    pool: ThreadPoolExecutor,
    cost_bytes: Callable[[Item], int],
    budget_bytes: int,
) -> Iterator[tuple[Item, Loaded]]:
    """Give `work` of every item in order, run in the pool ahead of the caller.

    The items held cost no more than the budget; one is always let in, however large.
    """
    held: deque[tuple[Item, int, Future[Loaded]]] = deque()
    held_bytes = 0
    try:
        for item in items:
            cost = cost_bytes(item)
            while held and held_bytes + cost > budget_bytes:
                first, its_cost, future = held.popleft()
                yield first, future.result()
                held_bytes -= its_cost
            held.append((item, cost, pool.submit(work, item)))
            held_bytes += cost
        while held:
            first, _, future = held.popleft()
            yield first, future.result()
    finally:
        for _, _, future in held:
            future.cancel()


def load_image(
    image: PlannedImage,
    *,
    fetch: Callable[[PlannedImage], bytes],
    settings: ImageConfig,
    windows_of: Callable[[tuple[int, int]], Sequence[Window]],
    decoders: Executor,
    side_px: int,
) -> tuple[ModelInput | Rejection, StageSeconds]:
    """Fetch, decode and resize one image, and say what that took; what is wrong with the image becomes its rejection.

    Many callers may wait for the storage at once. A decoded photo weighs ten times its file, so decoding has threads of
    its own, no more than it was given CPUs: what they hold, and what their heaps keep, is all there is of it.

    Args:
        fetch: gives the bytes of an image, or raises RejectedImage; `inputs.fetch_image`.
        windows_of: gives the windows of an image of a size (h, w).
        side_px: of the square that the model sees of a window.
    """
    sha256, fetch_s, decode_s = None, 0.0, 0.0
    loaded: ModelInput | Rejection
    try:
        data, fetch_s = timed(fetch, image)
        sha256 = hashlib.sha256(data).hexdigest()
        decoding = decoders.submit(
            timed, decode_and_resize, image, data, sha256, settings=settings, windows_of=windows_of, side_px=side_px
        )
        loaded, decode_s = decoding.result()
    except RejectedImage as error:
        loaded = Rejection(code=error.code, detail=error.detail, sha256=sha256)
    except MemoryError:
        loaded = Rejection(code=RejectCode.DECODER_DIED, detail="decoding it took too much memory", sha256=sha256)
    return loaded, StageSeconds(fetch=fetch_s, decode=decode_s)


def decode_and_resize(
    image: PlannedImage,
    data: bytes,
    sha256: str,
    *,
    settings: ImageConfig,
    windows_of: Callable[[tuple[int, int]], Sequence[Window]],
    side_px: int,
) -> ModelInput:
    """Decode the bytes of an image, once, and resize its windows; of a tiled TIFF that has several, those alone.

    Raises:
        RejectedImage: they are no image, or not one of the size that its boxes and points were drawn on.
    """
    tiled = open_tiled(data, apply_exif=settings.apply_exif, max_pixels=settings.max_pixels)
    if tiled and len(windows := tuple(windows_of(tiled.size_hw))) > 1:
        size_hw, orientation, region = tiled.size_hw, tiled.orientation, tiled.region
    else:
        decoded = decode(data, apply_exif=settings.apply_exif, max_pixels=settings.max_pixels)
        size_hw, orientation = (decoded.rgb.shape[0], decoded.rgb.shape[1]), decoded.orientation
        windows, region = tuple(windows_of(size_hw)), partial(part_of, decoded.rgb)
    if image.size_hw not in (None, size_hw):
        detail = f"its boxes or points were drawn on (height, width) {image.size_hw}, the image is {size_hw}"
        raise RejectedImage(RejectCode.SIZE_MISMATCH, detail)
    info = ImageInfo(size_hw=size_hw, orientation=orientation, sha256=sha256)
    return ModelInput(info=info, windows=windows, pixels=tuple(resize(region(window), side_px) for window in windows))


def part_of(rgb: npt.NDArray[np.uint8], window: Window) -> npt.NDArray[np.uint8]:
    """Return the pixels (h, w, 3) of a window; of the whole, without a copy."""
    return np.ascontiguousarray(window.of(rgb))
