"""`run.json`: what was asked of this output, created once before the first image is touched.

The fingerprint covers every setting that can change a label. A later run with another fingerprint is refused, with
the fields that differ; how the work is executed (actors, batches, endpoints) is not part of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson

from autolabel.errors import BadInput, Refused, quoted_value
from autolabel.output.settings import SCHEMA_VERSION, LabelSettings
from autolabel.prompts.categories import read_categories
from autolabel.prompts.ontology import Ontology
from autolabel.storage import Storage
from autolabel.storage.uris import join
from autolabel.version import __version__
from autolabel.wording import first_few

RUN_NAME = "run.json"
FIELDS = ("run_id", "created_at", "autolabel_version", "fingerprint", "settings", "unknown_words")
SHOWN_WORDS = 10


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The contents of run.json."""

    run_id: str
    created_at: str
    autolabel_version: str
    settings: LabelSettings
    unknown_words: tuple[str, ...] = ()  # of the prompts: words that the model was never taught

    @property
    def fingerprint(self) -> str:
        return self.settings.fingerprint

    def to_json(self) -> bytes:
        """Return the contents of the file."""
        plain = {name: getattr(self, name) for name in FIELDS if name != "settings"}
        return orjson.dumps({**plain, "settings": self.settings.to_dict()}, option=orjson.OPT_INDENT_2)

    def note_on_words(self) -> str:
        """Return what who wonders why nothing was found should know; nothing where the model knows every word."""
        if not self.unknown_words:
            return ""
        words = first_few([repr(word) for word in self.unknown_words], SHOWN_WORDS)
        return f"The model does not know {words}: words that find nothing. With model=sam3.1 it knows every word."


def new_record(settings: LabelSettings, unknown_words: tuple[str, ...] = ()) -> RunRecord:
    """Return a record of settings that nobody asked for before."""
    return RunRecord(
        run_id=uuid4().hex,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        autolabel_version=__version__,
        settings=settings,
        unknown_words=unknown_words,
    )


def read(storage: Storage, output_uri: str) -> RunRecord | None:
    """Return the record of an output, or None where no job has begun.

    Raises:
        BadInput: there is a run.json, but not one of this program.
    """
    uri = join(output_uri, RUN_NAME)
    try:
        data = storage.read(uri)
    except FileNotFoundError:
        return None
    try:
        document = orjson.loads(data)
        if not isinstance(document, dict) or set(document) != set(FIELDS):
            raise ValueError(f"it does not hold {', '.join(FIELDS)}")
        values, about = document["settings"], [document[name] for name in FIELDS[:4]]
        words = document["unknown_words"]
        if not isinstance(values, dict) or not all(isinstance(text, str) for text in about):
            raise ValueError("its settings are no mapping, or what it says of itself is no text")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("its unknown words are no list of text")
    except ValueError as error:  # of orjson, too
        raise BadInput(f"{uri} was not written by autolabel: {error}") from error
    if values.get("schema_version") != SCHEMA_VERSION:
        version = quoted_value(values.get("schema_version"))
        raise BadInput(f"{uri} has schema version {version}, this is {SCHEMA_VERSION}; use the version that wrote it")
    try:
        settings = LabelSettings.from_dict(values, read_ontology(values.get("categories"), uri))
    except ValueError as error:
        raise BadInput(f"{uri} was not written by autolabel: {error}") from error
    run_id, created_at, version, fingerprint = about
    if fingerprint != settings.fingerprint:
        raise BadInput(f"{uri} was changed: its fingerprint is not that of its settings")
    return RunRecord(
        run_id=run_id,
        created_at=created_at,
        autolabel_version=version,
        settings=settings,
        unknown_words=tuple(words),
    )


def read_ontology(entries: Any, uri: str) -> Ontology:
    """Return the categories of a record.

    Raises:
        BadInput: they are none that a job could have been started with.
    """
    if not isinstance(entries, list):
        raise BadInput(f"{uri} was not written by autolabel: it has no list of categories")
    ontology = read_categories(
        entries, place=f"{uri} categories", count_tokens=lambda phrases: [0] * len(phrases), max_tokens=0
    )
    if ontology.to_list() != entries:
        raise BadInput(f"{uri} was not written by autolabel: its categories lack fields")
    return ontology


def create_or_match(
    storage: Storage, output_uri: str, settings: LabelSettings, unknown_words: tuple[str, ...] = ()
) -> RunRecord:
    """Create run.json, or accept the one that is there if it asks for the same.

    Raises:
        BadInput: the storage does not keep to creating once, on which everything rests.
        Refused: it asks for something else; the message has a line for each field that differs.
    """
    storage.check_create_once(output_uri)
    record = new_record(settings, unknown_words)
    if storage.create_once(join(output_uri, RUN_NAME), record.to_json()):
        return record
    existing = read(storage, output_uri)
    if existing is None:
        raise Refused(f"{join(output_uri, RUN_NAME)} appeared and went: is another program cleaning this output?")
    check_same(existing, settings, output_uri)
    return existing


def check_same(existing: RunRecord, settings: LabelSettings, output_uri: str) -> None:
    """Raise Refused where `settings` would give other labels than those that the output holds."""
    if existing.fingerprint == settings.fingerprint:
        return
    lines = [f"{output_uri} holds a job that was asked for something else; use a new output.uri, or the same settings:"]
    pairs = differences(existing.settings.to_dict(), settings.to_dict(), "")
    lines += [f"  {name}: {old} there, {new} now" for name, old, new in pairs]
    raise Refused("\n".join(lines))


def differences(old: Any, new: Any, name: str) -> Iterator[tuple[str, str, str]]:
    """Give the leaves in which two nested settings differ: (dotted name, old value, new value)."""
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
