"""Every promise about an output, as a check over it: one row per image of the plan, whole files, masks that decode.

Reads a unit at a time in each process, in constant memory, and changes nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from autolabel.config import VerifyConfig
from autolabel.errors import BadInput, RejectCode
from autolabel.labels.columns import as_array, as_int64, instance_columns
from autolabel.labels.summary import Summary
from autolabel.labels.types import Status
from autolabel.labels.units import LABELS_FOLDER, done_units, read_unit, stated_summary, unit_uri
from autolabel.output.job_output import JobOutput, open_output
from autolabel.output.mask_checks import mask_problems, suspect_masks
from autolabel.output.passes import in_processes, over_units
from autolabel.output.settings import LabelSettings
from autolabel.plan import PlannedImage
from autolabel.prompts.objects.table import ObjectPrompt
from autolabel.wording import counted

SHOWN_PROBLEMS = 50
STORED = ("instances", "candidates")


@dataclass(kw_only=True)
class Verdict:
    """The problems of an output. `str()` is the text to print, its last line the counts."""

    n_images: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    n_duplicated: int = 0
    n_problems: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        self.n_problems += 1
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(problem)

    def __iadd__(self, other: "Verdict") -> "Verdict":
        self.n_images += other.n_images
        self.statuses.update(other.statuses)
        self.n_duplicated += other.n_duplicated
        self.n_problems += other.n_problems
        self.problems += other.problems[: SHOWN_PROBLEMS - len(self.problems)]
        return self

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
        closing = (
            f"{counted(self.n_images, 'image')}: {counts}; {self.n_missing} missing, {self.n_duplicated} duplicated"
        )
        return "\n".join([*lines, closing + (f"; {counted(self.n_problems, 'problem')}" if self.n_problems else "")])


def verify(config: VerifyConfig) -> Verdict:
    """Check an output.

    Raises:
        BadInput: there is no job at `output.uri`.
    """
    output = open_output(config.output)
    units = range(output.plan.n_units)
    done = done_units(output.storage, output.uri)
    verdict = Verdict()
    for unit in sorted(done - set(units)):
        verdict.add(f"{unit_uri(output.uri, unit)}: the plan has no unit {unit}")
    parts = in_processes(check_unit, [(unit, unit in done) for unit in units], output, config.output)
    for part in over_units(parts, len(units)):
        verdict += part
    return verdict


def check_unit(output: JobOutput, unit_and_done: tuple[int, bool]) -> Verdict:
    """Check a unit's rows of the plan, and its file, if it is done."""
    unit, done = unit_and_done
    planned = output.plan.images_of(unit)
    verdict = Verdict(n_images=len(planned))
    for image_id, image in enumerate(planned, start=1 + unit * output.plan.unit_size):
        if (image.image_id, image.unit) != (image_id, unit):
            verdict.add(f"plan: row {image_id} has image_id {image.image_id} and unit {image.unit}, not {unit}")
    if done:
        check_file(output, unit, {image.image_id: image for image in planned}, verdict)
    return verdict


def check_file(output: JobOutput, unit: int, expected: dict[int, PlannedImage], verdict: Verdict) -> None:
    """Check a unit's file against the run and the images that the plan has for it."""
    record, settings = output.record, output.record.settings
    place = f"{LABELS_FOLDER}/{unit:08d}.parquet"
    try:
        table = read_unit(output.storage, output.uri, unit)
    except (BadInput, OSError) as error:
        verdict.add(f"{place}: unreadable: {error}")
        return
    metadata = table.schema.metadata or {}
    rows: list[dict[str, Any]] = table.to_pylist()
    if metadata.get(b"autolabel.fingerprint") != record.fingerprint.encode():
        verdict.add(f"{place}: its fingerprint is not that of run.json")
    if metadata.get(b"autolabel.categories") != orjson.dumps(settings.ontology.to_list()):
        verdict.add(f"{place}: its categories are not those of run.json")
    try:
        if stated_summary(metadata, place) != summary_of(rows):
            verdict.add(f"{place}: it states other counts than its rows have")
    except BadInput as error:
        verdict.add(str(error))
    seen: Counter[int] = Counter(row["image_id"] for row in rows)
    verdict.n_duplicated += sum(n - 1 for n in seen.values())
    for row, *suspect in zip(rows, *(suspect_rows(table, name, unit) for name in STORED), strict=True):
        image_id = row["image_id"]
        if image_id not in expected:
            verdict.add(f"{place}: image {image_id} is not of this unit")
            continue
        if seen.pop(image_id, None) is None:  # counted as duplicated
            continue
        verdict.statuses[row["status"]] += 1
        planned = expected[image_id]
        if row["uri"] != planned.uri:
            verdict.add(f"{place}: image {image_id} is {row['uri']!r}, in the plan {planned.uri!r}")
        for problem in chain(row_problems(row, settings, *suspect), object_problems(row, settings, planned.objects)):
            verdict.add(f"{place}: image {image_id}: {problem}")
    if without := set(expected) - {row["image_id"] for row in rows}:
        verdict.add(f"{place}: {len(without)} images of its unit have no row")


def summary_of(rows: Sequence[dict[str, Any]]) -> Summary:
    """Count as Summary.of does, from plain values."""
    categories = [[instance["category_id"] for instance in row["instances"]] for row in rows]
    return Summary(
        images=Counter(row["status"] for row in rows),
        instances_of=Counter(chain.from_iterable(categories)),
        images_with=Counter(chain.from_iterable(map(set, categories))),
        rejected_by=Counter(row["reject_code"] for row in rows if row["reject_code"] is not None),
    )


