"""Pixels and prompts in, instances out: batches of images by batches of concepts or of objects through one SAM3.

Images are encoded once per batch, phrases once per engine, and any mix of (image, concept) pairs shares a decoder pass,
as does any mix of objects on images.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import pad

from autolabel.sam3 import sizes
from autolabel.sam3.architecture import Architecture, Part, parts_of
from autolabel.sam3.chunks import Chunks, padded
from autolabel.sam3.device import HostTensor, on_device, records, to_host
from autolabel.sam3.forward import DecoderOutput, EncodedPrompts, Forward, ImageFeatures
from autolabel.sam3.grid import GridResult, GridSegmenter, GridSettings
from autolabel.sam3.interactive import ObjectFeatures, ObjectForward
from autolabel.sam3.objects import ObjectQuery, ObjectResult, ObjectSegmenter
from autolabel.sam3.preprocess import normalize
from autolabel.sam3.text import VISUAL, TextCache
from autolabel.sam3.upstream import Prompt, Sam3Image

Item = TypeVar("Item")
Features = TypeVar("Features")
Result = TypeVar("Result")

LARGEST_TENSOR = 2**30  # elements
WITHOUT_GRAPHS = (
    "the GPU ran out of memory in a compiled model, whose CUDA graphs cannot be used after that: the process must end; "
    "batch.memory_mb=... takes less at a time, and with model.compile=false it goes on with smaller pieces by itself"
)
NOT_LOADED = {
    Part.DETECTOR: "this model was loaded for points and boxes alone: it has no detector, which answers concepts",
    Part.INTERACTIVE: "this model was loaded for concepts alone: it has no head for points and boxes",
}


class GraphsLost(RuntimeError):
    """The compiled model of this process cannot be used any more; that of a new process can."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One image and one concept: a phrase, exemplar boxes, or both."""

    image: int  # index in the batch
    text: str | None  # None: the boxes alone prompt
    boxes_cxcywh: tuple[tuple[float, float, float, float], ...] = ()  # fractions of the image's width and height
    positive: tuple[bool, ...] = ()  # of each box: what is wanted, or what is not
    threshold: float  # keep instances that score above it

    def __post_init__(self) -> None:
        if len(self.boxes_cxcywh) != len(self.positive):
            raise ValueError(f"{len(self.boxes_cxcywh)} boxes with {len(self.positive)} labels")
        if self.text is None and not self.boxes_cxcywh:
            raise ValueError("a pair needs text, boxes or both")


@dataclass(frozen=True, kw_only=True, eq=False)
class PairResult:
    """What was found of one concept in one image: K instances in the order of the model's queries."""

    presence: float  # that the concept is in the image at all: sigmoid of the presence logit
    best_score: float  # of any query, kept or not
    scores: npt.NDArray[np.float32]  # (K,) sigmoid(logit) x presence, above the threshold
    boxes_xyxy: npt.NDArray[np.float32]  # (K, 4) fractions of the image's width and height
    masks: HostTensor  # (K, h, w) float32 logits, low resolution; perhaps still on their way from a GPU

    @property
    def mask_logits(self) -> torch.Tensor:
        """Return (K, h, w) float32 on the CPU, once they are there."""
        return self.masks.get()


