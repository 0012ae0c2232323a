"""COCO's own evaluation of masks."""

import contextlib
import io
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def average_precision(
    truth: dict[str, Any], results: list[dict[str, Any]], *, by_category: bool = True
) -> tuple[float, float]:
    """Return mask AP and AP50 by pycocotools; 0 where nothing was found."""
    if not results:
        return 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        evaluation.params.useCats = int(by_category)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])
