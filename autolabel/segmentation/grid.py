"""Questions for everything: a mask of whatever any point of a grid lies on."""

from collections.abc import Sequence

import torch

from autolabel.labels.types import Instance, PromptResult
from autolabel.masks.rle import area, bbox_xywh
from autolabel.plan import PlannedImage
from autolabel.prompts.ontology import Prompt
from autolabel.sam3.engine import Engine
from autolabel.sam3.grid import GridResult, GridSettings
from autolabel.sam3.masks import logits_to_rles
from autolabel.segmentation.questions import Found, Questions

Points = tuple[tuple[float, float], ...]


class GridQuestions(Questions[Points, GridResult]):
    """Asks one question of each image, a grid; there are as many answers as things were found."""

    blank = ((0.5, 0.5),)

    def __init__(self, prompt: Prompt, settings: GridSettings, *, points_per_side: int) -> None:
        """Take the one prompt of a job that masks everything."""
        self._prompt, self._settings = prompt, settings
        self._grid = grid_of(points_per_side)

    def of_image(self, image: PlannedImage) -> Sequence[Points]:
        return [self._grid]

    def ask(self, engine: Engine, pixels: torch.Tensor, asked: Sequence[Sequence[Points]]) -> list[list[GridResult]]:
        return [
            engine.segment_grid(pixels, index, points_xy, self._settings)
            for index, of_image in enumerate(asked)
            for points_xy in of_image
        ]

    def found(self, size_hw: tuple[int, int], asked: Sequence[Points], answers: Sequence[GridResult]) -> Found:
        """Return instances with masks of the image's size, without empty ones."""
        height, width = size_hw
        result = PromptResult(
            prompt_id=self._prompt.id,
            category_id=self._prompt.category_id,
            phrase=None,
            presence=max((answer.presence for answer in answers), default=0.0),
            best_score=max((answer.score for answer in answers), default=0.0),
        )
        return Found(
            prompts=(result,),
            instances=[
                Instance(
                    category_id=self._prompt.category_id,
                    prompt_id=self._prompt.id,
                    phrase=None,
                    score=answer.score,
                    presence=answer.presence,
                    rle=rle,
                    area_px=area_px,
                    bbox_xywh=bbox_xywh(rle),
                    point_xy=(answer.point_xy[0] * width, answer.point_xy[1] * height),
                    stability=answer.stability,
                )
                for answer in answers
                for rle in logits_to_rles(answer.mask_logits, size_hw)
                if (area_px := area(rle))
            ],
        )


def grid_of(points_per_side: int) -> Points:
    """Return the points of a grid as fractions of width and height, at the middle of its cells, row by row."""
    at = [(n + 0.5) / points_per_side for n in range(points_per_side)]
    return tuple((x, y) for y in at for x in at)
