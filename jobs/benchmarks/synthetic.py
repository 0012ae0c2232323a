"""A finished output of any size: rows as a job writes them, masks of ellipses, no model and no images."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from autolabel import plan
from autolabel.config.compose import compose_config
from autolabel.inputs.listing import Listing
from autolabel.inputs.locations import ImageLocation
from autolabel.labels.types import ImageLabels, Instance, PromptResult
from autolabel.labels.units import file_metadata, write_unit
from autolabel.masks.rle import area, bbox_xywh, encode
from autolabel.output import run_record
from autolabel.output.settings import label_settings
from autolabel.prompts.ontology import Category, Ontology
from autolabel.selection.rules import Rules, split_by_rules
from autolabel.storage import open_storage

SIZE_HW = 960, 1280
UNIT_SIZE = 256
DIFFERENT_UNITS = 8  # the others repeat their rows, under ids and names of their own
ONTOLOGY = Ontology(categories=tuple(Category(id=n, name=f"kind {n}", phrases=(f"kind {n}",)) for n in range(1, 11)))
PROMPTS = ONTOLOGY.prompts(without_phrase=False)


def write_output(
    folder: Path, *, n_images: int, n_found: int, names: Iterator[str] | None = None, sha256: str = "0" * 64
) -> tuple[int, int]:
    """Write an output of `n_images` with `n_found` stored in each; how many instances and candidates these are.

    `names` are those of the images in `folder/images`; by default of images that do not exist.
    `sha256` is what each of their files had.
    """
    root, uri = str(folder / "images"), str(folder / "labels")
    names = names if names is not None else (f"{index // 1000:06d}/{index:09d}.jpg" for index in range(n_images))
    config = compose_config("label", [f"input.uri='{root}'", f"output.uri='{uri}'", f"output.unit_size={UNIT_SIZE}"])
    settings = label_settings(config, ONTOLOGY, input_uri=root, weights="none", exemplars_sha256=None)
    storage = open_storage(uri, {})
    record = run_record.create_or_match(storage, uri, settings)
    images = [ImageLocation(f"{root}/{name}", 500_000, "e") for name in islice(names, n_images)]
    plan.seal(storage, uri, plan.encode(Listing(root=root, images=images), unit_size=UNIT_SIZE))
    metadata = file_metadata(record.fingerprint, ONTOLOGY)
    rng = np.random.default_rng(0)
    units = [[row(rng, n_found, record.settings.rules) for _ in range(UNIT_SIZE)] for _ in range(DIFFERENT_UNITS)]
    n_instances = n_candidates = 0
    for unit, start in enumerate(range(0, n_images, UNIT_SIZE)):
        rows = [
            replace(image, image_id=start + offset + 1, uri=listed.uri, sha256=sha256)
            for offset, (image, listed) in enumerate(
                zip(units[unit % DIFFERENT_UNITS], images[start : start + UNIT_SIZE], strict=False)
            )
        ]
        write_unit(storage, uri, unit, rows, metadata)
        n_instances += sum(len(image.instances) for image in rows)
        n_candidates += sum(len(image.candidates) for image in rows)
    return n_instances, n_candidates


def row(rng: np.random.Generator, n_found: int, rules: Rules) -> ImageLabels:
    kept, others = split_by_rules([ellipse(rng) for _ in range(n_found)], rules)
    prompts = tuple(
        PromptResult(
            prompt_id=prompt.id,
            category_id=prompt.category_id,
            phrase=prompt.phrase,
            presence=0.9,
            best_score=0.9,
            n_instances=sum(instance.prompt_id == prompt.id for instance in kept),
        )
        for prompt in PROMPTS
    )
    return ImageLabels(
        image_id=0,
        uri="",
        size_hw=SIZE_HW,
        orientation=1,
        sha256="0" * 64,
        prompts=prompts,
        instances=tuple(kept),
        candidates=tuple(others),
    )


def ellipse(rng: np.random.Generator) -> Instance:
    """Return an instance somewhere, of any category, with a score from 0.2 to 1."""
    height, width = SIZE_HW
    canvas = np.zeros(SIZE_HW, np.uint8)
    center = int(rng.integers(60, width - 60)), int(rng.integers(60, height - 60))
    axes = int(rng.integers(8, 120)), int(rng.integers(8, 120))
    cv2.ellipse(canvas, center, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    mask = encode(canvas.astype(bool))
    prompt = PROMPTS[int(rng.integers(len(PROMPTS)))]
    return Instance(
        category_id=prompt.category_id,
        prompt_id=prompt.id,
        phrase=prompt.phrase,
        score=float(np.float32(rng.uniform(0.2, 1.0))),
        presence=0.9,
        rle=mask,
        area_px=area(mask),
        bbox_xywh=bbox_xywh(mask),
    )
