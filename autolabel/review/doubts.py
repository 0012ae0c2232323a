"""What is in doubt on each image of a unit: the numbers of `reasons`, and what all units together must tell first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from autolabel.labels.columns import Floats, Ints, UnitColumns, as_int64, index_of
from autolabel.labels.types import Status
from autolabel.masks.runs import index_in_group
from autolabel.output.run_record import RunRecord
from autolabel.review import reasons
from autolabel.review.overlaps import Overlaps, pair_number
from autolabel.review.pairs import (
    SAME_OBJECT_IOU,
    OverlappingPairs,
    StoredInstances,
    pairs_across_categories,
    pairs_within_categories,
)
from autolabel.review.reasons import NESTED_IOS, REASONS

IN_DOUBT = 0.25  # mistakes to be expected of a category on an image, from which on it is named there
MAX_PAIRS = 16  # of categories that share an object, of an image: those that are rarest in its unit


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedObjects:
    """K pairs of categories that share objects on an image."""

    row: Ints  # (K,) of the images, ascending; int32
    pair: Ints  # (K,) see `overlaps`
    product_sum: Floats  # (K,) of the scores of the two; float32


@dataclass(frozen=True, kw_only=True, eq=False)
class Doubts:
    """R images that were looked at. A category is its place in the ontology, to stay small in memory."""

    image_id: Ints  # (R,) ascending
    uri: pa.LargeStringArray  # (R,)
    reasons: Floats  # (R, 7) in the order of REASONS, that of `categories_disagree` yet 0; float32, as it is written
    categories: pa.ListArray  # (R,) lists of int32: those in doubt
    shared: SharedObjects

    def with_disagreements(self, overlaps: Overlaps) -> "Doubts":
        """Return the same with `categories_disagree`, once it is known which categories share objects by nature."""
        n_categories, shared = len(overlaps.n_labels), self.shared
        value = shared.product_sum * overlaps.unusual(shared.pair)
        values = self.reasons.copy()
        np.add.at(values[:, REASONS.index("categories_disagree")], shared.row, value)
        disagree = value >= IN_DOUBT
        rows = [as_int64(self.categories.value_parent_indices()), *2 * [shared.row[disagree]]]
        places = [as_int64(self.categories.flatten()), *np.divmod(shared.pair[disagree], n_categories)]
        row, place = np.divmod(np.unique(np.concatenate(rows) * n_categories + np.concatenate(places)), n_categories)
        return replace(self, reasons=values, categories=lists_of(row, place, len(self.image_id)))


def unit_doubts(unit: UnitColumns, record: RunRecord) -> tuple[Doubts, Overlaps]:
    """Return the images of a unit that were looked at with their doubts, and which categories share objects on them.

    Raises:
        BadInput: an instance is of a category that is not the run's. ValueError: a mask does not decode.
    """
    ids = [category.id for category in record.settings.ontology.categories]
    stored = StoredInstances.of(unit, ids)
    expected = ExpectedMistakes(len(unit), len(ids))
    score, labels = stored.score, np.flatnonzero(stored.is_label)
    fragments = reasons.fragmented(stored.counts.take(labels).to_pylist(), stored.size_hw[labels])
    expected.add("fragmented", stored, labels, fragments)
    if record.settings.has_concepts:
        expected.add("low_score", stored, labels, reasons.low_score(score[labels]))
        add_contradictions(expected, stored)
        expected.add_absent(unit, ids)
    else:  # masks that were asked for one by one, and lie in one another by nature; a given object without a label, too
        doubtful = np.arange(len(score)) if record.settings.objects else labels
        expected.add("low_score", stored, doubtful, reasons.low_score(score[doubtful]))
    across = pairs_across_categories(stored)
    if not record.settings.has_concepts:
        across = across.select(np.zeros(len(across.first), np.bool_))
    shared, overlaps = shared_objects(stored, across, len(ids))
    looked_at = unit.status != Status.REJECTED
    doubts = Doubts(
        image_id=unit.image_id[looked_at],
        uri=unit.uri.cast(pa.large_string()).filter(pa.array(looked_at)),
        reasons=expected.reasons()[looked_at],
        categories=expected.categories().filter(pa.array(looked_at)),
        shared=SharedObjects(
            row=(np.cumsum(looked_at) - 1)[shared.row].astype(np.int32),
            pair=shared.pair,
            product_sum=shared.product_sum.astype(np.float32),
        ),
    )
    return doubts, overlaps


def add_contradictions(expected: "ExpectedMistakes", stored: StoredInstances) -> None:
    """Add what instances of one category say against each other."""
    score = stored.score
    same = pairs_within_categories(stored)
    beside = np.setdiff1d(np.flatnonzero(~stored.is_label), same.second)
    expected.add("missed_candidate", stored, beside, reasons.missed_candidate(score[beside]))
    nested = same.select(stored.is_label[same.second] & (same.ios > NESTED_IOS))
    expected.add("nested", stored, nested.second, reasons.both_right(score[nested.first], score[nested.second]))
    twins = same.select(stored.is_label[same.first] & ~stored.is_label[same.second] & (same.iou > SAME_OBJECT_IOU))
    twins = twins.select(stored.prompt_id[twins.first] != stored.prompt_id[twins.second])
    found, best = np.unique(twins.first, return_index=True)  # the surest of what other phrases say
    apart = reasons.synonyms_disagree(score[found], score[twins.second[best]])
    expected.add("synonyms_disagree", stored, found, apart)


class ExpectedMistakes:
    """The numbers of a unit's rows, by reason and category."""

    def __init__(self, n_rows: int, n_categories: int) -> None:
        self._of = {reason: np.zeros((n_rows, n_categories), np.float32) for reason in REASONS}

    def add(self, reason: str, stored: StoredInstances, index: Ints, value: Floats) -> None:
        """Add a value of each of some instances."""
        np.add.at(self._of[reason], (stored.row[index], stored.category[index]), value)

    def add_absent(self, unit: UnitColumns, category_ids: Sequence[int]) -> None:
        """Add what is said to be present without a label; the candidates are added before."""
        missed = self._of["missed_candidate"]
        presence, n_labels = np.zeros(missed.shape), np.zeros(missed.shape, np.int64)
        asked = unit.prompts.row, index_of(category_ids, unit.prompts.category_id)
        np.maximum.at(presence, asked, unit.prompts.presence)
        np.add.at(n_labels, asked, unit.prompts.n_instances)
        self._of["present_without_instance"] += reasons.present_without_instance(
            presence, n_labels, missed.astype(np.float64)
        )

    def reasons(self) -> Floats:
        """Return (R, 7) in the order of REASONS."""
        return np.stack([self._of[reason].sum(axis=1) for reason in REASONS], axis=1)

    def categories(self) -> pa.ListArray:
        """Return, of each row, the places of the categories that are in doubt."""
        total = np.sum(list(self._of.values()), axis=0)
        row, place = np.nonzero(total >= IN_DOUBT)
        return lists_of(row, place, len(total))


