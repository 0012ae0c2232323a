"""A compiled model: the same answers, whole graphs, and no more of them than there are sizes."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from autolabel import demo
from autolabel.demo.scenes import draw_scene
from autolabel.sam3.architecture import TINY, build, seed_weights
from autolabel.sam3.checkpoint import load
from autolabel.sam3.engine import Engine, Pair, token_bucket
from autolabel.sam3.grid import GridSettings
from autolabel.sam3.precision import narrow
from autolabel.sam3.preprocess import resize
from autolabel.sam3.sizes import pair_bytes
from tests.sam3 import objects
from tests.sam3.agreement import Agreement
from tests.sam3.pairs import ALL_PAIRS, IMAGES, close, random_pairs
from tests.sam3.scenes import SEED, scene

pytestmark = pytest.mark.long

CPU = torch.device("cpu")
WEIGHTS = Path(demo.__file__).parent / "demo.safetensors"


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Compile without generating code, which takes minutes: the graphs are the same. Counts the graphs of each step."""
    graphs = Counter[str]()
    compile_ = torch.compile

    def without_code(step: Callable[..., object], **kwargs: object) -> object:
        def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
            graphs[step.__name__] += 1
            return graph.forward

        return compile_(step, **kwargs | {"backend": backend})  # type: ignore[call-overload]

    monkeypatch.setattr(torch, "compile", without_code)
    return graphs


