"""Concepts, what to look for in one image: phrases, exemplar boxes, or both together.

For one image and one category, each phrase makes one prompt with all exemplars that the category has on that image.
Without text (`use_text` false) a category that has exemplars on the image is prompted by them alone, and one that has
none by its phrases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from autolabel.prompts.ontology import Prompt


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """A box of what a category is, or is not, on one image."""

    category_id: int
    box_cxcywh: tuple[float, float, float, float]  # centre and size, fractions of the decoded image's width and height
    positive: bool


@dataclass(frozen=True, kw_only=True)
class Concept:
    """Something to look for in one image, by one prompt of the job: a phrase, exemplars, or both."""

    prompt_id: int
    category_id: int
    phrase: str | None  # None: the exemplars alone
    exemplars: tuple[Exemplar, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageExemplars:
    """The exemplars of one image, in the order they were given."""

    size_hw: tuple[int, int] | None  # of the image that boxes were checked against, to be met at decoding; None: any
    exemplars: tuple[Exemplar, ...]


def concepts(prompts: Sequence[Prompt], exemplars: Sequence[Exemplar], *, use_text: bool) -> tuple[Concept, ...]:
    """Return what to look for in an image with these exemplars, in the order of the job's prompts."""
    concepts: list[Concept] = []
    for prompt in prompts:
        own = tuple(exemplar for exemplar in exemplars if exemplar.category_id == prompt.category_id)
        exemplars_alone = bool(own) and not use_text
        if exemplars_alone == (prompt.phrase is None):
            concepts.append(
                Concept(prompt_id=prompt.id, category_id=prompt.category_id, phrase=prompt.phrase, exemplars=own)
            )
    return tuple(concepts)
