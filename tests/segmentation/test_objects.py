"""Given objects: what is asked for each, and that each is an instance, also of parts, also with an empty mask."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
import torch

from autolabel.labels.types import ImageLabels, PromptResult
from autolabel.masks.rle import decode, encode
from autolabel.plan import PlannedImage
from autolabel.prompts.objects.table import ObjectPrompt
from autolabel.prompts.ontology import Prompt
from autolabel.sam3.device import HostTensor
from autolabel.sam3.engine import Engine
from autolabel.sam3.objects import ObjectQuery, ObjectResult
from autolabel.segmentation.batch import segment_batch
from autolabel.segmentation.objects import INSIDE_LOGIT, OUTSIDE_LOGIT, AskedObject, ObjectQuestions, logits_of_mask
from autolabel.segmentation.questions import Found
from autolabel.selection.rules import Rules, apply_rules

MASK_SIDE = 8
SIZE_HW = (MASK_SIDE, MASK_SIDE)  # at which masks are what the model says, without a corner rounded
PROMPTS = [Prompt(id=0, category_id=4, phrase=None), Prompt(id=1, category_id=7, phrase=None)]
QUESTIONS = ObjectQuestions(PROMPTS, mask_side=MASK_SIDE)
PIXELS = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)


class BoxesFilled:
    """Finds for each object the rectangle that its points span, with a score by its number."""

    def __init__(self, *, room: int = 100) -> None:
        self.asked: list[Sequence[ObjectQuery]] = []
        self.room = room

    def segment_objects(self, pixels: torch.Tensor, queries: Sequence[ObjectQuery]) -> list[ObjectResult]:
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.asked.append(queries)
        return [self._result(query, number) for number, query in enumerate(queries)]

    def _result(self, query: ObjectQuery, number: int) -> ObjectResult:
        corners = np.array(query.points_xy) * MASK_SIDE
        (left, top), (right, bottom) = corners.min(0).astype(int), corners.max(0).astype(int)
        logits = torch.full((1, MASK_SIDE, MASK_SIDE), -1.0)
        logits[0, top:bottom, left:right] = 1.0
        return ObjectResult(score=0.75 - number / 16, presence=0.5 + number / 16, masks=HostTensor(logits))


def boxed(object_id: str, left: float, top: float, right: float, bottom: float, category_id: int = 4) -> ObjectPrompt:
    return ObjectPrompt(
        object_id=object_id, category_id=category_id, points_xy=((left, top), (right, bottom)), labels=(2, 3)
    )


def image(*objects: ObjectPrompt) -> PlannedImage:
    return PlannedImage(uri="/in/a.jpg", image_id=1, unit=0, objects=objects)


def ask(*objects: ObjectPrompt, engine: BoxesFilled | None = None) -> tuple[list[AskedObject], list[ObjectResult]]:
    asked = list(QUESTIONS.of_image(image(*objects)))
    (answers,) = QUESTIONS.ask(cast(Engine, engine or BoxesFilled()), PIXELS[:1], [asked])
    return asked, answers


def found(*objects: ObjectPrompt) -> Found:
    return QUESTIONS.found(SIZE_HW, *ask(*objects))


def filled(left: int, top: int, right: int, bottom: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mask = np.zeros(SIZE_HW, bool)
    mask[top:bottom, left:right] = True
    return mask


LEFT, RIGHT = boxed("a", 0.25, 0.25, 0.5, 0.75), boxed("b", 0.5, 0, 1, 0.5, category_id=7)
NOTHING = boxed("c", 0.5, 0.5, 0.5, 0.5)


def test_points_boxes_and_images_are_asked_as_they_are_planned() -> None:
    clicked = ObjectPrompt(object_id="x", category_id=4, points_xy=((0.5, 0.5), (0.1, 0.2)), labels=(1, 0))
    engine = BoxesFilled()
    asked = [list(QUESTIONS.of_image(image(LEFT, clicked))), [], list(QUESTIONS.of_image(image(RIGHT)))]
    answers = QUESTIONS.ask(cast(Engine, engine), PIXELS, asked)
    assert [len(of_image) for of_image in answers] == [2, 0, 1]
    assert [(query.image, query.points_xy, query.labels, query.mask_logits) for query in engine.asked[0]] == [
        (0, LEFT.points_xy, (2, 3), None),
        (0, ((0.5, 0.5), (0.1, 0.2)), (1, 0), None),
        (2, RIGHT.points_xy, (2, 3), None),
    ]
    assert [answer.score for of_image in answers for answer in of_image] == [0.75, 0.6875, 0.625]


def test_each_object_is_an_instance_of_its_category() -> None:
    left, right = found(LEFT, RIGHT).instances
    assert (left.object_id, left.category_id, left.prompt_id, left.phrase) == ("a", 4, 0, None)
    assert (right.object_id, right.category_id, right.prompt_id, right.phrase) == ("b", 7, 1, None)
    assert (left.score, right.score, left.presence, right.presence) == (0.75, 0.6875, 0.5, 0.5625)
    assert left.rle == encode(filled(2, 2, 4, 6))
    assert (left.area_px, left.bbox_xywh) == (8, (2, 2, 2, 4))


def test_parts_of_an_object_are_one_instance_of_the_lowest_scores() -> None:
    first, apart, other = boxed("a", 0, 0, 0.25, 0.5), boxed("a", 0.5, 0.5, 1, 1), boxed("z", 0, 0, 1, 1)
    one, whole = found(first, other, apart).instances
    assert (one.object_id, whole.object_id) == ("a", "z")
    assert one.rle == encode(filled(0, 0, 2, 4) | filled(4, 4, 8, 8))
    assert (one.area_px, one.bbox_xywh) == (8 + 16, (0, 0, 8, 8))
    assert (one.score, one.presence) == (0.625, 0.5)  # of the third, and of the first


def test_an_object_without_a_mask_is_an_instance_all_the_same() -> None:
    empty, full = found(NOTHING, LEFT).instances
    assert (empty.object_id, empty.area_px, empty.bbox_xywh) == ("c", 0, (0, 0, 0, 0))
    assert not decode(empty.rle).any()
    assert full.object_id == "a"


def test_an_object_without_a_mask_becomes_a_candidate() -> None:
    answer = found(NOTHING, LEFT)
    labels = ImageLabels(image_id=1, uri="/in/a.jpg", size_hw=SIZE_HW, prompts=answer.prompts)
    row = apply_rules(labels, answer.instances, Rules(threshold_of={4: 0.0, 7: 0.0}))
    assert [one.object_id for one in row.instances] == ["a"]
    assert [one.object_id for one in row.candidates] == ["c"]
    assert [prompt.n_instances for prompt in row.prompts] == [1]


def test_a_result_for_each_category_that_has_objects() -> None:
    assert found(RIGHT, LEFT, boxed("c", 0, 0, 1, 1)).prompts == (
        PromptResult(prompt_id=0, category_id=4, phrase=None, presence=0.625, best_score=0.6875),
        PromptResult(prompt_id=1, category_id=7, phrase=None, presence=0.5, best_score=0.75),
    )
    assert [result.prompt_id for result in found(RIGHT).prompts] == [1]


def test_an_image_without_objects_has_nothing() -> None:
    assert (found().prompts, found().instances) == ((), [])


# --- masks to refine ---


def test_a_mask_to_refine_goes_along_as_logits() -> None:
    mask = encode(filled(2, 2, 4, 6))
    prompt = ObjectPrompt(object_id="a", category_id=4, points_xy=((0.5, 0.5),), labels=(1,), mask=mask)
    engine = BoxesFilled()
    ask(prompt, LEFT, engine=engine)
    with_mask, without = engine.asked[0]
    assert without.mask_logits is None
    assert with_mask.mask_logits is not None
    assert torch.equal(with_mask.mask_logits, logits_of_mask(mask, MASK_SIDE))


def test_logits_of_a_mask_are_those_of_the_square_that_the_model_sees() -> None:
    mask = np.zeros((400, 800), bool)
    mask[100:300, 200:400] = True
    logits = logits_of_mask(encode(mask), MASK_SIDE)
    expected = torch.zeros(MASK_SIDE, MASK_SIDE, dtype=torch.bool)
    expected[2:6, 2:4] = True
    assert (logits.shape, logits.dtype) == ((MASK_SIDE, MASK_SIDE), torch.float32)
    assert torch.equal(logits > 0, expected)
    assert logits.min() == logits[0, 0] == OUTSIDE_LOGIT
    assert 0.7 * INSIDE_LOGIT < logits.max() <= INSIDE_LOGIT


@pytest.mark.parametrize(
    ("mask", "logit"), [(np.ones((30, 7), bool), INSIDE_LOGIT), (np.zeros((30, 7), bool), OUTSIDE_LOGIT)]
)
def test_logits_of_all_or_nothing(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], logit: float) -> None:
    assert torch.allclose(logits_of_mask(encode(mask), MASK_SIDE), torch.tensor(logit))


def test_a_thin_mask_of_a_large_image_leaves_a_trace() -> None:
    mask = np.zeros((800, 800), bool)
    mask[:, 400:410] = True  # a tenth of a cell
    logits = logits_of_mask(encode(mask), MASK_SIDE)
    assert logits.max() > OUTSIDE_LOGIT + 0.5


# --- a device without room ---


def test_images_whose_objects_do_not_fit_together_are_asked_one_by_one() -> None:
    engine = BoxesFilled(room=1)
    asked = [QUESTIONS.of_image(image(LEFT)), QUESTIONS.of_image(image(LEFT, RIGHT))]
    results = segment_batch(QUESTIONS, cast(Engine, engine), PIXELS, asked)
    assert [of_image and len(of_image) for of_image in results] == [1, 2]
    assert [len(queries) for queries in engine.asked] == [1, 2]


def test_a_blank_object_can_be_asked() -> None:
    engine = BoxesFilled()
    ((answer,),) = QUESTIONS.ask(cast(Engine, engine), PIXELS[:1], [[QUESTIONS.blank]])
    assert engine.asked[0][0].labels == (1,)
    assert answer.masks.nbytes == 4 * MASK_SIDE**2
