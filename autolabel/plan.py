"""Step 2 of 7, plan: the sealed list of input images, who gets which id, and which images make a work unit.

`plan.parquet` is created once and never changes, so that an image keeps its id and a unit its images through every
rerun. Unit `n` is the run of `unit_size` consecutive rows that begins at row `n * unit_size`.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.errors import BadInput, StorageError
from autolabel.inputs.listing import Listing
from autolabel.inputs.locations import ImageLocation, Locator
from autolabel.prompts.concepts import Exemplar, ImageExemplars
from autolabel.prompts.objects.source import GivenObjects
from autolabel.prompts.objects.table import OBJECT, ObjectPrompt, read_cells
from autolabel.storage import Storage, parquet
from autolabel.storage.uris import join

PLAN_NAME = "plan.parquet"
UNITS_PER_ROW_GROUP = 64  # a unit is read without the whole plan, and the footer of a ten-million-row plan stays small
OBJECTS_PER_ROW_GROUP = 500_000  # at most, on average: less than 100 MB

LOCATOR = pa.struct(
    [
        ("kind", pa.string()),
        ("container", pa.string()),
        ("member", pa.string()),
        ("row", pa.int64()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("frame", pa.int64()),
    ]
)

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("unit", pa.int32(), nullable=False),
        pa.field("locator", LOCATOR),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field(
            "exemplars",
            pa.list_(
                pa.struct(
                    [("category_id", pa.int64()), ("box_cxcywh", pa.list_(pa.float64())), ("positive", pa.bool_())]
                )
            ),
        ),
        pa.field("objects", pa.list_(OBJECT)),
    ]
)

MAY_BE_NULL = (
    *("size_bytes", "etag", "width", "height", "exemplars", "locator", "objects"),
    *("objects.mask", "objects.mask.size", "objects.mask.counts"),
    *(f"locator.{name}" for name in ("kind", "container", "member", "row", "offset", "length", "frame")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage(ImageLocation):
    """One input image. `size_hw` is what its boxes and points were drawn on."""

    image_id: int
    unit: int
    size_hw: tuple[int, int] | None = None
    exemplars: tuple[Exemplar, ...] = ()
    objects: tuple[ObjectPrompt, ...] = ()


def encode(
    listing: Listing,
    *,
    unit_size: int,
    exemplars: Mapping[str, ImageExemplars] | None = None,
    objects: GivenObjects | None = None,
) -> bytes:
    """Return the contents of plan.parquet; `exemplars` are by image URI."""
    sink = pa.BufferOutputStream()
    units_per_group = UNITS_PER_ROW_GROUP
    if objects:
        objects_per_unit = len(objects.table) * unit_size / len(listing.images)
        units_per_group = max(1, min(units_per_group, int(OBJECTS_PER_ROW_GROUP / max(1, objects_per_unit))))
    metadata = {
        "autolabel.unit_size": str(unit_size),
        "autolabel.units_per_group": str(units_per_group),
        "autolabel.input_root": listing.root,
    }
    rows_per_group = unit_size * units_per_group
    with pq.ParquetWriter(sink, SCHEMA.with_metadata(metadata), compression="zstd") as writer:
        for start in range(0, len(listing.images), rows_per_group):
            stop = min(start + rows_per_group, len(listing.images))
            writer.write_table(group_table(listing, exemplars or {}, objects, range(start, stop), unit_size))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def seal(storage: Storage, output_uri: str, data: bytes) -> bool:
    """Write the plan if there is none; False where another driver was faster and its plan stands."""
    return storage.create_once(join(output_uri, PLAN_NAME), data)


def group_table(
    listing: Listing,
    exemplars: Mapping[str, ImageExemplars],
    objects: GivenObjects | None,
    rows: range,
    unit_size: int,
) -> pa.Table:
    images = listing.images[rows.start : rows.stop]
    found = [exemplars.get(image.uri) for image in images]
    if objects:
        sizes = [objects.sizes_hw.get(row) for row in rows]
    else:
        sizes = [item.size_hw if item else None for item in found]
    columns = {
        "image_id": range(rows.start + 1, rows.stop + 1),
        "uri": [image.uri for image in images],
        "size_bytes": [image.size_bytes for image in images],
        "etag": [image.etag for image in images],
        "unit": [row // unit_size for row in rows],
        "locator": [image.locator and asdict(image.locator) for image in images],
        "width": [size and size[1] for size in sizes],
        "height": [size and size[0] for size in sizes],
        "exemplars": [exemplar_cells(item.exemplars) if item else None for item in found],
        "objects": objects.table.column(rows.start, rows.stop) if objects else [None] * len(rows),
    }
    arrays = [pa.array(columns[field.name], type=field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def exemplar_cells(exemplars: Sequence[Exemplar]) -> list[dict[str, Any]]:
    return [{"category_id": e.category_id, "box_cxcywh": list(e.box_cxcywh), "positive": e.positive} for e in exemplars]


class Plan:
    """A sealed plan, read a row group at a time; safe to use from several threads.

    Raises:
        FileNotFoundError: there is no plan at `output_uri` yet.
        BadInput: the plan is damaged, or not one of this program; also as it is read.
    """

    def __init__(self, storage: Storage, output_uri: str) -> None:
        self._storage, self._uri = storage, join(output_uri, PLAN_NAME)
        self._footer = parquet.read_footer(storage, self._uri)
        self.unit_size, self._units_per_group, self.input_root = self._check()
        self.n_images: int = self._footer.num_rows
        self.n_units = -(-self.n_images // self.unit_size)
        self._lock = threading.Lock()
        self._group: tuple[int, pa.Table] | None = None

    def _check(self) -> tuple[int, int, str]:
        """Return unit size, units of a row group, and input root of a plan as `encode` writes it."""
        metadata = self._footer.metadata or {}
        try:
            unit_size = int(metadata[b"autolabel.unit_size"])
            input_root = metadata[b"autolabel.input_root"].decode()
            units_per_group = int(metadata[b"autolabel.units_per_group"])
            rows_per_group = unit_size * units_per_group
            sizes = [self._footer.row_group(group).num_rows for group in range(self._footer.num_row_groups)]
            with parquet.reading(self._uri):
                columns_fit = self._footer.schema.to_arrow_schema().equals(SCHEMA)
        except (LookupError, ValueError) as error:
            raise BadInput(f"{self._uri} was not written by autolabel: {error!r}") from error
        groups_fit = all(size == rows_per_group for size in sizes[:-1]) and 0 < sum(sizes[-1:]) <= rows_per_group
        if not (columns_fit and groups_fit and sum(sizes) == self._footer.num_rows):
            raise BadInput(f"{self._uri} was not written by autolabel: it has other columns or row groups")
        return unit_size, units_per_group, input_root

    def check_exists(self) -> None:
        """Raise StorageError where the plan is gone: labels without it would be taken for those of a later one."""
        try:
            self._storage.stat(self._uri)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StorageError(f"{self._uri} disappeared while the job ran: {error}") from error

    def unit_of(self, image_id: int) -> int:
        """Return the unit of an image; the only place that divides ids."""
        return (image_id - 1) // self.unit_size

    def image(self, image_id: int) -> PlannedImage:
        """Return one image.

        Raises:
            KeyError: the plan has none of this id.
        """
        if not 1 <= image_id <= self.n_images:
            raise KeyError(f"no image {image_id}: ids are 1 to {self.n_images}")
        return self.images_of(self.unit_of(image_id))[(image_id - 1) % self.unit_size]

    @cached_property
    def uris(self) -> pa.ChunkedArray:
        """Return the URI of every image, in the order of their ids, which begin at 1; some 80 bytes each."""
        return self._storage.read_with(self._uri, self._read_uris)

    def _read_uris(self, file: IO[bytes]) -> pa.ChunkedArray:
        with parquet.reading(self._uri):
            return pq.ParquetFile(file, metadata=self._footer).read(columns=["uri"])["uri"]

    def n_images_of(self, unit: int) -> int:
        """Return how many images a unit has; only the last one can be short."""
        return min(self.unit_size, self.n_images - unit * self.unit_size)

    def images_of(self, unit: int) -> list[PlannedImage]:
        """Return the images of a unit, in plan order."""
        group, within = divmod(unit, self._units_per_group)
        with self._lock:
            if self._group is None or self._group[0] != group:
                self._group = (group, self._storage.read_with(self._uri, partial(self._read_group, group)))
            table = self._group[1]
        rows = table.slice(within * self.unit_size, self.unit_size).to_pylist()
        return [planned_image(row) for row in rows]

    def _read_group(self, group: int, file: IO[bytes]) -> pa.Table:
        with parquet.reading(self._uri):
            table = pq.ParquetFile(file, metadata=self._footer).read_row_group(group)
        return parquet.checked(table, self._uri, may_be_null=MAY_BE_NULL)

    def units(self) -> Iterator[tuple[int, list[PlannedImage]]]:
        """Give every unit with its images, in order."""
        for unit in range(self.n_units):
            yield unit, self.images_of(unit)


def planned_image(row: dict[str, Any]) -> PlannedImage:
    cells, locator = row["exemplars"] or (), row["locator"]
    return PlannedImage(
        uri=row["uri"],
        size_bytes=row["size_bytes"],
        etag=row["etag"],
        locator=None if locator is None else Locator(**locator),
        image_id=row["image_id"],
        unit=row["unit"],
        size_hw=(row["height"], row["width"]) if row["height"] is not None else None,
        exemplars=tuple(
            Exemplar(category_id=c["category_id"], box_cxcywh=tuple(c["box_cxcywh"]), positive=c["positive"])
            for c in cells
        ),
        objects=tuple(read_cells(row["objects"])),
    )
