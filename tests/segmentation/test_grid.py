"""Everything: one grid is asked of an image, and whatever lies under it is an instance of the one category."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
import torch

from autolabel.labels.types import PromptResult
from autolabel.masks.rle import encode
from autolabel.plan import PlannedImage
from autolabel.prompts.ontology import Prompt
from autolabel.sam3.device import HostTensor
from autolabel.sam3.engine import Engine
from autolabel.sam3.grid import GridResult, GridSettings
from autolabel.segmentation.grid import GridQuestions, Points, grid_of

SETTINGS = GridSettings(iou=0.8, stability=0.95, nms=0.7)
PROMPT = Prompt(id=0, category_id=1, phrase=None)
QUESTIONS = GridQuestions(PROMPT, SETTINGS, points_per_side=2)
SIZE_HW = (16, 24)


class QuartersFound:
    """Finds under each point the quarter of the image that it lies in, if that is asked for."""

    def __init__(self, *, empty: bool = False) -> None:
        self.asked: list[tuple[int, Points, GridSettings]] = []
        self.empty = empty

    def segment_grid(
        self, pixels: torch.Tensor, image: int, points_xy: Points, settings: GridSettings
    ) -> list[GridResult]:
        self.asked.append((image, points_xy, settings))
        return [self._result(point_xy, number) for number, point_xy in enumerate(points_xy)]

    def _result(self, point_xy: tuple[float, float], number: int) -> GridResult:
        row, column = (int(2 * at) * 4 for at in reversed(point_xy))
        logits = torch.full((1, 8, 8), -1.0)
        if not (self.empty and number == 0):
            logits[0, row : row + 4, column : column + 4] = 1.0
        return GridResult(
            point_xy=point_xy,
            score=0.75 + number / 16,
            presence=0.75 - number / 16,
            stability=0.5 + number / 16,
            masks=HostTensor(logits),
        )


def ask(engine: QuartersFound, n_images: int = 1) -> tuple[list[Sequence[Points]], list[list[GridResult]]]:
    asked = [QUESTIONS.of_image(PlannedImage(uri="/in/a.jpg", image_id=1, unit=0))] * n_images
    pixels = torch.zeros(n_images, 3, 4, 4, dtype=torch.uint8)
    return asked, QUESTIONS.ask(cast(Engine, engine), pixels, asked)


@pytest.mark.parametrize("n", [1, 2, 32])
def test_points_are_at_the_middle_of_the_cells_row_by_row(n: int) -> None:
    expected = [((x + 0.5) / n, (y + 0.5) / n) for y in range(n) for x in range(n)]
    assert np.allclose(grid_of(n), expected)
    assert len(grid_of(n)) == n * n


def test_each_image_is_asked_for_the_whole_grid() -> None:
    engine = QuartersFound()
    _, answers = ask(engine, n_images=3)
    assert engine.asked == [(image, grid_of(2), SETTINGS) for image in range(3)]
    assert [len(of_image) for of_image in answers] == [4, 4, 4]


def test_what_is_found_is_of_the_one_category_with_what_prompted_it() -> None:
    (asked,), (answers,) = ask(QuartersFound())
    found = QUESTIONS.found(SIZE_HW, asked, answers)
    upper_right = np.zeros(SIZE_HW, bool)
    upper_right[:8, 12:] = True
    one = found.instances[1]
    assert (one.category_id, one.prompt_id, one.phrase, one.object_id) == (1, 0, None, None)
    assert (one.score, one.presence, one.stability) == (0.8125, 0.6875, 0.5625)
    assert (one.rle, one.area_px, one.bbox_xywh) == (encode(upper_right), 96, (12, 0, 12, 8))
    assert [each.point_xy for each in found.instances] == [(6, 4), (18, 4), (6, 12), (18, 12)]  # pixels of the window
    assert found.prompts == (PromptResult(prompt_id=0, category_id=1, phrase=None, presence=0.75, best_score=0.9375),)


def test_an_empty_mask_is_nothing() -> None:
    (asked,), (answers,) = ask(QuartersFound(empty=True))
    found = QUESTIONS.found(SIZE_HW, asked, answers)
    assert [one.point_xy for one in found.instances] == [(18, 4), (6, 12), (18, 12)]


def test_where_nothing_is_found_the_result_says_so() -> None:
    (asked,), _ = ask(QuartersFound())
    found = QUESTIONS.found(SIZE_HW, asked, [])
    assert found.instances == []
    assert found.prompts == (PromptResult(prompt_id=0, category_id=1, phrase=None, presence=0.0, best_score=0.0),)


def test_a_blank_grid_is_one_point() -> None:
    engine = QuartersFound()
    QUESTIONS.ask(cast(Engine, engine), torch.zeros(1, 3, 4, 4, dtype=torch.uint8), [[QUESTIONS.blank]])
    assert engine.asked == [(0, ((0.5, 0.5),), SETTINGS)]
