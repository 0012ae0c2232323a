"""All masks of a unit at once against the words about each alone: doubted is what something is wrong with."""

import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autolabel.labels.columns import InstanceColumns, instance_columns
from autolabel.labels.schema import INSTANCE
from autolabel.masks.rle import area, bbox_xywh, encode, from_runs
from autolabel.output.mask_checks import extent, extents, mask_problems, suspect_masks

SIZES_HW = st.tuples(st.integers(1, 9), st.integers(1, 9))
MASKS = arrays(bool, SIZES_HW)
FAULTS = ("none", "area", "bbox", "size", "empty run", "long number", "torn", "other", "no ASCII", "no counts")


def stored(mask: np.ndarray, fault: str, other: str) -> dict[str, Any]:
    rle = encode(mask)
    left, top, width, height = bbox_xywh(rle)
    instance: dict[str, Any] = {
        "category_id": 1,
        "prompt_id": 0,
        "score": 0.9,
        "presence": 0.9,
        "phrase": "car",
        "area": area(rle) + (fault == "area"),
        "bbox": [left, top, width, height + (fault == "bbox")],
        "segmentation": {"size": [mask.shape[0], mask.shape[1] + (fault == "size")], "counts": rle.counts},
    }
    spoilt = {
        "empty run": rle.counts + "0",
        "long number": rle.counts[:-1] + chr(ord("0") + (ord(rle.counts[-1]) - ord("0") | 32)) + "0",
        "torn": rle.counts[:-1] + "P",
        "other": other,
        "no ASCII": rle.counts + "\u00e9",
        "no counts": "",
    }
    instance["segmentation"]["counts"] = spoilt.get(fault, rle.counts)
    return instance


def as_found(instances: list[dict[str, Any]]) -> InstanceColumns:
    return instance_columns(pa.array([instances], pa.list_(INSTANCE)), 0)


seen: Counter[str] = Counter()


@settings(deadline=None, max_examples=500)
@given(
    st.lists(st.tuples(MASKS, st.sampled_from(FAULTS[:5]), st.text("0123?@POo`Nn", max_size=5)), min_size=1, max_size=6)
    | st.lists(st.tuples(MASKS, st.sampled_from(FAULTS), st.text("0123?@POo`Nn", max_size=5)), min_size=1, max_size=3)
)
def check_doubts(cases: list[tuple[np.ndarray, str, str]]) -> None:
    instances = [stored(*case) for case in cases]
    sizes_hw = [mask.shape for mask, _, _ in cases]
    doubted = suspect_masks(as_found(instances), np.array(sizes_hw, np.int64)).tolist()
    problems = [list(mask_problems(*pair)) for pair in zip(instances, sizes_hw, strict=True)]
    damaged = any("does not decode" in problem for told in problems for problem in told)
    for (_, fault, _), told, doubt in zip(cases, problems, doubted, strict=True):
        seen[f"{fault}, {'wrong' if told else 'right'}"] += 1
        assert doubt or not told
        assert damaged or doubt == bool(told), "only a damaged mask casts doubt on its neighbours"


def test_what_is_doubted_is_wrong_and_what_is_wrong_is_doubted() -> None:
    check_doubts()
    assert all(seen[f"{fault}, wrong"] for fault in FAULTS[1:]), seen
    assert seen["none, right"]
    assert seen["none, wrong"], "empty masks"


@settings(deadline=None, max_examples=100)
@given(st.lists(MASKS, min_size=1, max_size=5))
def test_extents_are_those_of_each(masks: list[np.ndarray]) -> None:
    runs = [np.array(_runs(mask), np.int64) for mask in masks]
    owner = np.repeat(np.arange(len(runs)), [len(one) for one in runs])
    n_pixels, areas, boxes = extents(np.concatenate(runs), owner, np.array([len(mask) for mask in masks]))
    assert n_pixels.tolist() == [mask.size for mask in masks]
    for index, mask in enumerate(masks):
        n, box = extent(runs[index], len(mask))
        assert areas[index] == n == mask.sum()
        assert not n or boxes[index].tolist() == box


def _runs(mask: np.ndarray) -> list[int]:
    flat = np.concatenate([[False], mask.T.ravel()])
    edges = np.flatnonzero(np.diff(flat))
    return [int(length) for length in np.diff(np.concatenate([[0], edges, [mask.size]]))]


def test_a_mask_that_claims_to_be_huge_costs_no_memory() -> None:
    side = 2**31 - 1  # as many columns, each a strip of its own where masks are cut
    rle = from_runs(np.array([0, side]), (1, side))
    huge = stored(np.ones((1, 1), bool), "none", "")
    huge |= {"area": side, "bbox": [0, 0, side, 1], "segmentation": {"size": [1, side], "counts": rle.counts}}
    tracemalloc.start()
    doubted = suspect_masks(as_found([huge]), np.array([[1, side]]))
    problems = list(mask_problems(huge, (1, side)))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (doubted.tolist(), problems) == ([False], [])
    assert peak_bytes < 1_000_000
