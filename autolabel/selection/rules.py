"""Which of the model's instances are labels: thresholds, area limits, NMS, caps. Pure functions.

Instances are taken in order of descending score; equal scores keep the order they came in (categories and phrases as
they were asked, then the model's queries), so that the result is the same on every run.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from autolabel.labels.types import ImageLabels, Instance
from autolabel.masks.rle import pairwise_overlap

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules by which instances are kept. Overlaps are of full-resolution masks, in the metric `iou` or `ios`.

    `threshold_of` a category is what a score must be above; one that it does not name is not asked for a score.
    """

    threshold_of: Mapping[int, float] = field(default_factory=dict)
    nms_within: float | None = None
    nms_across: float | None = None
    metric: str = "iou"
    min_area_px: int = 1
    max_area_px: int | None = None
    max_instances: int | None = None
    max_instances_of: Mapping[int, int] = field(default_factory=dict)


def select(instances: Sequence[Instance], rules: Rules) -> list[Instance]:
    """Return the instances that stay, best first."""
    fitting = [
        i
        for i in instances
        if i.score > rules.threshold_of.get(i.category_id, -math.inf)
        and rules.min_area_px <= i.area_px <= (rules.max_area_px or i.area_px)
    ]
    ranked = sorted(fitting, key=lambda i: -i.score)
    return limit_count(nms(ranked, rules), rules)


def split_by_rules(instances: Sequence[Instance], rules: Rules) -> tuple[list[Instance], list[Instance]]:
    """Return the instances that stay and the others, each best first."""
    kept = select(instances, rules)
    chosen = set(map(id, kept))  # two queries can give the same instance
    return kept, sorted((i for i in instances if id(i) not in chosen), key=lambda i: -i.score)


def nms(ranked: Sequence[Instance], rules: Rules) -> list[Instance]:
    """Apply greedy NMS: an instance goes if it overlaps a better one that stays by more than the limit for the two."""
    boxes_xywh = np.array([instance.bbox_xywh for instance in ranked]).reshape(-1, 4)
    areas = np.array([instance.area_px for instance in ranked])
    categories = np.array([instance.category_id for instance in ranked])
    within, across = (math.inf if limit is None else limit for limit in (rules.nms_within, rules.nms_across))
    kept: list[int] = []
    for index, instance in enumerate(ranked):
        limits = np.where(categories[kept] == categories[index], within, across)
        of_both = (np.maximum if rules.metric == "iou" else np.minimum)(areas[kept], areas[index])
        # Masks overlap at most where their boxes do: few need to be looked at.
        close = np.flatnonzero(shared_area(boxes_xywh[index], boxes_xywh[kept]) > limits * of_both.clip(min=1))
        rivals = [ranked[kept[place]].rle for place in close]
        if not (pairwise_overlap([instance.rle], rivals, rules.metric)[0] > limits[close]).any():
            kept.append(index)
    return [ranked[index] for index in kept]


def shared_area(box_xywh: Floats, boxes_xywh: Floats) -> Floats:
    """Return the pixels (N,) that a box (4,) has in common with others (N, 4)."""
    low = np.maximum(box_xywh[:2], boxes_xywh[:, :2])
    high = np.minimum(box_xywh[:2] + box_xywh[2:], boxes_xywh[:, :2] + boxes_xywh[:, 2:])
    shared: Floats = (high - low).clip(min=0).prod(axis=1)
    return shared


def limit_count(ranked: Sequence[Instance], rules: Rules) -> list[Instance]:
    """Return at most so many of each category, then at most so many of all."""
    seen: Counter[int] = Counter()
    kept = []
    for instance in ranked:
        seen[instance.category_id] += 1
        if seen[instance.category_id] <= rules.max_instances_of.get(instance.category_id, len(ranked)):
            kept.append(instance)
    return kept[: rules.max_instances]


def apply_rules(image: ImageLabels, instances: Sequence[Instance], rules: Rules) -> ImageLabels:
    """Return the labels of an image in which `instances` are divided into labels and candidates."""
    kept, others = split_by_rules(instances, rules)
    n_of = Counter(instance.prompt_id for instance in kept)
    prompts = tuple(replace(prompt, n_instances=n_of[prompt.prompt_id]) for prompt in image.prompts)
    return replace(image, prompts=prompts, instances=tuple(kept), candidates=tuple(others))
