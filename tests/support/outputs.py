"""A labelled output without a model: drawn scenes, labelled with what was drawn and a few seeded mistakes."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autolabel import plan
from autolabel.config import OutputConfig
from autolabel.config.compose import compose_config
from autolabel.demo.ground_truth import write_jpeg
from autolabel.demo.scenes import Scene, draw_scene
from autolabel.errors import RejectCode
from autolabel.inputs.listing import list_images
from autolabel.labels.types import ImageLabels, Instance, PromptResult
from autolabel.labels.units import file_metadata, write_unit
from autolabel.masks.rle import area, bbox_xywh, encode
from autolabel.output import run_record
from autolabel.output.job_output import JobOutput, open_output
from autolabel.output.settings import label_settings
from autolabel.prompts.ontology import Category, Ontology
from autolabel.selection.rules import split_by_rules
from autolabel.storage import open_storage

ONTOLOGY = Ontology(
    categories=(
        Category(id=1, name="round", phrases=("round shape", "blob"), supercategory="shape"),
        Category(id=2, name="angular", phrases=("angular shape",), supercategory="shape", threshold=0.6),
        Category(id=5, name="unicorn", phrases=("unicorn",)),
    )
)
PROMPTS = ONTOLOGY.prompts(without_phrase=False)
SHAPES = {1: ("circle", "ring", "heart", "moon"), 2: ("square", "triangle", "star", "cross")}
UNIT_SIZE = 4


def labelled_scenes(
    folder: Path, *, count: int, seed: int = 3, overrides: Sequence[str] = (), names: Sequence[str] = ()
) -> JobOutput:
    """Draw `count` scenes in `folder/images`, a truncated file among them, and label them in `folder/labels`.

    The first scenes are called by `names` (paths below `images`), the others by their number.

    Found are all objects, with scores from 0.3 to 1: each round one by its first phrase, with the synonym's twin among
    the candidates; one in ten of them is taken for an angular one; no unicorn is ever found.
    """
    images, output_uri = folder / "images", str(folder / "labels")
    images.mkdir(parents=True, exist_ok=True)
    numbered = [f"{index + 1:06d}.jpg" for index in range(count)]
    scenes = {name: draw_scene(seed, index) for index, name in enumerate([*names, *numbered[len(names) :]])}
    for name, scene in scenes.items():
        (images / name).parent.mkdir(exist_ok=True)
        with (images / name).open("wb") as file:
            write_jpeg(scene, file)
    (images / "truncated.jpg").write_bytes((images / next(iter(scenes))).read_bytes()[:1000])

    uris = [f"input.uri='{images}'", f"output.uri='{output_uri}'", f"output.unit_size={UNIT_SIZE}"]
    config = compose_config("label", [*uris, *overrides])
    storage = open_storage(output_uri, {})
    record = run_record.create_or_match(
        storage,
        output_uri,
        label_settings(config, ONTOLOGY, input_uri=str(images), weights="none"),
    )
    listing = list_images(config.input)
    plan.seal(storage, output_uri, plan.encode(listing, unit_size=UNIT_SIZE))
    output = open_output(OutputConfig(uri=output_uri))
    rng = np.random.default_rng(seed)
    for unit, planned in output.plan.units():
        rows = []
        for image in planned:
            drawn = scenes.get(os.path.relpath(image.uri, images))
            if drawn is None:
                code, detail = RejectCode.TRUNCATED, "ends early"
                rows.append(ImageLabels(image_id=image.image_id, uri=image.uri, reject_code=code, reject_detail=detail))
            else:
                rows.append(row(image.image_id, Path(image.uri), drawn, rng, record))
        write_unit(storage, output_uri, unit, rows, file_metadata(record.fingerprint, record.settings.ontology))
    return output


def row(image_id: int, path: Path, scene: Scene, rng: np.random.Generator, record: run_record.RunRecord) -> ImageLabels:
    scored = list(instances(scene, rng))
    kept, others = split_by_rules(scored, record.settings.rules)
    prompts = []
    for prompt in record.settings.prompts:
        own = [i for i in scored if i.prompt_id == prompt.id]
        prompts.append(
            PromptResult(
                prompt_id=prompt.id,
                category_id=prompt.category_id,
                phrase=prompt.phrase,
                presence=own[0].presence if own else 0.01,
                best_score=max((i.score for i in own), default=0.005),
                n_instances=sum(i.prompt_id == prompt.id for i in kept),
            )
        )
    return ImageLabels(
        image_id=image_id,
        uri=str(path),
        size_hw=(scene.ids.shape[0], scene.ids.shape[1]),
        orientation=1,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        prompts=tuple(prompts),
        instances=tuple(kept),
        candidates=tuple(others),
    )


def instances(scene: Scene, rng: np.random.Generator) -> list[Instance]:
    scored = []
    for index, kind in enumerate(scene.kinds):
        for category_id, shapes in SHAPES.items():
            if kind.shape not in shapes or not scene.mask(index).any():
                continue
            score = float(np.float32(rng.uniform(0.3, 1.0)))
            taken_for = 2 if category_id == 1 and rng.random() < 0.1 else category_id
            rle = encode(scene.mask(index))
            own = [prompt for prompt in PROMPTS if prompt.category_id == taken_for]
            for prompt, factor in zip(own, (1.0, 0.9), strict=False):
                scored.append(
                    Instance(
                        category_id=taken_for,
                        prompt_id=prompt.id,
                        phrase=prompt.phrase,
                        score=float(np.float32(score * factor)),
                        presence=0.97,
                        rle=rle,
                        area_px=area(rle),
                        bbox_xywh=bbox_xywh(rle),
                    )
                )
    return scored
