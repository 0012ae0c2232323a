"""From `input.uri` to the list of images: a folder, a prefix, a glob, a manifest or a COCO file.

The order is stable: folders by URI, manifests and COCO files as they are written. An image is its URI, so equal
file names in different folders are different images, and a URI that stands twice is one image.
"""

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.utils import glob_translate

from autolabel import parquet
from autolabel.config import InputConfig
from autolabel.errors import BadInput
from autolabel.redaction import has_password
from autolabel.storage import SCHEMES, Listed, Storage, join, open_storage, scheme_of
from autolabel.storage.local import LocalStorage, path_of

BUCKET_SCHEMES = SCHEMES.keys() - {"file"}
LONGEST_CELL = 2**31 - 1  # csv's own limit, 128 KiB, is less than an image's exemplars can take


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of an input, in plan order.

    `root` is the URI that exported file names are relative to. `sizes_hw` and `cells` hold, by URI, the sizes and the
    exemplar cells that a manifest or COCO file states. `duplicates` are URIs that stood there more than once.
    """

    root: str
    images: list[Listed]
    sizes_hw: dict[str, tuple[int, int]] = field(default_factory=dict)
    cells: dict[str, Any] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One image as a manifest or a COCO file states it; `place` says where, for messages."""

    place: str
    uri: Any
    size_bytes: int | None = None
    etag: str | None = None
    size_hw: tuple[int, int] | None = None
    cell: Any = None


def list_images(config: InputConfig, *, exemplar_column: str | None) -> Listing:
    """List the input once.

    Raises:
        BadInput: nothing is there, no image is found, or a manifest is malformed; every problem is named.
        StorageError: the storage keeps failing.
    """
    uri = full_uri(config.uri)
    storage = open_storage(uri, config.storage_options)
    read_rows = MANIFESTS.get(PurePosixPath(uri).suffix.lower())
    if read_rows is None:
        listing = list_files(uri, storage, config.suffixes)
    elif exemplar_column is None or read_rows is not coco_rows:
        try:
            rows = read_rows(uri, storage, exemplar_column)
            listing = list_manifest(uri, rows, config.image_root or parent(uri))
            for scheme in sorted({scheme_of(image.uri) for image in listing.images}):
                open_storage(
                    f"{scheme}://", config.storage_options
                )  # a scheme without a driver is told here, not there
        except FileNotFoundError as error:
            raise BadInput(f"input.uri: {uri} does not exist") from error
        if exemplar_column and not listing.cells:
            raise BadInput(f"exemplars.column: no row of {uri} has a value in column {exemplar_column!r}")
    else:
        raise BadInput("exemplars.column: a COCO input has no columns; give its exemplars as exemplars.uri")
    unwritable = [image.uri for image in listing.images if not encodable(image.uri)]
    if unwritable:
        raise BadInput(f"input.uri: {name!r} is not valid UTF-8; rename it" for name in unwritable)
    if not listing.images:
        if read_rows is None and isinstance(storage, LocalStorage) and not os.path.lexists(static_part(uri)):
            raise BadInput(f"input.uri: {uri} does not exist")
        what = "is empty" if read_rows else f"holds no file ending in {', '.join(config.suffixes)}"
        raise BadInput(f"input.uri: {uri} {what}")
    return listing


def list_files(uri: str, storage: Storage, suffixes: list[str]) -> Listing:
    """Files below a folder, matching a glob, or (on object stores) whose names begin with `uri`; recursive."""
    endings = tuple(f".{suffix.lower().lstrip('.')}" for suffix in suffixes)

    def images(found: Iterable[Listed]) -> list[Listed]:
        fitting = [Listed(i.uri, i.size_bytes, i.etag) for i in found if i.uri.lower().endswith(endings)]
        fitting.sort(key=lambda item: item.uri)  # in place: ten million of them fill 3 GB
        return fitting

    in_folder = images(storage.list(uri))
    if in_folder:
        return Listing(root=uri.rstrip("/"), images=in_folder)
    if uri.lower().endswith(endings):
        try:
            return Listing(root=parent(uri), images=images([storage.stat(uri)]))
        except FileNotFoundError:
            pass  # a glob may end like a file
    if (folder := static_part(uri)) != uri:
        matches = re.compile(glob_translate(uri)).fullmatch
        return Listing(root=folder, images=images(item for item in storage.list(folder) if matches(item.uri)))
    return Listing(root=parent(uri), images=images(storage.list_prefix(uri)))


def static_part(uri: str) -> str:
    """The folder that a glob searches; the URI itself if it is none."""
    wildcard = re.search(r"[*?\[]", uri)
    return parent(f"{uri[: wildcard.start()]}x") if wildcard else uri


def encodable(uri: str) -> bool:
    """Whether a URI can be written as UTF-8; a local file name may be any bytes."""
    try:
        uri.encode()
    except UnicodeEncodeError:
        return False
    return True


def list_manifest(uri: str, rows: Iterable[ManifestRow], root: str) -> Listing:
    """The images that rows name, relative to `root` or absolute; a URI's first row counts."""
    listing = Listing(root=full_uri(root).rstrip("/"), images=[])
    seen: set[str] = set()
    problems: list[str] = []
    for row in rows:
        if not isinstance(row.uri, str) or not row.uri.strip():
            problems.append(f"{uri} {row.place}: uri is {'missing' if row.uri is None else 'empty or not text'}")
            continue
        image_uri = absolute(row.uri, listing.root)
        if has_password(image_uri):
            problems.append(f"{uri} {row.place}: uri holds a password, which would be written to every row of it")
            continue
        if scheme_of(image_uri) in BUCKET_SCHEMES and not re.match(r"\w+://[^/\s]+/.", image_uri, re.DOTALL):
            problems.append(f"{uri} {row.place}: {image_uri!r} names no object in a bucket")
            continue
        if image_uri in seen:
            listing.duplicates.append(image_uri)
            continue
        seen.add(image_uri)
        listing.images.append(Listed(image_uri, row.size_bytes, row.etag))
        if row.size_hw is not None:
            listing.sizes_hw[image_uri] = row.size_hw
        if row.cell is not None:
            listing.cells[image_uri] = row.cell
    if problems:
        raise BadInput(problems)
    return listing