def suspect_rows(table: pa.Table, name: str, unit: int) -> list[list[bool]]:
    """Tell for each row which of the masks in this column of lists may be wrong."""
    column = as_array(table[name])
    try:
        stored = instance_columns(column, unit)
    except BadInput:  # a box or a size has too few numbers
        return [[True] * n for n in column.value_lengths().to_pylist()]
    frame_hw = np.stack([as_int64(as_array(table[side]).fill_null(0)) for side in ("height", "width")], axis=1)
    suspect = suspect_masks(stored, frame_hw[stored.row])
    starts = stored.row_offsets(len(table)).tolist()
    return [suspect[start:end].tolist() for start, end in pairwise(starts)]


def row_problems(
    row: dict[str, Any], settings: LabelSettings, instances_suspect: list[bool], candidates_suspect: list[bool]
) -> Iterator[str]:
    """Give what contradicts itself in one row; masks are looked at where they are suspect."""
    status, instances, candidates = row["status"], row["instances"], row["candidates"]
    if status == Status.REJECTED:
        if row["reject_code"] not in set(RejectCode) or not row["reject_detail"]:
            yield f"rejected with code {row['reject_code']!r} and detail {row['reject_detail']!r}"
        if instances or candidates or row["prompts"]:
            yield "rejected, but with prompts or instances"
        return
    if status != (Status.LABELLED if instances else Status.EMPTY):
        yield f"status {status!r} with {len(instances)} instances"
    if not (row["width"] and row["height"] and row["sha256"] and row["orientation"]):
        yield "labelled without its size, orientation or sha256"
        return
    yield from prompt_problems(row["prompts"], [*instances, *candidates], settings)
    n_of = Counter(instance["prompt_id"] for instance in instances)
    stated = {prompt["prompt_id"]: prompt["n_instances"] for prompt in row["prompts"]}
    if {prompt_id: n for prompt_id, n in stated.items() if n} != dict(n_of):
        yield f"prompts tell of {sum(stated.values())} instances, there are {len(instances)}"
    size_hw = (row["height"], row["width"])
    for kind, stored, suspect, limits in (
        ("instance", instances, instances_suspect, settings.rules.threshold_of),
        ("candidate", candidates, candidates_suspect, settings.keep_threshold_of),
    ):
        for index, (instance, is_suspect) in enumerate(zip(stored, suspect, strict=True)):
            for problem in instance_problems(instance, limits):
                yield f"{kind} {index}: {problem}"
            may_be_empty = kind == "candidate" and instance["object_id"] is not None
            for problem in mask_problems(instance, size_hw, may_be_empty=may_be_empty) if is_suspect else ():
                yield f"{kind} {index}: {problem}"


def prompt_problems(
    prompts: Sequence[dict[str, Any]], instances: Sequence[dict[str, Any]], settings: LabelSettings
) -> Iterator[str]:
    """Give which prompts of a row are not the job's, and which instances no prompt of the row can have found."""
    of_job = {prompt.id: (prompt.category_id, prompt.phrase) for prompt in settings.prompts}
    asked = {prompt["prompt_id"]: (prompt["category_id"], prompt["phrase"]) for prompt in prompts}
    if len(asked) < len(prompts):
        yield f"{len(prompts) - len(asked)} prompts have the id of another one"
    for prompt_id, means in asked.items():
        if of_job.get(prompt_id) != means:
            yield f"prompt {prompt_id} asks for {means}, in run.json for {of_job.get(prompt_id)}"
    found_by = Counter((one["prompt_id"], one["category_id"], one["phrase"]) for one in instances)
    for prompt_id, category_id, phrase in found_by:
        if asked.get(prompt_id) != (category_id, phrase):
            yield f"instances of category {category_id} and phrase {phrase!r} are not of prompt {prompt_id} of this row"


def object_problems(row: dict[str, Any], settings: LabelSettings, objects: Sequence[ObjectPrompt]) -> Iterator[str]:
    """Give which of an image's objects are not in its row exactly once, and which of the row's are not the plan's."""
    if row["status"] == Status.REJECTED:
        return
    planned = {one.object_id: one.category_id for one in objects}
    masks = [one for name in STORED for one in row[name]]
    stored = [one for one in masks if one["object_id"] is not None]
    if settings.objects and len(stored) < len(masks):
        yield f"{len(masks) - len(stored)} of its masks are of no given object"
    n_of = Counter(one["object_id"] for one in stored)
    for object_id in planned:
        if n_of[object_id] != 1:
            yield f"object {object_id!r} of the plan is {n_of[object_id]} times in its row"
    for one in stored:
        object_id, category_id = one["object_id"], one["category_id"]
        if object_id not in planned:
            yield f"the plan has no object {object_id!r} on it"
        elif category_id != planned[object_id]:
            yield f"object {object_id!r} is of category {category_id}, in the plan of {planned[object_id]}"


def instance_problems(instance: dict[str, Any], limits: Mapping[int, float]) -> Iterator[str]:
    """Give what is wrong with an instance; `limits` are what a score must be above, by category."""
    category, score = instance["category_id"], instance["score"]
    if category not in limits:
        yield f"category {category} is not of this run"
    if not (0 <= score <= 1 and 0 <= instance["presence"] <= 1):
        yield f"score {score}, presence {instance['presence']}"
    elif score <= limits.get(category, -1):
        yield f"score {score} is not above the threshold {limits[category]}"
