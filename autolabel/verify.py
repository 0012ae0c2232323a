"""Every promise about an output, as a check over it: one row per image of the plan, whole files, masks that decode.

Reads a unit at a time, in constant memory, and changes nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from autolabel import labels
from autolabel.config import VerifyConfig
from autolabel.errors import BadInput, RejectCode
from autolabel.labels import Status
from autolabel.output import LabelledOutput, open_output
from autolabel.plan import PlannedImage
from autolabel.rle import Rle, from_runs, run_lengths
from autolabel.run_record import RunRecord

SHOWN_PROBLEMS = 50


@dataclass(kw_only=True)
class Verdict:
    """What was found. `str()` is the text to print, its last line the counts."""

    n_images: int
    statuses: Counter[str] = field(default_factory=Counter)
    n_duplicated: int = 0
    n_problems: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        self.n_problems += 1
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(problem)

    @property
    def n_missing(self) -> int:
        return self.n_images - self.statuses.total()

    @property
    def clean(self) -> bool:
        return not (self.n_problems or self.n_missing or self.n_duplicated)

    def __str__(self) -> str:
        counts = ", ".join(f"{self.statuses[status]} {status}" for status in Status)
        hidden = self.n_problems - len(self.problems)
        lines = [*self.problems, *([f"... and {hidden} more problems"] if hidden else [])]
        closing = f"{self.n_images} images: {counts}; {self.n_missing} missing, {self.n_duplicated} duplicated"
        return "\n".join([*lines, closing + (f"; {self.n_problems} problems" if self.n_problems else "")])


def verify(config: VerifyConfig) -> Verdict:
    """Check an output.

    Raises:
        BadInput: there is no job at `output.uri`.
    """
    output = open_output(config.output)
    storage, uri, plan = output.storage, output.uri, output.plan
    verdict = Verdict(n_images=plan.n_images)
    done = labels.done_units(storage, uri)
    for unit in sorted(done - set(range(plan.n_units))):
        verdict.add(f"{labels.unit_uri(uri, unit)}: the plan has no unit {unit}")
    next_id = 1
    for unit, planned in plan.units():
        for image in planned:
            if (image.image_id, image.unit) != (next_id, unit):
                verdict.add(f"plan: row {next_id} has image_id {image.image_id} and unit {image.unit}, not {unit}")
            next_id += 1
        if unit in done:
            check_unit(output, unit, planned, verdict)
    return verdict


def check_unit(output: LabelledOutput, unit: int, planned: list[PlannedImage], verdict: Verdict) -> None:
    """One unit's file against the plan and the run."""
    record = output.record
    place = f"{labels.FOLDER}/{unit:08d}.parquet"
    try:
        table = labels.read_unit(output.storage, output.uri, unit)
    except (BadInput, OSError) as error:
        verdict.add(f"{place}: unreadable: {error}")
        return
    metadata = table.schema.metadata or {}
    rows: list[dict[str, Any]] = table.to_pylist()
    if metadata.get(b"autolabel.fingerprint") != record.fingerprint.encode():
        verdict.add(f"{place}: its fingerprint is not that of run.json")
    if metadata.get(b"autolabel.categories") != orjson.dumps(record.settings["categories"]):
        verdict.add(f"{place}: its categories are not those of run.json")
    expected = {image.image_id: image.uri for image in planned}
    seen: Counter[int] = Counter(row["image_id"] for row in rows)
    verdict.n_duplicated += sum(n - 1 for n in seen.values())
    for row in rows:
        image_id = row["image_id"]
        if image_id not in expected:
            verdict.add(f"{place}: image {image_id} is not of this unit")
            continue
        if seen.pop(image_id, None) is None:  # counted as duplicated
            continue
        verdict.statuses[row["status"]] += 1
        if row["uri"] != expected[image_id]:
            verdict.add(f"{place}: image {image_id} is {row['uri']!r}, in the plan {expected[image_id]!r}")
        for problem in row_problems(row, record):
            verdict.add(f"{place}: image {image_id}: {problem}")
    if seen_only(expected, rows):
        verdict.add(f"{place}: {len(seen_only(expected, rows))} images of its unit have no row")


