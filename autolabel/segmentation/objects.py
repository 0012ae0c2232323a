"""Questions for given objects: the mask of the one object that points and a box single out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate

from autolabel.labels.types import Instance, PromptResult
from autolabel.masks.rle import Rle, area, bbox_xywh, decode, union
from autolabel.plan import PlannedImage
from autolabel.prompts.objects.table import ObjectPrompt
from autolabel.prompts.ontology import Prompt
from autolabel.sam3.engine import Engine
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.objects import ObjectQuery, ObjectResult
from autolabel.segmentation.questions import Found, Questions, by_image

INSIDE_LOGIT, OUTSIDE_LOGIT = 10.0, -10.0  # of a mask that is given; what SAM 2's video predictor makes of one


@dataclass(frozen=True, kw_only=True, eq=False)
class AskedObject:
    """An object prompt, with its mask, if it has one, as the model takes it."""

    prompt: ObjectPrompt
    mask_logits: torch.Tensor | None = None  # (4s, 4s) float32


class ObjectQuestions(Questions[AskedObject, ObjectResult]):
    """Masks the objects that the plan has for an image."""

    blank = AskedObject(prompt=ObjectPrompt(object_id="", category_id=0, points_xy=((0.5, 0.5),), labels=(1,)))

    def __init__(self, prompts: Sequence[Prompt], *, mask_side: int) -> None:
        """Take the job's prompts, one for each category, and the side of the model's masks."""
        self._prompt_of: Mapping[int, Prompt] = {prompt.category_id: prompt for prompt in prompts}
        self._mask_side = mask_side

    def of_image(self, image: PlannedImage) -> Sequence[AskedObject]:
        return [
            AskedObject(
                prompt=prompt,
                mask_logits=None if prompt.mask is None else logits_of_mask(prompt.mask, self._mask_side),
            )
            for prompt in image.objects
        ]

    def ask(
        self, engine: Engine, pixels: torch.Tensor, asked: Sequence[Sequence[AskedObject]]
    ) -> list[list[ObjectResult]]:
        queries = [
            ObjectQuery(
                image=index, points_xy=one.prompt.points_xy, labels=one.prompt.labels, mask_logits=one.mask_logits
            )
            for index, of_image in enumerate(asked)
            for one in of_image
        ]
        return by_image(engine.segment_objects(pixels, queries), asked)

    def found(self, size_hw: tuple[int, int], asked: Sequence[AskedObject], answers: Sequence[ObjectResult]) -> Found:
        """Return an instance for each object, also where its mask is empty.

        Of an object of several parts that is the union of their masks, with the lowest of their scores.
        """
        parts_of: dict[str, list[tuple[ObjectPrompt, ObjectResult]]] = {}
        for one, result in zip(asked, answers, strict=True):
            parts_of.setdefault(one.prompt.object_id, []).append((one.prompt, result))
        instances = [self._instance(parts, size_hw) for parts in parts_of.values()]
        return Found(prompts=tuple(self._results(instances)), instances=instances)

    def _instance(self, parts: Sequence[tuple[ObjectPrompt, ObjectResult]], size_hw: tuple[int, int]) -> Instance:
        prompt = parts[0][0]
        rle = union([logits_to_rles(result.mask_logits, size_hw)[0] for _, result in parts])
        return Instance(
            category_id=prompt.category_id,
            prompt_id=self._prompt_of[prompt.category_id].id,
            phrase=None,
            score=min(result.score for _, result in parts),
            presence=min(result.presence for _, result in parts),
            rle=rle,
            area_px=area(rle),
            bbox_xywh=bbox_xywh(rle),
            object_id=prompt.object_id,
        )

    def _results(self, instances: Sequence[Instance]) -> list[PromptResult]:
        """Return a result for each category that has objects, in the order of the job's prompts."""
        of: dict[int, list[Instance]] = {}
        for instance in instances:
            of.setdefault(instance.prompt_id, []).append(instance)
        return [
            PromptResult(
                prompt_id=prompt_id,
                category_id=own[0].category_id,
                phrase=None,
                presence=max(one.presence for one in own),
                best_score=max(one.score for one in own),
            )
            for prompt_id, own in sorted(of.items())
        ]


def logits_of_mask(mask: Rle, side: int) -> torch.Tensor:
    """Return a mask as logits (side, side) of the square that the model sees."""
    share = interpolate(
        torch.from_numpy(decode(mask))[None, None].float(), (side, side), mode="bilinear", antialias=True
    )[0, 0]
    return OUTSIDE_LOGIT + share * (INSIDE_LOGIT - OUTSIDE_LOGIT)