class Engine:
    """A SAM3 ready to segment. Not thread-safe; a compiled one is called from one thread."""

    def __init__(
        self,
        model: Sam3Image,
        architecture: Architecture,
        *,
        device: torch.device,
        memory_mb: int,
        compiled: bool = False,
    ) -> None:
        """Take a model that is on `device`; `memory_mb` bounds what is computed at a time, the weights apart.

        `compiled`: by torch.compile, for few shapes (`chunks.SIZES`): each is compiled when it first occurs.
        """
        self._parts = parts_of(model)
        self._compiled = compiled
        self._recorded = compiled and records(device)
        self._architecture = a = architecture
        self._device = device
        memory = memory_mb * 1_000_000

        def chunks(of: str, *, each_bytes: int, each_elements: int, few_sizes: bool = False) -> Chunks:
            largest = min(memory // each_bytes, LARGEST_TENSOR // each_elements)
            return Chunks(largest, of, few_sizes=few_sizes, try_smaller=not self._recorded)

        self._images = chunks(
            "images", each_bytes=sizes.image_bytes(a), each_elements=sizes.image_elements(a), few_sizes=compiled
        )
        if Part.DETECTOR in self._parts:
            self._forward = Forward(model, compiled=compiled)
            self._texts = TextCache(model, device=device)
            self._pairs = chunks(
                "pairs", each_bytes=sizes.pair_bytes(a), each_elements=sizes.pair_elements(a), few_sizes=compiled
            )
            self._hits = chunks("pairs with masks", each_bytes=sizes.hit_bytes(a), each_elements=sizes.hit_elements(a))
        if Part.INTERACTIVE in self._parts:
            trunk, head = model.backbone.vision_backbone.trunk, model.interactive
            self._object_forward = forward = ObjectForward(trunk, head, compiled=compiled)
            objects = chunks("objects", each_bytes=sizes.object_bytes(a), each_elements=sizes.object_elements(a))
            self._objects = ObjectSegmenter(
                forward, resolution=a.resolution, device=device, chunks=objects, few_forms=compiled
            )
            self._grid = GridSegmenter(forward, resolution=a.resolution, device=device, chunks=objects)

    @torch.inference_mode()
    def segment(self, pixels: torch.Tensor, pairs: Sequence[Pair]) -> list[PairResult]:
        """Give results in the order of the pairs; pixels are uint8 (B, 3, R, R), as `preprocess.resize` makes them.

        Raises:
            ValueError: pixels of another size or type, a pair of an image that is not there, or a model without the
                detector.
            torch.OutOfMemoryError: a single image with a single pair does not fit.
            GraphsLost: a compiled model has run out of a GPU's memory.
        """
        self._needs(Part.DETECTOR)

        def answer(features: ImageFeatures, asked: Sequence[tuple[int, int]]) -> Iterable[PairResult]:
            # As many boxes together: little padding.
            in_passes = sorted(asked, key=lambda each: len(pairs[each[0]].boxes_cxcywh))
            of_features = [replace(pairs[index], image=row) for index, row in in_passes]
            found = self._pairs.run(of_features, partial(self._segment_pairs, features))
            results = dict(zip(in_passes, found, strict=True))
            return [results[each] for each in asked]

        return self._by_image(pixels, [pair.image for pair in pairs], self._forward.images, answer)

    @torch.inference_mode()
    def segment_objects(self, pixels: torch.Tensor, queries: Sequence[ObjectQuery]) -> list[ObjectResult]:
        """Give the mask of each object, in the order of the queries; pixels as `segment` takes them.

        One point alone may mean several things: the best of three masks by predicted IoU. Otherwise the single mask,
        or, where that is not stable, the best of the three, as Meta's predictor has it. No holes are filled.

        Raises:
            ValueError: as `segment`, a mask to refine of another shape or type, or a model without the head.
            torch.OutOfMemoryError: a single image with a single object does not fit.
            GraphsLost: a compiled model has run out of a GPU's memory.
        """
        self._needs(Part.INTERACTIVE)
        side = 4 * self._architecture.feature_side
        masks = [query.mask_logits for query in queries if query.mask_logits is not None]
        if wrong := [mask for mask in masks if mask.shape != (side, side) or mask.dtype != torch.float32]:
            raise ValueError(f"{len(wrong)} masks to refine are not float32 ({side}, {side}): {tuple(wrong[0].shape)}")

        def answer(features: ObjectFeatures, asked: Sequence[tuple[int, int]]) -> Iterable[ObjectResult]:
            return self._objects.segment(features, [replace(queries[index], image=row) for index, row in asked])

        return self._by_image(pixels, [query.image for query in queries], self._object_forward.images, answer)

    @torch.inference_mode()
    def segment_grid(
        self, pixels: torch.Tensor, image: int, points_xy: Sequence[tuple[float, float]], settings: GridSettings
    ) -> list[GridResult]:
        """Give the masks of everything that a grid of points finds in one of the images, best first.

        Args:
            pixels: as `segment` takes them.
            image: index in the batch.
            points_xy: fractions of the image's width and height, in any order.
            settings: which of the three masks of each point stay.

        Raises:
            ValueError, torch.OutOfMemoryError, GraphsLost: as `segment_objects`.
        """
        self._needs(Part.INTERACTIVE)

        def answer(features: ObjectFeatures, asked: Sequence[tuple[int, int]]) -> Iterable[list[GridResult]]:
            return [self._grid.segment(features.of_image(row), points_xy, settings) for _, row in asked]

        (results,) = self._by_image(pixels, [image], self._object_forward.images, answer)
        return results

    def _needs(self, part: Part) -> None:
        if part not in self._parts:
            raise ValueError(NOT_LOADED[part])

    def _by_image(
        self,
        pixels: torch.Tensor,
        images: Sequence[int],
        encode: Callable[[torch.Tensor], Features],
        answer: Callable[[Features, Sequence[tuple[int, int]]], Iterable[Result]],
    ) -> list[Result]:
        """Answer questions about images of a batch, some images at a time, each encoded once.

        Args:
            images: of each question.
            encode: makes features of normalised pixels.
            answer: makes a result of each (question, row of the features).
        """
        side = self._architecture.resolution
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (3, side, side):
            raise ValueError(f"pixels are {pixels.dtype} {tuple(pixels.shape)}, not uint8 (B, 3, {side}, {side})")
        if stray := [image for image in images if not 0 <= image < len(pixels)]:
            raise ValueError(f"images {stray} are asked about in a batch of {len(pixels)}")
        of_image: dict[int, list[int]] = {}
        for index, image in enumerate(images):
            of_image.setdefault(image, []).append(index)

        def some_images(some: Sequence[int]) -> Iterator[tuple[int, Result]]:
            together = _chosen(pixels, self._filled_up(some))
            features = encode(normalize(on_device(together, self._device)))
            asked = [(index, row) for row, image in enumerate(some) for index in of_image[image]]
            return zip([index for index, _ in asked], answer(features, asked), strict=True)

        try:
            results = dict(self._images.run(sorted(of_image), some_images))
        except torch.OutOfMemoryError as error:
            if not self._recorded:
                raise
            raise GraphsLost(f"{WITHOUT_GRAPHS} ({error})") from error
        return [results[index] for index in range(len(images))]

    def _segment_pairs(self, features: ImageFeatures, pairs: Sequence[Pair]) -> Iterator[PairResult]:
        """Decode pairs of encoded images in one pass; the host waits for it once, and for its masks not at all."""
        prompts = self._encoded_prompts(features, self._filled_up(pairs))
        decoded = self._forward.find(features, prompts)
        outputs = torch.cat([decoded.presence[:, None], decoded.scores, decoded.boxes_xyxy.flatten(1)], dim=1)[
            : len(pairs)
        ].cpu()
        n_queries = self._architecture.queries
        presence, scores, boxes_xyxy = torch.split(outputs, [1, n_queries, 4 * n_queries], dim=1)
        keep = scores > torch.tensor([pair.threshold for pair in pairs])[:, None]
        hits = keep.any(dim=1).nonzero()[:, 0].tolist()
        logits = iter(self._hits.run(hits, partial(self._masks, features, prompts, decoded, keep)))
        side = 4 * self._architecture.feature_side
        nothing = HostTensor(torch.empty(0, side, side))
        for index, kept in enumerate(keep):
            yield PairResult(
                presence=presence[index].item(),
                best_score=scores[index].max().item(),
                scores=scores[index, kept].numpy(),
                boxes_xyxy=boxes_xyxy[index].view(-1, 4)[kept].numpy(),
                masks=next(logits) if kept.any() else nothing,
            )

    def _masks(
        self,
        features: ImageFeatures,
        prompts: EncodedPrompts,
        decoded: DecoderOutput,
        keep: torch.Tensor,
        hits: Sequence[int],
    ) -> Sequence[HostTensor]:
        """Make mask logits of the kept queries of some pairs, a tensor a pair; `keep` (P, Q) is the host's."""
        n_kept = keep[hits].sum(dim=1).tolist()
        hit, query = keep[hits].nonzero(as_tuple=True)
        queries = on_device(torch.tensor(hits)[hit], self._device), on_device(query, self._device)
        logits = self._forward.masks(features, prompts, decoded, pairs=hits, queries=queries, n_kept=n_kept)
        return to_host(logits).split(n_kept)

    def _filled_up(self, items: Sequence[Item]) -> list[Item]:
        """Repeat the last item for a compiled model, until there are as many as it knows."""
        return [*items, *[items[-1]] * (padded(len(items)) - len(items))] if self._compiled else list(items)

    def _encoded_prompts(self, features: ImageFeatures, pairs: Sequence[Pair]) -> EncodedPrompts:
        """Encode text and boxes of every pair; those without boxes share what their image has for that."""
        phrases = [VISUAL if pair.text is None else pair.text for pair in pairs]
        distinct = list(dict.fromkeys(phrases))
        text, text_padding = self._texts.encode(distinct)
        which = on_device([distinct.index(phrase) for phrase in phrases], self._device)
        images = [pair.image for pair in pairs]
        n_boxes = [len(pair.boxes_cxcywh) for pair in pairs]
        geometry = features.no_boxes.new_zeros(len(pairs), 1 + max(n_boxes), features.no_boxes.shape[-1])
        geometry[:, 0] = features.no_boxes[on_device(images, self._device)]
        geometry_padding = torch.ones(geometry.shape[:2], dtype=torch.bool, device=self._device)
        geometry_padding[:, 0] = False
        if boxed := [index for index, n in enumerate(n_boxes) if n]:
            rows = on_device(boxed, self._device)
            prompt = self._boxes([pairs[index] for index in boxed])
            image = on_device([images[index] for index in boxed], self._device)
            geometry[rows], geometry_padding[rows] = self._forward.boxes(features, image, prompt)
        tokens = torch.cat([text[which], geometry], dim=1)
        padding = torch.cat([text_padding[which], geometry_padding], dim=1)
        if self._compiled:
            n_more = token_bucket(tokens.shape[1]) - tokens.shape[1]
            tokens, padding = pad(tokens, (0, 0, 0, n_more)), pad(padding, (0, n_more), value=True)
        return EncodedPrompts(images=images, tokens=tokens, padding=padding)

    def _boxes(self, pairs: Sequence[Pair]) -> Prompt:
        """Gather the boxes of pairs that have some, padded on the right to the most that one has."""
        n_boxes = max(len(pair.boxes_cxcywh) for pair in pairs)
        boxes = torch.zeros(n_boxes, len(pairs), 4)
        labels = torch.zeros(n_boxes, len(pairs), dtype=torch.long)
        padding = torch.ones(len(pairs), n_boxes, dtype=torch.bool)
        for index, pair in enumerate(pairs):
            n = len(pair.boxes_cxcywh)
            boxes[:n, index] = torch.tensor(pair.boxes_cxcywh)
            labels[:n, index] = torch.tensor(pair.positive)
            padding[index, :n] = False
        return Prompt(
            box_embeddings=on_device(boxes, self._device),
            box_mask=on_device(padding, self._device),
            box_labels=on_device(labels, self._device),
        )


def _chosen(pixels: torch.Tensor, images: Sequence[int]) -> torch.Tensor:
    """Return the pixels of some images of a batch; no copy of images that follow each other."""
    first, last = images[0], images[-1]
    follow = list(images) == list(range(first, last + 1))
    return pixels[first : last + 1] if follow else pixels[list(images)]


def token_bucket(n_tokens: int) -> int:
    """Return to how many tokens a compiled model's prompts are padded: 8, 16, 32 and so on."""
    return max(8, 1 << (n_tokens - 1).bit_length())
