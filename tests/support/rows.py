"""Images' labels without images: of one small mask of a car, of nothing, and of a file that cannot be read."""

from collections import Counter
from typing import Any

import numpy as np

from autolabel.errors import RejectCode
from autolabel.labels.types import ImageLabels, Instance, PromptResult
from autolabel.masks.rle import area, bbox_xywh, encode
from autolabel.prompts.ontology import Category, Ontology

ONTOLOGY = Ontology(categories=(Category(id=1, name="car", phrases=("car", "van")),))
PHRASES = ("car", "van", None)  # by the id of their prompt; None: exemplars alone


def instance(phrase: str | None) -> Instance:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    rle = encode(mask)
    return Instance(
        category_id=1,
        prompt_id=PHRASES.index(phrase),
        phrase=phrase,
        score=0.75,
        presence=0.875,
        rle=rle,
        area_px=area(rle),
        bbox_xywh=bbox_xywh(rle),
    )


def row(image_id: int, **values: Any) -> ImageLabels:
    return ImageLabels(image_id=image_id, uri=f"s3://bucket/{image_id}.jpg", sha256="0" * 64, **values)


def looked_at(image_id: int, *instances: Instance) -> ImageLabels:
    n_of = Counter(instance.phrase for instance in instances) or Counter({"car": 0})
    prompts = tuple(
        PromptResult(
            prompt_id=PHRASES.index(phrase),
            category_id=1,
            phrase=phrase,
            presence=0.5,
            best_score=0.25,
            n_instances=n,
        )
        for phrase, n in n_of.items()
    )
    return row(image_id, size_hw=(4, 6), orientation=1, prompts=prompts, instances=instances)


def unreadable(image_id: int) -> ImageLabels:
    return row(image_id, reject_code=RejectCode.TRUNCATED, reject_detail="ends early")
