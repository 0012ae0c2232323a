"""Pairs of a unit's instances that overlap: of one category, or labels of two."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from autolabel.labels.columns import Floats, InstanceColumns, Ints, UnitColumns, index_of
from autolabel.masks.rle import Rle, pairwise_overlap
from autolabel.selection.rules import shared_area

SAME_OBJECT_IOU = 0.5  # masks that overlap more are of one object, as COCO's AP50 has it
LIES_ON_IOS = 0.5  # of the smaller mask


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredInstances:
    """N labels and candidates of a unit by row, category and rank: labels before candidates, each best first."""

    row: Ints
    category: Ints  # its place in the ontology
    prompt_id: Ints
    score: Floats
    is_label: npt.NDArray[np.bool_]
    box_xywh: Floats
    area_px: Ints
    size_hw: Ints
    counts: pa.StringArray

    @staticmethod
    def of(unit: UnitColumns, category_ids: Sequence[int]) -> "StoredInstances":
        """Bring the instances of a unit in order.

        Raises:
            BadInput: one is of a category that is not the run's.
        """
        sides: tuple[InstanceColumns, InstanceColumns] = unit.instances, unit.candidates
        merged = {
            name: np.concatenate([getattr(side, name) for side in sides])
            for name in ("row", "category_id", "prompt_id", "score", "box_xywh", "area_px", "size_hw")
        }
        merged["category"] = index_of(category_ids, merged.pop("category_id"))
        merged["is_label"] = np.repeat([True, False], [len(side) for side in sides])
        keys = -merged["score"], ~merged["is_label"], merged["category"], merged["row"]
        order = np.lexsort(keys)  # by the last one first
        counts = pa.concat_arrays([side.counts for side in sides]).take(order)
        return StoredInstances(**{name: values[order] for name, values in merged.items()}, counts=counts)

    def __len__(self) -> int:
        return len(self.row)

    def rle(self, index: int) -> Rle:
        """Return one mask."""
        height, width = self.size_hw[index].tolist()
        return Rle(size_hw=(height, width), counts=self.counts[index].as_py())


@dataclass(frozen=True, kw_only=True, eq=False)
class OverlappingPairs:
    """P pairs of stored instances of an image, `first` before `second` in their order. IoS is over the smaller mask."""

    first: Ints  # (P,)
    second: Ints  # (P,) ascending
    iou: Floats  # (P,)
    ios: Floats  # (P,)

    def __len__(self) -> int:
        return len(self.first)

    def select(self, keep: npt.NDArray[np.bool_]) -> "OverlappingPairs":
        """Return those of (P,) that are to be kept."""
        return OverlappingPairs(**{name: values[keep] for name, values in vars(self).items()})


def pairs_within_categories(stored: StoredInstances) -> OverlappingPairs:
    """Return the pairs of one category of which one lies on the other by more than LIES_ON_IOS."""
    group = stored.row * (stored.category.max(initial=0) + 1) + stored.category
    start = np.searchsorted(group, group)
    return _overlapping(stored, np.arange(len(stored)), start, np.arange(len(stored)), "ios", LIES_ON_IOS)


def pairs_across_categories(stored: StoredInstances) -> OverlappingPairs:
    """Return the pairs of labels of two categories on one object."""
    labels = np.flatnonzero(stored.is_label)
    row = stored.row[labels]
    group = row * (stored.category.max(initial=0) + 1) + stored.category[labels]
    return _overlapping(
        stored, labels, np.searchsorted(row, row), np.searchsorted(group, group), "iou", SAME_OBJECT_IOU
    )


def _overlapping(
    stored: StoredInstances, chosen: Ints, start: Ints, stop: Ints, metric: str, limit: float
) -> OverlappingPairs:
    """Return the pairs of each of some instances with those of them from its `start` to its `stop`."""
    found = [
        pair
        for index, first, last in zip(chosen.tolist(), start.tolist(), stop.tolist(), strict=True)
        if last > first
        for pair in _overlapping_one(stored, index, chosen[first:last], metric, limit)
    ]
    first, second, iou, ios = np.array(found, np.float64).reshape(-1, 4).T
    return OverlappingPairs(first=first.astype(np.int64), second=second.astype(np.int64), iou=iou, ios=ios)


def _overlapping_one(
    stored: StoredInstances, index: int, rivals: Ints, metric: str, limit: float
) -> Iterator[tuple[int, int, float, float]]:
    """Give (rival, index, IoU, IoS) of the rivals that overlap with an instance by more than the limit."""
    areas_px = stored.area_px[index], stored.area_px[rivals]
    least_px = limit * (np.maximum if metric == "iou" else np.minimum)(*areas_px)
    # Masks overlap at most where their boxes do: few need to be looked at.
    close = rivals[shared_area(stored.box_xywh[index], stored.box_xywh[rivals]) > least_px]
    if not len(close):
        return
    iou = pairwise_overlap([stored.rle(index)], [stored.rle(rival) for rival in close], "iou")[0]
    areas_px = stored.area_px[index], stored.area_px[close]
    ios = iou / (1 + iou) * sum(areas_px) / np.minimum(*areas_px)  # the same intersection over another area
    keep = (iou if metric == "iou" else ios) > limit
    for rival, *overlap in zip(close[keep].tolist(), iou[keep].tolist(), ios[keep].tolist(), strict=True):
        yield rival, index, *overlap
