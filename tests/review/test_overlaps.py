"""Which categories share objects by nature, learned from outputs of which it is known."""

import numpy as np
import pytest

from autolabel.review.overlaps import COMMON_SHARE, Overlaps, pair_number

A, B, C = range(3)
AB, AC = (pair_number(np.array([A]), np.array([other]), 3) for other in (B, C))


def counted(
    n_labels: int, n_shared: int, score: float = 0.9, shared_score: float | None = None, pair: int = int(AB[0])
) -> Overlaps:
    """As many labels of each of the three categories; of one pair some share their object."""
    category = np.repeat(np.arange(3), n_labels)
    product = (score if shared_score is None else shared_score) ** 2
    return Overlaps.of(
        category, np.full(len(category), score), np.full(n_shared, pair), np.full(n_shared, product), n_categories=3
    )


@pytest.mark.parametrize(
    ("overlaps", "least", "most"),
    [
        pytest.param(counted(400, 200), 0.0, 0.05, id="half of all, and as sure: by nature"),
        pytest.param(counted(400, 40), 0.0, 0.15, id="one in ten, and as sure"),
        pytest.param(counted(400, 200, score=0.9, shared_score=0.75), 1.0, 1.0, id="torn between the two"),
        pytest.param(counted(400, 2), 0.8, 1.0, id="sure, but hardly ever"),
        pytest.param(counted(1, 1), 0.8, 1.0, id="too few to tell"),
    ],
)
def test_what_is_usual_is_no_disagreement(overlaps: Overlaps, least: float, most: float) -> None:
    (unusual,) = overlaps.unusual(AB)
    assert least <= unusual <= most


@pytest.mark.parametrize("factor", [0.6, 1.0])
def test_it_does_not_matter_how_sure_a_model_is_of_everything(factor: float) -> None:
    by_nature, torn = counted(400, 200, 0.9 * factor), counted(400, 200, 0.9 * factor, shared_score=0.75 * factor)
    assert by_nature.unusual(AB) == pytest.approx([0.02], abs=0.02)
    assert torn.unusual(AB) == pytest.approx([1.0])


def test_the_more_is_seen_the_surer_it_is() -> None:
    unusual = [float(counted(1000, n).unusual(AB)[0]) for n in (1, 5, 25, 125, 625)]
    assert unusual == sorted(unusual, reverse=True)
    assert COMMON_SHARE * 1000 < 25


def test_counts_of_parts_add_up_to_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    category, pair = rng.integers(0, 3, 50), rng.choice([1, 2, 5], 30)
    score, product = rng.random(50), rng.random(30)
    whole = Overlaps.of(category, score, pair, product, 3)
    total = Overlaps.nothing(3)
    for labels, pairs in ((slice(0, 20), slice(0, 0)), (slice(20, 50), slice(0, 13)), (slice(0, 0), slice(13, 30))):
        total += Overlaps.of(category[labels], score[labels], pair[pairs], product[pairs], 3)
    for name, value in vars(whole).items():
        assert getattr(total, name) == pytest.approx(value), name
    assert total.n_shared.sum() == 30


def test_each_pair_of_categories_has_counts_of_its_own() -> None:
    overlaps = counted(400, 200) + counted(400, 50, shared_score=0.6, pair=int(AC[0]))
    assert overlaps.unusual(np.concatenate([AC, AB, AC])).tolist() == [1.0, pytest.approx(0, abs=0.05), 1.0]
    assert pair_number(np.array([B]), np.array([A]), 3).tolist() == AB.tolist()
    assert Overlaps.nothing(3).unusual(np.zeros(0, np.int64)).tolist() == []
