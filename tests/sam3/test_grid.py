"""Everything in an image: what a grid's masks must be to stay, against the plain way."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from autolabel.sam3.chunks import Chunks
from autolabel.sam3.grid import GridResult, GridSegmenter, GridSettings, _Candidate, unique_masks
from autolabel.sam3.interactive import ObjectForward, Proposals
from autolabel.sam3.objects import ObjectQuery
from autolabel.sam3.upstream import Sam3Image
from tests.sam3.objects import PIXELS, SIDE, R, engine, seeded

GRID = [((column + 0.5) / 6, (row + 0.5) / 6) for row in range(6) for column in range(6)]
SETTINGS = GridSettings(iou=0.3, stability=0.2, nms=0.97)  # a seeded head sees much the same from everywhere


@pytest.fixture(scope="module")
def model() -> Sam3Image:
    return seeded()


@pytest.fixture(scope="module")
def found(model: Sam3Image) -> list[GridResult]:
    return engine(model).segment_grid(PIXELS, 1, GRID, SETTINGS)


def plainly(model: Sam3Image, image: int, settings: GridSettings) -> list[tuple[float, torch.Tensor, int]]:
    """Score, logits and point of the masks that stay: one point at a time, all masks compared in full."""
    forward = ObjectForward(model.backbone.vision_backbone.trunk, model.interactive)
    candidates = []
    with torch.inference_mode():
        features = forward.images(PIXELS[image][None].float() * (2 / 255) - 1)
        for index, point in enumerate(GRID):
            at = torch.tensor([[point]]) * R
            out = forward.objects(features, torch.tensor([0]), at, torch.ones(1, 1))
            for logits, iou in zip(out.logits[0, 1:], out.ious[0, 1:].tolist(), strict=True):
                stable = (logits > 1).sum() / (logits > -1).sum().clamp(min=1)
                if iou > settings.iou and stable >= settings.stability and (logits > 0).any():
                    candidates.append((iou, logits, index))
    kept: list[tuple[float, torch.Tensor, int]] = []
    for one in sorted(candidates, key=lambda candidate: -candidate[0]):
        mask = one[1] > 0
        ious = [((mask & (other > 0)).sum() / (mask | (other > 0)).sum()).item() for _, other, _ in kept]
        if all(iou <= settings.nms for iou in ious):
            kept.append(one)
    return kept


def test_is_the_plain_way(model: Sam3Image, found: list[GridResult]) -> None:
    plain = plainly(model, 1, SETTINGS)
    assert 3 < len(plain) < 3 * len(GRID) - 3
    assert len(found) == len(plain)
    for one, (score, logits, point) in zip(found, plain, strict=True):
        assert one.score == pytest.approx(score, abs=1e-5)
        assert one.point_xy == GRID[point]
        torch.testing.assert_close(one.mask_logits[0], logits, atol=1e-4, rtol=0)


def test_types_and_shapes(found: list[GridResult]) -> None:
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one in found:
        assert one.score > SETTINGS.iou
        assert one.stability >= SETTINGS.stability
        assert type(one.score) is type(one.presence) is type(one.stability) is float
        assert 0 < one.presence < 1
        assert one.mask_logits.shape == (1, SIDE, SIDE)
        assert one.mask_logits.dtype == torch.float32
        inner, outer = (one.mask_logits > 1).sum().item(), (one.mask_logits > -1).sum().item()
        assert one.stability == pytest.approx(inner / outer)


@pytest.mark.parametrize("objects_at_once", [1, 7])
def test_chunks_change_nothing(objects_at_once: int, model: Sam3Image, found: list[GridResult]) -> None:
    same(engine(model, objects_at_once).segment_grid(PIXELS, 1, GRID, SETTINGS), found)


def test_the_image_is_the_one_asked(model: Sam3Image, found: list[GridResult]) -> None:
    same(engine(model).segment_grid(PIXELS[1:2], 0, GRID, SETTINGS), found)
    other = engine(model).segment_grid(PIXELS, 2, GRID, SETTINGS)
    assert [one.score for one in other] != [one.score for one in found]
    with pytest.raises(ValueError, match="batch of 4"):
        engine(model).segment_grid(PIXELS, 4, GRID, SETTINGS)


def same(some: list[GridResult], others: list[GridResult]) -> None:
    for one, other in zip(some, others, strict=True):
        assert one.point_xy == other.point_xy
        assert one.score == pytest.approx(other.score, abs=1e-6)
        torch.testing.assert_close(one.mask_logits, other.mask_logits, atol=1e-5, rtol=0)


def test_the_best_mask_is_what_its_point_alone_gives(model: Sam3Image) -> None:
    best, *others = engine(model).segment_grid(PIXELS, 1, GRID, GridSettings(iou=0.0, stability=0.0, nms=0.9))
    asked = [ObjectQuery(image=1, points_xy=(one.point_xy,), labels=(1,)) for one in (best, *others)]
    answer, *of_others = engine(model).segment_objects(PIXELS, asked)
    assert best.score == pytest.approx(answer.score, abs=1e-6)
    torch.testing.assert_close(best.mask_logits, answer.mask_logits, atol=1e-4, rtol=0)
    for one, other in zip(others, of_others, strict=True):
        assert one.presence == pytest.approx(other.presence, abs=1e-6)
        assert one.score <= other.score + 1e-6


@pytest.mark.parametrize(
    "settings", [GridSettings(iou=1.0, stability=0.0, nms=1.0), GridSettings(iou=0.0, stability=1.1, nms=1.0)]
)
def test_where_nothing_passes_there_is_nothing(settings: GridSettings, model: Sam3Image) -> None:
    assert engine(model).segment_grid(PIXELS, 1, GRID, settings) == []


def test_out_of_memory_changes_nothing(
    model: Sam3Image, found: list[GridResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[int] = []
    objects = ObjectForward.objects

    def with_room(self: ObjectForward, features: Any, image: torch.Tensor, *args: Any, **kwargs: Any) -> Proposals:
        if len(image) > 5:
            refused.append(len(image))
            raise torch.OutOfMemoryError
        return objects(self, features, image, *args, **kwargs)

    monkeypatch.setattr(ObjectForward, "objects", with_room)
    same(engine(model).segment_grid(PIXELS, 1, GRID, SETTINGS), found)
    assert refused


def test_a_model_without_the_head_is_told(tiny: Sam3Image) -> None:
    with pytest.raises(ValueError, match="has no head for points and boxes"):
        engine(tiny).segment_grid(PIXELS, 0, GRID, SETTINGS)


class Made:
    """A head that answers with given masks, three for each point."""

    def __init__(self, logits: torch.Tensor, ious: torch.Tensor) -> None:
        self.logits, self.ious = logits, ious

    def objects(self, features: object, image: torch.Tensor, points: torch.Tensor, labels: torch.Tensor) -> Proposals:
        rows = (points[:, 0, 0] * 10).round().long()  # a point's x says which it is
        first = self.ious.new_ones(len(rows), 1)  # of the one mask, which nobody asked for
        return Proposals(
            logits=torch.cat([self.logits[rows, :1], self.logits[rows]], dim=1),
            ious=torch.cat([first, self.ious[rows]], dim=1),
            present=torch.zeros(len(rows)),
        )


def rectangle(x0: int, y0: int, x1: int, y1: int, inside: float = 5.0) -> torch.Tensor:
    logits = torch.full((20, 20), -5.0)
    logits[y0:y1, x0:x1] = inside
    return logits


def kept(masks: list[torch.Tensor], ious: list[float], settings: GridSettings) -> list[int]:
    """Which of some masks, three a point, stay."""
    forward: Any = Made(torch.stack(masks).view(-1, 3, 20, 20), torch.tensor(ious).view(-1, 3))
    segmenter = GridSegmenter(forward, resolution=1, device=torch.device("cpu"), chunks=Chunks(2, "objects"))
    features: Any = None
    results = segmenter.segment(features, [(n / 10, 0.0) for n in range(len(masks) // 3)], settings)
    return [next(index for index, mask in enumerate(masks) if torch.equal(mask, one.mask_logits[0])) for one in results]


class TestWhatStays:
    LOOSE = GridSettings(iou=0.0, stability=0.0, nms=1.0)

    def test_by_predicted_iou_more_than_the_limit(self) -> None:
        masks = [rectangle(0, 0, 5, 5), rectangle(6, 0, 12, 5), rectangle(0, 8, 5, 12)]
        assert kept(masks, [0.75, 0.9, 0.5], GridSettings(iou=0.75, stability=0.0, nms=1.0)) == [1]

    def test_by_stability_at_least_the_limit(self) -> None:
        half = rectangle(0, 0, 4, 8)
        half[:4, :4] = 0.5  # between the offsets: 16 cells sure of 32 that are possible
        masks = [half, rectangle(6, 0, 12, 5), rectangle(0, 10, 5, 14, inside=0.9)]
        assert kept(masks, [0.9, 0.8, 0.7], GridSettings(iou=0.0, stability=0.5, nms=1.0)) == [0, 1]
        assert kept(masks, [0.9, 0.8, 0.7], GridSettings(iou=0.0, stability=0.51, nms=1.0)) == [1]

    def test_empty_masks_go(self) -> None:
        nothing = torch.full((20, 20), -5.0)
        assert kept([nothing, rectangle(0, 0, 3, 3), nothing], [0.9, 0.5, 0.9], self.LOOSE) == [1]

    def test_of_masks_that_are_one_the_best_stays(self) -> None:
        masks = [rectangle(0, 0, 10, 10), rectangle(0, 0, 10, 9), rectangle(11, 0, 15, 5)]
        for limit, expected in ((0.95, [1, 0, 2]), (0.9, [1, 0, 2]), (0.89, [1, 2])):  # their IoU is 0.9
            assert kept(masks, [0.8, 0.9, 0.7], GridSettings(iou=0.0, stability=0.0, nms=limit)) == expected

    def test_of_one_within_the_others_box_both_stay(self) -> None:
        frame = rectangle(0, 0, 16, 16)
        frame[2:14, 2:14] = -5.0
        assert kept([frame, rectangle(2, 2, 14, 14), rectangle(17, 17, 19, 19)], [0.9, 0.8, 0.7], self.LOOSE) == [
            0,
            1,
            2,
        ]
        assert kept(
            [frame, rectangle(2, 2, 14, 14), rectangle(17, 17, 19, 19)],
            [0.9, 0.8, 0.7],
            GridSettings(iou=0.0, stability=0.0, nms=0.1),
        ) == [0, 1, 2]

    def test_one_that_went_suppresses_none(self) -> None:
        """Greedy: the middle one goes by the best, and the last stays beside it."""
        masks = [rectangle(0, 0, 10, 1), rectangle(2, 0, 12, 1), rectangle(4, 0, 14, 1)]
        assert kept(masks, [0.9, 0.8, 0.7], GridSettings(iou=0.0, stability=0.0, nms=0.6)) == [0, 2]


@pytest.mark.parametrize("seed", range(4))
def test_unique_masks_are_those_of_the_plain_comparison(seed: int) -> None:
    """Random rectangles and noise, also of a size whose bits do not fill whole words."""
    rng = np.random.default_rng(seed)
    side = (8, 20, 33, 64)[seed]
    masks = []
    for _ in range(60):
        (x0, x1), (y0, y1) = (np.sort(rng.integers(0, side + 1, 2)) for _ in range(2))
        mask = np.zeros((side, side), bool)
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
        masks.append(mask & (rng.random((side, side)) < 0.97))
    masks = [mask for mask in masks if mask.any()]
    limit = float(rng.uniform(0.2, 0.6))
    expected: list[int] = []
    for index, mask in enumerate(masks):
        if all((mask & masks[k]).sum() <= limit * (mask | masks[k]).sum() for k in expected):
            expected.append(index)
    assert 5 < len(expected) < len(masks)
    assert unique_masks([candidate(mask) for mask in masks], limit) == expected
    assert unique_masks([], limit) == []


def candidate(mask: npt.NDArray[np.bool_]) -> Any:
    packed = np.packbits(mask.reshape(1, -1), axis=1)
    return _Candidate(
        point=0,
        score=0.0,
        presence=0.0,
        stability=0.0,
        logits=torch.empty(0),
        bits=np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)[0],
        rows=np.array(mask.any(axis=1)),
        columns=np.array(mask.any(axis=0)),
    )
