"""COCO: `coco/annotations.json` (a data set) and `coco/results.json` (detections for COCO's own evaluation).

Both are streamed unit by unit, so memory does not grow with the job. Images without objects are listed; rejected
images are not, since a trainer would take them for negatives: they stand under `rejected_images`, with their reasons.

The mask of a given object has its `object_id`, by which it is joined to the box it came from.

Past a million annotations, which take readers gigabytes to load, there are several of each: `annotations-00000.json`
and so on, with consecutive images, one list of categories and ids that are unique across files. `manifest.json` names
them. All images are in one data set; the split of each is in the export `instances`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from autolabel.exports.base import Export
from autolabel.labels.columns import index_of
from autolabel.labels.types import Status
from autolabel.wording import counted

FILES = r"(annotations|results)(-\d+)?\.json|manifest\.json"
ANNOTATIONS_PER_FILE = 1_000_000
LINES_PER_WRITE = 1000
RESULT_KEYS = ("image_id", "category_id", "segmentation", "score", "object_id")

Annotation = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Contents of one file; `suffix` is the end of its name."""

    suffix: str
    units: range
    first_id: int
    n_annotations: int


def write(export: Export) -> str:
    shards = plan_shards(export)
    told = []
    for shard in shards:
        results_name = f"results{shard.suffix}.json"
        with export.replace(results_name) as file, ItemList(file) as results:
            told.append(write_dataset(export, shard, recorded(annotations(export, shard), results)))
        told.append(f"{export.uri(results_name)}: {counted(results.n, 'result')}")
    return "\n".join([*told, *write_manifest(export, shards, ("annotations", "results"))])


def plan_shards(export: Export) -> list[Shard]:
    """Return as many units in each as have together no more than ANNOTATIONS_PER_FILE, or one unit."""
    counts = [summary.n_instances for summary in export.summaries]
    starts, in_shard = [0], 0
    for unit, count in enumerate(counts):
        if in_shard and in_shard + count > ANNOTATIONS_PER_FILE:
            starts.append(unit)
            in_shard = 0
        in_shard += count
    return [
        Shard(
            suffix=f"-{number:05d}" if len(starts) > 1 else "",
            units=range(start, end),
            first_id=1 + sum(counts[:start]),  # an annotation with id 0 counts as unmatched in COCO's evaluation
            n_annotations=sum(counts[start:end]),
        )
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(counts)], strict=True))
    ]


def annotations(export: Export, shard: Shard) -> Iterator[Annotation]:
    """Give every instance. Column by column: an object for each would take several times as long."""
    next_id = shard.first_id
    known = [category.id for category in export.output.record.settings.ontology.categories]
    for unit in export.unit_columns(shard.units):
        instances = unit.instances
        index_of(known, instances.category_id)  # or it is told
        columns = (
            unit.image_id[instances.row].tolist(),
            instances.category_id.tolist(),
            instances.size_hw.tolist(),
            instances.counts.to_pylist(),
            instances.area_px.tolist(),
            instances.box_xywh.tolist(),
            instances.score.tolist(),
            instances.object_id.to_pylist(),
        )
        for image_id, category_id, size, counts, area, bbox, score, object_id in zip(*columns, strict=True):
            yield {
                "id": next_id,
                "image_id": image_id,
                "category_id": category_id,
                "segmentation": {"size": size, "counts": counts},
                "area": area,
                "bbox": bbox,
                "iscrowd": 0,
                "score": score,
                **({} if object_id is None else {"object_id": object_id}),
            }
            next_id += 1


def recorded(annotations: Iterable[Annotation], results: "ItemList") -> Iterator[Annotation]:
    """Give the annotations themselves, each put among the results on its way.

    Results have no bbox: beside a mask, COCO's evaluation would take the area from it.
    """
    for annotation in annotations:
        results.add({key: annotation[key] for key in RESULT_KEYS if key in annotation})
        yield annotation


