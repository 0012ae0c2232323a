"""What to ask about a scene in training, and what the answer is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autolabel.demo.phrases import ANY, ARTICLES, COLORS, FILLS, PLURALS, SHAPES, SYNONYMS, Kind, Phrase

# Share of each way to ask. Negative exemplars and hard absent phrases are what takes longest to learn.
MIX = {
    "text": 0.38,
    "absent": 0.22,
    "box": 0.13,
    "box and negative box": 0.09,
    "text and box": 0.03,
    "text and negative box": 0.15,
}
# Which attributes a phrase names: one, two, none ("shape") or all three ("striped red star").
NAMED: dict[tuple[str, ...], float] = {
    ("color", "shape"): 0.45,
    ("shape",): 0.21,
    ("color",): 0.12,
    ("shape", "fill"): 0.10,
    ("fill",): 0.04,
    ("color", "shape", "fill"): 0.04,
    (): 0.04,
}
# Words that name nothing drawn. To the model they are all the same word, so that any few of them will do.
FOREIGN = (
    *("dog", "person", "elephant", "car", "house", "flower", "rectangle", "hexagon", "turquoise", "wooden"),
    *("starfish", "ball", "angles", "tri"),  # the last two: the tokens of "triangles", of which neither alone counts
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One prompt about a scene, and the objects that answer it."""

    way: str  # of MIX
    text: str | None
    boxes: tuple[tuple[int, bool], ...] = ()  # object and whether it is wanted
    answer: frozenset[int]
    meant: Kind | Phrase | None = None  # what one object must be; None where words are foreign


def ask(rng: np.random.Generator, kinds: Sequence[Kind], count: int) -> list[Question]:
    """`count` questions about a scene with objects of these kinds; a way to ask that does not fit is drawn again."""
    ways: dict[str, Callable[[np.random.Generator, Sequence[Kind]], Question | None]] = {
        "text": _text,
        "absent": _absent,
        "box": _box,
        "box and negative box": _box_and_negative,
        "text and box": _text_and_box,
        "text and negative box": _text_and_negative,
    }
    questions: list[Question] = []
    while len(questions) < count:
        way = str(rng.choice(list(MIX), p=list(MIX.values())))
        question = ways[way](rng, kinds)
        if question is not None:
            questions.append(replace(question, way=way))
    return questions


def say(rng: np.random.Generator, phrase: Phrase) -> str:
    """A phrase as someone might put it: synonyms, plurals and articles now and then."""
    noun = phrase.shape or str(rng.choice(ANY))
    words = [word for word in (phrase.fill, phrase.color, noun) if word]
    for place, word in enumerate(words):
        if word in SYNONYMS and rng.random() < 0.25:
            words[place] = str(rng.choice(SYNONYMS[word]))
    if words[-1] in PLURALS and rng.random() < 0.1:
        words[-1] = PLURALS[words[-1]]
    if rng.random() < 0.1:
        words.insert(0, str(rng.choice(ARTICLES)))
    return " ".join(words)


def _text(rng: np.random.Generator, kinds: Sequence[Kind]) -> Question | None:
    phrase = _about(rng, kinds[int(rng.integers(len(kinds)))])
    return Question(way="", text=say(rng, phrase), answer=_meant(phrase, kinds), meant=phrase)


def _absent(rng: np.random.Generator, kinds: Sequence[Kind]) -> Question | None:
    """Nothing, half of the time although each word of it fits some object."""
    if rng.random() < 0.25:
        foreign = [str(word) for word in rng.choice(FOREIGN, rng.integers(1, 3), replace=False)]
        if rng.random() < 0.5:
            some = kinds[int(rng.integers(len(kinds)))]
            known = [(some.color,), (some.shape,), (some.color, some.shape), (some.fill,)][rng.integers(4)]
            foreign = [*foreign[:1], *known] if rng.random() < 0.4 else [*known, *foreign]
        return Question(way="", text=" ".join(foreign), answer=frozenset())
    pool = kinds if rng.random() < 0.6 else ()
    for _ in range(10):
        other = Kind(
            color=str(rng.choice([kind.color for kind in pool] or list(COLORS))),
            shape=str(rng.choice([kind.shape for kind in pool] or list(SHAPES))),
            fill=str(rng.choice([kind.fill for kind in pool] or list(FILLS))),
        )
        phrase = _about(rng, other)
        if not _meant(phrase, kinds):
            return Question(way="", text=say(rng, phrase), answer=frozenset(), meant=phrase)
    return None


def _box(rng: np.random.Generator, kinds: Sequence[Kind]) -> Question | None:
    wanted = int(rng.integers(len(kinds)))
    return Question(
        way="", text=None, boxes=((wanted, True),), answer=_meant(kinds[wanted], kinds), meant=kinds[wanted]
    )


def _box_and_negative(rng: np.random.Generator, kinds: Sequence[Kind]) -> Question | None:
    """One or two boxes of a kind and one of another."""
    question = _box(rng, kinds)
    assert question is not None
    others = [index for index in range(len(kinds)) if index not in question.answer]
    if not others:
        return None
    boxes = [*question.boxes, (int(rng.choice(others)), False)]
    more = sorted(question.answer - {question.boxes[0][0]})
    if more and rng.random() < 0.3:
        boxes.append((int(rng.choice(more)), True))
    order = rng.permutation(len(boxes))
    return replace(question, boxes=tuple(boxes[index] for index in order))


def _text_and_box(rng: np.random.Generator, kinds: Sequence[Kind]) -> Question | None:
    question = _text(rng, kinds)
    assert question is not None
    return replace(question, boxes=((int(rng.choice(sorted(question.answer))), True),))


def _text_and_negative(rng: np.random.Generator, kinds: Sequence[Kind]) -> Question | None:
    """A phrase that two kinds fit, and a box around one that is not wanted: all of its kind drop out."""
    for _ in range(6):
        question = _text(rng, kinds)
        assert question is not None
        fitting = sorted({kinds[index] for index in question.answer})
        if len(fitting) > 1:
            dropped = fitting[rng.integers(len(fitting))]
            of_dropped = sorted(index for index in question.answer if kinds[index] == dropped)
            return replace(
                question,
                boxes=((int(rng.choice(of_dropped)), False),),
                answer=question.answer - frozenset(of_dropped),
            )
    return None


def _about(rng: np.random.Generator, kind: Kind) -> Phrase:
    """A phrase that names some of a kind's attributes."""
    named = list(NAMED)[rng.choice(len(NAMED), p=list(NAMED.values()))]
    return Phrase("", **{name: getattr(kind, name) for name in named})


def _meant(what: Kind | Phrase, kinds: Sequence[Kind]) -> frozenset[int]:
    if isinstance(what, Kind):
        return frozenset(index for index, kind in enumerate(kinds) if kind == what)
    return frozenset(index for index, kind in enumerate(kinds) if what.means(kind))
