"""`run.json`: what was asked of this output, created once before the first image is touched.

The fingerprint covers every setting that can change a label. A later run with another fingerprint is refused, with
the fields that differ; how the work is executed (actors, batches, endpoints) is not part of it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import uuid4

import orjson

from autolabel.config import LabelConfig
from autolabel.errors import BadInput, Refused
from autolabel.prompts.categories import read_categories
from autolabel.prompts.ontology import Ontology
from autolabel.selection import Rules
from autolabel.storage import Storage
from autolabel.storage.uris import join
from autolabel.version import __version__

RUN_NAME = "run.json"
SCHEMA_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The contents of run.json. `settings` is what the fingerprint covers, as nested plain values."""

    run_id: str
    created_at: str
    autolabel_version: str
    fingerprint: str
    settings: dict[str, Any]

    @cached_property
    def ontology(self) -> Ontology:
        return Ontology.from_list(self.settings["categories"])

    @cached_property
    def rules(self) -> Rules:
        """Which of the model's instances became labels."""
        settings, categories = self.settings, self.ontology.categories
        return Rules(
            threshold_of={c.id: settings["threshold"] if c.threshold is None else c.threshold for c in categories},
            nms_within=settings["nms"]["within"],
            nms_across=settings["nms"]["across"],
            metric=settings["nms"]["metric"],
            min_area_px=settings["min_area"],
            max_area_px=settings["max_area"],
            max_instances=settings["max_instances"],
            max_instances_of={c.id: c.max_instances for c in categories if c.max_instances is not None},
        )

    @cached_property
    def keep_threshold_of(self) -> dict[int, float]:
        """By category: instances with scores above it are stored, as labels or as candidates."""
        return {id: min(self.settings["keep_threshold"], limit) for id, limit in self.rules.threshold_of.items()}


def label_settings(
    config: LabelConfig,
    ontology: Ontology,
    *,
    input_uri: str,
    weights: str,
    exemplars_sha256: str | None,
) -> dict[str, Any]:
    """Everything that can change a label. `weights` is the checkpoint's sha256, or the seed of random ones."""
    return {
        "schema_version": SCHEMA_VERSION,
        "input": {"uri": input_uri, "image_root": config.input.image_root},
        "image": asdict(config.image),
        "categories": ontology.to_list(),
        "exemplars": {
            "sha256": exemplars_sha256,
            "column": config.exemplars.column,
            "use_text": config.exemplars.use_text,
            "box_format": config.exemplars.box_format,
            "normalized": config.exemplars.normalized,
        },
        "model": {
            "architecture": config.model.architecture,
            "weights": weights,
            "precision": config.model.precision,
        },
        "threshold": config.threshold,
        "keep_threshold": config.keep_threshold,
        "nms": asdict(config.nms),
        "min_area": config.min_area,
        "max_area": config.max_area,
        "max_instances": config.max_instances,
    }


def fingerprint(settings: dict[str, Any]) -> str:
    """sha256 of the settings in canonical JSON, hexadecimal."""
    return hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()


def read(storage: Storage, output_uri: str) -> RunRecord | None:
    """The record of an output, or None where no job has begun.

    Raises:
        BadInput: there is a run.json, but not one of this program.
    """
    uri = join(output_uri, RUN_NAME)
    try:
        data = storage.read(uri)
    except FileNotFoundError:
        return None
    try:
        record = RunRecord(**orjson.loads(data))
        version, written = record.settings["schema_version"], fingerprint(record.settings)
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        raise BadInput(f"{uri} was not written by autolabel: {error}") from error
    if version != SCHEMA_VERSION:
        raise BadInput(f"{uri} has schema version {json_value(version)}, this is {SCHEMA_VERSION}")
    if record.fingerprint != written:
        raise BadInput(f"{uri} was changed: its fingerprint is not that of its settings")
    check_ontology(record, uri)
    try:
        record.keep_threshold_of  # noqa: B018  # read of the settings, and kept
    except (KeyError, TypeError) as error:
        raise BadInput(f"{uri} was not written by autolabel: its settings lack {error}") from error
    return record


def check_ontology(record: RunRecord, uri: str) -> None:
    """Raises BadInput where a record's categories are none that a job could have been started with."""
    entries = record.settings.get("categories")
    if not isinstance(entries, list):
        raise BadInput(f"{uri} was not written by autolabel: it has no list of categories")
    read = read_categories(
        entries, place=f"{uri} categories", count_tokens=lambda phrases: [0] * len(phrases), max_tokens=0
    )
    if read.to_list() != entries:
        raise BadInput(f"{uri} was not written by autolabel: its categories lack fields")


def new_record(settings: dict[str, Any]) -> RunRecord:
    """A record of settings that nobody asked for before."""
    return RunRecord(
        run_id=uuid4().hex,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        autolabel_version=__version__,
        fingerprint=fingerprint(settings),
        settings=settings,
    )


def create_or_match(storage: Storage, output_uri: str, settings: dict[str, Any]) -> RunRecord:
    """Create run.json, or accept the one that is there if it asks for the same.

    Raises:
        Refused: it asks for something else; the message has a line for each field that differs.
    """
    record = new_record(settings)
    if storage.create_once(join(output_uri, RUN_NAME), orjson.dumps(asdict(record), option=orjson.OPT_INDENT_2)):
        return record
    existing = read(storage, output_uri)
    if existing is None:
        raise Refused(f"{join(output_uri, RUN_NAME)} appeared and went: is another program cleaning this output?")
    check_same(existing, settings, output_uri)
    return existing


def check_same(existing: RunRecord, settings: dict[str, Any], output_uri: str) -> None:
    """Raises Refused where `settings` would give other labels than those that the output holds."""
    if existing.fingerprint == fingerprint(settings):
        return
    lines = [f"{output_uri} holds a job that was asked for something else; use a new output.uri, or the same settings:"]
    lines += [f"  {name}: {old} there, {new} now" for name, old, new in differences(existing.settings, settings, "")]
    raise Refused("\n".join(lines))


def differences(old: Any, new: Any, name: str) -> Iterator[tuple[str, str, str]]:
    """The leaves in which two nested settings differ: (dotted name, old value, new value)."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            was, now = (values[index] if index < len(values) else None for values in (old, new))
            yield from differences(was, now, f"{name}[{index}]")
    elif old != new:
        yield name, json_value(old), json_value(new)


def json_value(value: Any) -> str:
    return "nothing" if value is None else orjson.dumps(value).decode()
