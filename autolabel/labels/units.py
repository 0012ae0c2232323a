"""The labels of an output: one row per input image, one Parquet file per work unit, the shard.

The set of files under `labels/` is the job's only state. A file appears whole or not at all, under its unit's fixed
name, so at every moment the folder is readable, without gaps inside a unit and without doubles. It is created once;
only images that were rejected for a passing reason make a job put a new one in its place, whole as well.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.errors import BadInput
from autolabel.labels.columns import UnitColumns, unit_columns
from autolabel.labels.schema import MAY_BE_NULL, SCHEMA, row_from_labels
from autolabel.labels.summary import Summary
from autolabel.labels.types import ImageLabels
from autolabel.prompts.ontology import Ontology
from autolabel.storage import Storage, parquet
from autolabel.storage.uris import join

LABELS_FOLDER = "labels"


def unit_uri(output_uri: str, unit: int) -> str:
    """Return the place of a unit: `labels/00000012.parquet` of an output."""
    return join(output_uri, f"{LABELS_FOLDER}/{unit:08d}.parquet")


def done_units(storage: Storage, output_uri: str) -> set[int]:
    """Return the units whose file is there."""
    return set(done_units_at(storage, output_uri))


def done_units_at(storage: Storage, output_uri: str) -> dict[int, float | None]:
    """Return the units whose file is there, and its time of creation: seconds since 1970 by the storage's clock."""
    files = ((item.uri.rpartition("/")[2], item.modified_at) for item in storage.list(join(output_uri, LABELS_FOLDER)))
    return {int(name[:8]): created_at for name, created_at in files if re.fullmatch(r"\d{8}\.parquet", name)}


def file_metadata(fingerprint: str, ontology: Ontology) -> dict[str, str]:
    """Return what every unit file of a run says of itself."""
    return {
        "autolabel.fingerprint": fingerprint,
        "autolabel.categories": orjson.dumps(ontology.to_list()).decode(),
    }


def write_unit(
    storage: Storage, output_uri: str, unit: int, rows: Sequence[ImageLabels], metadata: Mapping[str, str]
) -> bool:
    """Create a unit's file; False where another attempt has created it already, which then stands."""
    return storage.create_once(unit_uri(output_uri, unit), encoded(unit, rows, metadata))


def replace_unit(
    storage: Storage,
    output_uri: str,
    unit: int,
    rows: Sequence[ImageLabels],
    metadata: Mapping[str, str],
    etag: str | None,
) -> bool:
    """Put a unit's file in the place of the one with this etag; False where another stands there by now."""
    return storage.replace_if(unit_uri(output_uri, unit), encoded(unit, rows, metadata), etag)


def encoded(unit: int, rows: Sequence[ImageLabels], metadata: Mapping[str, str]) -> bytes:
    """Return the contents of a unit's file."""
    summary = {"autolabel.unit": str(unit), "autolabel.summary": Summary.of(rows).to_json().decode()}
    schema = SCHEMA.with_metadata({**metadata, **summary})
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist([row_from_labels(row) for row in rows], schema=schema)
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    data: bytes = sink.getvalue().to_pybytes()
    return data


@dataclass(frozen=True, kw_only=True)
class StoredUnit:
    """The labels of a unit, and the etag of the file that holds them."""

    images: tuple[ImageLabels, ...]
    etag: str | None


def read_stored(storage: Storage, output_uri: str, unit: int) -> StoredUnit:
    """Read the labels of a unit that is to be replaced.

    Raises:
        BadInput: as `read_columns`.
    """
    etag = storage.stat(unit_uri(output_uri, unit)).etag  # first: a later file has another
    return StoredUnit(images=tuple(read_columns(storage, output_uri, unit).images()), etag=etag)


def open_unit(storage: Storage, output_uri: str, unit: int) -> pq.ParquetFile:
    """Open the Parquet file of a unit.

    Raises:
        BadInput: it is damaged, or its columns are not those of SCHEMA.
    """
    uri = unit_uri(output_uri, unit)
    data = storage.read(uri)
    with parquet.reading(uri):
        file = pq.ParquetFile(pa.BufferReader(data))
        if not file.schema_arrow.equals(SCHEMA):
            raise BadInput(f"{uri}: its columns are not those of labels.schema.SCHEMA")
        return file


def read_unit(storage: Storage, output_uri: str, unit: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the rows of a unit, with a value wherever this program writes one.

    Raises:
        BadInput: as `open_unit`, or a value is missing.
    """
    uri = unit_uri(output_uri, unit)
    file = open_unit(storage, output_uri, unit)
    with parquet.reading(uri):
        table = file.read(columns=None if columns is None else list(columns))
    return parquet.checked(table, uri, may_be_null=MAY_BE_NULL)


def read_summary(storage: Storage, output_uri: str, unit: int) -> Summary:
    """Read the counts of a unit, from its footer.

    Raises:
        BadInput: the file is damaged, or not of this program.
    """
    uri = unit_uri(output_uri, unit)
    return stated_summary(parquet.read_footer(storage, uri).metadata or {}, uri)


def stated_summary(metadata: Mapping[bytes, bytes], place: str) -> Summary:
    """Return the counts that a unit's file states.

    Raises:
        BadInput: there are none.
    """
    try:
        return Summary.from_json(metadata[b"autolabel.summary"])
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise BadInput(f"{place} was not written by autolabel: it has no counts of its rows") from error


def read_columns(storage: Storage, output_uri: str, unit: int) -> UnitColumns:
    """Read the rows of a unit as flat arrays.

    Raises:
        BadInput: as `read_unit`, or a box or a mask's size has too few numbers.
    """
    return unit_columns(read_unit(storage, output_uri, unit), unit)
