"""Which images of an output, and which of their instances."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autolabel.labels.columns import Bools, InstanceColumns, UnitColumns


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A choice of images and of their instances; None chooses all."""

    statuses: frozenset[str] | None = None
    category_ids: frozenset[int] | None = None
    min_score: float | None = None

    @property
    def of_instances(self) -> bool:
        return self.category_ids is not None or self.min_score is not None

    def __and__(self, other: "Filter") -> "Filter":
        scores = [score for score in (self.min_score, other.min_score) if score is not None]
        return Filter(
            statuses=intersect(self.statuses, other.statuses),
            category_ids=intersect(self.category_ids, other.category_ids),
            min_score=max(scores, default=None),
        )

    def of(self, unit: UnitColumns) -> UnitColumns:
        """Return the chosen rows of a unit, with the chosen instances and candidates.

        A row goes, too, if none of its instances is chosen.
        """
        if self.statuses is not None:
            unit = unit.select(np.isin(unit.status.astype(str), sorted(self.statuses)))
        if not self.of_instances:
            return unit
        instances = unit.instances.select(self._chosen(unit.instances))
        candidates = unit.candidates.select(self._chosen(unit.candidates))
        unit = replace(unit, instances=instances, candidates=candidates)
        return unit.select(np.isin(np.arange(len(unit)), instances.row))

    def _chosen(self, instances: InstanceColumns) -> Bools:
        keep = np.ones(len(instances), np.bool_)
        if self.category_ids is not None:
            keep &= np.isin(instances.category_id, list(self.category_ids))
        if self.min_score is not None:  # in the precision they are stored in: what is printed can be asked for
            keep &= instances.score >= np.float32(self.min_score)
        return keep


def intersect(a: frozenset[Any] | None, b: frozenset[Any] | None) -> frozenset[Any] | None:
    return b if a is None else a if b is None else a & b