def seen_only(expected: dict[int, str], rows: list[dict[str, Any]]) -> set[int]:
    return set(expected) - {row["image_id"] for row in rows}


def row_problems(row: dict[str, Any], record: RunRecord) -> Iterator[str]:
    """What contradicts itself in one row."""
    status, instances = row["status"], row["instances"]
    if status == Status.REJECTED:
        if row["reject_code"] not in set(RejectCode) or not row["reject_detail"]:
            yield f"rejected with code {row['reject_code']!r} and detail {row['reject_detail']!r}"
        if instances or row["candidates"] or row["prompts"]:
            yield "rejected, but with prompts or instances"
        return
    if status != (Status.LABELLED if instances else Status.EMPTY):
        yield f"status {status!r} with {len(instances)} instances"
    if not (row["width"] and row["height"] and row["sha256"] and row["orientation"]):
        yield "labelled without its size, orientation or sha256"
        return
    found = Counter((instance["category_id"], instance["phrase"]) for instance in instances)
    told = {(p["category_id"], p["phrase"]): p["n_instances"] for p in row["prompts"]}
    if {key: n for key, n in told.items() if n} != dict(found):
        yield f"prompts tell of {sum(told.values())} instances, there are {len(instances)}"
    size_hw = (row["height"], row["width"])
    for kind, stored, limits in (
        ("instance", instances, record.rules.threshold_of),
        ("candidate", row["candidates"], record.keep_threshold_of),
    ):
        for index, instance in enumerate(stored):
            for problem in instance_problems(instance, size_hw, limits):
                yield f"{kind} {index}: {problem}"


def instance_problems(instance: dict[str, Any], size_hw: tuple[int, int], limits: Mapping[int, float]) -> Iterator[str]:
    """`limits`: by category, what a score must be above."""
    category, score = instance["category_id"], instance["score"]
    if category not in limits:
        yield f"category {category} is not of this run"
    if not (0 <= score <= 1 and 0 <= instance["presence"] <= 1):
        yield f"score {score}, presence {instance['presence']}"
    elif score <= limits.get(category, -1):
        yield f"score {score} is not above the threshold {limits[category]}"
    yield from mask_problems(instance, size_hw)


def mask_problems(instance: dict[str, Any], size_hw: tuple[int, int]) -> Iterator[str]:
    """A mask against its image's size and its own area and box, all taken from its runs, which are few."""
    segmentation = instance["segmentation"]
    if tuple(segmentation["size"]) != size_hw:
        yield f"mask of size {segmentation['size']} on an image of {list(size_hw)}"
        return
    rle = Rle(size_hw=size_hw, counts=segmentation["counts"])
    try:
        runs = run_lengths(rle)
    except ValueError as error:
        yield f"mask does not decode: {error}"
        return
    if (runs[1:] == 0).any() or from_runs(runs, size_hw) != rle:
        yield "mask is not written as pycocotools writes it"
    area, bbox = extent(runs, size_hw[0])
    if not area:
        yield "mask is empty"
        return
    if instance["area"] != area:
        yield f"area {instance['area']}, its mask has {area} pixels"
    if instance["bbox"] != bbox:
        yield f"bbox {instance['bbox']}, its mask spans {bbox}"


def extent(runs: npt.NDArray[np.int64], height: int) -> tuple[int, list[float]]:
    """Area and [x, y, w, h] of the runs of a mask; not by pycocotools, by which they were written."""
    ends = np.cumsum(runs)[1::2]
    lengths = runs[1::2]
    first, last = (ends - lengths)[lengths > 0], ends[lengths > 0] - 1
    if not len(first):
        return 0, [0.0, 0.0, 0.0, 0.0]
    left, right = int(first[0]) // height, int(last[-1]) // height
    over_an_edge = first // height != last // height  # then it ends one column and begins the next
    top = 0 if over_an_edge.any() else int((first % height).min())
    bottom = height - 1 if over_an_edge.any() else int((last % height).max())
    return int(lengths.sum()), [float(left), float(top), float(right - left + 1), float(bottom - top + 1)]
