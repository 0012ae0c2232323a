"""Questions for concepts: all instances of a phrase, of exemplars, or of both together."""

from collections.abc import Mapping, Sequence

import torch

from autolabel.labels.types import Instance, PromptResult
from autolabel.masks.rle import area, bbox_xywh
from autolabel.plan import PlannedImage
from autolabel.prompts.concepts import Concept, concepts
from autolabel.prompts.ontology import Prompt
from autolabel.sam3.engine import Engine, Pair, PairResult
from autolabel.sam3.masks import logits_to_rles
from autolabel.segmentation.questions import Found, Questions, by_image


class ConceptQuestions(Questions[Concept, PairResult]):
    """Looks for the prompts of a job, with the exemplars that an image has."""

    blank = Concept(prompt_id=0, category_id=0, phrase="nothing")  # a category of no job, of which no mask is made

    def __init__(self, prompts: Sequence[Prompt], threshold_of: Mapping[int, float], *, use_text: bool) -> None:
        """Take the prompts; `threshold_of` a category is what a score must be above for an instance to be made."""
        self._prompts, self._threshold_of, self._use_text = prompts, threshold_of, use_text

    def of_image(self, image: PlannedImage) -> Sequence[Concept]:
        return concepts(self._prompts, image.exemplars, use_text=self._use_text)

    def ask(self, engine: Engine, pixels: torch.Tensor, asked: Sequence[Sequence[Concept]]) -> list[list[PairResult]]:
        pairs = [self._pair(index, concept) for index, of_image in enumerate(asked) for concept in of_image]
        return by_image(engine.segment(pixels, pairs), asked)

    def _pair(self, index: int, concept: Concept) -> Pair:
        return Pair(
            image=index,
            text=concept.phrase,
            boxes_cxcywh=tuple(exemplar.box_cxcywh for exemplar in concept.exemplars),
            positive=tuple(exemplar.positive for exemplar in concept.exemplars),
            threshold=self._threshold_of.get(concept.category_id, 1.0),
        )

    def found(self, size_hw: tuple[int, int], asked: Sequence[Concept], answers: Sequence[PairResult]) -> Found:
        """Return instances with masks of the image's size, without empty ones."""
        return Found(
            prompts=tuple(
                PromptResult(
                    prompt_id=concept.prompt_id,
                    category_id=concept.category_id,
                    phrase=concept.phrase,
                    presence=result.presence,
                    best_score=result.best_score,
                )
                for concept, result in zip(asked, answers, strict=True)
            ),
            instances=[
                Instance(
                    category_id=concept.category_id,
                    prompt_id=concept.prompt_id,
                    phrase=concept.phrase,
                    score=float(score),
                    presence=result.presence,
                    rle=rle,
                    area_px=area_px,
                    bbox_xywh=bbox_xywh(rle),
                )
                for concept, result in zip(asked, answers, strict=True)
                for score, rle in zip(result.scores, logits_to_rles(result.mask_logits, size_hw), strict=True)
                if (area_px := area(rle))
            ],
        )
