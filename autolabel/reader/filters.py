"""Which images of an output, and which of their instances."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autolabel.reader.tables import leaves


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which images, and which of their instances; None selects any."""

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

    def columns(self, wanted: Sequence[str]) -> list[str]:
        """What must be read to give these columns of the selected rows."""
        needed = ["status"] if self.statuses is not None else []
        needed += leaves("instances", ("category_id", "score")) if self.of_instances else []
        whole = {name.partition(".")[0] for name in wanted if "." not in name}
        return list(dict.fromkeys([*wanted, *(name for name in needed if name.partition(".")[0] not in whole)]))

    def of(self, table: pa.Table) -> pa.Table:
        """The selected rows of a unit, with the selected instances and candidates."""
        if self.statuses is not None:
            table = table.filter(pc.is_in(table["status"], pa.array(sorted(self.statuses), pa.string())))
        if not self.of_instances:
            return table
        for name in ("instances", "candidates"):
            if name in table.column_names:
                lists = table[name].combine_chunks()
                table = table.set_column(table.column_names.index(name), name, self._narrowed(lists))
        return table.filter(pc.greater(pc.list_value_length(table["instances"]), 0))

    def _narrowed(self, lists: pa.ListArray) -> pa.ListArray:
        cells = lists.flatten()
        keep = np.ones(len(cells), bool)
        if self.category_ids is not None:
            keep &= np.isin(pc.struct_field(cells, "category_id"), list(self.category_ids))
        if self.min_score is not None:  # in the precision they are stored in: what is printed can be asked for
            keep &= pc.struct_field(cells, "score").to_numpy() >= np.float32(self.min_score)
        n_kept_before = np.concatenate(([0], np.cumsum(keep)))
        offsets = lists.offsets.to_numpy() - lists.offsets[0].as_py()
        return pa.ListArray.from_arrays(pa.array(n_kept_before[offsets], pa.int32()), cells.filter(pa.array(keep)))


def intersect(a: frozenset[Any] | None, b: frozenset[Any] | None) -> frozenset[Any] | None:
    return b if a is None else a if b is None else a & b
