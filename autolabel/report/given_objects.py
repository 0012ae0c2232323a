"""Given objects in a report: those of which the model is least sure, with the lowest predicted IoU first."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from autolabel.labels.columns import InstanceColumns, UnitColumns

SHOWN = 30


@dataclass(frozen=True, kw_only=True, order=True)
class ObjectRow:
    """One given object; they are ordered by predicted IoU."""

    predicted_iou: float
    uri: str
    object_id: str
    category_id: int
    presence: float
    is_label: bool


@dataclass(frozen=True, kw_only=True)
class GivenObjects:
    """How many objects were given, how many have a label, and the least certain of them, at most SHOWN."""

    n: int = 0
    n_labels: int = 0
    lowest: tuple[ObjectRow, ...] = ()

    def __add__(self, other: "GivenObjects") -> "GivenObjects":
        lowest = heapq.nsmallest(SHOWN, (*self.lowest, *other.lowest))
        return GivenObjects(n=self.n + other.n, n_labels=self.n_labels + other.n_labels, lowest=tuple(lowest))


def given_objects_of(unit: UnitColumns) -> GivenObjects:
    """Return the objects of a unit's images."""
    kinds = ((unit.instances, True), (unit.candidates, False))
    rows = (row for instances, is_label in kinds for row in lowest_rows(unit, instances, is_label=is_label))
    n_of = {is_label: len(instances) - instances.object_id.null_count for instances, is_label in kinds}
    return GivenObjects(n=sum(n_of.values()), n_labels=n_of[True], lowest=tuple(heapq.nsmallest(SHOWN, rows)))


def lowest_rows(unit: UnitColumns, instances: InstanceColumns, *, is_label: bool) -> Iterable[ObjectRow]:
    """Give the least certain objects among instances."""
    given = np.flatnonzero(instances.object_id.is_valid())
    for index in given[np.argsort(instances.score[given], kind="stable")[:SHOWN]].tolist():
        yield ObjectRow(
            predicted_iou=float(instances.score[index]),
            uri=unit.uri[int(instances.row[index])].as_py(),
            object_id=instances.object_id[index].as_py(),
            category_id=int(instances.category_id[index]),
            presence=float(instances.presence[index]),
            is_label=is_label,
        )
