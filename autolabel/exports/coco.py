"""COCO: `coco/annotations.json` (a data set) and `coco/results.json` (detections for COCO's own evaluation).

Both are streamed unit by unit, so memory does not grow with the job. Images without objects are listed; rejected
images are not, since a trainer would take them for negatives: they stand under `rejected_images`, with their reasons.
"""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import orjson

from autolabel.labels import Status
from autolabel.output import LabelledOutput
from autolabel.storage import join

FOLDER = "coco"


def export(output: LabelledOutput) -> str:
    """Write both files; they replace those of an earlier export."""
    annotations_uri = join(output.uri, f"{FOLDER}/annotations.json")
    results_uri = join(output.uri, f"{FOLDER}/results.json")
    with output.storage.replace(annotations_uri) as file:
        file.write(b'{"info":' + orjson.dumps(info(output)))
        file.write(b',\n"categories":' + orjson.dumps(categories(output)))
        n_images = write_list(file, "images", images(output))
        n_annotations = write_list(file, "annotations", annotations(output))
        n_rejected = write_list(file, "rejected_images", rejected_images(output))
        file.write(b"}\n")
    with output.storage.replace(results_uri) as file:
        write_items(file, results(output))
    return (
        f"{annotations_uri}: {n_images} images, {n_annotations} annotations, {n_rejected} rejected images apart\n"
        f"{results_uri}: {n_annotations} results"
    )


def info(output: LabelledOutput) -> dict[str, Any]:
    record = output.record
    return {
        "description": f"labelled by autolabel {record.autolabel_version}",
        "date_created": record.created_at,
        "run_id": record.run_id,
        "fingerprint": record.fingerprint,
        "input_root": output.plan.input_root,
    }


def categories(output: LabelledOutput) -> list[dict[str, Any]]:
    return [
        {"id": c.id, "name": c.name, "supercategory": c.supercategory or ""} for c in output.record.ontology.categories
    ]


def images(output: LabelledOutput) -> Iterator[dict[str, Any]]:
    for row in output.rows(["image_id", "uri", "width", "height", "status"]):
        if row["status"] != Status.REJECTED:
            name = output.file_name(row["uri"])
            yield {"id": row["image_id"], "file_name": name, "width": row["width"], "height": row["height"]}


def rejected_images(output: LabelledOutput) -> Iterator[dict[str, Any]]:
    for row in output.rows(["image_id", "uri", "status", "reject_code", "reject_detail"]):
        if row["status"] == Status.REJECTED:
            name = output.file_name(row["uri"])
            code, detail = row["reject_code"], row["reject_detail"]
            yield {"id": row["image_id"], "file_name": name, "code": code, "detail": detail}


def annotations(output: LabelledOutput) -> Iterator[dict[str, Any]]:
    next_id = 1  # an annotation with id 0 counts as unmatched in COCO's evaluation
    for row in output.rows(["image_id", "instances"]):
        for instance in row["instances"]:
            yield {
                "id": next_id,
                "image_id": row["image_id"],
                "category_id": instance["category_id"],
                "segmentation": instance["segmentation"],
                "area": instance["area"],
                "bbox": instance["bbox"],
                "iscrowd": 0,
                "score": instance["score"],
            }
            next_id += 1


def results(output: LabelledOutput) -> Iterator[dict[str, Any]]:
    """Without a bbox: beside a mask, COCO's evaluation would take the area from it."""
    for row in output.rows(["image_id", "instances"]):
        for instance in row["instances"]:
            yield {
                "image_id": row["image_id"],
                "category_id": instance["category_id"],
                "segmentation": instance["segmentation"],
                "score": instance["score"],
            }


def write_list(file: BinaryIO, name: str, items: Iterable[dict[str, Any]]) -> int:
    file.write(f',\n"{name}":'.encode())
    return write_items(file, items)


def write_items(file: BinaryIO, items: Iterable[dict[str, Any]]) -> int:
    """A JSON list, an item a line; how many there were."""
    n = 0
    file.write(b"[")
    for item in items:
        file.write((b",\n" if n else b"\n") + orjson.dumps(item))
        n += 1
    file.write(b"]")
    return n
