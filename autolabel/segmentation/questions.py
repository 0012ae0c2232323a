"""What a job asks of its images, and how answers become instances: one interface for each kind of question.

A kind is a class, and a line where a job's settings choose one (`pipeline.stream.questions_of`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from autolabel.labels.types import Instance, PromptResult
from autolabel.plan import PlannedImage
from autolabel.sam3.device import HostTensor
from autolabel.sam3.engine import Engine


class Answer(Protocol):
    """What the engine says to one question."""

    @property
    def masks(self) -> HostTensor: ...


Question = TypeVar("Question")
AnswerT = TypeVar("AnswerT", bound=Answer)
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What was asked of an image, and every instance that there is of it; which of them are labels is not decided."""

    prompts: tuple[PromptResult, ...]
    instances: list[Instance]


class Questions(Protocol[Question, AnswerT]):
    """A kind of question."""

    blank: Question  # to which the answer is small: it tells whether there is room for any

    def of_image(self, image: PlannedImage) -> Sequence[Question]:
        """Return what to ask of an image."""
        ...

    def ask(self, engine: Engine, pixels: torch.Tensor, asked: Sequence[Sequence[Question]]) -> list[list[AnswerT]]:
        """Return the answers to each image's questions; pixels are as `Engine.segment` takes them."""
        ...

    def found(self, size_hw: tuple[int, int], asked: Sequence[Question], answers: Sequence[AnswerT]) -> Found:
        """Return what the answers about an image of this size say."""
        ...


def by_image(items: Sequence[Item], asked: Sequence[Sequence[object]]) -> list[list[Item]]:
    """Return items, one for each question of each image in turn, as a list for each image."""
    rest: Iterator[Item] = iter(items)
    return [[next(rest) for _ in of_image] for of_image in asked]
