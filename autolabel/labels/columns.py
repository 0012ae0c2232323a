"""A unit's rows as flat arrays: what is counted over many masks needs no Python object for each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from autolabel.errors import BadInput
from autolabel.masks.rle import Rle

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

COLUMNS = ("image_id", "uri", "width", "height", "status", "reject_code", "prompts", "instances", "candidates")


@dataclass(frozen=True, kw_only=True, eq=False)
class InstanceColumns:
    """N instances (or candidates) of a unit, row by row, in each row best first."""

    row: Ints  # (N,) of the unit, ascending
    category_id: Ints  # (N,)
    score: Floats  # (N,)
    area_px: Ints  # (N,)
    box_xywh: Floats  # (N, 4)
    phrase: pa.StringArray  # (N,) null where exemplars alone prompted
    size_hw: Ints  # (N, 2)
    counts: pa.StringArray  # (N,)

    def __len__(self) -> int:
        return len(self.row)

    def rle(self, index: int) -> Rle:
        """One mask."""
        height, width = self.size_hw[index].tolist()
        return Rle(size_hw=(height, width), counts=self.counts[index].as_py())

    def row_offsets(self, n_rows: int) -> Ints:
        """(n_rows + 1,) where each row's instances begin and the last one's end."""
        return np.searchsorted(self.row, np.arange(n_rows + 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptColumns:
    """P prompts of a unit, row by row."""

    row: Ints
    category_id: Ints
    presence: Floats
    n_instances: Ints


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitColumns:
    """R rows of a unit. `size_hw` is zero where an image was rejected."""

    image_id: Ints  # (R,)
    uri: pa.StringArray  # (R,)
    size_hw: Ints  # (R, 2)
    status: npt.NDArray[np.object_]  # (R,) values of image_labels.Status
    reject_code: npt.NDArray[np.object_]  # (R,) None where it was not rejected
    asked: PromptColumns
    instances: InstanceColumns
    candidates: InstanceColumns

    def __len__(self) -> int:
        return len(self.image_id)


def unit_columns(table: pa.Table, unit: int) -> UnitColumns:
    """The rows of a unit, of which the table has COLUMNS.

    Raises:
        BadInput: a box or a mask's size has too few numbers.
    """
    table = table.combine_chunks()
    column = {name: as_array(table[name]) for name in COLUMNS}
    prompts = column["prompts"]
    height, width = (as_int64(column[name].fill_null(0)) for name in ("height", "width"))
    return UnitColumns(
        image_id=as_int64(column["image_id"]),
        uri=column["uri"],
        size_hw=np.stack([height, width], axis=1),
        status=column["status"].to_numpy(zero_copy_only=False),
        reject_code=column["reject_code"].to_numpy(zero_copy_only=False),
        asked=PromptColumns(
            row=as_int64(prompts.value_parent_indices()),
            category_id=as_int64(field_of(prompts, "category_id")),
            presence=as_float64(field_of(prompts, "presence")),
            n_instances=as_int64(field_of(prompts, "n_instances")),
        ),
        instances=instance_columns(column["instances"], unit),
        candidates=instance_columns(column["candidates"], unit),
    )


def instance_columns(column: pa.ListArray, unit: int) -> InstanceColumns:
    rle = field_of(column, "segmentation")
    return InstanceColumns(
        row=as_int64(column.value_parent_indices()),
        category_id=as_int64(field_of(column, "category_id")),
        score=as_float64(field_of(column, "score")),
        area_px=as_int64(field_of(column, "area")),
        box_xywh=as_float64(fixed_size(field_of(column, "bbox"), 4, unit)).reshape(-1, 4),
        phrase=field_of(column, "phrase"),
        size_hw=as_int64(fixed_size(rle.field("size"), 2, unit)).reshape(-1, 2),
        counts=rle.field("counts"),
    )


def field_of(column: pa.ListArray, name: str) -> pa.Array:
    """One field of all structs in a column of lists."""
    structs = column.flatten()
    return structs.field(name)


def fixed_size(lists: pa.ListArray, length: int, unit: int) -> pa.Array:
    """The numbers of lists that have `length` of them each, one after another."""
    values = lists.flatten()
    if len(values) != length * len(lists) or (lists.value_lengths().to_numpy(zero_copy_only=False) != length).any():
        raise BadInput(f"unit {unit}: a list has other than {length} numbers")
    return values


def as_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def as_int64(values: pa.Array) -> Ints:
    integers: Ints = values.to_numpy(zero_copy_only=False).astype(np.int64)
    return integers


def as_float64(values: pa.Array) -> Floats:
    floats: Floats = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return floats


def index_of(ids: Sequence[int], wanted: Ints) -> Ints:
    """Where each of `wanted` stands in `ids`, which are ascending.

    Raises:
        BadInput: one is not there.
    """
    known: Any = np.asarray(ids, np.int64)
    places = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    if (known[places] != wanted).any():
        raise BadInput(f"category {wanted[known[places] != wanted][0]} is not of this run")
    return places
