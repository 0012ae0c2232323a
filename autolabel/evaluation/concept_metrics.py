"""The metrics of SAM3's paper over pairs of an image and a concept: cgF1, pmF1 and IL_MCC.

Defined as in the paper (arXiv:2511.16719) and in `sam3/eval/cgf1_eval.py`, but for the small constants that the latter
adds to every denominator: here a quotient of nothing is None, "undefined".

- IL_MCC: does an image have the concept at all? Matthews' correlation of the answers with the truth, over all pairs.
- pmF1: are its objects found? F1 of all objects on the pairs whose image has the concept, objects and labels assigned
  to each other for the greatest sum of IoUs; the mean over the IoU thresholds 0.5, 0.55, ... 0.95.
- cgF1 = 100 * pmF1 * IL_MCC.

A concept is a category with all its phrases. Only labels count (scores above the threshold in force), only pairs that
are known exhaustively, and no crowds.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from autolabel.evaluation.comparison import ComparedPair, Comparison
from autolabel.masks.rle import pairwise_overlap

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # COCO's

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ConceptMetrics:
    """Pairs by truth and answer, objects by IoU threshold (10,), and the figures; None is undefined.

    `fp` are labels on pairs whose image has the concept: those on others are a matter of IL_MCC.
    """

    il_tp: int
    il_fn: int
    il_fp: int
    il_tn: int
    tp: Counts
    fp: Counts
    fn: Counts

    @property
    def il_mcc(self) -> float | None:
        """None without pairs of both kinds; 0 where every answer is the same, as good as a guess."""
        tp, fn, fp, tn = self.il_tp, self.il_fn, self.il_fp, self.il_tn
        if not tp + fn or not fp + tn:
            return None
        answers = (tp + fp) * (tn + fn)
        return (tp * tn - fp * fn) / (answers * (tp + fn) * (fp + tn)) ** 0.5 if answers else 0.0

    @property
    def pm_f1(self) -> float | None:
        """None where no image has any of the concepts."""
        if not self.il_tp + self.il_fn:
            return None
        return float(np.mean(2 * self.tp / (2 * self.tp + self.fp + self.fn)))

    @property
    def cg_f1(self) -> float | None:
        return None if self.il_mcc is None or self.pm_f1 is None else 100 * self.pm_f1 * self.il_mcc


def concept_metrics(comparison: Comparison) -> ConceptMetrics:
    """Return SAM3's metrics of the labels."""
    exhaustive = [pair for pair in comparison.pairs if pair.exhaustive]
    pairs_of = {(present, found): 0 for present in (True, False) for found in (True, False)}
    for pair in exhaustive:
        pairs_of[bool(pair.objects), bool(pair.labels)] += 1
    right, false, missed = object_counts(pair for pair in exhaustive if pair.objects)
    return ConceptMetrics(
        il_tp=pairs_of[True, True],
        il_fn=pairs_of[True, False],
        il_fp=pairs_of[False, True],
        il_tn=pairs_of[False, False] + comparison.n_silent_of.total(),
        tp=right,
        fp=false,
        fn=missed,
    )


def object_counts(pairs: Iterable[ComparedPair]) -> tuple[Counts, Counts, Counts]:
    """Return labels that are right, labels that are false, and objects that are missed, at each IoU threshold."""
    right, n_labels, n_objects = np.zeros(len(IOU_THRESHOLDS), np.int64), 0, 0
    for pair in pairs:
        labels, objects = pair.labels, pair.objects
        iou = pairwise_overlap([one.rle for one in labels], [one.rle for one in objects], metric="iou")
        assigned = iou[linear_sum_assignment(iou, maximize=True)]
        right += (assigned[:, None] >= IOU_THRESHOLDS).sum(axis=0)
        n_labels += len(labels)
        n_objects += len(objects)
    return right, n_labels - right, n_objects - right