def full_uri(uri: str) -> str:
    """A URI that means the same in every process: local paths made absolute."""
    return path_of(uri) if scheme_of(uri) == "file" else uri


def absolute(uri: str, root: str) -> str:
    """`uri` below `root`, unless it is absolute; local paths normalised."""
    if scheme_of(uri) != "file":
        return uri
    if scheme_of(root) != "file" and not uri.startswith(("/", "file://")):
        return join(root, uri)
    return path_of(uri if uri.startswith(("/", "file://")) else join(root, uri))


def parent(uri: str) -> str:
    """The folder of an object; the bucket where the key has none."""
    folder = uri.rstrip("/").rpartition("/")[0]
    return folder if not folder.endswith("/") else f"{folder}/" if scheme_of(uri) != "file" else "/"


def parquet_rows(uri: str, storage: Storage, exemplar_column: str | None) -> Iterator[ManifestRow]:
    """Rows of a Parquet manifest, a row group in memory at a time."""
    footer = parquet.read_footer(storage, uri)
    with parquet.reading(uri):
        schema = footer.schema.to_arrow_schema()
    wanted = ["uri", "size_bytes", "etag", "width", "height", *([exemplar_column] if exemplar_column else [])]
    columns = [name for name in wanted if name in schema.names]
    check_columns(uri, columns, exemplar_column)
    for name in columns:
        for index in schema.get_all_field_indices(name):
            for extension in parquet.extension_types(schema.field(index)):
                raise BadInput(f"{uri}: column {name!r} is of the extension type {extension}; give it as plain values")

    def read_group(group: int, file: IO[bytes]) -> pa.Table:
        return pq.ParquetFile(file, metadata=footer).read_row_group(group, columns=columns)

    start = 1
    for group in range(footer.num_row_groups):
        with parquet.reading(uri):
            table = storage.use(uri, partial(read_group, group))
        for batch in table.to_batches(max_chunksize=10_000):
            with parquet.reading(uri):
                records = batch.to_pylist()
            for offset, record in enumerate(records):
                yield manifest_row(f"row {start + offset}", record, exemplar_column)
            start += batch.num_rows


def csv_rows(uri: str, storage: Storage, exemplar_column: str | None) -> Iterator[ManifestRow]:
    """Rows of a CSV manifest with a header line; an exemplar cell is JSON text."""
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.DictReader(io.StringIO(text_of(uri, storage), newline=""))
    check_columns(uri, list(reader.fieldnames or ()), exemplar_column)
    try:
        for record in reader:
            yield manifest_row(f"line {reader.line_num}", {k: v or None for k, v in record.items()}, exemplar_column)
    except csv.Error as error:
        raise BadInput(f"{uri} line {reader.line_num}: not CSV: {error}") from error


def jsonl_rows(uri: str, storage: Storage, exemplar_column: str | None) -> Iterator[ManifestRow]:
    """Rows of a JSON Lines manifest; blank lines are passed over."""
    for number, line in enumerate(text_of(uri, storage).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise BadInput(f"{uri} line {number}: not JSON: {error}") from error
        if not isinstance(record, dict):
            raise BadInput(f"{uri} line {number}: not a JSON object")
        yield manifest_row(f"line {number}", record, exemplar_column)


def coco_rows(uri: str, storage: Storage, exemplar_column: str | None) -> Iterator[ManifestRow]:
    """The `images` of a COCO file."""
    try:
        document = orjson.loads(storage.read(uri))
    except orjson.JSONDecodeError as error:
        raise BadInput(f"{uri}: not JSON: {error}") from error
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list):
        raise BadInput(f"{uri}: not a COCO file: it has no list of `images`")
    for index, image in enumerate(images):
        record = image if isinstance(image, dict) else {}
        yield manifest_row(f"images[{index}]", {**record, "uri": record.get("file_name")}, None)


def manifest_row(place: str, record: dict[str, Any], exemplar_column: str | None) -> ManifestRow:
    size_bytes = whole_number(record.get("size_bytes"))
    width, height = (whole_number(record.get(name), limit=2**31) for name in ("width", "height"))
    return ManifestRow(
        place=place,
        uri=record.get("uri"),
        size_bytes=size_bytes,
        etag=str(record["etag"]).strip('"') if record.get("etag") else None,
        size_hw=(height, width) if height and width else None,
        cell=record.get(exemplar_column) if exemplar_column else None,
    )


def whole_number(value: Any, *, limit: int = 2**53) -> int | None:
    """An optional column's number, None where it holds none: CSV gives text, pandas floats for integers with gaps."""
    try:
        number = None if value is None else int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and 0 <= number < limit else None


def check_columns(uri: str, names: list[str], exemplar_column: str | None) -> None:
    missing = [name for name in ("uri", exemplar_column) if name and name not in names]
    if missing:
        raise BadInput(f"{uri}: the manifest has no column {' and no column '.join(map(repr, missing))}")


def text_of(uri: str, storage: Storage) -> str:
    try:
        return storage.read(uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{uri}: not UTF-8 text: {error}") from error


RowReader = Callable[[str, Storage, str | None], Iterator[ManifestRow]]
MANIFESTS: dict[str, RowReader] = {
    ".parquet": parquet_rows,
    ".csv": csv_rows,
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".json": coco_rows,
}
