"""What a job is asked for: every setting that can change a label, as `run.json` holds it.

How the work is executed (actors, batches, endpoints, compilation) is not part of it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cached_property
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

import orjson

from autolabel.config import ImageConfig, LabelConfig, NmsConfig, ObjectsConfig, TilesConfig
from autolabel.prompts.ontology import Ontology, Prompt
from autolabel.selection.rules import Rules

SCHEMA_VERSION = 3  # of the settings, and of the files of an output

CONCEPT_THRESHOLD = 0.5  # where none is given

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """Where the images are; what is there is sealed in the plan."""

    uri: str
    uri_column: str
    image_root: str | None


@dataclass(frozen=True, kw_only=True)
class ExemplarSettings:
    """How exemplars prompt; `sha256` is of the file that holds them, None without any."""

    sha256: str | None
    column: str | None
    use_text: bool
    box_format: str
    normalized: bool


@dataclass(frozen=True, kw_only=True)
class ObjectSettings:
    """How given objects are masked; `sha256` is of the file that holds them."""

    sha256: str
    column: str | None
    box_format: str
    normalized: bool
    use_masks: bool


@dataclass(frozen=True, kw_only=True)
class EverythingSettings:
    """How everything is masked: see config.EverythingConfig."""

    points_per_side: int
    iou: float
    stability: float
    nms: float
    crop_layers: int


@dataclass(frozen=True, kw_only=True)
class TileSettings:
    """How large images are looked at: see config.TilesConfig."""

    size_px: int
    overlap_px: int
    over_px: int
    whole: bool


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The model; `weights` is its checkpoint's sha256, or the seed of random ones."""

    architecture: str
    weights: str
    precision: str


