"""An output of hand-made masks, wherever it is to lie: its images exist by name alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autolabel import plan
from autolabel.config import OutputConfig
from autolabel.config.compose import compose_config
from autolabel.errors import RejectCode
from autolabel.inputs.listing import Listing
from autolabel.inputs.locations import ImageLocation
from autolabel.labels.types import ImageLabels, Instance, Status
from autolabel.labels.units import file_metadata, write_unit
from autolabel.masks.rle import area, bbox_xywh, decode, encode
from autolabel.output import run_record
from autolabel.output.job_output import JobOutput, open_output
from autolabel.output.settings import label_settings
from autolabel.storage import open_storage
from tests.support.jobs import images_of
from tests.support.outputs import ONTOLOGY, PROMPTS

SIZE_HW = (40, 50)
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Made:
    """A mask of a category, and its score."""

    category_id: int
    mask: Mask
    score: float = 0.9


def box_mask(left: int, top: int, width: int, height: int, size_hw: tuple[int, int] = SIZE_HW) -> Mask:
    mask = np.zeros(size_hw, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def hard_masks() -> dict[str, Mask]:
    """Return masks that formats get wrong."""
    frame = box_mask(5, 5, 20, 20) & ~box_mask(9, 9, 12, 12)
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    rng = np.random.default_rng(0)
    return {
        "a pixel": box_mask(7, 11, 1, 1),
        "two pixels": box_mask(49, 38, 1, 2),
        "diagonal": np.eye(*SIZE_HW, dtype=bool),
        "all": np.ones(SIZE_HW, bool),
        "all rows but one": box_mask(0, 1, 50, 39),
        "two parts": box_mask(1, 2, 3, 4) | box_mask(30, 20, 9, 9),
        "small hole": box_mask(3, 3, 30, 30) & ~box_mask(10, 10, 2, 2),
        "ring": frame,
        "ring and inside": frame | box_mask(13, 13, 4, 4),
        "disc": (y - 20) ** 2 + (x - 25) ** 2 < 15**2,
        "noise": rng.random(SIZE_HW) < 0.5,
        "chequers": (y + x) % 2 == 0,
    }


def instance(made: Made) -> Instance:
    rle = encode(made.mask)
    prompt = next(prompt for prompt in PROMPTS if prompt.category_id == made.category_id)
    return Instance(
        category_id=made.category_id,
        prompt_id=prompt.id,
        phrase=prompt.phrase,
        score=float(np.float32(made.score)),
        presence=1.0,
        rle=rle,
        area_px=area(rle),
        bbox_xywh=bbox_xywh(rle),
    )


def make_output(
    uri: str,
    images: Mapping[str, Sequence[Made] | None],
    *,
    root: str = "/photos",
    options: Mapping[str, object] | None = None,
    unit_size: int = 3,
) -> JobOutput:
    """Make an output at `uri` of images by URI, with their masks; None is a rejected one."""
    storage = open_storage(uri, dict(options or {}))
    config = compose_config("label", [f"input.uri='{root}'", "output.uri=elsewhere"])
    settings = label_settings(config, ONTOLOGY, input_uri=root, weights="none")
    record = run_record.create_or_match(storage, uri, settings)
    listing = Listing(root=root, images=[ImageLocation(image) for image in images])
    plan.seal(storage, uri, plan.encode(listing, unit_size=unit_size))
    output = open_output(OutputConfig(uri=uri, storage_options=dict(options or {})))
    for unit, planned in output.plan.units():
        rows = [row(image.image_id, image.uri, images[image.uri]) for image in planned]
        write_unit(storage, uri, unit, rows, file_metadata(record.fingerprint, record.settings.ontology))
    return output


def row(image_id: int, uri: str, made: Sequence[Made] | None) -> ImageLabels:
    if made is None:
        return ImageLabels(image_id=image_id, uri=uri, reject_code=RejectCode.CORRUPT, reject_detail="torn")
    size_hw = (made[0].mask.shape[0], made[0].mask.shape[1]) if made else SIZE_HW
    instances = tuple(instance(item) for item in made)
    return ImageLabels(image_id=image_id, uri=uri, size_hw=size_hw, orientation=1, sha256="0" * 64, instances=instances)


def stored(output: JobOutput) -> list[tuple[str, Instance]]:
    """Return every instance with the name of its image, in order."""
    return [(output.file_name(image.uri), instance) for image in images_of(output) for instance in image.instances]


def masks_by_name(output: JobOutput) -> dict[str, list[tuple[str, Mask]]]:
    """Return category names and masks of each image that could be read, by its name."""
    return {
        output.file_name(image.uri): [
            (ONTOLOGY.by_id[instance.category_id].name, decode(instance.rle)) for instance in image.instances
        ]
        for image in images_of(output)
        if image.status != Status.REJECTED
    }