def lists_of(row: Ints, value: Ints, n_rows: int) -> pa.ListArray:
    """Return the values of each row, whose rows ascend, as lists of int32."""
    ends = np.searchsorted(row, np.arange(n_rows + 1))
    return pa.ListArray.from_arrays(ends.astype(np.int32), value.astype(np.int32))


def shared_objects(
    stored: StoredInstances, across: OverlappingPairs, n_categories: int
) -> tuple[SharedObjects, Overlaps]:
    """Return the pairs of categories with labels on one object: by row, at most MAX_PAIRS of each, and all of them."""
    pair = pair_number(stored.category[across.first], stored.category[across.second], n_categories)
    product = reasons.both_right(stored.score[across.first], stored.score[across.second])
    labels = stored.is_label
    overlaps = Overlaps.of(stored.category[labels], stored.score[labels], pair, product, n_categories)

    cells, number = np.unique(np.stack([stored.row[across.first], pair], axis=1), axis=0, return_inverse=True)
    row, pair_of_cell = cells.T
    rarity = overlaps.n_shared[np.searchsorted(overlaps.pair, pair_of_cell)]
    order = np.lexsort((rarity, row))
    order = order[index_in_group(np.bincount(row)) < MAX_PAIRS]
    product_sum = np.bincount(number, product, len(cells))
    return SharedObjects(row=row[order], pair=pair_of_cell[order], product_sum=product_sum[order]), overlaps
