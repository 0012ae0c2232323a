"""What every format is written with: the images of an output, and a folder that an export replaces as a whole."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from autolabel.errors import BadInput
from autolabel.exports.splits import Splits
from autolabel.labels.schema import instance_from_struct
from autolabel.labels.summary import Summary
from autolabel.labels.types import Instance, Status
from autolabel.labels.units import read_summary, read_unit, unit_uri
from autolabel.masks.rle import Rle, run_lengths
from autolabel.output.job_output import JobOutput
from autolabel.output.passes import over_units
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.prompts.ontology import Ontology
from autolabel.storage.uris import absolute_uri, join


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportImage:
    """An image that could be read. `name` is as LabelledOutput.file_name gives it."""

    image_id: int
    uri: str
    name: str
    size_hw: tuple[int, int]
    instances: tuple[Instance, ...]


@dataclass(frozen=True, kw_only=True)
class Export:
    """An export under way: every unit of `output` is done, and `folder_uri` holds nothing of an earlier one."""

    output: JobOutput
    folder_uri: str
    splits: Splits

    def uri(self, name: str) -> str:
        return join(self.folder_uri, name)

    def replace(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A writer of a file in the folder, as Storage.replace."""
        return self.output.storage.replace(self.uri(name))

    def write(self, name: str, data: bytes) -> None:
        self.output.storage.overwrite(self.uri(name), data)

    @property
    def units(self) -> range:
        return range(self.output.plan.n_units)

    @cached_property
    def summaries(self) -> tuple[Summary, ...]:
        """The counts of each unit."""
        read = partial(read_summary, self.output.storage, self.output.uri)
        return tuple(in_threads(read, self.units, IO_THREADS))

    @cached_property
    def summary(self) -> Summary:
        """The counts of all."""
        total = Summary()
        for summary in self.summaries:
            total.add(summary)
        return total

    @property
    def left_out(self) -> str:
        """The end of a closing sentence about rejected images."""
        n_rejected = self.summary.images[Status.REJECTED]
        return f"{n_rejected} rejected {'image' if n_rejected == 1 else 'images'} left out"

    def tables(self, columns: Sequence[str], units: Sequence[int] | None = None) -> Iterator[pa.Table]:
        """The rows of each unit in order, a few dozen units in memory at a time."""
        units = self.units if units is None else units
        return over_units(in_threads(partial(self._table, columns), units, IO_THREADS), len(units))

    def _table(self, columns: Sequence[str], unit: int) -> pa.Table:
        table = read_unit(self.output.storage, self.output.uri, unit, columns)
        if "instances" in columns:
            check_instances(table, self.output.record.ontology, unit_uri(self.output.uri, unit))
        return table

    def rows(self, columns: Sequence[str], units: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
        """Plain values of every row in order."""
        for table in self.tables(columns, units):
            yield from table.to_pylist()

    def names(self) -> Iterator[str]:
        """The name of every image that could be read, in order."""
        for row in self.rows(["uri", "status"]):
            if row["status"] != Status.REJECTED:
                yield self.output.file_name(row["uri"])

    def images(self) -> Iterator[ExportImage]:
        """Every image that could be read, in order."""
        for row in self.rows(["image_id", "uri", "width", "height", "status", "instances"]):
            if row["status"] != Status.REJECTED:
                image = ExportImage(
                    image_id=row["image_id"],
                    uri=row["uri"],
                    name=self.output.file_name(row["uri"]),
                    size_hw=(row["height"], row["width"]),
                    instances=tuple(instance_from_struct(record) for record in row["instances"]),
                )
                for instance_from_struct in image.instances:
                    with damage_told(image.image_id):
                        check_mask(instance_from_struct.rle, image.size_hw)
                yield image


def check_instances(table: pa.Table, ontology: Ontology, uri: str) -> None:
    """Raises BadInput where boxes or sizes are not of as many numbers as they must be, or a category is not known."""
    flat = table["instances"].combine_chunks().flatten()
    ids = pa.array(ontology.by_id, pa.int64())
    as_written = (
        pc.equal(pc.list_value_length(flat.field("bbox")), 4),
        pc.equal(pc.list_value_length(flat.field("segmentation").field("size")), 2),
        pc.is_in(flat.field("category_id"), ids),
    )
    if not all(pc.all(column).as_py() for column in as_written if len(column)):
        raise BadInput(f"{uri} was changed: autolabel writes no such instances; `autolabel verify` says more")


@contextmanager
def damage_told(image_id: int) -> Iterator[None]:
    """Masks that cannot be read in the block are bad input."""
    try:
        yield
    except ValueError as error:
        raise BadInput(f"image {image_id}: damaged mask: {error}; `autolabel verify` says more") from error


def check_mask(rle: Rle, size_hw: tuple[int, int]) -> None:
    """Raises ValueError where a mask is damaged, empty, or not of its image's size."""
    if rle.size_hw != size_hw:
        raise ValueError(f"its size {rle.size_hw} is not the image's, {size_hw}")
    if not run_lengths(rle)[1::2].any():
        raise ValueError("it has no pixels")


def clear(output: JobOutput, folder_uri: str, own_files: str) -> None:
    """Remove what an earlier export left in its folder: the files whose names in it match, and no others."""
    root = join(absolute_uri(folder_uri), "")
    names = ((item.uri, item.uri.removeprefix(root)) for item in output.storage.list(folder_uri))
    stale = (uri for uri, name in names if re.fullmatch(own_files, name))
    deque(in_threads(output.storage.delete, stale, IO_THREADS), maxlen=0)
