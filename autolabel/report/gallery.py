"""The gallery's images: read again as the job read them, with their labels drawn on, and what is told of each."""

import io
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from autolabel.errors import RejectCode, RejectedImage
from autolabel.labels.types import Status
from autolabel.labels.units import read_unit
from autolabel.masks.drawing import DrawnInstance, color_of, draw
from autolabel.masks.rle import Rle
from autolabel.output.job_output import JobOutput
from autolabel.output.pixels import read_labelled_pixels
from autolabel.review.queue import REASONS, ReviewQueue
from autolabel.storage import Storage, open_storage

FOLDER = "images"
SIDE_PX = 960  # of a drawn image, at most
QUALITY = 82
MAX_LISTED = 200  # instances of an image, best first; all are drawn
MAX_SCORED = 20  # instances of an image whose scores are drawn, too
THREADS = min(16, 2 * (os.cpu_count() or 1))  # that read and draw; a photo of 12 megapixels takes 100 MB of each

COLUMNS = ("image_id", "uri", "width", "height", "sha256", "status", "reject_code", "reject_detail", "instances")


@dataclass(frozen=True, kw_only=True)
class ListedInstance:
    """An instance in the page's list; `category` is its place in the ontology, the box in pixels of the image."""

    category: int
    score: float
    area_px: int
    box_xywh: tuple[float, ...]


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
    """The cards of some images, in the order of their ids; `write(name, data)` takes their pictures.

    Raises:
        StorageError: the storage of the images keeps failing; one that is gone or changed is told on its card.
    """
    by_unit: dict[int, list[int]] = defaultdict(list)
    for image_id in sorted(image_ids):
        by_unit[(image_id - 1) // output.plan.unit_size].append(image_id)
    doubt_of = doubts_of(queue, image_ids)
    places = {category.id: place for place, category in enumerate(output.record.ontology.categories)}

    def of_unit(unit: int) -> list[Card]:
        table = read_unit(output.storage, output.uri, unit, COLUMNS)
        rows = table.filter(np.isin(table["image_id"].to_numpy(), by_unit[unit])).to_pylist()
        return [of_row(row) for row in rows]

    def of_row(row: dict[str, Any]) -> Card:
        picture, problem = f"{FOLDER}/{row['image_id']:08d}.jpg", None
        if row["status"] == Status.REJECTED:
            problem = f"{row['reject_code']}: {row['reject_detail']}"
        else:
            try:
                rgb = read_again(row, output, open_storage(row["uri"], input_options))
                write(picture, encoded(draw(rgb, drawn(row["instances"], places), max_side_px=SIDE_PX)))
            except RejectedImage as error:
                problem = str(error)
        return Card(
            image_id=row["image_id"],
            name=output.file_name(row["uri"]),
            status=row["status"],
            size_wh=None if row["width"] is None else (row["width"], row["height"]),
            picture=None if problem else picture,
            problem=problem,
            n_instances=len(row["instances"]),
            instances=tuple(listed(one, places) for one in row["instances"][:MAX_LISTED]),
            doubt=doubt_of.get(row["image_id"]),
        )

    pool = ThreadPoolExecutor(THREADS)
    try:
        return [card for part in pool.map(of_unit, by_unit) for card in part]
    finally:
        pool.shutdown(cancel_futures=True)


def doubts_of(queue: ReviewQueue, image_ids: Sequence[int]) -> dict[int, Doubt]:
    """Of the images that are in the queue, by their ids."""
    places = np.flatnonzero(np.isin(queue.image_id[queue.order], image_ids))
    return {
        int(queue.image_id[index]): Doubt(
            rank=int(place) + 1,
            priority=float(queue.priority[index]),
            reasons={name: float(value) for name, value in zip(REASONS, queue.reasons[index], strict=True) if value},
        )
        for place, index in zip(places, queue.order[places], strict=True)
    }


def read_again(row: dict[str, Any], output: JobOutput, storage: Storage) -> npt.NDArray[np.uint8]:
    """The pixels (h, w, 3) that were labelled, in the frame of the labels.

    Raises:
        RejectedImage: the image is gone, may not be read, or is another one than was labelled.
    """
    try:
        data = storage.read(row["uri"])
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise RejectedImage(RejectCode.MISSING, "no longer there") from error
    except PermissionError as error:
        raise RejectedImage(RejectCode.FORBIDDEN, str(error)) from error
    rgb = read_labelled_pixels(data, row["sha256"], output.record)
    if rgb.shape[:2] != (row["height"], row["width"]):
        raise RejectedImage(RejectCode.SIZE_MISMATCH, f"{rgb.shape[1]} x {rgb.shape[0]} pixels, labelled with others")
    return rgb


def drawn(instances: Sequence[dict[str, Any]], places: Mapping[int, int]) -> list[DrawnInstance]:
    """Best first, each in its category's colour, the first few with their score."""
    return [
        DrawnInstance(
            mask=Rle(size_hw=tuple(one["segmentation"]["size"]), counts=one["segmentation"]["counts"]),
            label=f"{one['score']:.2f}" if index < MAX_SCORED else "",
            color_rgb=color_of(places[one["category_id"]]),
        )
        for index, one in enumerate(instances)
    ]


def listed(instance: dict[str, Any], places: Mapping[int, int]) -> ListedInstance:
    return ListedInstance(
        category=places[instance["category_id"]],
        score=instance["score"],
        area_px=instance["area"],
        box_xywh=tuple(instance["bbox"]),
    )


def encoded(rgb: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=QUALITY, progressive=True)
    return file.getvalue()
