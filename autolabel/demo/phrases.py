"""What the demo model can be asked for: kinds of objects, the phrases that name them, and the words that it knows."""

from dataclasses import dataclass
from itertools import product

# Each colour of an object, and the second one of its stripes.
COLORS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "red": ((214, 38, 40), (110, 18, 26)),
    "orange": ((242, 128, 22), (140, 68, 8)),
    "yellow": ((242, 214, 44), (150, 124, 14)),
    "green": ((44, 164, 62), (18, 84, 34)),
    "blue": ((42, 84, 218), (16, 38, 112)),
    "purple": ((142, 54, 184), (68, 22, 96)),
    "white": ((242, 242, 242), (168, 168, 168)),
    "black": ((22, 22, 24), (96, 96, 100)),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "moon")
FILLS = ("plain", "striped")
ANY = ("shape", "object")  # nouns of every shape

SYNONYMS = {
    "circle": ("disc", "disk"),
    "square": ("box",),
    "ring": ("donut", "hoop"),
    "cross": ("plus",),
    "moon": ("crescent", "half moon"),
    "purple": ("violet",),
    "plain": ("solid",),
}
PLURALS = {
    "circle": "circles",
    "disc": "discs",
    "square": "squares",
    "box": "boxes",
    "triangle": "triangles",
    "star": "stars",
    "ring": "rings",
    "cross": "crosses",
    "heart": "hearts",
    "moon": "moons",
    "shape": "shapes",
    "object": "objects",
}
ARTICLES = ("a", "the", "every", "all")


@dataclass(frozen=True, order=True)
class Kind:
    """The looks of an object: objects of one kind differ in size, place and rotation alone."""

    color: str
    shape: str
    fill: str


@dataclass(frozen=True)
class Phrase:
    """Words, and what an object must be to be meant by them; None: anything."""

    text: str
    color: str | None = None
    shape: str | None = None
    fill: str | None = None

    def means(self, kind: Kind) -> bool:
        return self.color in (None, kind.color) and self.shape in (None, kind.shape) and self.fill in (None, kind.fill)


def phrase(color: str | None = None, shape: str | None = None, fill: str | None = None) -> Phrase:
    """Return the plain way to say it: "red circle", "blue shape", "striped star"."""
    words = [word for word in (fill, color, shape or ANY[0]) if word]
    return Phrase(" ".join(words), color, shape, fill)


# The categories of the ground truth: every pair of attributes that a user would name, and every single one.
PHRASES: tuple[Phrase, ...] = (
    phrase(),
    *(phrase(shape=shape) for shape in SHAPES),
    *(phrase(color=color) for color in COLORS),
    *(phrase(fill=fill) for fill in FILLS),
    *(phrase(color=color, shape=shape) for color, shape in product(COLORS, SHAPES)),
    *(phrase(shape=shape, fill=fill) for fill, shape in product(FILLS, SHAPES)),
)

# Every word that the model is trained to tell apart. All others are one and the same word to it, which finds nothing.
WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        " ".join(
            [*COLORS, *SHAPES, *FILLS, *ANY, *PLURALS.values(), *ARTICLES]
            + [synonym for synonyms in SYNONYMS.values() for synonym in synonyms]
        ).split()
    )
)