def write_dataset(
    export: Export, shard: Shard, annotations: Iterable[Annotation], about: Callable[[], dict[str, Any]] = dict
) -> str:
    """Write one file of a data set; `about` is asked for more of its `info` when the annotations are written."""
    name = f"annotations{shard.suffix}.json"
    with export.replace(name) as file:
        file.write(b'{"categories":' + orjson.dumps(categories(export)))
        n_images = write_list(file, "images", images(export, shard.units))
        n_annotations = write_list(file, "annotations", annotations)
        n_rejected = write_list(file, "rejected_images", rejected_images(export, shard.units))
        file.write(b',\n"info":' + orjson.dumps(info(export) | about()) + b"}\n")
    counts = f"{counted(n_images, 'image')}, {counted(n_annotations, 'annotation')}"
    return f"{export.uri(name)}: {counts}, {counted(n_rejected, 'rejected image')} apart"


def write_manifest(export: Export, shards: Sequence[Shard], kinds: Sequence[str]) -> list[str]:
    """Write what the files are, where there are several of a kind; return a line for the closing text."""
    if len(shards) == 1:
        return []
    files = [
        {kind: f"{kind}{shard.suffix}.json" for kind in kinds}
        | {"n_images": sum(export.summaries[unit].n_readable for unit in shard.units)}
        | {"n_annotations": shard.n_annotations}
        for shard in shards
    ]
    manifest = {"info": info(export), "categories": categories(export), "files": files}
    export.write("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return [f"{export.uri('manifest.json')} names these files"]


def info(export: Export) -> dict[str, Any]:
    record = export.output.record
    return {
        "description": f"labelled by autolabel {record.autolabel_version}",
        "date_created": record.created_at,
        "run_id": record.run_id,
        "fingerprint": record.fingerprint,
        "input_root": export.output.plan.input_root,
    }


def categories(export: Export) -> list[dict[str, Any]]:
    ontology = export.output.record.settings.ontology
    return [{"id": c.id, "name": c.name, "supercategory": c.supercategory or ""} for c in ontology.categories]


def images(export: Export, units: range) -> Iterator[dict[str, Any]]:
    for row in export.rows(["image_id", "uri", "width", "height", "status"], units):
        if row["status"] != Status.REJECTED:
            name = export.output.file_name(row["uri"])
            yield {"id": row["image_id"], "file_name": name, "width": row["width"], "height": row["height"]}


def rejected_images(export: Export, units: range) -> Iterator[dict[str, Any]]:
    with_some = [unit for unit in units if export.summaries[unit].images[Status.REJECTED]]
    for row in export.rows(["image_id", "uri", "status", "reject_code", "reject_detail"], with_some):
        if row["status"] == Status.REJECTED:
            name = export.output.file_name(row["uri"])
            code, detail = row["reject_code"], row["reject_detail"]
            yield {"id": row["image_id"], "file_name": name, "code": code, "detail": detail}


class ItemList:
    """A JSON list on its way into a file, an item a line."""

    def __init__(self, file: BinaryIO) -> None:
        self.n = 0
        self._file, self._lines = file, list[bytes]()

    def add(self, item: dict[str, Any]) -> None:
        self._lines.append((b",\n" if self.n else b"\n") + orjson.dumps(item))
        self.n += 1
        if len(self._lines) > LINES_PER_WRITE:
            self._flush()

    def _flush(self) -> None:
        self._file.write(b"".join(self._lines))
        self._lines.clear()

    def __enter__(self) -> "ItemList":
        self._lines.append(b"[")
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            self._lines.append(b"]")
            self._flush()


def write_list(file: BinaryIO, name: str, items: Iterable[dict[str, Any]]) -> int:
    """Write a further key of a JSON object, with a list; return how many items there were."""
    file.write(f',\n"{name}":'.encode())
    with ItemList(file) as listed:
        for item in items:
            listed.add(item)
    return listed.n
