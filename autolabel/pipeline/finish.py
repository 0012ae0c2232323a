"""From what the model found to the labels of an image, or to why it has none."""

from collections.abc import Sequence

from autolabel.labels.types import ImageLabels, Instance, PromptResult
from autolabel.masks.rle import area, bbox_xywh
from autolabel.pipeline.load import ImageInfo, Rejection
from autolabel.plan import PlannedImage
from autolabel.prompts.concepts import Concept
from autolabel.sam3.engine import PairResult
from autolabel.sam3.masks import logits_to_rles
from autolabel.selection import Rules, apply_rules


def labels_from_results(
    image: PlannedImage, info: ImageInfo, results: Sequence[tuple[Concept, PairResult]], rules: Rules
) -> ImageLabels:
    """Return the labels of an image: masks at its own size, without empty ones, overlaps resolved, limits applied."""
    instances = [
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
        for concept, result in results
        for score, rle in zip(result.scores, logits_to_rles(result.mask_logits, info.size_hw), strict=True)
        if (area_px := area(rle))
    ]
    image_labels = ImageLabels(
        image_id=image.image_id,
        uri=image.uri,
        size_hw=info.size_hw,
        orientation=info.orientation,
        sha256=info.sha256,
        prompts=tuple(
            PromptResult(
                prompt_id=concept.prompt_id,
                category_id=concept.category_id,
                phrase=concept.phrase,
                presence=result.presence,
                best_score=result.best_score,
            )
            for concept, result in results
        ),
    )
    return apply_rules(image_labels, instances, rules)


def labels_of_rejected(image: PlannedImage, rejection: Rejection) -> ImageLabels:
    """Return the row of an image that will not be labelled."""
    return ImageLabels(
        image_id=image.image_id,
        uri=image.uri,
        sha256=rejection.sha256,
        reject_code=rejection.code,
        reject_detail=rejection.detail,
    )
