"""The labels of an output: one row per input image, one Parquet file per work unit.

The set of files under `labels/` is the job's only state. A file appears whole or not at all, under its unit's fixed
name, so at every moment the folder is readable, without gaps inside a unit and without doubles.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from autolabel import parquet
from autolabel.errors import BadInput, RejectCode
from autolabel.ontology import Ontology
from autolabel.postprocess import Instance
from autolabel.rle import Rle
from autolabel.storage import Storage, join

FOLDER = "labels"

INSTANCE = pa.struct(
    [
        ("category_id", pa.int64()),
        ("score", pa.float32()),
        ("presence", pa.float32()),
        ("phrase", pa.string()),
        ("bbox", pa.list_(pa.float64())),
        ("area", pa.int64()),
        ("segmentation", pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])),
    ]
)

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("orientation", pa.int8()),
        pa.field("sha256", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reject_code", pa.string()),
        pa.field("reject_detail", pa.string()),
        pa.field(
            "prompts",
            pa.list_(
                pa.struct(
                    [
                        ("category_id", pa.int64()),
                        ("phrase", pa.string()),
                        ("presence", pa.float32()),
                        ("best_score", pa.float32()),
                        ("n_instances", pa.int32()),
                    ]
                )
            ),
        ),
        pa.field("instances", pa.list_(INSTANCE)),
        pa.field("candidates", pa.list_(INSTANCE)),
    ]
)

MAY_BE_NULL = (
    *("width", "height", "orientation", "sha256", "reject_code", "reject_detail"),
    *("prompts.phrase", "instances.phrase", "candidates.phrase"),
)


class Status(StrEnum):
    """The three states an image can end in; there is no fourth."""

    LABELLED = "labelled"  # at least one instance
    EMPTY = "empty"  # looked at, nothing found
    REJECTED = "rejected"  # could not be read: see reject_code


@dataclass(frozen=True, kw_only=True)
class PromptResult:
    """What one concept gave on one image; `phrase` is None where exemplars alone prompted."""

    category_id: int
    phrase: str | None
    presence: float
    best_score: float
    n_instances: int = 0


@dataclass(frozen=True, kw_only=True)
class ImageLabels:
    """One row: an input image and what was found in it. Sizes are of the declared frame, None if it was not decoded.

    `candidates` are what the model found besides: scores from `keep_threshold` to the threshold, and what NMS, limits
    of area or of number took away. `autolabel refine` decides again between the two.
    """

    image_id: int
    uri: str
    size_hw: tuple[int, int] | None = None
    orientation: int | None = None
    sha256: str | None = None
    reject_code: RejectCode | None = None
    reject_detail: str | None = None
    prompts: tuple[PromptResult, ...] = ()
    instances: tuple[Instance, ...] = ()
    candidates: tuple[Instance, ...] = ()

    @property
    def status(self) -> Status:
        if self.reject_code is not None:
            return Status.REJECTED
        return Status.LABELLED if self.instances else Status.EMPTY


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Counts over some images: of each status, of instances by category, of rejections by code."""

    images: Counter[str] = field(default_factory=Counter)
    instances_of: Counter[int] = field(default_factory=Counter)
    images_with: Counter[int] = field(default_factory=Counter)
    rejected_by: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, rows: Sequence[ImageLabels]) -> "Summary":
        return cls(
            images=Counter(str(row.status) for row in rows),
            instances_of=Counter(instance.category_id for row in rows for instance in row.instances),
            images_with=Counter(category for row in rows for category in {i.category_id for i in row.instances}),
            rejected_by=Counter(str(row.reject_code) for row in rows if row.reject_code is not None),
        )

    def add(self, other: "Summary") -> None:
        self.images.update(other.images)
        self.instances_of.update(other.instances_of)
        self.images_with.update(other.images_with)
        self.rejected_by.update(other.rejected_by)

    @property
    def n_images(self) -> int:
        return self.images.total()

    @property
    def n_readable(self) -> int:
        return self.n_images - self.images[Status.REJECTED]

    @property
    def n_instances(self) -> int:
        return self.instances_of.total()

    def to_json(self) -> bytes:
        return orjson.dumps(
            {
                "images": self.images,
                "instances_of": {str(k): n for k, n in self.instances_of.items()},
                "images_with": {str(k): n for k, n in self.images_with.items()},
                "rejected_by": self.rejected_by,
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> "Summary":
        counts = orjson.loads(data)
        return cls(
            images=Counter(counts["images"]),
            instances_of=Counter({int(k): n for k, n in counts["instances_of"].items()}),
            images_with=Counter({int(k): n for k, n in counts["images_with"].items()}),
            rejected_by=Counter(counts["rejected_by"]),
        )


def unit_uri(output_uri: str, unit: int) -> str:
    """`labels/00000012.parquet` of an output."""
    return join(output_uri, f"{FOLDER}/{unit:08d}.parquet")


def done_units(storage: Storage, output_uri: str) -> set[int]:
    """Units whose file is there."""
    return set(done_units_at(storage, output_uri))


def done_units_at(storage: Storage, output_uri: str) -> dict[int, float | None]:
    """Units whose file is there, and when it was created: seconds since 1970 by the storage's clock, if it tells."""
    files = ((item.uri.rpartition("/")[2], item.modified_at) for item in storage.list(join(output_uri, FOLDER)))
    return {int(name[:8]): created_at for name, created_at in files if re.fullmatch(r"\d{8}\.parquet", name)}


def file_metadata(fingerprint: str, ontology: Ontology) -> dict[str, str]:
    """What every unit file of a run says of itself."""
    return {"autolabel.fingerprint": fingerprint, "autolabel.categories": orjson.dumps(ontology.to_list()).decode()}


def write_unit(
    storage: Storage, output_uri: str, unit: int, rows: Sequence[ImageLabels], metadata: Mapping[str, str]
) -> bool:
    """Create a unit's file; False where another attempt has created it already, which then stands."""
    summary = {"autolabel.unit": str(unit), "autolabel.summary": Summary.of(rows).to_json().decode()}
    table = pa.Table.from_pylist([record(row) for row in rows], schema=SCHEMA.with_metadata({**metadata, **summary}))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    return storage.create_once(unit_uri(output_uri, unit), sink.getvalue().to_pybytes())


def open_unit(storage: Storage, output_uri: str, unit: int) -> pq.ParquetFile:
    """The Parquet file of a unit.

    Raises:
        BadInput: it is damaged, or its columns are not those of SCHEMA.
    """
    uri = unit_uri(output_uri, unit)
    data = storage.read(uri)
    with parquet.reading(uri):
        file = pq.ParquetFile(pa.BufferReader(data))
        if not file.schema_arrow.equals(SCHEMA):
            raise BadInput(f"{uri}: its columns are not those of labels.SCHEMA")
        return file


def read_unit(storage: Storage, output_uri: str, unit: int, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a unit, with a value wherever this program writes one.

    Raises:
        BadInput: as `open_unit`, or a value is missing.
    """
    uri = unit_uri(output_uri, unit)
    file = open_unit(storage, output_uri, unit)
    with parquet.reading(uri):
        table = file.read(columns=None if columns is None else list(columns))
    return parquet.checked(table, uri, may_be_null=MAY_BE_NULL)


def read_summary(storage: Storage, output_uri: str, unit: int) -> Summary:
    """The counts of a unit, from its footer.

    Raises:
        BadInput: the file is damaged, or not of this program.
    """
    uri = unit_uri(output_uri, unit)
    metadata = parquet.read_footer(storage, uri).metadata or {}
    try:
        return Summary.from_json(metadata[b"autolabel.summary"])
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise BadInput(f"{uri} was not written by autolabel: it has no counts of its rows") from error


def record(row: ImageLabels) -> dict[str, Any]:
    """A row as plain values in the order of SCHEMA."""
    height, width = row.size_hw or (None, None)
    return {
        "image_id": row.image_id,
        "uri": row.uri,
        "width": width,
        "height": height,
        "orientation": row.orientation,
        "sha256": row.sha256,
        "status": str(row.status),
        "reject_code": None if row.reject_code is None else str(row.reject_code),
        "reject_detail": row.reject_detail,
        "prompts": [
            {
                "category_id": prompt.category_id,
                "phrase": prompt.phrase,
                "presence": prompt.presence,
                "best_score": prompt.best_score,
                "n_instances": prompt.n_instances,
            }
            for prompt in row.prompts
        ],
        "instances": [instance_record(instance) for instance in row.instances],
        "candidates": [instance_record(instance) for instance in row.candidates],
    }


def image_labels(values: dict[str, Any]) -> ImageLabels:
    """The reverse of `record`, for rows that `read_unit` has checked."""
    code = values["reject_code"]
    return ImageLabels(
        image_id=values["image_id"],
        uri=values["uri"],
        size_hw=None if values["height"] is None else (values["height"], values["width"]),
        orientation=values["orientation"],
        sha256=values["sha256"],
        reject_code=None if code is None else RejectCode(code),
        reject_detail=values["reject_detail"],
        prompts=tuple(PromptResult(**prompt) for prompt in values["prompts"]),
        instances=tuple(map(instance, values["instances"])),
        candidates=tuple(map(instance, values["candidates"])),
    )


def instance(values: dict[str, Any]) -> Instance:
    """The reverse of `instance_record`."""
    height, width = values["segmentation"]["size"]
    return Instance(
        category_id=values["category_id"],
        phrase=values["phrase"],
        score=values["score"],
        presence=values["presence"],
        rle=Rle(size_hw=(height, width), counts=values["segmentation"]["counts"]),
        area_px=values["area"],
        bbox_xywh=tuple(values["bbox"]),
    )


def instance_record(instance: Instance) -> dict[str, Any]:
    """An instance as plain values in the order of INSTANCE."""
    return {
        "category_id": instance.category_id,
        "score": instance.score,
        "presence": instance.presence,
        "phrase": instance.phrase,
        "bbox": list(instance.bbox_xywh),
        "area": instance.area_px,
        "segmentation": {"size": list(instance.rle.size_hw), "counts": instance.rle.counts},
    }