@dataclass(frozen=True, kw_only=True)
class RefinedFrom:
    """The output that a refined one was made of."""

    uri: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Everything that can change a label."""

    input: InputSettings
    image: ImageConfig
    ontology: Ontology
    exemplars: ExemplarSettings
    model: ModelSettings
    threshold: float
    keep_threshold: float
    nms: NmsConfig
    min_area: int
    max_area: int | None
    max_instances: int | None
    objects: ObjectSettings | None = None  # None: the job asks for something else
    everything: EverythingSettings | None = None
    tiles: TileSettings | None = None
    refined_from: RefinedFrom | None = None

    @property
    def has_concepts(self) -> bool:
        """Whether the job looks for concepts, as it does where it asks for nothing else."""
        return self.objects is None and self.everything is None

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """The job's prompts, each at the place that its id says."""
        exemplars_alone = self.exemplars.sha256 is not None and not self.exemplars.use_text
        return self.ontology.prompts(without_phrase=exemplars_alone or not self.has_concepts)

    @cached_property
    def rules(self) -> Rules:
        """Which of the model's instances become labels."""
        categories = self.ontology.categories
        return Rules(
            threshold_of={c.id: self.threshold if c.threshold is None else c.threshold for c in categories},
            nms_within=self.nms.within,
            nms_across=self.nms.across,
            metric=self.nms.metric,
            min_area_px=max(1, self.min_area),  # an object whose mask is empty has an area of 0, and is no label
            max_area_px=self.max_area,
            max_instances=self.max_instances,
            max_instances_of={c.id: c.max_instances for c in categories if c.max_instances is not None},
        )

    @cached_property
    def keep_threshold_of(self) -> dict[int, float]:
        """By category: instances with scores above it are stored, as labels or as candidates."""
        if not self.has_concepts:  # all of them are
            return dict.fromkeys(self.rules.threshold_of, -1.0)
        return {id: min(self.keep_threshold, limit) for id, limit in self.rules.threshold_of.items()}

    @cached_property
    def fingerprint(self) -> str:
        """What tells these settings from any others."""
        return fingerprint_of(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; of what is not there (OPTIONAL), no key."""
        values = {name: value for name, value in vars(self).items() if name in _NAMES and name != "ontology"}
        plain = {name: asdict(value) if is_dataclass(value) else value for name, value in values.items()}  # type: ignore[arg-type]  # an instance
        for name in OPTIONAL:
            if plain[name] is None:
                del plain[name]
        return {"schema_version": SCHEMA_VERSION, "categories": self.ontology.to_list(), **plain}

    @staticmethod
    def from_dict(values: Mapping[str, Any], ontology: Ontology) -> "LabelSettings":
        """Return the settings that `to_dict` wrote; `ontology` is what its categories were read as.

        Raises:
            ValueError: a field is missing, unknown, or of another type.
        """
        plain = {name: value for name, value in values.items() if name not in ("schema_version", "categories")}
        return read_dataclass(LabelSettings, plain, "settings", ontology=ontology)


OPTIONAL = ("objects", "everything", "tiles", "refined_from")
_NAMES = {field.name for field in fields(LabelSettings)}


def label_settings(
    config: LabelConfig,
    ontology: Ontology,
    *,
    input_uri: str,
    weights: str,
    exemplars_sha256: str | None = None,
    objects_sha256: str | None = None,
) -> LabelSettings:
    """Return what a job with this configuration is asked for. `weights` is as in ModelSettings."""
    has_concepts = config.has_concepts
    threshold = config.threshold
    if threshold is None:
        threshold = CONCEPT_THRESHOLD if has_concepts else 0.0
    return LabelSettings(
        input=InputSettings(uri=input_uri, uri_column=config.input.uri_column, image_root=config.input.image_root),
        image=config.image,
        ontology=ontology,
        exemplars=ExemplarSettings(
            sha256=exemplars_sha256,
            column=config.exemplars.column,
            use_text=config.exemplars.use_text,
            box_format=config.exemplars.box_format,
            normalized=config.exemplars.normalized,
        ),
        model=ModelSettings(architecture=config.model.architecture, weights=weights, precision=config.model.precision),
        threshold=threshold,
        keep_threshold=config.keep_threshold if has_concepts else 0.0,
        nms=config.nms if has_concepts else NmsConfig(within=None),  # whoever gave a box wants its mask
        min_area=config.min_area,
        max_area=config.max_area,
        max_instances=config.max_instances,
        objects=None if objects_sha256 is None else object_settings(config.objects, objects_sha256),
        everything=EverythingSettings(**vars(config.everything)) if config.everything.asked else None,
        tiles=tile_settings(config.tiles),
    )


def object_settings(config: ObjectsConfig, sha256: str) -> ObjectSettings:
    return ObjectSettings(
        sha256=sha256,
        column=config.column,
        box_format=config.box_format,
        normalized=config.normalized,
        use_masks=config.use_masks,
    )


def tile_settings(config: TilesConfig) -> TileSettings | None:
    if config.size_px is None:
        return None
    return TileSettings(
        size_px=config.size_px,
        overlap_px=config.overlap_px,
        over_px=config.size_px if config.over_px is None else config.over_px,
        whole=config.whole,
    )


def fingerprint_of(settings: Mapping[str, Any]) -> str:
    """Return the sha256 of settings in canonical JSON, hexadecimal."""
    return hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()


def read_dataclass(kind: type[Settings], values: Any, place: str, **given: Any) -> Settings:
    """Return a dataclass of plain values, nested ones too; `given` are fields that are there already.

    Raises:
        ValueError: a field is missing, unknown, or of another type; the message names it.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{place} is not a mapping")
    hints = get_type_hints(kind)
    named = {field.name: field for field in fields(kind) if field.name not in given}  # type: ignore[arg-type]  # a dataclass
    if unknown := values.keys() - named:
        raise ValueError(f"{place} has the unknown field {sorted(unknown)[0]}")
    read = dict(given)
    for name, field in named.items():
        if name in values:
            read[name] = _read_value(hints[name], values[name], f"{place}.{name}")
        elif field.default is MISSING:
            raise ValueError(f"{place} lacks {name}")
    return kind(**read)


def _read_value(hint: Any, value: Any, place: str) -> Any:
    choices = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for choice in choices:
        if is_dataclass(choice) and isinstance(value, Mapping):
            return read_dataclass(choice, value, place)  # type: ignore[arg-type]  # a class
        if type(value) is choice or (choice is float and type(value) is int):
            return value
    raise ValueError(f"{place} is a {type(value).__name__}")
