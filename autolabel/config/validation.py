"""Rules between settings, beyond their types: everything wrong at once, a line for each problem."""

import math
import re
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from autolabel.config.keys import keys_of
from autolabel.config.schema import (
    SAME,
    DemoScenesConfig,
    EvaluateConfig,
    ExportConfig,
    LabelConfig,
    RefineConfig,
    ReportConfig,
)
from autolabel.config.sections import PromptsConfig
from autolabel.errors import RejectCode
from autolabel.redaction import has_password

MOST_CROP_LAYERS = 4  # the last of 256 crops
NO_PASSWORDS = "holds a password, which would be written wherever the URL is; give it by the environment"


def missing_keys(settings: Any) -> Iterator[str]:
    """Yield a line for each required key that has no value."""
    for key in keys_of(type(settings)):
        if key.required and not attrgetter(key.name)(settings):
            yield f"{key.name}: required, for example {key.name}={key.example} or {key.name}=s3://bucket/{key.example}"


def problems_of(settings: Any) -> Iterator[str]:
    """Yield a line for each problem of the values that a command's settings have."""
    for key in keys_of(type(settings)):
        if key.is_place and has_password(attrgetter(key.name)(settings) or ""):
            yield f"{key.name}: {NO_PASSWORDS}"
    if rules := PROBLEMS.get(type(settings)):
        yield from rules(settings)


def evaluate_problems(config: EvaluateConfig) -> Iterator[str]:
    results = config.results
    if bool(config.output.uri) == (results.uri is not None):
        yield "output.uri, results.uri: give one of the two, for example output.uri=labels or results.uri=results.json"
    if results.uri is not None and config.evaluation.uri is None:
        yield "evaluation.uri: required with results.uri, for example evaluation.uri=evaluation"
    if not 0 <= results.threshold < 1:  # NaN is not
        yield f"results.threshold: {results.threshold} is not at least 0 and below 1"


def export_problems(config: ExportConfig) -> Iterator[str]:
    for name, share in config.splits.items():
        if not re.fullmatch(r"(?!all$)[a-z][a-z0-9_]{0,31}", name):  # names files; to `datasets`, `all` is all of them
            yield f"splits: {name!r} is not a name of 1 to 32 small letters, digits and _, a letter first, and not all"
        if not 0 < share <= 1:  # NaN is not
            yield f"splits.{name}: {share} is not a share above 0 and up to 1"
    if config.splits and not math.isclose(total := math.fsum(config.splits.values()), 1, abs_tol=1e-6):
        yield f"splits: the shares sum to {total:g}, not to 1"
    if config.splits and config.format == "yolo" and (missing := {"train", "val"} - config.splits.keys()):
        yield f"splits: {' and '.join(sorted(missing))} missing, which YOLO's trainers ask for"


def report_problems(config: ReportConfig) -> Iterator[str]:
    if config.report.uri == "":
        yield "report.uri: empty; leave it out for `report` in the output"
    if config.thumbnails < 0:
        yield f"thumbnails: {config.thumbnails} is negative"


def demo_scenes_problems(config: DemoScenesConfig) -> Iterator[str]:
    for name, number, least in (("count", config.count, 1), ("seed", config.seed, 0)):
        if number < least:
            yield f"{name}: {number} is less than {least}"


def label_problems(config: LabelConfig) -> Iterator[str]:
    if not config.input.suffixes:
        yield "input.suffixes: must name at least one file name ending"
    yield from prompts_problems(config.prompts)
    if config.exemplars.uri and config.exemplars.column:
        yield "exemplars: give exemplars.uri or exemplars.column, not both"
    yield from other_kinds_problems(config)
    yield from tiles_problems(config)
    if (config.model.checkpoint is None) == (config.model.seed is None):
        yield "model: give either model.checkpoint or model.seed"
    for name, value, choices in (
        ("exemplars.box_format", config.exemplars.box_format, ("xywh", "xyxy", "cxcywh")),
        ("objects.box_format", config.objects.box_format, ("xywh", "xyxy", "cxcywh")),
        ("model.architecture", config.model.architecture, ("full", "tiny")),
        ("model.precision", config.model.precision, ("float32", "bfloat16")),
    ):
        if value not in choices:
            yield f"{name}: {value!r} is not one of {', '.join(choices)}"
    yield from decision_problems(config)
    if not 0 <= config.keep_threshold <= 1:  # NaN is not
        yield f"keep_threshold: {config.keep_threshold} is not between 0 and 1"
    if not 0 <= config.max_rejected_share <= 1:  # NaN is not
        yield f"max_rejected_share: {config.max_rejected_share} is not between 0 and 1"
    for code in config.retry:
        if code not in set(RejectCode):
            yield f"retry: {code!r} is not one of {', '.join(RejectCode)}"
    cluster, batch = config.cluster, config.batch
    for name, number in (
        ("image.max_pixels", config.image.max_pixels),
        ("output.unit_size", config.output.unit_size),
        ("cluster.min_actors", cluster.min_actors),
        ("cluster.max_actors", cluster.max_actors),
        ("batch.images", batch.images),
        ("batch.memory_mb", batch.memory_mb),
        ("batch.load_threads", batch.load_threads),
        ("batch.prefetch_mb", batch.prefetch_mb),
        ("everything.points_per_side", config.everything.points_per_side),
    ):
        if number is not None and number < 1:
            yield f"{name}: {number} is less than 1"
    if cluster.max_actors is not None and cluster.max_actors < cluster.min_actors:
        yield f"cluster.max_actors: {cluster.max_actors} is less than cluster.min_actors {cluster.min_actors}"
    for name, amount in (("gpus_per_actor", cluster.gpus_per_actor), ("cpus_per_actor", cluster.cpus_per_actor)):
        if amount is not None and not (math.isfinite(amount) and amount >= 0):
            yield f"cluster.{name}: {amount} is not a number of at least 0"
    for name, seconds in (
        ("start_timeout_s", cluster.start_timeout_s),
        ("stall_timeout_s", cluster.stall_timeout_s),
    ):
        if not seconds > 0:
            yield f"cluster.{name}: {seconds} is not positive"


