"""The split of an image: the same wherever it is asked for."""

from collections import Counter

import pytest

from autolabel.config.compose import compose_config
from autolabel.errors import BadInput
from autolabel.exports.splits import DEFAULT_SHARES, Splits

SPLITS = Splits(shares=DEFAULT_SHARES)


def test_the_split_of_a_name_never_changes() -> None:
    """A trainer who exports again must not test on what was trained on: these stand for all exports made so far."""
    names = ["000001.jpg", "a/b.jpg", "s3://bucket/x.png", "猫.jpg", "z.jpg"]
    assert [SPLITS.split_of(name) for name in names] == ["train", "train", "test", "train", "train"]


def test_shares_are_kept() -> None:
    counts = Counter(SPLITS.split_of(f"folder/{n:06d}.jpg") for n in range(20_000))
    assert {split: count / 20_000 for split, count in counts.items()} == pytest.approx(DEFAULT_SHARES, abs=0.01)


def test_a_smaller_share_moves_images_out_of_a_split_and_none_into_it() -> None:
    names = [f"{n}.jpg" for n in range(2000)]
    fewer = Splits(shares={"train": 0.7, "val": 0.3})
    assert {n for n in names if fewer.split_of(n) == "train"} < {n for n in names if SPLITS.split_of(n) == "train"}


def test_shares_that_do_not_quite_reach_1_leave_no_image_out() -> None:
    thirds = Splits(shares={"a": 0.333333, "b": 0.333333, "c": 0.333333})
    assert {thirds.split_of(str(n)) for n in range(100_000)} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("splits", "problems"),
    [
        ("{train: 0.9, val: 0.1}", []),
        ("{whole: 1}", []),
        ("{all: 1}", ["splits: 'all' is not a name"]),
        ("{train: 0.9, val: 0.2}", ["splits: the shares sum to 1.1, not to 1"]),
        ("{train: 1.1, val: -0.1}", ["splits.train: 1.1 is not a share", "splits.val: -0.1 is not a share"]),
        ("{train: nan}", ["splits.train: nan is not a share", "splits: the shares sum to nan"]),
        ("{..: 0.5, Train set: 0.5}", ["splits: '..' is not a name", "splits: 'Train set' is not a name"]),
    ],
)
def test_splits_are_checked_all_at_once(splits: str, problems: list[str]) -> None:
    overrides = ["output.uri=labels", f"splits={splits}"]
    if not problems:
        assert sum(compose_config("export", overrides).splits.values()) == pytest.approx(1)
        return
    with pytest.raises(BadInput) as caught:
        compose_config("export", overrides)
    assert len(caught.value.problems) == len(problems)
    for told, expected in zip(caught.value.problems, problems, strict=True):
        assert told.startswith(expected)


def test_yolo_needs_what_its_trainers_ask_for() -> None:
    with pytest.raises(BadInput, match="splits: train and val missing"):
        compose_config("export", ["output.uri=labels", "format=yolo", "splits={whole: 1.0}"])
