"""A unit's rows as flat arrays: what is counted over many masks needs no Python object for each of them.

The only place that takes Arrow's nested columns apart; everything that reads labels reads them through here, as arrays
or, by `UnitColumns.images`, as one object for each image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from autolabel.errors import BadInput, RejectCode
from autolabel.labels.schema import SCHEMA
from autolabel.labels.types import ImageLabels, Instance, PromptResult, Status
from autolabel.masks.rle import Rle

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class InstanceColumns:
    """N instances (or candidates) of a unit, row by row, in each row best first."""

    row: Ints  # (N,) of the unit, ascending
    category_id: Ints  # (N,)
    prompt_id: Ints  # (N,)
    phrase: pa.StringArray  # (N,) null where exemplars alone prompted
    object_id: pa.StringArray  # (N,) null where no object was given
    track_id: pa.Int64Array  # (N,) null in photos
    score: Floats  # (N,)
    presence: Floats  # (N,)
    box_xywh: Floats  # (N, 4)
    area_px: Ints  # (N,)
    point_xy: Floats  # (N, 2) NaN where no grid of points found it
    stability: Floats  # (N,) the same
    size_hw: Ints  # (N, 2)
    counts: pa.StringArray  # (N,)

    def __len__(self) -> int:
        return len(self.row)

    def rle(self, index: int) -> Rle:
        """Return one mask."""
        height, width = self.size_hw[index].tolist()
        return Rle(size_hw=(height, width), counts=self.counts[index].as_py())

    def row_offsets(self, n_rows: int) -> Ints:
        """Return (n_rows + 1,) where each row's instances begin and the last one's end."""
        return np.searchsorted(self.row, np.arange(n_rows + 1))

    def select(self, keep: Bools) -> "InstanceColumns":
        """Return those of (N,) that are to be kept; they stay in their rows."""
        return InstanceColumns(**{name: _kept(value, keep) for name, value in vars(self).items()})

    def instances(self) -> Iterator[Instance]:
        """Give each as an object."""
        fields: dict[str, Sequence[Any]] = {
            "category_id": self.category_id.tolist(),
            "prompt_id": self.prompt_id.tolist(),
            "phrase": self.phrase.to_pylist(),
            "object_id": self.object_id.to_pylist(),
            "track_id": self.track_id.to_pylist(),
            "score": self.score.tolist(),
            "presence": self.presence.tolist(),
            "area_px": self.area_px.tolist(),
            "bbox_xywh": [tuple(box) for box in self.box_xywh.tolist()],
            "point_xy": [None if x != x else (x, y) for x, y in self.point_xy.tolist()],
            "stability": [None if value != value else value for value in self.stability.tolist()],
            "rle": [
                Rle(size_hw=tuple(size_hw), counts=counts)
                for size_hw, counts in zip(self.size_hw.tolist(), self.counts.to_pylist(), strict=True)
            ],
        }
        for values in zip(*fields.values(), strict=True):
            yield Instance(**dict(zip(fields, values, strict=True)))


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptColumns:
    """P prompts of a unit, row by row."""

    row: Ints  # (P,) of the unit, ascending
    prompt_id: Ints
    category_id: Ints
    phrase: pa.StringArray
    presence: Floats
    best_score: Floats
    n_instances: Ints


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitColumns:
    """R rows of a unit. `size_hw` is zero where an image was rejected."""

    image_id: Ints  # (R,)
    uri: pa.StringArray  # (R,)
    size_hw: Ints  # (R, 2)
    orientation: pa.Int8Array  # (R,) null where it was not decoded
    sha256: pa.StringArray  # (R,) null where it was not fetched
    status: npt.NDArray[np.object_]  # (R,) values of labels.types.Status
    reject_code: npt.NDArray[np.object_]  # (R,) None where it was not rejected
    reject_detail: pa.StringArray  # (R,)
    prompts: PromptColumns
    instances: InstanceColumns
    candidates: InstanceColumns

    def __len__(self) -> int:
        return len(self.image_id)

    def images(self) -> Iterator[ImageLabels]:
        """Give each row as an object, in order."""
        prompts = [
            PromptResult(prompt_id=p, category_id=c, phrase=phrase, presence=presence, best_score=best, n_instances=n)
            for p, c, phrase, presence, best, n in zip(
                *(self.prompts.prompt_id.tolist(), self.prompts.category_id.tolist(), self.prompts.phrase.to_pylist()),
                *(self.prompts.presence.tolist(), self.prompts.best_score.tolist(), self.prompts.n_instances.tolist()),
                strict=True,
            )
        ]
        of_row = [
            _by_row(prompts, np.searchsorted(self.prompts.row, np.arange(len(self) + 1))),
            _by_row(list(self.instances.instances()), self.instances.row_offsets(len(self))),
            _by_row(list(self.candidates.instances()), self.candidates.row_offsets(len(self))),
        ]
        for image_id, uri, (height, width), orientation, sha256, code, detail, asked, labels, others in zip(
            *(self.image_id.tolist(), self.uri.to_pylist(), self.size_hw.tolist(), self.orientation.to_pylist()),
            *(self.sha256.to_pylist(), self.reject_code, self.reject_detail.to_pylist(), *of_row),
            strict=True,
        ):
            yield ImageLabels(
                image_id=image_id,
                uri=uri,
                size_hw=(height, width) if height else None,
                orientation=orientation,
                sha256=sha256,
                reject_code=None if code is None else RejectCode(code),
                reject_detail=detail,
                prompts=asked,
                instances=labels,
                candidates=others,
            )

    def select(self, keep: Bools) -> "UnitColumns":
        """Return the rows of (R,) that are to be kept."""
        number = np.cumsum(keep) - 1

        def of_kept_rows(columns: Any) -> Any:
            values = {name: _kept(value, keep[columns.row]) for name, value in vars(columns).items()}
            return type(columns)(**{**values, "row": number[values["row"]]})

        nested = {name: of_kept_rows(getattr(self, name)) for name in ("prompts", "instances", "candidates")}
        flat = {name: _kept(value, keep) for name, value in vars(self).items() if name not in nested}
        return UnitColumns(**flat, **nested)


def _kept(values: Any, keep: Bools) -> Any:
    return values[keep] if isinstance(values, np.ndarray) else values.filter(pa.array(keep))


def _by_row(items: list[Any], offsets: Ints) -> list[tuple[Any, ...]]:
    return [tuple(items[start:end]) for start, end in pairwise(offsets.tolist())]


def unit_columns(table: pa.Table, unit: int) -> UnitColumns:
    """Return the rows of a unit, of which the table has all columns.

    Raises:
        BadInput: a value contradicts itself: a box or a mask's size with too few numbers, an unknown status or code.
    """
    table = table.combine_chunks()
    column = {name: as_array(table[name]) for name in SCHEMA.names}
    prompts = column["prompts"]
    height, width = (as_int64(column[name].fill_null(0)) for name in ("height", "width"))
    check_values(column["status"], tuple(Status), unit)
    check_values(column["reject_code"].drop_null(), tuple(RejectCode), unit)
    return UnitColumns(
        image_id=as_int64(column["image_id"]),
        uri=column["uri"],
        size_hw=np.stack([height, width], axis=1),
        orientation=column["orientation"],
        sha256=column["sha256"],
        status=column["status"].to_numpy(zero_copy_only=False),
        reject_code=column["reject_code"].to_numpy(zero_copy_only=False),
        reject_detail=column["reject_detail"],
        prompts=PromptColumns(
            row=as_int64(prompts.value_parent_indices()),
            prompt_id=as_int64(field_of(prompts, "prompt_id")),
            category_id=as_int64(field_of(prompts, "category_id")),
            phrase=field_of(prompts, "phrase"),
            presence=as_float64(field_of(prompts, "presence")),
            best_score=as_float64(field_of(prompts, "best_score")),
            n_instances=as_int64(field_of(prompts, "n_instances")),
        ),
        instances=instance_columns(column["instances"], unit),
        candidates=instance_columns(column["candidates"], unit),
    )


def instance_columns(column: pa.ListArray, unit: int) -> InstanceColumns:
    """Return the instances in a column of lists.

    Raises:
        BadInput: a box or a mask's size has too few numbers.
    """
    rle = field_of(column, "segmentation")
    return InstanceColumns(
        row=as_int64(column.value_parent_indices()),
        category_id=as_int64(field_of(column, "category_id")),
        prompt_id=as_int64(field_of(column, "prompt_id")),
        phrase=field_of(column, "phrase"),
        object_id=field_of(column, "object_id"),
        track_id=field_of(column, "track_id"),
        score=as_float64(field_of(column, "score")),
        presence=as_float64(field_of(column, "presence")),
        box_xywh=as_float64(fixed_size(field_of(column, "bbox"), 4, unit)).reshape(-1, 4),
        area_px=as_int64(field_of(column, "area")),
        point_xy=np.stack([as_float64(field_of(column, name)) for name in ("point_x", "point_y")], axis=1),
        stability=as_float64(field_of(column, "stability")),
        size_hw=as_int64(fixed_size(rle.field("size"), 2, unit)).reshape(-1, 2),
        counts=rle.field("counts"),
    )


def check_values(values: pa.Array, known: Sequence[str], unit: int) -> None:
    """Raise BadInput where a value is none of those that are known."""
    if not pc.all(pc.is_in(values, pa.array(map(str, known), pa.string()))).as_py() and len(values):
        raise BadInput(
            f"unit {unit}: a status or reject_code is none of {', '.join(known)}; `autolabel verify` says more"
        )


def field_of(column: pa.ListArray, name: str) -> pa.Array:
    """Return one field of all structs in a column of lists."""
    structs = column.flatten()
    return structs.field(name)


def fixed_size(lists: pa.ListArray, length: int, unit: int) -> pa.Array:
    """Return the numbers of lists that have `length` of them each, one after another."""
    values = lists.flatten()
    if len(values) != length * len(lists) or (lists.value_lengths().to_numpy(zero_copy_only=False) != length).any():
        raise BadInput(f"unit {unit}: a list has other than {length} numbers; `autolabel verify` says more")
    return values


def as_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def as_int64(values: pa.Array) -> Ints:
    integers: Ints = values.to_numpy(zero_copy_only=False).astype(np.int64)
    return integers


def as_float64(values: pa.Array) -> Floats:
    floats: Floats = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return floats


def index_of(ids: Sequence[int], wanted: Ints) -> Ints:
    """Return the index in `ids`, which are ascending, of each of `wanted`.

    Raises:
        BadInput: one is not there.
    """
    known: Any = np.asarray(ids, np.int64)
    index = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    if (known[index] != wanted).any():
        raise BadInput(f"category {wanted[known[index] != wanted][0]} is not of this run; `autolabel verify` says more")
    return index