def other_kinds_problems(config: LabelConfig) -> Iterator[str]:
    """Yield what does not go with given objects, or with everything."""
    objects, everything = config.objects, config.everything
    if objects.uri and objects.column:
        yield "objects: give objects.uri or objects.column, not both"
    if objects.given and everything.asked:
        yield "objects, everything: a job masks given objects, or everything there is; give one of the two"
    for asked, what in ((objects.given, "given objects"), (everything.asked, "everything there is")):
        if asked and (config.exemplars.uri or config.exemplars.column):
            yield f"exemplars: they are of concepts, and this job masks {what}; label concepts in a job of their own"
    if everything.asked and (config.prompts.categories or config.prompts.uri):
        yield "prompts: they ask for concepts, and this job masks everything there is; give one of the two"
    for name, share in (("iou", everything.iou), ("stability", everything.stability), ("nms", everything.nms)):
        if not 0 <= share <= 1:  # NaN is not
            yield f"everything.{name}: {share} is not between 0 and 1"
    if not 0 <= everything.crop_layers <= MOST_CROP_LAYERS:
        yield f"everything.crop_layers: {everything.crop_layers} is not between 0 and {MOST_CROP_LAYERS}"


def tiles_problems(config: LabelConfig) -> Iterator[str]:
    """Yield what is wrong with windows of large images, and what does not go with them."""
    tiles = config.tiles
    for name, number, least in (
        ("size_px", tiles.size_px, 64),
        ("overlap_px", tiles.overlap_px, 0),
        ("over_px", tiles.over_px, 1),
    ):
        if number is not None and number < least:
            yield f"tiles.{name}: {number} is less than {least}"
    if tiles.size_px is None:
        if tiles.over_px is not None or tiles.whole:
            yield "tiles.size_px: required with tiles.over_px and tiles.whole, for example tiles.size_px=1008"
        return
    if tiles.overlap_px > tiles.size_px // 2:
        yield f"tiles.overlap_px: {tiles.overlap_px} is more than half of tiles.size_px {tiles.size_px}"
    if config.objects.given:
        yield "tiles: given objects are looked at in the whole image; leave tiles.size_px out"
    if config.exemplars.uri or config.exemplars.column:
        yield "tiles: an exemplar is seen by its own window alone; look for concepts by their phrases, or without tiles"
    if config.everything.crop_layers:
        yield "tiles, everything.crop_layers: both cut images into windows; give one of the two"


def refine_problems(config: RefineConfig) -> Iterator[str]:
    yield from prompts_problems(config.prompts)
    yield from decision_problems(config)


def prompts_problems(prompts: PromptsConfig) -> Iterator[str]:
    if prompts.uri and prompts.categories:
        yield "prompts: give prompts.categories or prompts.uri, not both"


def decision_problems(config: LabelConfig | RefineConfig) -> Iterator[str]:
    """Yield the problems of the rules that select labels; a refinement leaves what is `same` as it was."""
    metrics = ("iou", "ios") if isinstance(config, LabelConfig) else ("iou", "ios", SAME)
    if config.nms.metric not in metrics:
        yield f"nms.metric: {config.nms.metric!r} is not one of {', '.join(metrics)}"
    limits: dict[str, tuple[Any, float, float]] = {
        "threshold": (config.threshold, 0, 1),
        "nms.within": (config.nms.within, 0, 1),
        "nms.across": (config.nms.across, 0, 1),
        "min_area": (config.min_area, 0, math.inf),
        "max_area": (config.max_area, 1, math.inf),
        "max_instances": (config.max_instances, 1, math.inf),
    }
    for name, (value, least, most) in limits.items():
        if isinstance(value, str):
            if value != SAME:
                yield f"{name}: {value!r} is neither a number nor {SAME}"
        elif value is not None and not least <= value <= most:  # NaN is not
            between = f"between {least} and {most}" if most < math.inf else f"{least} or more"
            yield f"{name}: {value} is not {between}"
    if isinstance(config.min_area, int) and isinstance(config.max_area, int) and config.max_area < config.min_area:
        yield f"max_area: {config.max_area} is less than min_area {config.min_area}"


PROBLEMS: dict[type, Callable[[Any], Iterator[str]]] = {
    LabelConfig: label_problems,
    RefineConfig: refine_problems,
    ExportConfig: export_problems,
    EvaluateConfig: evaluate_problems,
    ReportConfig: report_problems,
    DemoScenesConfig: demo_scenes_problems,
}
