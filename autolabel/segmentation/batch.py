"""A batch of images through the model, where one that its device has no room for costs nobody else anything."""

from collections.abc import Sequence

import torch

from autolabel.errors import JobFailed
from autolabel.sam3.engine import Engine
from autolabel.segmentation.questions import AnswerT, Question, Questions

NO_ROOM = "alone, it does not fit into the memory of the model's device"


def segment_batch(
    questions: Questions[Question, AnswerT],
    engine: Engine,
    pixels: torch.Tensor,
    asked: Sequence[Sequence[Question]],
) -> list[list[AnswerT] | None]:
    """Return the answers about each image; None for one that does not fit on the device, where a blank one does.

    Args:
        questions: what kind they are of.
        engine: tries ever less at a time before it gives up.
        pixels: as `Engine.segment` takes them.
        asked: of each image.

    Raises:
        JobFailed: not even a blank image fits: nothing is known about this one.
    """
    try:
        return list(questions.ask(engine, pixels, asked))
    except torch.OutOfMemoryError:
        pass  # and go on outside, since the exception holds on to the tensors of its frames
    if len(pixels) > 1:
        return [
            segment_batch(questions, engine, pixels[image][None], [of_image])[0] for image, of_image in enumerate(asked)
        ]
    torch.cuda.empty_cache()
    try:
        questions.ask(engine, torch.zeros_like(pixels), [[questions.blank]])
    except torch.OutOfMemoryError as error:
        raise JobFailed(f"the model's device has no room even for a blank image: {error}") from error
    return [None]
