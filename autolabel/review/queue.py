"""The review queue: every image that was looked at, by descending doubt, as `review.parquet` beside the labels.

What is in doubt, and why, `review.reasons` tells; here a unit's rows get their reasons, and all of them their rank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.labels.columns import Floats, InstanceColumns, Ints, UnitColumns, index_of
from autolabel.labels.types import Status
from autolabel.masks.rle import pairwise_overlap
from autolabel.output.run_record import RunRecord
from autolabel.review import reasons
from autolabel.review.reasons import SAME_OBJECT_IOU, WEIGHTS
from autolabel.selection import shared_area
from autolabel.storage import Storage
from autolabel.storage.uris import join

NAME = "review.parquet"
ROWS_PER_GROUP = 65_536

REASONS = tuple(WEIGHTS)
SCHEMA = pa.schema(
    [
        pa.field("rank", pa.int64(), nullable=False),  # from 1
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("priority", pa.float32(), nullable=False),
        pa.field("reasons", pa.struct([(reason, pa.float32()) for reason in REASONS]), nullable=False),
        pa.field("categories", pa.list_(pa.string()), nullable=False),  # names of those in doubt
    ]
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReviewScores:
    """R images and why each is in doubt. A category is its place in the ontology, to stay small in memory."""

    image_id: Ints  # (R,) ascending
    uri: pa.LargeStringArray  # (R,)
    reasons: Floats  # (R, 6) in the order of REASONS; float32, which is what is written
    categories: pa.ListArray  # (R,) lists of int32


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """P pairs of masks that are of one object; indices into two `Found`."""

    first: Ints
    second: Ints
    iou: Floats


def review_scores(unit: UnitColumns, record: RunRecord) -> ReviewScores:
    """Return the images of a unit that were looked at, with their reasons.

    Raises:
        BadInput: an instance is of a category that is not the run's. ValueError: a mask does not decode.
    """
    ids = [category.id for category in record.settings.ontology.categories]
    threshold_of = np.array([record.settings.rules.threshold_of[id] for id in ids])
    labels, others = unit.instances, unit.candidates
    label_place, other_place = index_of(ids, labels.category_id), index_of(ids, others.category_id)
    across, twins = pairs_of_one_object(unit)
    found = Reasons(len(unit), len(ids))

    found.note(
        "near_threshold", labels.row, label_place, reasons.near_threshold(labels.score, threshold_of[label_place])
    )
    below = (others.score <= threshold_of[other_place]) & ~np.isin(np.arange(len(others)), twins.second)
    near = reasons.near_threshold(others.score, threshold_of[other_place])
    found.note("near_threshold", others.row, other_place, np.where(below, near, 0))

    disagreement = reasons.categories_disagree(across.iou)
    for side in (across.first, across.second):
        found.note("categories_disagree", labels.row[side], label_place[side], disagreement)

    said_otherwise = labels.prompt_id[twins.first] != others.prompt_id[twins.second]
    apart = reasons.synonyms_disagree(labels.score[twins.first], others.score[twins.second])
    found.note("synonyms_disagree", labels.row[twins.first], label_place[twins.first], apart * said_otherwise)

    outside = reasons.fragmented(labels.counts.to_pylist(), labels.size_hw)
    found.note("fragmented", labels.row, label_place, outside)

    touching = reasons.at_border(labels.box_xywh, labels.size_hw)
    share = np.bincount(labels.row, touching, len(unit)) / np.bincount(labels.row, minlength=len(unit)).clip(min=1)
    found.note("at_border", labels.row, label_place, share[labels.row] * touching)

    presence, n_instances = np.zeros((len(unit), len(ids))), np.zeros((len(unit), len(ids)), np.int64)
    asked = unit.prompts.row, index_of(ids, unit.prompts.category_id)
    np.maximum.at(presence, asked, unit.prompts.presence)
    np.add.at(n_instances, asked, unit.prompts.n_instances)
    row, place = (cells.ravel() for cells in np.indices(presence.shape))
    missing = reasons.present_without_instance(presence, n_instances)
    found.note("present_without_instance", row, place, missing.ravel())

    looked_at = np.flatnonzero(unit.status != Status.REJECTED)
    return ReviewScores(
        image_id=unit.image_id[looked_at],
        uri=unit.uri.cast(pa.large_string()).take(looked_at),
        reasons=found.values[looked_at].astype(np.float32),
        categories=found.categories().take(looked_at),
    )


class Reasons:
    """The numbers of a unit's rows as they are found, and the categories that they are about."""

    def __init__(self, n_rows: int, n_categories: int) -> None:
        self.values = np.zeros((n_rows, len(REASONS)))
        self._concerned = np.zeros((n_rows, n_categories), np.bool_)

    def note(self, reason: str, row: Ints, place: Ints, value: Floats) -> None:
        """Keep the greatest value of each row, and the categories that it is about."""
        np.maximum.at(self.values[:, REASONS.index(reason)], row, value)
        self._concerned[row[value > 0], place[value > 0]] = True

    def categories(self) -> pa.ListArray:
        """Return, of each row, the places of the categories that are in doubt."""
        _, places = np.nonzero(self._concerned)
        ends = np.cumsum(self._concerned.sum(axis=1))
        return pa.ListArray.from_arrays(np.append(0, ends).astype(np.int32), places.astype(np.int32))


