"""NMS, limits and caps, on small rectangles whose overlaps can be counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

from autolabel.labels.types import Instance
from autolabel.masks.rle import area, bbox_xywh, encode, pairwise_overlap
from autolabel.selection.rules import Rules, select


def rectangle(x0: int, x1: int, *, score: float, category: int = 1, phrase: str = "a", y1: int = 10) -> Instance:
    """Columns x0 to x1 of the first y1 of ten rows, a hundred columns wide."""
    mask = np.zeros((10, 100), bool)
    mask[:y1, x0:x1] = True
    rle = encode(mask)
    return Instance(
        category_id=category,
        prompt_id=0,
        phrase=phrase,
        score=score,
        presence=1.0,
        rle=rle,
        area_px=area(rle),
        bbox_xywh=bbox_xywh(rle),
    )


WIDE, SHIFTED, INSIDE = (rectangle(*span, score=0.9) for span in ((0, 20), (2, 22), (5, 10)))  # IoU .82, .25; ios 1
NMS = Rules(nms_within=0.7)


def scores(instances: list[Instance]) -> list[float]:
    return [instance.score for instance in instances]


@pytest.mark.parametrize(
    ("rules", "second", "n_kept"),
    [
        pytest.param(NMS, replace(SHIFTED, score=0.8), 1, id="over the limit"),
        pytest.param(Rules(nms_within=0.9), replace(SHIFTED, score=0.8), 2, id="under the limit"),
        pytest.param(Rules(nms_within=18 / 22), replace(SHIFTED, score=0.8), 2, id="at the limit is not over it"),
        pytest.param(Rules(), replace(WIDE, score=0.8), 2, id="no NMS"),
        pytest.param(NMS, replace(WIDE, score=0.8, phrase="b"), 1, id="a synonym does not double an object"),
        pytest.param(NMS, replace(WIDE, score=0.8, category_id=2), 2, id="another category stays by default"),
        pytest.param(Rules(nms_across=0.7), replace(WIDE, score=0.8, category_id=2), 1, id="across categories"),
        pytest.param(Rules(nms_across=0.7), replace(WIDE, score=0.8), 2, id="across alone spares its own category"),
        pytest.param(NMS, replace(INSIDE, score=0.8), 2, id="a part has a small IoU"),
        pytest.param(Rules(nms_within=0.7, metric="ios"), replace(INSIDE, score=0.8), 1, id="and a whole ios"),
    ],
)
def test_the_weaker_of_two_goes(rules: Rules, second: Instance, n_kept: int) -> None:
    assert scores(select([second, WIDE], rules)) == [0.9, 0.8][:n_kept]


def test_what_is_suppressed_suppresses_nothing() -> None:
    chain = [rectangle(0, 20, score=0.9), rectangle(3, 23, score=0.8), rectangle(6, 26, score=0.7)]
    assert scores(select(chain, Rules(nms_within=0.7))) == [0.9, 0.7]


def test_equal_scores_keep_their_order() -> None:
    twins = [rectangle(0, 20, score=0.5, phrase=phrase) for phrase in "abc"]
    assert [i.phrase for i in select(twins, NMS)] == ["a"]
    assert [i.phrase for i in select(twins, Rules())] == ["a", "b", "c"]


def test_areas_are_limited_at_both_ends_inclusively() -> None:
    small, medium, large = (rectangle(0, width, score=0.5) for width in (1, 2, 3))
    assert select([small, medium, large], Rules(min_area_px=20, max_area_px=20)) == [medium]
    empty = rectangle(0, 0, score=0.9)
    assert select([empty], Rules(min_area_px=1)) == []


def test_caps_keep_the_best_after_nms() -> None:
    found = [rectangle(x, x + 5, score=0.9 - x / 100, category=1 + x // 20) for x in range(0, 60, 5)]
    doubled = [replace(found[0], score=0.89)]
    assert len(select(found, Rules(max_instances=5))) == 5
    kept = select(found + doubled, Rules(nms_within=0.7, max_instances_of={1: 2}))
    assert [i.bbox_xywh[0] for i in kept if i.category_id == 1] == [0, 5]
    assert sum(i.category_id == 2 for i in kept) == 4
    assert select(found, Rules(max_instances=1, max_instances_of={1: 3})) == [found[0]]


def test_nothing_in_nothing_out() -> None:
    assert select([], NMS) == []


@pytest.mark.parametrize("metric", ["iou", "ios"])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_plain_way(metric: str, seed: int) -> None:
    """Every pair of masks compared, greedily; ellipses of two categories, many of them nearly the same."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :80]
    found = []
    for _ in range(60):
        cy, cx = rng.choice([15, 30, 45]) + rng.normal(0, 2), rng.choice([20, 40, 60]) + rng.normal(0, 2)
        ry, rx = rng.uniform(3, 20, 2)
        rle = encode(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1)
        category, score = int(rng.integers(1, 3)), float(rng.choice([0.5, 0.6, 0.7, 0.8]))
        found.append(
            Instance(
                category_id=category,
                prompt_id=0,
                phrase=None,
                score=score,
                presence=1.0,
                rle=rle,
                area_px=area(rle),
                bbox_xywh=bbox_xywh(rle),
            )
        )
    for within, across in ((0.7, None), (None, 0.5), (0.6, 0.8), (0.0, 0.0)):
        expected: list[Instance] = []
        for one in sorted(found, key=lambda instance: -instance.score):
            limits = [within if other.category_id == one.category_id else across for other in expected]
            overlaps = [pairwise_overlap([one.rle], [other.rle], metric)[0, 0] for other in expected]
            if not any(limit is not None and o > limit for o, limit in zip(overlaps, limits, strict=True)):
                expected.append(one)
        rules = Rules(nms_within=within, nms_across=across, metric=metric)
        assert select(found, rules) == expected
        assert 0 < len(expected) < len(found)
