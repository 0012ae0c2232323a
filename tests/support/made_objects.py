"""Outputs of jobs that masked given objects, or everything, made without a model, in which `verify` finds no fault."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autolabel import plan
from autolabel.config import (
    EverythingConfig,
    InputConfig,
    LabelConfig,
    ModelConfig,
    NewOutputConfig,
    ObjectsConfig,
    OutputConfig,
)
from autolabel.errors import RejectCode
from autolabel.inputs.listing import Listing
from autolabel.inputs.locations import ImageLocation
from autolabel.labels.types import ImageLabels, Instance, PromptResult
from autolabel.labels.units import file_metadata, write_unit
from autolabel.masks.rle import area, bbox_xywh, encode
from autolabel.output import run_record
from autolabel.output.job_output import JobOutput, open_output
from autolabel.output.settings import LabelSettings, label_settings
from autolabel.prompts.objects.entries import Entries, Problems
from autolabel.prompts.objects.source import GivenObjects
from autolabel.prompts.ontology import EVERYTHING, Category, Ontology
from autolabel.selection.rules import apply_rules
from autolabel.storage import open_storage
from tests.support.made import SIZE_HW, Mask

ROOT = "/photos"
ONTOLOGY = Ontology(
    categories=(Category(id=3, name="car", phrases=()), Category(id=7, name="sign", phrases=(), supercategory="street"))
)
NO_MASK: Mask = np.zeros(SIZE_HW, bool)


@dataclass(frozen=True)
class MadeObject:
    """A given object, of so many boxes, and its mask, which may be empty."""

    object_id: str
    category_id: int
    mask: Mask
    score: float = 0.9
    n_parts: int = 1


def make_objects_output(
    uri: str, images: Mapping[str, Sequence[MadeObject] | None], *, unit_size: int = 3, **settings: Any
) -> JobOutput:
    """Make an output of images by name, with the objects that were given on them; None is a rejected one."""
    given = Entries(ObjectsConfig(normalized=True), Problems())
    for image, objects in enumerate(images.values()):
        for one in objects or ():
            entry = {"bbox": [0.25, 0.25, 0.5, 0.5], "object_id": one.object_id}
            for _ in range(one.n_parts):
                given.add(entry, image=image, size_hw=None, name=None, category_id=one.category_id, place="made")
    config = LabelConfig(**places(uri, unit_size), objects=ObjectsConfig(uri="boxes.json"), **settings)
    return written(
        config,
        label_settings(config, ONTOLOGY, input_uri=ROOT, weights="none", objects_sha256="0" * 64),
        {
            name: None if objects is None else [instance(one.mask, one.score, one) for one in objects]
            for name, objects in images.items()
        },
        objects_on=lambda uris: GivenObjects(table=given.table(uris)),
    )


def make_everything_output(uri: str, images: Mapping[str, Sequence[Mask]]) -> JobOutput:
    """Make an output of images by name, with what was found on them, each by a point of a grid."""
    config = LabelConfig(**places(uri, 3), everything=EverythingConfig(points_per_side=4))
    found = {
        name: [instance(mask, 0.9 - n / 16, point_xy=(n + 0.5, 2.5), stability=0.9375) for n, mask in enumerate(masks)]
        for name, masks in images.items()
    }
    return written(config, label_settings(config, EVERYTHING, input_uri=ROOT, weights="none"), found)


def places(uri: str, unit_size: int) -> dict[str, Any]:
    output = NewOutputConfig(uri=uri, unit_size=unit_size)
    return {"input": InputConfig(uri=ROOT), "output": output, "model": ModelConfig(seed=0)}


def instance(mask: Mask, score: float, given: MadeObject | None = None, **fields: Any) -> Instance:
    rle = encode(mask)
    category_id = given.category_id if given else 1
    return Instance(
        category_id=category_id,
        prompt_id=[category.id for category in ONTOLOGY.categories].index(category_id) if given else 0,
        phrase=None,
        score=float(np.float32(score)),
        presence=0.75,
        rle=rle,
        area_px=area(rle),
        bbox_xywh=bbox_xywh(rle),
        object_id=given.object_id if given else None,
        **fields,
    )


def written(
    config: LabelConfig,
    settings: LabelSettings,
    images: Mapping[str, Sequence[Instance] | None],
    *,
    objects_on: Callable[[Sequence[str]], GivenObjects | None] = lambda uris: None,
) -> JobOutput:
    uri = config.output.uri
    storage = open_storage(uri, {})
    record = run_record.create_or_match(storage, uri, settings)
    listing = Listing(root=ROOT, images=[ImageLocation(f"{ROOT}/{name}") for name in images])
    objects = objects_on([image.uri for image in listing.images])
    plan.seal(storage, uri, plan.encode(listing, unit_size=config.output.unit_size, objects=objects))
    output = open_output(OutputConfig(uri=uri))
    for unit, planned in output.plan.units():
        rows = [row(image, images[output.file_name(image.uri)], settings) for image in planned]
        write_unit(storage, uri, unit, rows, file_metadata(record.fingerprint, settings.ontology))
    return output


def row(image: plan.PlannedImage, found: Sequence[Instance] | None, settings: LabelSettings) -> ImageLabels:
    if found is None:
        detail = "torn"
        return ImageLabels(image_id=image.image_id, uri=image.uri, reject_code=RejectCode.CORRUPT, reject_detail=detail)
    asked = {one.prompt_id: one for one in found}
    labels = ImageLabels(
        image_id=image.image_id,
        uri=image.uri,
        size_hw=SIZE_HW,
        orientation=1,
        sha256="0" * 64,
        prompts=tuple(
            PromptResult(prompt_id=id, category_id=one.category_id, phrase=None, presence=0.75, best_score=one.score)
            for id, one in sorted(asked.items())
        ),
    )
    return apply_rules(labels, found, settings.rules)
