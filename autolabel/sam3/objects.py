"""Single objects of encoded images: what points, boxes or masks to refine single out, in chunks of few forms.

A prompt's mask depends on its number of points, since every token of the head looks at every other: objects of one
pass have as many, so that nothing has to be hidden. A compiled model knows 1, 2, 4, 8 points and so on, and hides what
fills up the others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch

from autolabel.sam3.chunks import Chunks
from autolabel.sam3.device import HostTensor, on_device, to_host
from autolabel.sam3.interactive import (
    CORNER,
    NEGATIVE,
    NO_POINT,
    OPPOSITE,
    POSITIVE,
    ObjectFeatures,
    ObjectForward,
    Proposals,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectQuery:
    """One object of one image, by points, the corners of a box, both, or a mask to refine beside or without them."""

    image: int  # index in the batch
    points_xy: tuple[tuple[float, float], ...]  # fractions of the image's width and height
    labels: tuple[int, ...]  # of each point: 0 not on it, 1 on it, 2 and 3 its box's corners, which come first
    mask_logits: torch.Tensor | None = None  # float32 (4s, 4s), as a result has them

    def __post_init__(self) -> None:
        if len(self.points_xy) != len(self.labels):
            raise ValueError(f"{len(self.points_xy)} points with {len(self.labels)} labels")
        if not self.labels and self.mask_logits is None:
            raise ValueError("an object needs a point, a box or a mask")
        boxed = self.labels[:2] == (CORNER, OPPOSITE)
        if not set(self.labels[2 if boxed else 0 :]) <= {NEGATIVE, POSITIVE}:
            raise ValueError(f"labels {self.labels}: 2 and 3, the corners of a box, come first, then 0 and 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectResult:
    """The mask of one object."""

    score: float  # predicted IoU
    presence: float  # that there is an object: sigmoid of the object logit
    masks: HostTensor  # (1, 4s, 4s) float32 logits, low resolution; perhaps still on their way from a GPU

    @property
    def mask_logits(self) -> torch.Tensor:
        """Return (1, 4s, 4s) float32 on the CPU, once they are there."""
        return self.masks.get()


@dataclass(frozen=True, order=True)
class Form:
    """What the objects of one pass have in common."""

    refined: bool  # there is a mask to refine
    n_points: int  # the corners of a box among them

    @property
    def ambiguous(self) -> bool:
        """Tell whether one point is all there is, which may mean a thing, a part of it, or what it is a part of."""
        return self.n_points == 1 and not self.refined


class ObjectSegmenter:
    """Asks the head about objects of encoded images. Not thread-safe."""

    def __init__(
        self, forward: ObjectForward, *, resolution: int, device: torch.device, chunks: Chunks, few_forms: bool
    ) -> None:
        """Take the stages, and the chunks of objects that fit; `few_forms`: each new number of points costs a lot."""
        self._forward = forward
        self._resolution = resolution
        self._device = device
        self._chunks = chunks
        self._few_forms = few_forms

    def segment(self, features: ObjectFeatures, queries: Sequence[ObjectQuery]) -> list[ObjectResult]:
        """Return results in the order of the queries, whose images are rows of the features."""
        forms = [self._form(query) for query in queries]
        in_passes = sorted(range(len(queries)), key=lambda index: (forms[index], queries[index].image))
        results: dict[int, ObjectResult] = {}
        for form, group in groupby(in_passes, key=forms.__getitem__):
            indices = list(group)
            asked = [queries[index] for index in indices]
            found = self._chunks.run(asked, partial(self._segment_chunk, features, form))
            results |= zip(indices, found, strict=True)
        return [results[index] for index in range(len(queries))]

    def _form(self, query: ObjectQuery) -> Form:
        n = len(query.labels)
        filled_up = n if n <= 2 or not self._few_forms else 1 << (n - 1).bit_length()
        return Form(refined=query.mask_logits is not None, n_points=filled_up)

    def _segment_chunk(
        self, features: ObjectFeatures, form: Form, queries: Sequence[ObjectQuery]
    ) -> Iterator[ObjectResult]:
        """Decode objects of one form in one pass; the host waits for it once, and for its masks not at all."""
        proposals = self._proposals(features, form, queries)
        logits, ious = proposals.best_of_three() if form.ambiguous else proposals.stable_or_best(self._forward.decoder)
        masks = to_host(logits).split([1] * len(queries))
        told = torch.stack([ious.clamp(0, 1), proposals.present.sigmoid()], dim=1).cpu().tolist()
        for (score, presence), mask in zip(told, masks, strict=True):
            yield ObjectResult(score=score, presence=presence, masks=mask)

    def _proposals(self, features: ObjectFeatures, form: Form, queries: Sequence[ObjectQuery]) -> Proposals:
        missing = [form.n_points - len(query.labels) for query in queries]
        points = [[*query.points_xy, *[(0.0, 0.0)] * n] for query, n in zip(queries, missing, strict=True)]
        labels = [[*query.labels, *[NO_POINT] * n] for query, n in zip(queries, missing, strict=True)]
        masks = [query.mask_logits for query in queries if query.mask_logits is not None]
        images = [query.image for query in queries]
        if images[0] == images[-1]:  # they are in order
            features, images = features.of_image(images[0]), [0] * len(images)
        shape = len(queries), form.n_points
        return self._forward.objects(
            features,
            on_device(images, self._device),
            on_device(torch.tensor(points).view(*shape, 2) * self._resolution, self._device),
            on_device(torch.tensor(labels, dtype=torch.float32).view(shape), self._device),
            on_device(torch.stack(masks)[:, None], self._device) if masks else None,
            padded=self._few_forms and form.n_points > 2,
        )
