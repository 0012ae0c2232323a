"""Why a person should look at an image: reasons for doubt, each a number from 0 (none) to 1, and what they add up to.

Every reason is computed from what is stored, by a function of its own; `WEIGHTS` says how far each counts:

near_threshold            the score closest to its category's threshold, above it or below: 1 at the threshold itself,
                          0 from MARGIN away. What was found twice, and dropped for that, does not count.
categories_disagree       IoU of two labels of different categories, where it says that they are one object.
synonyms_disagree         by how much the scores differ that two phrases of one category give to one object.
fragmented                share of a mask that lies outside its largest part.
at_border                 share of the image's labels that touch its border, so that their object may go on beyond it.
present_without_instance  the model is sure that a category is in the image (presence), and no label of it was kept.

Of several labels or pairs the most doubtful one counts: a single wrong mask is what a reviewer looks for.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autolabel.labels.columns import Floats, Ints
from autolabel.masks.components import shares_outside_largest

MARGIN = 0.1  # of a score: further from its threshold, it is not in doubt
SAME_OBJECT_IOU = 0.5  # masks that overlap more are of one object, as COCO's AP50 has it
SURE_PRESENCE = 0.5

WEIGHTS = {
    "near_threshold": 0.5,
    "categories_disagree": 0.8,
    "synonyms_disagree": 0.6,
    "fragmented": 0.6,
    "at_border": 0.2,
    "present_without_instance": 0.8,
}


def priority(reasons: Floats) -> Floats:
    """Return (R,) in [0, 1] of reasons (R, 6) in the order of WEIGHTS: 1 - product of (1 - weight * reason).

    So it grows with each reason, as the probability of a mistake would if reasons were independent signs of one.
    """
    remaining: Floats = np.prod(1 - reasons * np.array(list(WEIGHTS.values())), axis=-1)
    return 1 - remaining


def near_threshold(score: Floats, threshold: Floats) -> Floats:
    """Return 1 for a score at its threshold, falling to 0 at MARGIN from it, on both sides."""
    near: Floats = np.clip(1 - np.abs(score - threshold) / MARGIN, 0, 1)
    return near


def categories_disagree(iou: Floats) -> Floats:
    """Return the IoU of two masks of different categories, or 0 where they are not of one object."""
    return np.where(iou > SAME_OBJECT_IOU, iou, 0)


def synonyms_disagree(score: Floats, other_score: Floats) -> Floats:
    """Return how far apart the scores are that two phrases give to one object."""
    apart: Floats = np.abs(score - other_score)
    return apart


def fragmented(counts: Sequence[str], size_hw: Ints) -> Floats:
    """Return (N,) the share of each mask's pixels outside the largest of its 8-connected parts.

    Raises:
        ValueError: a mask does not decode, or is empty.
    """
    return shares_outside_largest(counts, size_hw)


def at_border(box_xywh: Floats, size_hw: Ints) -> npt.NDArray[np.bool_]:
    """Return (N,) whether boxes (N, 4) of whole pixels touch the border of their images (N, 2)."""
    low, high = box_xywh[:, :2], box_xywh[:, :2] + box_xywh[:, 2:]
    beyond: npt.NDArray[np.bool_] = np.concatenate([low <= 0, high >= size_hw[:, ::-1]], axis=1)
    return np.asarray(beyond.any(axis=1))


def present_without_instance(presence: Floats, n_instances: Ints) -> Floats:
    """Return how far the presence of a category without labels is above SURE_PRESENCE, as a share of the most."""
    sure = np.clip((presence - SURE_PRESENCE) / (1 - SURE_PRESENCE), 0, 1)
    return np.where(n_instances == 0, sure, 0)
