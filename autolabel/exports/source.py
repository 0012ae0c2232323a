"""What an export reads: a finished output, row by row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autolabel.labels import open_unit
from autolabel.plan import Plan
from autolabel.run_record import RunRecord
from autolabel.storage import Storage


@dataclass(frozen=True, kw_only=True)
class LabelledOutput:
    """A finished job's output."""

    storage: Storage
    uri: str
    record: RunRecord
    plan: Plan

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Every row of labels.SCHEMA in image_id order, a unit in memory at a time."""
        for unit in range(self.plan.n_units):
            yield from open_unit(self.storage, self.uri, unit).read(columns=list(columns)).to_pylist()

    def file_name(self, image_uri: str) -> str:
        """The name of an image relative to the input root; its whole URI where it lies elsewhere."""
        return image_uri.removeprefix(f"{self.record.input_root.rstrip('/')}/")
