"""What the report counts, by category: images, instances, histograms of scores, of areas and of numbers per image."""

from dataclasses import dataclass, fields

import numpy as np

from autolabel.errors import RejectCode
from autolabel.labels.columns import Floats, Ints, UnitColumns, index_of
from autolabel.labels.types import Status
from autolabel.output.run_record import RunRecord

SCORE_EDGES = np.linspace(0, 1, 51)
AREA_EDGES = np.logspace(-6, 0, 25)  # of the image's area; smaller ones count in the first bin
COUNT_EDGES = np.array([1, 2, 3, 4, 5, 6, 8, 11, 16, 21, 31, 51, 101])  # the last bin has no end

STATUSES = tuple(str(status) for status in Status)
REJECT_CODES = tuple(str(code) for code in RejectCode)


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """Counts of C categories over some images. Those of two sets of images add up."""

    images: Ints  # (3,) by STATUSES
    rejected: Ints  # (number of REJECT_CODES,)
    images_with: Ints  # (C,)
    instances: Ints  # (C,)
    score_sum: Floats  # (C,)
    scores: Ints  # (C, 50) instances by score
    candidate_scores: Ints  # (C, 50)
    areas: Ints  # (C, 24) instances by their share of the image
    counts: Ints  # (C, 13) images by their number of instances of the category
    counts_of_all: Ints  # (1 + 13,) images by their number of instances, those without any first

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @staticmethod
    def nothing(n_categories: int) -> "Statistics":
        n_scores, n_areas, n_counts = len(SCORE_EDGES) - 1, len(AREA_EDGES) - 1, len(COUNT_EDGES)
        return Statistics(
            images=zeros(len(STATUSES)),
            rejected=zeros(len(REJECT_CODES)),
            images_with=zeros(n_categories),
            instances=zeros(n_categories),
            score_sum=np.zeros(n_categories),
            scores=zeros(n_categories, n_scores),
            candidate_scores=zeros(n_categories, n_scores),
            areas=zeros(n_categories, n_areas),
            counts=zeros(n_categories, n_counts),
            counts_of_all=zeros(1 + n_counts),
        )


def statistics_of(unit: UnitColumns, record: RunRecord) -> Statistics:
    """Return the counts of a unit."""
    ids = [category.id for category in record.settings.ontology.categories]
    labels, n = unit.instances, len(ids)
    place = index_of(ids, labels.category_id)
    per_image = np.bincount(labels.row * n + place, minlength=len(unit) * n).reshape(-1, n)
    looked_at = unit.status != Status.REJECTED
    total = per_image.sum(axis=1)[looked_at]
    share = labels.area_px / labels.size_hw.prod(axis=1).clip(min=1)
    row_with, place_with = np.nonzero(per_image)
    return Statistics(
        images=np.array([(unit.status == status).sum() for status in STATUSES]),
        rejected=np.array([(unit.reject_code == code).sum() for code in REJECT_CODES]),
        images_with=(per_image > 0).sum(axis=0),
        instances=per_image.sum(axis=0),
        score_sum=np.bincount(place, labels.score, n).astype(np.float64),
        scores=histograms(place, labels.score, SCORE_EDGES, n),
        candidate_scores=histograms(index_of(ids, unit.candidates.category_id), unit.candidates.score, SCORE_EDGES, n),
        areas=histograms(place, share, AREA_EDGES, n),
        counts=histograms(place_with, per_image[row_with, place_with], np.append(COUNT_EDGES, np.inf), n),
        counts_of_all=np.append(
            (total == 0).sum(),
            histograms(zeros(len(total))[total > 0], total[total > 0], np.append(COUNT_EDGES, np.inf), 1)[0],
        ),
    )


def histograms(group: Ints, values: Floats | Ints, edges: Floats | Ints, n_groups: int) -> Ints:
    """Return (n_groups, bins) of values by group; what lies outside the edges counts in the first or the last bin."""
    n_bins = len(edges) - 1
    bins = (np.searchsorted(edges, values, side="right") - 1).clip(0, n_bins - 1)
    return np.bincount(group * n_bins + bins, minlength=n_groups * n_bins).reshape(n_groups, n_bins)


def zeros(*shape: int) -> Ints:
    return np.zeros(shape, np.int64)