def engine(*, compiled: bool, pairs_at_once: int = 1000, dtype: torch.dtype = torch.float32) -> Engine:
    model = build(TINY)
    seed_weights(model, SEED)
    narrow(model, dtype)
    memory_mb = -(-pairs_at_once * pair_bytes(TINY) // 1_000_000)
    return Engine(model, TINY, device=CPU, memory_mb=memory_mb, compiled=compiled)


def test_equals_the_model_as_it_is(traced: Counter[str]) -> None:
    some = ALL_PAIRS[::3]  # of every image and kind of prompt
    pixels = torch.stack([resize(rgb, TINY.resolution) for rgb in IMAGES])
    close(engine(compiled=True).segment(pixels, some), engine(compiled=False).segment(pixels, some))
    assert traced
    assert not counters["graph_break"]


def test_narrow_layers_are_compiled_too(traced: Counter[str]) -> None:
    pixels = torch.stack([resize(rgb, TINY.resolution) for rgb in IMAGES[:1]])
    pairs = [Pair(image=0, text="dog", threshold=0.3)]
    (one,), (other,) = (
        engine(compiled=compiled, dtype=torch.bfloat16).segment(pixels, pairs) for compiled in (True, False)
    )
    assert one.presence == pytest.approx(other.presence, abs=0.01)
    assert one.best_score == pytest.approx(other.best_score, abs=0.01)
    assert traced
    assert not counters["graph_break"]


@pytest.mark.parametrize("n_batches", [4, pytest.param(10, marks=pytest.mark.slow)])
def test_sizes_are_few_and_each_is_compiled_once(n_batches: int, traced: Counter[str]) -> None:
    """Batches of any number of images and pairs, with up to 4 boxes and 12 tokens, 4 images and 8 pairs at once."""
    one = engine(compiled=True, pairs_at_once=8)
    rng = np.random.default_rng(0)
    for seed in range(n_batches):
        n_images = int(rng.integers(1, 5))
        pixels = torch.stack([resize(scene(seed + n, (200, 300)), TINY.resolution) for n in range(n_images)])
        one.segment(pixels, random_pairs(rng, n_images, int(rng.integers(1, 30))))
    one_or_more, tokens, shared = 2, 2, 2  # of images, of pairs: 1 or 4; 8 or 16 tokens
    at_most = {
        "_encoded": one_or_more,
        "_searched": one_or_more * one_or_more * tokens,
        "_finer": one_or_more * one_or_more * shared,  # any number above one, of which all or some have masks
        "_decoded": one_or_more * one_or_more * shared * tokens,
    }
    assert traced.keys() == at_most.keys()
    assert all(n <= at_most[step] for step, n in traced.items()), traced
    assert not counters["graph_break"]
    before = traced.copy()
    for _ in range(2):
        one.segment(pixels, random_pairs(np.random.default_rng(1), n_images, 30))
    again = traced.copy()
    one.segment(pixels, random_pairs(np.random.default_rng(1), n_images, 30))
    assert before <= again == traced
    assert all(n <= at_most[step] for step, n in traced.items()), traced


def test_a_job_of_full_batches_meets_hardly_more_than_a_graph_a_step(traced: Counter[str]) -> None:
    one = engine(compiled=True, pairs_at_once=64)
    phrases = ("dog", "red car", "blue circle")
    for seed in range(0, 24, 4):
        pixels = torch.stack([resize(scene(seed + n, (200, 300)), TINY.resolution) for n in range(4)])
        one.segment(pixels, [Pair(image=n, text=text, threshold=0.5) for n in range(4) for text in phrases])
    assert traced["_encoded"] == traced["_searched"] == 1
    assert traced["_finer"] <= 3
    assert traced["_decoded"] <= 3


def test_filling_up_changes_nothing(traced: Counter[str]) -> None:
    """Three images are computed as four, and three pairs as four."""
    pixels = torch.stack([resize(rgb, TINY.resolution) for rgb in IMAGES[:3]])
    some = [Pair(image=n, text="dog", threshold=0.1) for n in range(3)]
    close(engine(compiled=True).segment(pixels, some), engine(compiled=False).segment(pixels, some))


def objects_engine(*, compiled: bool, objects_at_once: int = 1000) -> Engine:
    return objects.engine(objects.seeded(), objects_at_once, compiled=compiled)


def test_single_objects_equal_the_model_as_it_is(traced: Counter[str]) -> None:
    """Of all kinds: with three or more points, what fills up to four or eight is hidden."""
    asked = objects.queries(2, 30)
    expected = objects_engine(compiled=False).segment_objects(objects.PIXELS, asked)
    objects.close(objects_engine(compiled=True).segment_objects(objects.PIXELS, asked), expected)
    assert {len(one.labels) for one in asked} > {3, 5}
    assert traced
    assert not counters["graph_break"]


def test_a_grid_equals_the_model_as_it_is(traced: Counter[str]) -> None:
    grid = [(x / 5, y / 5) for x in range(1, 5) for y in range(1, 5)]
    settings = GridSettings(iou=0.3, stability=0.2, nms=0.97)
    one, other = (
        objects_engine(compiled=compiled).segment_grid(objects.PIXELS, 1, grid, settings) for compiled in (True, False)
    )
    assert len(other) > 3
    for ours, expected in zip(one, other, strict=True):
        assert ours.point_xy == expected.point_xy
        torch.testing.assert_close(ours.mask_logits, expected.mask_logits, atol=1e-5, rtol=0)
    assert traced
    assert not counters["graph_break"]


def test_forms_of_single_objects_are_few_and_each_is_compiled_once(traced: Counter[str]) -> None:
    """Any number of objects with up to seven points, with and without masks, on one image and on several."""
    one = objects_engine(compiled=True, objects_at_once=8)
    rng = np.random.default_rng(0)
    kinds = [*objects.KINDS.values(), objects.Asked(7), objects.Asked(5, boxed=True), objects.Asked(3, masked=True)]

    batches = [
        [objects.query(rng, kinds[index], index % 4) for index in rng.integers(len(kinds), size=n).tolist()]
        for n in (1, 17, 60)
    ]
    for asked in batches * 2:  # the second number of any length makes that length one of the graph's sizes
        one.segment_objects(objects.PIXELS, asked)
    one_or_more, points, of_one_image, masked = 2, 5, 2, 2  # 0, 1, 2, 4 or 8 points
    at_most = {"_encoded": one_or_more, "_decoded": one_or_more * points * of_one_image * masked}
    assert traced.keys() == at_most.keys()
    assert all(n <= at_most[step] for step, n in traced.items()), traced
    assert not counters["graph_break"]
    before = traced.copy()
    for asked in batches:
        one.segment_objects(objects.PIXELS, asked)
    assert traced == before


def test_token_buckets() -> None:
    assert [token_bucket(n) for n in (3, 8, 9, 16, 17, 33)] == [8, 8, 16, 16, 32, 64]


@pytest.mark.slow
def test_generated_code_finds_the_same_on_the_trained_model() -> None:
    scenes = [draw_scene(33, index) for index in range(16)]
    pixels = torch.stack([resize(one.rgb, TINY.resolution) for one in scenes])
    phrases = ("red shape", "circle", "striped star", "shape", "moon", "elephant")
    pairs = [Pair(image=image, text=text, threshold=0.5) for image in range(len(scenes)) for text in phrases]
    pairs.append(Pair(image=0, text=None, boxes_cxcywh=((0.5, 0.5, 0.3, 0.3),), positive=(True,), threshold=0.5))
    plain, compiled = (
        Engine(load(WEIGHTS, TINY, device="cpu"), TINY, device=CPU, memory_mb=200, compiled=compiled).segment(
            pixels, pairs
        )
        for compiled in (False, True)
    )
    agreement = Agreement.of(plain, compiled, [scenes[pair.image].ids.shape for pair in pairs])
    assert counters["inductor"]
    assert not counters["graph_break"]
    assert agreement.same_kept >= 0.99
    assert agreement.n_instances > 100
    assert agreement.ious_from(0.99) >= 0.99
