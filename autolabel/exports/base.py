"""What every format is written with: the images of an output, and a folder that an export replaces as a whole."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, BinaryIO, NamedTuple

from autolabel.errors import BadInput
from autolabel.exports.splits import Splits
from autolabel.labels.columns import UnitColumns
from autolabel.labels.summary import Summary
from autolabel.labels.types import ImageLabels, Status
from autolabel.labels.units import read_columns, read_summary, read_unit
from autolabel.masks.rle import Rle, run_lengths
from autolabel.output.job_output import JobOutput
from autolabel.output.passes import over_units
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.storage.uris import absolute_uri, join
from autolabel.wording import counted


class NamedImage(NamedTuple):
    """An image that could be read, and its name as JobOutput.file_name gives it."""

    name: str
    labels: ImageLabels

    @property
    def size_hw(self) -> tuple[int, int]:
        assert self.labels.size_hw is not None, "it could be read"
        return self.labels.size_hw


@dataclass(frozen=True, kw_only=True)
class Export:
    """An export under way: every unit of `output` is done, and `folder_uri` holds nothing of an earlier one."""

    output: JobOutput
    folder_uri: str
    splits: Splits

    def uri(self, name: str) -> str:
        return join(self.folder_uri, name)

    def replace(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a writer of a file in the folder, as Storage.replace."""
        return self.output.storage.replace(self.uri(name))

    def write(self, name: str, data: bytes) -> None:
        self.output.storage.overwrite(self.uri(name), data)

    @property
    def units(self) -> range:
        return range(self.output.plan.n_units)

    @cached_property
    def summaries(self) -> tuple[Summary, ...]:
        """Return the counts of each unit."""
        read = partial(read_summary, self.output.storage, self.output.uri)
        return tuple(in_threads(read, self.units, IO_THREADS))

    @cached_property
    def summary(self) -> Summary:
        """Return the counts of all."""
        total = Summary()
        for summary in self.summaries:
            total.add(summary)
        return total

    @property
    def left_out(self) -> str:
        """Return the end of a closing sentence about rejected images."""
        return f"{counted(self.summary.images[Status.REJECTED], 'rejected image')} left out"

    def unit_columns(self, units: Sequence[int] | None = None) -> Iterator[UnitColumns]:
        """Give the rows of each unit in order, a few dozen units in memory at a time."""
        units = self.units if units is None else units
        read = partial(read_columns, self.output.storage, self.output.uri)
        return over_units(in_threads(read, units, IO_THREADS), len(units))

    def rows(self, columns: Sequence[str], units: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
        """Give plain values of every row in order, of columns that nest nothing."""
        units = self.units if units is None else units
        read = partial(read_unit, self.output.storage, self.output.uri, columns=columns)
        for table in over_units(in_threads(read, units, IO_THREADS), len(units)):
            yield from table.to_pylist()

    def names(self) -> Iterator[str]:
        """Give the name of every image that could be read, in order."""
        for row in self.rows(["uri", "status"]):
            if row["status"] != Status.REJECTED:
                yield self.output.file_name(row["uri"])

    def images(self) -> Iterator[NamedImage]:
        """Give the name and the labels of every image that could be read, in order.

        Raises:
            BadInput: a category is not of this run, or a mask is damaged.
        """
        known = self.output.record.settings.ontology.by_id
        for unit in self.unit_columns():
            for image in unit.images():
                if image.status == Status.REJECTED:
                    continue
                for instance in image.instances:
                    if instance.category_id not in known:
                        unknown = f"category {instance.category_id} is not of this run"
                        raise BadInput(f"image {image.image_id}: {unknown}; `autolabel verify` says more")
                    with damage_told(image.image_id):
                        check_mask(instance.rle, image.size_hw)
                yield NamedImage(self.output.file_name(image.uri), image)


@contextmanager
def damage_told(image_id: int) -> Iterator[None]:
    """Turn errors of masks that cannot be read in the block into BadInput."""
    try:
        yield
    except ValueError as error:
        raise BadInput(f"image {image_id}: damaged mask: {error}; `autolabel verify` says more") from error


def check_mask(rle: Rle, size_hw: tuple[int, int] | None) -> None:
    """Raise ValueError where a mask is damaged, empty, or not of its image's size."""
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
