"""Prompts as people write them, a list or a YAML file, read and checked into an ontology."""

import math
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from autolabel.config import PromptsConfig
from autolabel.errors import BadInput, did_you_mean, quoted_value
from autolabel.prompts.ontology import Category, Ontology, normalized, sameness
from autolabel.storage import open_storage
from autolabel.storage.uris import absolute_uri

MAX_ID = 2**31 - 1  # ids are 32-bit integers in the label files


MAX_DEPTH = 100  # of lists and mappings in a prompt file, which needs 4


def parse_prompt_file(text: str, place: str) -> list[Any]:
    """Return the entries of a YAML file, which is a list or has one under `categories:`; raise BadInput.

    `place` is how problems name the file. The entries themselves are checked by `read_categories`.
    """
    try:
        _refuse_traps(text)
        document = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506  # a safe loader
    except (yaml.YAMLError, ValueError, LookupError) as error:  # the last two: of a number, a date or a boolean
        raise BadInput(f"{place}: not YAML: {' '.join(str(error).split())}") from error
    if isinstance(document, dict):
        problems = [f"{place}: {_unknown_field(name, ['categories'])}" for name in document if name != "categories"]
        if problems:
            raise BadInput(problems)
        document, place = document.get("categories"), f"{place} categories"
    if not isinstance(document, list):
        raise BadInput(f"{place}: expected a list of categories, not {quoted_value(document)}")
    return document


def read_categories(
    entries: Sequence[Any], *, place: str, count_tokens: Callable[[Sequence[str]], list[int]], max_tokens: int
) -> Ontology:
    """Return categories of a list of phrases and mappings; raise BadInput with every problem, each with its index.

    A string is a category of that name and phrase. A mapping has `name` and may have `id`, `supercategory`, `phrases`
    (a string or a list; by default the name), `threshold` and `max_instances`. Ids not given are 1, 2, 3... in order,
    without those that are given. `count_tokens` gives the length of each phrase as `max_tokens` counts it.
    """
    if not entries:
        raise BadInput(f"{place}: no categories; give at least one phrase")
    readers = [_EntryReader(entry, f"{place}[{index}]") for index, entry in enumerate(entries)]
    _refuse_repeats(readers)
    _refuse_long_phrases(readers, count_tokens, max_tokens)
    problems = [f"{reader.place}: {problem}" for reader in readers for problem in reader.problems]
    if problems:
        raise BadInput(problems)
    taken = {reader.category.id for reader in readers}
    free = (number for number in range(1, MAX_ID + 1) if number not in taken)
    categories = [reader.category for reader in readers]
    numbered = [category if category.id else replace(category, id=next(free)) for category in categories]
    return Ontology(categories=tuple(sorted(numbered, key=lambda category: category.id)))


