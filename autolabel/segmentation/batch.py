"""A batch of images through the model, where one that its device has no room for costs nobody else anything."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from autolabel.errors import JobFailed
from autolabel.prompts.concepts import Concept
from autolabel.sam3.engine import Engine, Pair, PairResult

NO_ROOM = "alone, with one concept at a time, it does not fit into the memory of the model's device"
BLANK = Pair(image=0, text="nothing", threshold=1.0)  # of which no mask is made


def segment_batch(
    engine: Engine, pixels: torch.Tensor, pairs: Sequence[Sequence[Pair]]
) -> list[list[PairResult] | None]:
    """Return the results of each image's pairs; None for one that does not fit on the device, where a blank one does.

    Args:
        engine: tries ever fewer images and pairs at a time before it gives up.
        pixels: as `Engine.segment` takes them.
        pairs: of each image, whose index they name.

    Raises:
        JobFailed: not even a blank image fits: nothing is known about this one.
    """
    try:
        results = iter(engine.segment(pixels, [pair for of_image in pairs for pair in of_image]))
        return [[next(results) for _ in of_image] for of_image in pairs]
    except torch.OutOfMemoryError:
        pass  # and go on outside, since the exception holds on to the tensors of its frames
    if len(pixels) > 1:
        return [
            segment_batch(engine, pixels[image][None], [[replace(pair, image=0) for pair in of_image]])[0]
            for image, of_image in enumerate(pairs)
        ]
    torch.cuda.empty_cache()
    try:
        engine.segment(torch.zeros_like(pixels), [BLANK])
    except torch.OutOfMemoryError as error:
        raise JobFailed(f"the model's device has no room even for a blank image: {error}") from error
    return [None]


def pair(index: int, concept: Concept, threshold: float) -> Pair:
    """Return a concept as the engine takes it."""
    return Pair(
        image=index,
        text=concept.phrase,
        boxes_cxcywh=tuple(exemplar.box_cxcywh for exemplar in concept.exemplars),
        positive=tuple(exemplar.positive for exemplar in concept.exemplars),
        threshold=threshold,
    )
