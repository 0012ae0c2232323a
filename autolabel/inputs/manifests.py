"""Manifests and COCO files: rows that name images, one reader for each format."""

import csv
import io
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.errors import BadInput, did_you_mean
from autolabel.storage import Storage, parquet

SHOWN_COLUMNS = 12  # in a message
LONGEST_CELL = 2**31 - 1  # csv's own limit, 128 KiB, is less than an image's objects can take


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One image as a manifest or a COCO file states it; `place` says where, for messages."""

    place: str
    uri: Any
    size_bytes: int | None = None
    etag: str | None = None
    size_hw: tuple[int, int] | None = None
    cell: Any = None


@dataclass(frozen=True, kw_only=True)
class CellColumn:
    """A column of lists: of exemplars, or of objects."""

    key: str  # the setting that names it
    name: str


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a manifest that go by other names from one to the next."""

    uri: str
    cells: CellColumn | None = None

    def _named(self) -> Iterator[tuple[str, str, str]]:
        yield "input.uri_column", self.uri, "holds the paths or URLs of the images"
        if self.cells:
            yield self.cells.key, self.cells.name, f"holds the {self.cells.key.partition('.')[0]}"

    def check(self, manifest: str, names: Collection[str]) -> None:
        """Raise BadInput where a manifest lacks one of them, with what it has instead."""
        problems = [
            f"{manifest}: the manifest has no column {name!r}{did_you_mean(name, names)}; it has "
            f"{', '.join(list(names)[:SHOWN_COLUMNS]) or 'none'}{', ...' if len(names) > SHOWN_COLUMNS else ''}. "
            f"Say which one {what}: {key}=NAME"
            for key, name, what in self._named()
            if name not in names
        ]
        if problems:
            raise BadInput(problems)


COCO_COLUMNS = Columns(uri="file_name")


def parquet_rows(uri: str, storage: Storage, columns: Columns) -> Iterator[ManifestRow]:
    """Yield the rows of a Parquet manifest, a row group in memory at a time."""
    footer = parquet.read_footer(storage, uri)
    with parquet.reading(uri):
        schema = footer.schema.to_arrow_schema()
    columns.check(uri, schema.names)
    known = dict.fromkeys([columns.uri, "size_bytes", "etag", "width", "height", columns.cells and columns.cells.name])
    names = [name for name in known if name in schema.names]
    for name in names:
        for index in schema.get_all_field_indices(name):
            for extension in parquet.extension_types(schema.field(index)):
                raise BadInput(f"{uri}: column {name!r} is of the extension type {extension}; give it as plain values")

    def read_group(group: int, file: IO[bytes]) -> pa.Table:
        return pq.ParquetFile(file, metadata=footer).read_row_group(group, columns=names)

    start = 1
    for group in range(footer.num_row_groups):
        with parquet.reading(uri):
            table = storage.read_with(uri, partial(read_group, group))
        for batch in table.to_batches(max_chunksize=10_000):
            with parquet.reading(uri):
                records = batch.to_pylist()
            for offset, record in enumerate(records):
                yield manifest_row(f"row {start + offset}", record, columns)
            start += batch.num_rows


def csv_rows(uri: str, storage: Storage, columns: Columns) -> Iterator[ManifestRow]:
    """Yield the rows of a CSV manifest with a header line; a cell of exemplars or objects is JSON text."""
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.DictReader(io.StringIO(text_of(uri, storage), newline=""))
    columns.check(uri, list(reader.fieldnames or ()))
    try:
        for record in reader:
            yield manifest_row(f"line {reader.line_num}", {k: v or None for k, v in record.items()}, columns)
    except csv.Error as error:
        raise BadInput(f"{uri} line {reader.line_num}: not CSV: {error}") from error


def jsonl_rows(uri: str, storage: Storage, columns: Columns) -> Iterator[ManifestRow]:
    """Yield the rows of a JSON Lines manifest; blank lines are passed over."""
    first = True
    for number, line in enumerate(text_of(uri, storage).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise BadInput(f"{uri} line {number}: not JSON: {error}") from error
        if not isinstance(record, dict):
            raise BadInput(f"{uri} line {number}: not a JSON object")
        if first:
            replace(columns, cells=None).check(uri, record)  # which only some of the lines may have
            first = False
        yield manifest_row(f"line {number}", record, columns)


def coco_rows(uri: str, storage: Storage, columns: Columns) -> Iterator[ManifestRow]:
    """Yield the `images` of a COCO file."""
    try:
        document = orjson.loads(storage.read(uri))
    except orjson.JSONDecodeError as error:
        raise BadInput(f"{uri}: not JSON: {error}") from error
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list):
        raise BadInput(f"{uri}: not a COCO file: it has no list of `images`")
    for index, image in enumerate(images):
        record = image if isinstance(image, dict) else {}
        yield manifest_row(f"images[{index}]", record, columns)


def manifest_row(place: str, record: dict[str, Any], columns: Columns) -> ManifestRow:
    size_bytes = whole_number(record.get("size_bytes"))
    width, height = (whole_number(record.get(name), limit=2**31) for name in ("width", "height"))
    return ManifestRow(
        place=place,
        uri=record.get(columns.uri),
        size_bytes=size_bytes,
        etag=str(record["etag"]).strip('"') if record.get("etag") else None,
        size_hw=(height, width) if height and width else None,
        cell=record.get(columns.cells.name) if columns.cells else None,
    )


def whole_number(value: Any, *, limit: int = 2**53) -> int | None:
    """Return an optional number, None where there is none: CSV gives text, pandas floats for integers with gaps."""
    try:
        number = None if value is None else int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and 0 <= number < limit else None


def text_of(uri: str, storage: Storage) -> str:
    try:
        return storage.read(uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{uri}: not UTF-8 text: {error}") from error


RowReader = Callable[[str, Storage, Columns], Iterator[ManifestRow]]


MANIFESTS: dict[str, RowReader] = {
    ".parquet": parquet_rows,
    ".csv": csv_rows,
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".json": coco_rows,
}