class _EntryReader:
    """One entry as a category, with what is wrong with it. An id of 0 is one still to be given."""

    def __init__(self, entry: Any, place: str) -> None:
        self.place = place
        self.problems: list[str] = []
        fields: Mapping[Any, Any] = entry if isinstance(entry, Mapping) else {"name": entry}
        kind = "name" if isinstance(entry, Mapping) else "phrase"
        name = self._text(kind, fields["name"]) if "name" in fields else None
        if "name" not in fields:
            self.problems.append("name is missing")
        if name:
            self.place += f" {quoted_value(name)}"
        self.problems += [_unknown_field(field, _FIELDS) for field in fields if field not in _FIELDS]
        supercategory = fields.get("supercategory")
        self.category = Category(
            id=self._integer("id", fields.get("id"), MAX_ID) or 0,
            name=name or "",
            phrases=self._phrases(fields["phrases"]) if "phrases" in fields else ((name,) if name else ()),
            supercategory=None if supercategory is None else self._text("supercategory", supercategory),
            threshold=self._threshold(fields.get("threshold")),
            max_instances=self._integer("max_instances", fields.get("max_instances"), MAX_ID),
        )

    def _text(self, field: str, value: Any) -> str | None:
        if value is None:
            self.problems.append(f"{field} is empty")
        elif not isinstance(value, str):
            advice = "" if isinstance(value, list | dict) else "; put it in quotes if it is meant as text"
            self.problems.append(f"{field} is {_kind(value)}, {quoted_value(value)}{advice}")
        elif not any(unicodedata.category(character)[0] not in "ZC" for character in value):
            self.problems.append(f"{field} is blank")
        elif any(unicodedata.category(character) in ("Cc", "Cs") for character in normalized(value)):
            self.problems.append(f"{field} {quoted_value(value)} has control characters")
        else:
            return normalized(value)
        return None

    def _phrases(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            phrases = [self._text("phrase", value)]
        elif not value:
            self.problems.append("phrases is an empty list")
            return ()
        else:
            phrases = [self._text(f"phrases[{index}]", phrase) for index, phrase in enumerate(value)]
        return tuple(phrase for phrase in phrases if phrase)

    def _integer(self, field: str, value: Any, maximum: int) -> int | None:
        if value is None:
            return None
        if type(value) is int and 1 <= value <= maximum:
            return value
        self.problems.append(f"{field} is {quoted_value(value)}, not an integer from 1 to {maximum}")
        return None

    def _threshold(self, value: Any) -> float | None:
        if value is None:
            return None
        if type(value) in (int, float) and not math.isnan(value) and 0 <= value < 1:
            return float(value)
        self.problems.append(f"threshold is {quoted_value(value)}, not a number of at least 0 and below 1")
        return None


_FIELDS = ("name", "id", "supercategory", "phrases", "threshold", "max_instances")


def _refuse_repeats(readers: Sequence[_EntryReader]) -> None:
    first: dict[tuple[str, Any], str] = {}
    for reader in readers:
        category = reader.category
        claims: list[tuple[str, Any, Any]] = [("phrase", sameness(phrase), phrase) for phrase in category.phrases]
        claims += [("name", category.name, category.name)] if category.name else []
        claims += [("id", category.id, category.id)] if category.id else []
        for field, value, given in reversed(claims):
            owner = first.setdefault((field, value), reader.place)
            if owner is not reader.place:
                reader.problems.append(f"{field} {quoted_value(given)} is already that of {owner}")
        same = [sameness(phrase) for phrase in category.phrases]
        repeated = [phrase for index, phrase in enumerate(category.phrases) if same[index] in same[:index]]
        reader.problems += [f"phrase {quoted_value(phrase)} is given twice" for phrase in repeated]


def _refuse_long_phrases(
    readers: Sequence[_EntryReader], count_tokens: Callable[[Sequence[str]], list[int]], max_tokens: int
) -> None:
    pairs = [(reader, phrase) for reader in readers for phrase in reader.category.phrases]
    counts = count_tokens([phrase for _, phrase in pairs])
    for (reader, phrase), count in zip(pairs, counts, strict=True):
        if count > max_tokens:
            reader.problems.append(f"phrase {quoted_value(phrase)} has {count} tokens, the limit is {max_tokens}")


def _unknown_field(field: Any, known: Collection[str]) -> str:
    return f"unknown field {quoted_value(field)}{did_you_mean(str(field), known)}"


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "a boolean (YAML reads a bare yes, no, on, off, true or false as one)"
        case int() | float():
            return "a number"
        case list() | dict():
            return "not text"
        case _:
            return f"a {type(value).__name__}"


def _refuse_traps(text: str) -> None:
    """Raise YAMLError for what no list of categories needs and a few lines of which exhaust a process.

    That is depth, by the stack of the C parser, and merge keys of aliases, by the memory for what they stand for.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH}")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            raise yaml.YAMLError("merge keys (<<) are not read here; write the fields out")


class _UniqueKeys(yaml.CSafeLoader):  # type: ignore[misc]  # untyped, as above
    """Refuses a mapping that names a key twice; YAML itself would keep the last in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, name in enumerate(names):
            if name in names[:index]:
                mark = node.value[index][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is given twice", mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def named_in(entries: Sequence[Any]) -> Ontology:
    """Return every name in entries, whatever else is wrong with them: to check exemplars beside faulty prompts."""
    names = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in entries]
    distinct = dict.fromkeys(normalized(name) for name in names if isinstance(name, str))
    return Ontology(categories=tuple(Category(id=n, name=name, phrases=()) for n, name in enumerate(distinct, start=1)))


def prompt_entries(prompts: PromptsConfig, storage_options: Mapping[str, Any]) -> tuple[list[Any], str]:
    """Return the entries as they are written, and where; `read_categories` checks them.

    Raises:
        BadInput: the file is not there, or holds no list.
    """
    place = prompts.uri
    if place is None:
        return prompts.categories, "prompts"
    try:
        text = open_storage(place, dict(storage_options)).read(absolute_uri(place)).decode()
    except FileNotFoundError as error:
        raise BadInput(f"prompts.uri: {place} does not exist") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"prompts.uri: {place}: {error}") from error
    return parse_prompt_file(text, place), place