def pairs_of_one_object(unit: UnitColumns) -> tuple[Pairs, Pairs]:
    """Return labels of two categories on one object, and labels with candidates of their own category on it."""
    labels, others = unit.instances, unit.candidates
    label_rows, other_rows = labels.row_offsets(len(unit)), others.row_offsets(len(unit))
    across: list[tuple[int, int, float]] = []
    twins: list[tuple[int, int, float]] = []
    for index, row in enumerate(labels.row):
        rivals = np.arange(index + 1, label_rows[row + 1])
        rivals = rivals[labels.category_id[rivals] != labels.category_id[index]]
        across += overlapping(labels, index, labels, rivals)
        rivals = np.arange(other_rows[row], other_rows[row + 1])
        rivals = rivals[others.category_id[rivals] == labels.category_id[index]]
        twins += overlapping(labels, index, others, rivals)
    return pairs(across), pairs(twins)


def overlapping(
    labels: InstanceColumns, index: int, others: InstanceColumns, rivals: Ints
) -> Iterator[tuple[int, int, float]]:
    """Give (index, rival, IoU) of the rivals that are of one object with a label."""
    # Masks overlap at most where their boxes do: few need to be looked at.
    shared = shared_area(labels.box_xywh[index], others.box_xywh[rivals])
    larger = np.maximum(labels.area_px[index], others.area_px[rivals])
    close = rivals[shared > SAME_OBJECT_IOU * larger]
    if len(close):
        iou = pairwise_overlap([labels.rle(index)], [others.rle(rival) for rival in close], "iou")[0]
        yield from (
            (index, int(rival), float(one)) for rival, one in zip(close, iou, strict=True) if one > SAME_OBJECT_IOU
        )


def pairs(found: Sequence[tuple[int, int, float]]) -> Pairs:
    first, second, iou = np.array(found, np.float64).reshape(-1, 3).T
    return Pairs(first=first.astype(np.int64), second=second.astype(np.int64), iou=iou)


class ReviewQueue:
    """Ranks all images of an output: some two hundred bytes of each are held, at most 400."""

    def __init__(self, units: Sequence[ReviewScores]) -> None:
        """Rank the images; `units` are in the order of the plan."""
        empty = np.zeros((0, len(REASONS)), np.float32)
        self.image_id: Ints = np.concatenate([np.zeros(0, np.int64), *(unit.image_id for unit in units)])
        self.reasons: Floats = np.concatenate([empty, *(unit.reasons for unit in units)])
        self.priority: Floats = reasons.priority(self.reasons).astype(np.float32)
        self._uri = pa.chunked_array([unit.uri for unit in units], pa.large_string()).combine_chunks()
        self._categories = pa.chunked_array([unit.categories for unit in units], pa.list_(pa.int32())).combine_chunks()
        self.order: Ints = np.argsort(-self.priority, kind="stable")  # of equal doubt, the lower image_id comes first

    def __len__(self) -> int:
        return len(self.image_id)

    def tables(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Give the queue in its order, by SCHEMA; `names` are those of the ontology's categories, in its order."""
        known = pa.array(names, pa.string())
        for start in range(0, len(self), ROWS_PER_GROUP):
            order = self.order[start : start + ROWS_PER_GROUP]
            places = self._categories.take(order)
            columns = [
                pa.array(np.arange(start + 1, start + 1 + len(order))),
                pa.array(self.image_id[order]),
                self._uri.take(order).cast(pa.string()),
                pa.array(self.priority[order]),
                pa.StructArray.from_arrays(list(self.reasons[order].T), fields=list(SCHEMA.field("reasons").type)),
                pa.ListArray.from_arrays(places.offsets, known.take(places.values)),
            ]
            yield pa.Table.from_arrays(columns, schema=SCHEMA)

    def write(self, storage: Storage, output_uri: str, names: Sequence[str]) -> str:
        """Write the file, in place of an earlier one; its URI."""
        uri = join(output_uri, NAME)
        with storage.replace(uri) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
            for table in self.tables(names):
                writer.write_table(table)
        return uri
