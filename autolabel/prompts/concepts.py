"""What to look for in one image: phrases, exemplar boxes, or both together.

For one image and one category, each phrase makes one prompt with all exemplars that the category has on that image.
Without text (`use_text` false) a category that has exemplars on the image is prompted by them alone, and one that has
none by its phrases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from autolabel.prompts.ontology import Ontology


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """A box of what a category is, or is not, on one image."""

    category_id: int
    box_cxcywh: tuple[float, float, float, float]  # centre and size, fractions of the declared frame's width and height
    positive: bool


@dataclass(frozen=True, kw_only=True)
class Concept:
    """What to look for in one image: a phrase, exemplars, or both."""

    category_id: int
    phrase: str | None  # None: the exemplars alone
    exemplars: tuple[Exemplar, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageExemplars:
    """The exemplars of one image, in the order they were given."""

    size_hw: tuple[int, int] | None  # the frame that boxes were checked against, to be met at decoding; None: any
    exemplars: tuple[Exemplar, ...]


def concepts(ontology: Ontology, exemplars: Sequence[Exemplar], *, use_text: bool) -> tuple[Concept, ...]:
    """What to look for in an image with these exemplars, by category and phrase."""
    found: list[Concept] = []
    for category in ontology.categories:
        own = tuple(exemplar for exemplar in exemplars if exemplar.category_id == category.id)
        phrases = category.phrases if use_text or not own else (None,)
        found += [Concept(category_id=category.id, phrase=phrase, exemplars=own) for phrase in phrases]
    return tuple(found)
