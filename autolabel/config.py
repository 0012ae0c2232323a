"""Every setting as a frozen dataclass: one place for its type, its default and the sentence that explains it.

`conf/` holds the values people choose between; these classes are the schema they are checked against.
Importing this module imports neither torch nor ray.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from autolabel.errors import BadInput
from autolabel.redaction import has_password

NO_PASSWORDS = "holds a password, which would be written wherever the URL is; give it by the environment"


def key(default: Any, sentence: str) -> Any:
    """A dataclass field with its default and the sentence that `--help` prints."""
    metadata = {"help": sentence}
    if isinstance(default, type) or (callable(default) and not isinstance(default, str)):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    uri: str = key(
        "", "Folder, prefix or glob on any fsspec URL, a manifest (.parquet, .csv, .jsonl), or a COCO .json."
    )
    image_root: str | None = key(
        None, "What a manifest's or a COCO file's relative paths start from; its own folder by default."
    )
    suffixes: list[str] = key(
        lambda: ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"],
        "File name endings that a folder or prefix is searched for.",
    )
    storage_options: dict[str, Any] = key(dict, "Passed to the fsspec driver, such as {endpoint_url: ...} for MinIO.")


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    apply_exif: bool = key(True, "Turn images upright by their EXIF orientation; every box and mask is in that frame.")
    max_pixels: int = key(200_000_000, "Larger images are rejected (too_many_pixels) before they are decoded.")


@dataclass(frozen=True, kw_only=True)
class PromptsConfig:
    categories: list[Any] = key(
        list, "Phrases, or mappings of name, id, supercategory, phrases, threshold, max_instances."
    )
    uri: str | None = key(None, "A YAML file with `categories:` to read instead.")


@dataclass(frozen=True, kw_only=True)
class ExemplarsConfig:
    uri: str | None = key(
        None, 'A COCO file: each annotation is an exemplar box of its image, "negative": true a negative one.'
    )
    column: str | None = key(None, "The manifest's column of exemplars: a list of {category, bbox, negative}.")
    use_text: bool = key(True, "Prompt with text and exemplars together; false prompts with the exemplars alone.")
    box_format: str = key("xywh", "How a box is written: xywh, xyxy or cxcywh.")
    normalized: bool = key(False, "Boxes are fractions of the image's width and height instead of pixels.")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    architecture: str = key("tiny", "Which SAM3 to build: full (Meta's sizes) or tiny (the demo's).")
    checkpoint: str | None = key(
        None, "Path, fsspec URL, hf://owner/repo[@revision] or pkg://package/file of the weights; null: seeded ones."
    )
    sha256: str | None = key(None, "Refuse a checkpoint with another sha256.")
    seed: int | None = key(None, "Random weights by this seed, for tests and demos; only without a checkpoint.")
    precision: str = key("float32", "What most of the model works in: float32, or bfloat16 as Meta runs it on GPUs.")
    compile: bool = key(False, "Compile the model with torch.compile: minutes at the start, less time per image.")
    storage_options: dict[str, Any] = key(dict, "Passed to the fsspec driver of the checkpoint.")


@dataclass(frozen=True, kw_only=True)
class NmsConfig:
    within: float | None = key(
        0.7, "Overlap above which the weaker of two masks of one category is dropped; null keeps both."
    )
    across: float | None = key(None, "The same between masks of different categories; null keeps both.")
    metric: str = key("iou", "Overlap is iou (intersection over union) or ios (intersection over the smaller mask).")


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    uri: str = key("", "Folder or prefix of the output: local, s3://, gs:// or az://.")
    storage_options: dict[str, Any] = key(dict, "Passed to the fsspec driver, such as {endpoint_url: ...} for MinIO.")


@dataclass(frozen=True, kw_only=True)
class NewOutputConfig(OutputConfig):
    unit_size: int = key(256, "Images of one work unit, which is one Parquet file; sealed with the plan.")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    address: str | None = key(None, "Ray cluster to join; null finds one (RAY_ADDRESS, ray start) or starts one here.")
    min_actors: int = key(1, "Labelling actors to start with.")
    max_actors: int | None = key(None, "Labelling actors at most; null means one per GPU, or one without GPUs.")
    gpus_per_actor: float | None = key(None, "GPUs of an actor; null means 1 where the cluster has GPUs, else 0.")
    cpus_per_actor: float | None = key(
        None, "CPUs of an actor; null means 1 beside a GPU, else all that can be had; one CPU stays free for Ray Data."
    )
    start_timeout_s: float = key(600.0, "End the job if no labelling actor has started by then.")
    stall_timeout_s: float = key(1800.0, "End the job if for so long no image has left the model, nor a unit ended.")


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    images: int = key(4, "Images of one forward pass.")
    memory_mb: int | None = key(
        None, "Megabytes that the model may use beside its weights; null: most of what a GPU has free, 200 on a CPU."
    )
    load_threads: int = key(16, "Threads of an actor that fetch and decode ahead of the model.")
    prefetch_mb: int = key(256, "Megabytes of images that an actor holds ahead of the model, per unit in hand.")


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Settings of `autolabel label`."""

    input: InputConfig = field(default_factory=InputConfig)
    output: NewOutputConfig = field(default_factory=NewOutputConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    exemplars: ExemplarsConfig = field(default_factory=ExemplarsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    threshold: float = key(0.5, "Keep instances with a score (sigmoid of the logit times presence) above this.")
    nms: NmsConfig = field(default_factory=NmsConfig)
    min_area: int = key(1, "Drop masks of fewer pixels.")
    max_area: int | None = key(None, "Drop masks of more pixels.")
    max_instances: int | None = key(None, "Keep at most this many instances of an image, the best by score.")
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """Settings of `autolabel verify`."""

    output: OutputConfig = field(default_factory=OutputConfig)


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of `autolabel export`."""

    output: OutputConfig = field(default_factory=OutputConfig)
    format: str = key("coco", "Which export to write.")


@dataclass(frozen=True, kw_only=True)
class DemoScenesConfig:
    """Settings of `autolabel demo-scenes`."""

    output: OutputConfig = field(default_factory=OutputConfig)
    count: int = key(200, "How many scenes to draw.")
    seed: int = key(7, "Which series of scenes; 1 is what the demo model was trained on, 2 what it was validated on.")


COMMANDS: dict[str, type] = {
    "label": LabelConfig,
    "verify": VerifyConfig,
    "export": ExportConfig,
    "demo-scenes": DemoScenesConfig,
}


def conf_dir() -> Path:
    """The folder of the YAML files: in the wheel beside this module, in a checkout at the top level."""
    package = Path(__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def register_schemas() -> None:
    """Make each command's dataclass known to Hydra as `<command>_schema`."""
    for command, schema in COMMANDS.items():
        node = OmegaConf.structured(schema)
        thaw(node)
        ConfigStore.instance().store(name=f"{command}_schema", node=node)


def thaw(node: DictConfig) -> None:
    """Let Hydra merge into the schema of a frozen dataclass; the objects made of it are frozen all the same.

    A dictionary takes new keys: `input.storage_options.endpoint_url=...` needs no `+`.
    """
    OmegaConf.set_readonly(node, None)
    if OmegaConf.get_type(node) is dict:
        OmegaConf.set_struct(node, False)
    for name in node:
        if isinstance(child := node._get_node(name), DictConfig):
            thaw(child)


def compose_config(command: str, overrides: list[str]) -> Any:
    """What `autolabel <command> <overrides>` runs with, for notebooks and tests.

    Raises:
        BadInput: the settings are wrong; hydra.errors.HydraException: an override is.
    """
    register_schemas()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return to_settings(compose(command, expand_prompts(overrides)))


def to_settings(composed: DictConfig) -> Any:
    """The frozen dataclass of a composed configuration.

    Raises:
        BadInput: with every problem between and within its fields.
    """
    try:
        settings = OmegaConf.to_object(composed)
    except FrozenInstanceError as error:  # an override of `+key=`
        raise BadInput(f"a key that is not in --help cannot be added: {error}") from error
    problems = list(problems_of(settings))
    if problems:
        raise BadInput(problems)
    return settings


def expand_prompts(overrides: list[str]) -> list[str]:
    """`prompts=[person, red car]` is a list of phrases and `prompts=street.yaml` a file; `prompts=street` stays the
    choice of conf/prompts/street.yaml that Hydra makes of it.
    """
    expanded = []
    for override in overrides:
        name, _, value = override.partition("=")
        value = value.strip()
        path = value.strip("'\"")
        if name == "prompts" and value.startswith("["):
            expanded += ["prompts=none", f"prompts.categories={quoted_phrases(value)}"]
        elif name == "prompts" and path.lower().endswith((".yaml", ".yml")):
            expanded += ["prompts=none", f"prompts.uri={quoted(path)}"]
        else:
            expanded.append(override)
    return expanded


def quoted_phrases(value: str) -> str:
    """A list of bare phrases with each one quoted: Hydra's grammar takes few characters outside quotes.

    A list that has quotes or mappings of its own is left to that grammar.
    """
    phrases = [phrase.strip() for phrase in value.removeprefix("[").removesuffix("]").split(",")]
    if re.search(r'["{}\[\]]', value[1:-1]) or any(phrase.startswith("'") for phrase in phrases):
        return value
    return "[]" if phrases == [""] else f"[{','.join(map(quoted, phrases))}]"


def quoted(text: str) -> str:
    """Text as Hydra's grammar quotes it: a quote is escaped, and so are the backslashes right before one."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"


def problems_of(settings: Any) -> Iterator[str]:
    """What is wrong with a command's settings, beyond their types, a line each."""
    if not settings.output.uri:
        yield "output.uri: required, for example output.uri=labels or output.uri=s3://bucket/labels"
    if has_password(settings.output.uri):
        yield f"output.uri: {NO_PASSWORDS}"
    if isinstance(settings, LabelConfig):
        yield from label_problems(settings)
    if isinstance(settings, DemoScenesConfig):
        for name, number, least in (("count", settings.count, 1), ("seed", settings.seed, 0)):
            if number < least:
                yield f"{name}: {number} is less than {least}"


def label_problems(config: LabelConfig) -> Iterator[str]:
    for name, uri in (
        ("input.uri", config.input.uri),
        ("input.image_root", config.input.image_root),
        ("prompts.uri", config.prompts.uri),
        ("exemplars.uri", config.exemplars.uri),
        ("model.checkpoint", config.model.checkpoint),
    ):
        if uri is not None and has_password(uri):
            yield f"{name}: {NO_PASSWORDS}"
    if not config.input.uri:
        yield "input.uri: required, for example input.uri=photos or input.uri=s3://bucket/photos"
    if not config.input.suffixes:
        yield "input.suffixes: must name at least one file name ending"
    if config.prompts.uri and config.prompts.categories:
        yield "prompts: give prompts.categories or prompts.uri, not both"
    if config.exemplars.uri and config.exemplars.column:
        yield "exemplars: give exemplars.uri or exemplars.column, not both"
    if (config.model.checkpoint is None) == (config.model.seed is None):
        yield "model: give either model.checkpoint or model.seed"
    for name, value, choices in (
        ("exemplars.box_format", config.exemplars.box_format, ("xywh", "xyxy", "cxcywh")),
        ("model.architecture", config.model.architecture, ("full", "tiny")),
        ("model.precision", config.model.precision, ("float32", "bfloat16")),
        ("nms.metric", config.nms.metric, ("iou", "ios")),
    ):
        if value not in choices:
            yield f"{name}: {value!r} is not one of {', '.join(choices)}"
    for name, share in (
        ("threshold", config.threshold),
        ("nms.within", config.nms.within),
        ("nms.across", config.nms.across),
    ):
        if share is not None and not 0 <= share <= 1:  # NaN is not
            yield f"{name}: {share} is not between 0 and 1"
    cluster, batch = config.cluster, config.batch
    for name, number in (
        ("image.max_pixels", config.image.max_pixels),
        ("output.unit_size", config.output.unit_size),
        ("max_area", config.max_area),
        ("max_instances", config.max_instances),
        ("cluster.min_actors", cluster.min_actors),
        ("cluster.max_actors", cluster.max_actors),
        ("batch.images", batch.images),
        ("batch.memory_mb", batch.memory_mb),
        ("batch.load_threads", batch.load_threads),
        ("batch.prefetch_mb", batch.prefetch_mb),
    ):
        if number is not None and number < 1:
            yield f"{name}: {number} is less than 1"
    if config.min_area < 0:
        yield f"min_area: {config.min_area} is negative"
    if config.max_area is not None and config.max_area < config.min_area:
        yield f"max_area: {config.max_area} is less than min_area {config.min_area}"
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


def explained(schema: type, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every key of a command: (dotted name, default, sentence)."""
    for entry in fields(schema):
        if is_dataclass(entry.type):
            yield from explained(entry.type, f"{prefix}{entry.name}.")  # type: ignore[arg-type]  # narrowed to a class
        else:
            default = entry.default_factory() if callable(entry.default_factory) else entry.default
            yield f"{prefix}{entry.name}", default, entry.metadata["help"]
