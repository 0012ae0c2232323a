"""The review order on drawn scenes, whose truth is known: do the images with the most mistakes come first?

The demo model labels scenes that it was not trained on, and the mistakes on each are counted, at the thresholds in
force: objects without a label, labels without an object, and wrong masks, each of them a label and an object of one
category that overlap by an IoU of 0.1 to 0.5 and have no better partner. From 0.5 on they are partners, found as COCO
finds them. Each order is told by Spearman's rank correlation with the mistakes, and by the mistakes per image of each
hundred images in it; `later_with_more` are hundreds with more than an earlier one, beyond two standard errors.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.stats import spearmanr

from autolabel.config import LabelConfig, OutputConfig
from autolabel.config.compose import compose_config
from autolabel.demo.ground_truth import GROUND_TRUTH_NAME, demo_scenes
from autolabel.evaluation.comparison import objects_of
from autolabel.evaluation.curves import RIGHT_IOU
from autolabel.evaluation.ground_truth import GroundTruth, read_ground_truth
from autolabel.evaluation.matching import CategoryMatch, match_categories, match_images
from autolabel.labels.types import ImageLabels
from autolabel.labels.units import read_columns
from autolabel.masks.rle import Rle, pairwise_overlap
from autolabel.output import run_record
from autolabel.output.job_output import JobOutput, open_output
from autolabel.output.settings import label_settings
from autolabel.pipeline.actors import load_job_engine
from autolabel.pipeline.messages import LabelJob
from autolabel.pipeline.request import read_request, with_full_checkpoint
from autolabel.pipeline.unit import UnitLabeler
from autolabel.plan import Plan, encode, seal
from autolabel.report import report
from autolabel.review.reasons import REASONS
from autolabel.storage import open_storage

Counts = npt.NDArray[np.int64]
Doubt = npt.NDArray[np.float64]

# Looked at once the order was settled. It was made on seeds 21 to 24; the demo model on 1 and 2.
SEED = 31
CATEGORIES = (
    {"name": "circle", "phrases": ["circle", "disc"]},
    {"name": "square", "phrases": ["square", "box"]},
    {"name": "moon", "phrases": ["moon", "crescent"]},
    *({"name": name} for name in ("star", "striped shape", "blue shape", "red shape")),
    *({"name": name} for name in ("red circle", "green triangle", "white heart", "plain ring", "elephant")),
)
TOUCHING_IOU = 0.1  # a label and an object that overlap less have nothing to do with each other
NOISE = 2  # standard errors of a difference


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """Mistakes on one image."""

    missed: int
    false: int
    wrong_masks: int

    @property
    def total(self) -> int:
        return self.missed + self.false + self.wrong_masks


KINDS = ("total", *(field.name for field in fields(Mistakes)))


def run(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py review")
    parser.add_argument("--scenes", type=int, default=800)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(list(arguments))
    with tempfile.TemporaryDirectory() as folder:
        images, labels, prompts = (Path(folder, name) for name in ("images", "labels", "prompts.yaml"))
        prompts.write_bytes(orjson.dumps({"categories": CATEGORIES}))  # JSON is YAML
        scenes = [f"count={options.scenes}", f"seed={options.seed}"]
        demo_scenes(compose_config("demo-scenes", [f"output.uri='{images}'", *scenes]))
        places = [f"input.uri='{images}'", f"output.uri='{labels}'", f"prompts='{prompts}'"]
        label_here(compose_config("label", places))
        report(compose_config("report", [f"output.uri='{labels}'", "thumbnails=0"]))
        truth = read_ground_truth((images / GROUND_TRUTH_NAME).read_bytes(), GROUND_TRUTH_NAME)
        by_image = mistakes_by_image(open_output(OutputConfig(uri=str(labels))), truth)
        queue = pq.read_table(labels / "review.parquet").sort_by("image_id")  # so that ties tell nothing
    mistakes = [by_image[image_id] for image_id in queue["image_id"].to_pylist()]
    total = np.array([one.total for one in mistakes])
    orders = {"combined": queue["priority"].to_numpy()}
    orders |= {name: pc.struct_field(queue["reasons"], name).to_numpy() for name in REASONS}
    means = {f"{kind}_per_image": np.mean([getattr(one, kind) for one in mistakes]) for kind in KINDS}
    tell(scenes=len(mistakes), seed=options.seed, expected_per_image=np.mean(orders["combined"]), **means)
    for name, doubt in orders.items():
        parts = by_hundred(total, doubt)
        tell(
            order=name,
            spearman=spearmanr(doubt, total).statistic if np.ptp(doubt) else 0.0,
            mistakes_by_hundred=[np.mean(part) for part in parts],
            later_with_more=[
                f"{i + 1} < {j + 1}" for i, j in combinations(range(len(parts)), 2) if more(parts[j], parts[i])
            ],
        )


def tell(**figures: Any) -> None:
    """Print a line of JSON, with numbers of three decimals."""
    rounded = json.loads(json.dumps(figures, default=float), parse_float=lambda text: round(float(text), 3))
    print(json.dumps({"case": "review", **rounded}), flush=True)


def by_hundred(mistakes: Counts, doubt: Doubt) -> list[Counts]:
    """Return the mistakes on each hundred images, the most doubtful first."""
    ranked = mistakes[np.argsort(-doubt, kind="stable")]
    return [ranked[start : start + 100] for start in range(0, len(ranked), 100)]


def more(later: Counts, earlier: Counts) -> bool:
    """Tell whether later images have more mistakes than earlier ones, beyond noise."""
    noise = np.sqrt(sum(part.var(ddof=1) / len(part) for part in (later, earlier)))
    return bool(later.mean() - earlier.mean() > NOISE * noise)


def label_here(config: LabelConfig) -> None:
    """Label in this process what `autolabel label` labels by Ray."""
    config = with_full_checkpoint(config)
    request = read_request(config, list_input=True)
    assert request.listing is not None
    uri, storage = config.output.uri, open_storage(config.output.uri, {})
    settings = label_settings(
        config, request.ontology, input_uri=config.input.uri, weights="the demo's", exemplars_sha256=None
    )
    record = run_record.create_or_match(storage, uri, settings)
    seal(storage, uri, encode(request.listing, unit_size=config.output.unit_size))
    job = LabelJob.of(config, output_uri=uri, record=record, checkpoint_sha256=None)
    labeler = UnitLabeler(job, load_job_engine(job))
    for unit in range(Plan(storage, uri).n_units):
        labeler.label_unit(unit)


def mistakes_by_image(output: JobOutput, truth: GroundTruth) -> dict[int, Mistakes]:
    """Return the mistakes on every image by its id in the output; a category that the truth lacks is nowhere."""
    match = match_categories(truth, output.record.settings.ontology)
    truth_id_of = {image.image_id: truth_id for truth_id, image in match_images(truth, output).planned.items()}
    ids = [category.id for category in output.record.settings.ontology.categories]
    return {
        image.image_id: mistakes_of(
            image, {id: objects_in(truth, truth_id_of[image.image_id], match, id) for id in ids}
        )
        for unit in range(output.plan.n_units)
        for image in read_columns(output.storage, output.uri, unit).images()
    }


def objects_in(truth: GroundTruth, truth_id: int, match: CategoryMatch, category_id: int) -> list[Rle]:
    ids = match.truth_ids_of.get(category_id, [])
    return [one.rle for one in objects_of(truth, truth.image[truth_id], ids)]


def mistakes_of(image: ImageLabels, objects_by_category: Mapping[int, Sequence[Rle]]) -> Mistakes:
    """Count what is wrong with the labels of an image, of which these are all objects."""
    missed = false = wrong_masks = 0
    for category_id, objects in objects_by_category.items():
        labels = [one.rle for one in image.instances if one.category_id == category_id]
        iou = pairwise_overlap(labels, objects, "iou")
        n_right = give_away(iou, RIGHT_IOU)
        n_wrong = give_away(iou, TOUCHING_IOU)
        missed += len(objects) - n_right - n_wrong
        false += len(labels) - n_right - n_wrong
        wrong_masks += n_wrong
    return Mistakes(missed=missed, false=false, wrong_masks=wrong_masks)


def give_away(iou: Doubt, limit: float) -> int:
    """Give each label, best first, the free object that it overlaps most, from a limit on; how many got one.

    Labels and objects that found each other are taken out of `iou` (labels, objects).
    """
    n_given = 0
    for label in range(len(iou)):
        if iou.shape[1] and iou[label].max() >= limit:
            iou[:, iou[label].argmax()] = 0
            iou[label] = 0
            n_given += 1
    return n_given
