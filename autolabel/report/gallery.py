"""The gallery's images: read again as the job read them, with their labels drawn on, and what is told of each."""

import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from autolabel.errors import RejectedImage
from autolabel.labels.types import ImageLabels, Instance, Status
from autolabel.labels.units import read_columns
from autolabel.masks.captions import innermost_point
from autolabel.masks.drawing import DrawnInstance, color_of, draw
from autolabel.output.job_output import JobOutput
from autolabel.output.pixels import read_labelled_pixels
from autolabel.parallel import n_cores
from autolabel.review.queue import ReviewQueue
from autolabel.review.reasons import REASONS

FOLDER = "images"
SIDE_PX = 960  # of a drawn image, at most
MOST_ENLARGED = 2  # times, where it has fewer pixels; as the page does, where lines would be coarse
QUALITY = 82
MAX_LISTED = 200  # instances of an image, best first; all are drawn
THREADS = min(16, 2 * n_cores())  # that read and draw; a photo of 12 megapixels takes 100 MB of each


@dataclass(frozen=True, kw_only=True)
class ListedInstance:
    """An instance in the page's list; `category` is its place in the ontology, the box in pixels of the image.

    Its score is written at `point_xy` by the page, which knows how large the picture is shown.
    """

    category: int
    score: float
    area_px: int
    box_xywh: tuple[float, ...]
    point_xy: tuple[float, ...]  # its innermost one, in whole pixels


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """An image's place in the review queue, from 1, and the reasons that are not 0."""

    rank: int
    priority: float
    reasons: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Card:
    """An image of the gallery. Without a `picture`, `problem` says why."""

    image_id: int
    name: str
    status: str
    size_wh: tuple[int, int] | None
    picture: str | None  # relative to the page
    problem: str | None
    n_instances: int
    instances: tuple[ListedInstance, ...]
    doubt: Doubt | None  # None where it was rejected


def cards(
    output: JobOutput,
    queue: ReviewQueue,
    image_ids: Sequence[int],
    *,
    input_options: dict[str, Any],
    write: Callable[[str, bytes], None],
) -> list[Card]:
    """Return the cards of some images, in the order of their ids; `write(name, data)` takes their pictures.

    Raises:
        StorageError: the storage of the images keeps failing; one that is gone or changed is told on its card.
    """
    by_unit: dict[int, list[int]] = defaultdict(list)
    for image_id in sorted(image_ids):
        by_unit[output.plan.unit_of(image_id)].append(image_id)
    doubt_of = doubts_of(queue, image_ids)
    index_of = {category.id: index for index, category in enumerate(output.record.settings.ontology.categories)}

    def of_unit(unit: int) -> list[Card]:
        columns = read_columns(output.storage, output.uri, unit)
        return [card(image) for image in columns.select(np.isin(columns.image_id, by_unit[unit])).images()]

    def card(image: ImageLabels) -> Card:
        picture, problem = f"{FOLDER}/{image.image_id:08d}.jpg", None
        if image.status == Status.REJECTED:
            problem = f"{image.reject_code}: {image.reject_detail}"
        else:
            try:
                rgb = read_labelled_pixels(output, image, input_options)
                larger_px = MOST_ENLARGED * max(rgb.shape)
                labels = drawn(image.instances, index_of)
                write(picture, encoded(draw(rgb, labels, min_side_px=larger_px, max_side_px=SIDE_PX)))
            except RejectedImage as error:
                problem = str(error)
        return Card(
            image_id=image.image_id,
            name=output.file_name(image.uri),
            status=image.status,
            size_wh=image.size_hw and image.size_hw[::-1],
            picture=None if problem else picture,
            problem=problem,
            n_instances=len(image.instances),
            instances=tuple(listed(one, index_of) for one in image.instances[:MAX_LISTED]),
            doubt=doubt_of.get(image.image_id),
        )

    pool = ThreadPoolExecutor(THREADS)
    try:
        return [card for part in pool.map(of_unit, by_unit) for card in part]
    finally:
        pool.shutdown(cancel_futures=True)


def doubts_of(queue: ReviewQueue, image_ids: Sequence[int]) -> dict[int, Doubt]:
    """Return the doubts about the images that are in the queue, by their ids."""
    places = np.flatnonzero(np.isin(queue.image_id[queue.order], image_ids))
    return {
        int(queue.image_id[index]): Doubt(
            rank=int(place) + 1,
            priority=float(queue.priority[index]),
            reasons={name: float(value) for name, value in zip(REASONS, queue.reasons[index], strict=True) if value},
        )
        for place, index in zip(places, queue.order[places], strict=True)
    }


def drawn(instances: Sequence[Instance], index_of: Mapping[int, int]) -> list[DrawnInstance]:
    """Return what is drawn of each: its mask, in its category's colour."""
    return [
        DrawnInstance(mask=instance.rle, label="", color_rgb=color_of(index_of[instance.category_id]))
        for instance in instances
    ]


def listed(instance: Instance, index_of: Mapping[int, int]) -> ListedInstance:
    x, y, width, height = instance.bbox_xywh
    return ListedInstance(
        category=index_of[instance.category_id],
        score=instance.score,
        area_px=instance.area_px,
        box_xywh=instance.bbox_xywh,
        point_xy=innermost_point(instance.rle) or (x + width / 2, y + height / 2),
    )


def encoded(rgb: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=QUALITY, progressive=True)
    return file.getvalue()
