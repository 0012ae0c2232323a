"""What was found on the images of the ground truth: by an output's labels, or in a COCO results file.

Beside the labels stand what lower thresholds would have added to them, so that thresholds can be chosen: with the
threshold of its category lowered as far as candidates are stored, and all other rules and thresholds as they are.
What NMS and limits take away even then counts nowhere.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from autolabel.errors import BadInput, quoted_value
from autolabel.evaluation.ground_truth import GroundTruth, is_integer, parsed, refuse
from autolabel.evaluation.matching import CategoryMatch, ImageMatch
from autolabel.evaluation.object_metrics import ObjectMasks
from autolabel.labels.types import ImageLabels, Instance
from autolabel.labels.units import done_units, read_columns
from autolabel.masks.coco import read_mask
from autolabel.masks.rle import Rle
from autolabel.output.job_output import JobOutput
from autolabel.prompts.ontology import Ontology
from autolabel.selection.rules import Rules, select

ImageCategory = tuple[int, int]  # id of the ground truth's image, id of the ontology's category


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """An object that was found; a label if its score is above the threshold in force."""

    score: float
    rle: Rle
    is_label: bool


@dataclass(frozen=True, kw_only=True)
class Detections:
    """`of` an (image, category) pair are its detections, best first; pairs without any may be missing.

    By category, `threshold_of` is in force, and `floor_of` the lowest threshold that can be judged.
    COCO's average precision ranks all of them, whatever the thresholds in force.
    """

    of: Mapping[ImageCategory, Sequence[Detection]]
    threshold_of: Mapping[int, float]
    floor_of: Mapping[int, float]
    object_masks: ObjectMasks = field(default_factory=dict)  # of all given objects, empty ones too
    rejected: tuple[str, ...] = ()  # file names of images that could not be read, so nothing was found on them


def read_labels(output: JobOutput, truth: GroundTruth, images: ImageMatch, match: CategoryMatch) -> Detections:
    """Return the labels and candidates of the images that the ground truth has, from the units that hold one.

    Raises:
        BadInput: such a unit is not labelled yet, or images have another size than in the ground truth.
    """
    truth_id_of = {image.image_id: truth_id for truth_id, image in images.planned.items()}
    units = sorted({image.unit for image in images.planned.values()})
    missing = len(set(units) - done_units(output.storage, output.uri))
    if missing:
        held = f"{missing} of the {len(units)} units that hold images of the ground truth"
        raise BadInput(f"output.uri: {held} are not labelled yet; run the job again first")
    rules, floor_of = output.record.settings.rules, output.record.settings.keep_threshold_of
    found: dict[ImageCategory, list[Detection]] = {}
    object_masks: dict[tuple[int, str], Rle] = {}
    problems, rejected = [], []
    for labels in _images(output, units, list(truth_id_of)):
        truth_id = truth_id_of[labels.image_id]
        image = truth.image[truth_id]
        if labels.size_hw is None:
            rejected.append(image.file_name)
            continue
        if labels.size_hw != image.size_hw:
            height, width = image.size_hw
            here = f"{labels.size_hw[1]} x {labels.size_hw[0]} in the output"
            problems.append(f"image {image.file_name!r} is {width} x {height} pixels, {here}")
            continue
        object_masks |= {
            (truth_id, one.object_id): one.rle
            for one in (*labels.instances, *labels.candidates)
            if one.object_id is not None
        }
        for category_id in match.truth_ids_of:
            own = [label for label in labels.instances if label.category_id == category_id]
            more = added_below(labels.instances, labels.candidates, category_id, floor_of[category_id], rules)
            found[truth_id, category_id] = [
                Detection(score=one.score, rle=one.rle, is_label=is_label)
                for ones, is_label in ((own, True), (more, False))
                for one in ones
            ]
    refuse(problems, "ground_truth.uri:")
    return Detections(
        of=found,
        threshold_of=rules.threshold_of,
        floor_of=floor_of,
        object_masks=object_masks,
        rejected=tuple(rejected),
    )


def added_below(
    labels: Sequence[Instance], candidates: Sequence[Instance], category_id: int, floor: float, rules: Rules
) -> list[Instance]:
    """Return the candidates of a category that would be labels if its threshold were `floor`, best first.

    Whether an instance stays depends on better ones alone. So these are, from the best on, what any threshold between
    would have added; and no label of the category goes.
    """
    added = {id(c) for c in candidates if c.category_id == category_id and c.score > floor}
    if not added:
        return []
    together = rules.nms_across is not None or rules.max_instances is not None
    rivals = [i for i in (*labels, *candidates) if together or i.category_id == category_id]
    kept = select(rivals, replace(rules, threshold_of={**rules.threshold_of, category_id: floor}))
    return [instance for instance in kept if id(instance) in added]


def read_results(
    document: bytes, place: str, truth: GroundTruth, ontology: Ontology, match: CategoryMatch, threshold: float
) -> Detections:
    """Return the detections of a COCO results file, with the truth's ids; labels are those above a threshold.

    Raises:
        BadInput: every problem found, up to ground_truth.MOST_PROBLEMS.
    """
    entries = parsed(document, place)
    if not isinstance(entries, list):
        raise BadInput(f"{place}: not a COCO results file: expected a list of results, not {quoted_value(entries)}")
    found: dict[ImageCategory, list[Detection]] = defaultdict(list)
    problems = []
    for index, entry in enumerate(entries):
        try:
            pair, score, rle = _result(entry, truth, match)
        except ValueError as error:
            problems.append(f"results[{index}]: {error}")
            continue
        found[pair].append(Detection(score=score, rle=rle, is_label=score > threshold))
    refuse(problems, place)
    return Detections(
        of={pair: sorted(own, key=lambda one: -one.score) for pair, own in found.items()},
        threshold_of={category.id: threshold for category in ontology.categories},
        floor_of={category.id: 0.0 for category in ontology.categories},
    )


def _result(entry: Any, truth: GroundTruth, match: CategoryMatch) -> tuple[ImageCategory, float, Rle]:
    if not isinstance(entry, dict):
        raise ValueError(f"expected a result, not {quoted_value(entry)}")
    image_id, category_id, score = entry.get("image_id"), entry.get("category_id"), entry.get("score")
    if not is_integer(image_id) or image_id not in truth.image:
        raise ValueError(f"image_id {quoted_value(image_id)} is not of an image of the ground truth")
    if not is_integer(category_id) or category_id not in match.category_of:
        raise ValueError(f"category_id {quoted_value(category_id)} is not of a category of the ground truth")
    image = truth.image[image_id]
    where = f"(image {image.file_name!r})"
    if not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"{where} score {quoted_value(score)} is not a number from 0 to 1")
    try:
        mask = read_mask(entry.get("segmentation"), image.size_hw)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from error
    return (image_id, match.category_of[category_id]), float(score), mask


def _images(output: JobOutput, units: Sequence[int], image_ids: Sequence[int]) -> Iterator[ImageLabels]:
    """Give the labels of these images, a unit in memory at a time."""
    for unit in units:
        columns = read_columns(output.storage, output.uri, unit)
        yield from columns.select(np.isin(columns.image_id, image_ids)).images()
