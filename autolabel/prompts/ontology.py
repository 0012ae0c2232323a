"""Categories and the phrases that find them: read, checked, and written to where a reader of the labels looks.

A phrase is normalised in its whitespace alone: stripped, and each run of whitespace (tabs and line breaks too) made one
space. Two phrases are the same if they then differ in nothing but letter case or Unicode composition, because the text
encoder tells neither apart. Names are normalised likewise, but `Car` and `car` are two names.

Importing this module imports no torch: the tokenizer is passed in as `count_tokens`.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Category:
    """A name for instances, and the phrases to look for; None leaves a limit to the job's own."""

    id: int  # 1 or more
    name: str
    phrases: tuple[str, ...]
    supercategory: str | None = None
    threshold: float | None = None  # keep scores above it, in [0, 1)
    max_instances: int | None = None  # of this category in one image


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One question that a job asks of images. `phrase` is None where boxes or points alone ask."""

    id: int  # its place in the job's list
    category_id: int
    phrase: str | None


@dataclass(frozen=True, kw_only=True)
class Ontology:
    """All categories of a job, by ascending id."""

    categories: tuple[Category, ...]

    @cached_property
    def by_id(self) -> dict[int, Category]:
        return {category.id: category for category in self.categories}

    @cached_property
    def by_name(self) -> dict[str, Category]:
        return {category.name: category for category in self.categories}

    def prompts(self, *, without_phrase: bool) -> tuple[Prompt, ...]:
        """Return a job's prompts, numbered from 0: each category's phrases, and then one without, where there are such.

        That is exemplars that ask alone, given objects, or everything.
        """
        phrases = [
            (category.id, phrase)
            for category in self.categories
            for phrase in (*category.phrases, *((None,) if without_phrase else ()))
        ]
        return tuple(Prompt(id=id, category_id=owner, phrase=phrase) for id, (owner, phrase) in enumerate(phrases))

    def to_list(self) -> list[dict[str, Any]]:
        """Return plain values for JSON: every field of every category, always in the same order."""
        return [{**asdict(category), "phrases": list(category.phrases)} for category in self.categories]

    @staticmethod
    def from_list(items: Sequence[Mapping[str, Any]]) -> "Ontology":
        """Return the ontology that `to_list` wrote: nothing is checked again."""
        return Ontology(categories=tuple(Category(**{**item, "phrases": tuple(item["phrases"])}) for item in items))


EVERYTHING = Ontology(categories=(Category(id=1, name="object", phrases=()),))  # of a job without any


def normalized(text: str) -> str:
    """Return text without whitespace at the ends, and with single spaces inside."""
    return " ".join(text.split())


def sameness(phrase: str) -> str:
    """Return what two phrases have in common that the text encoder cannot tell apart."""
    return unicodedata.normalize("NFC", phrase.lower())
