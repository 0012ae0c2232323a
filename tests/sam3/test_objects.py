"""Single objects through the engine: each as if it were alone, whatever else is asked beside it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from autolabel.sam3 import engine as engine_module
from autolabel.sam3 import interactive as interactive_module
from autolabel.sam3.architecture import FULL, TINY
from autolabel.sam3.engine import LARGEST_TENSOR, Engine, GraphsLost, Pair
from autolabel.sam3.interactive import ObjectForward
from autolabel.sam3.objects import ObjectQuery, ObjectResult
from autolabel.sam3.sizes import object_elements
from autolabel.sam3.upstream import Sam3Image
from tests.sam3.objects import KINDS, PIXELS, SIDE, close, engine, queries, query, seeded

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Sam3Image:
    return seeded()


@pytest.fixture(scope="module")
def asked() -> list[ObjectQuery]:
    """A hundred objects on four images."""
    return queries(1, 100)


@pytest.fixture(scope="module")
def batched(model: Sam3Image, asked: list[ObjectQuery]) -> list[ObjectResult]:
    return engine(model).segment_objects(PIXELS, asked)


def test_alone_it_is_what_it_is_among_a_hundred_others(
    model: Sam3Image, asked: list[ObjectQuery], batched: list[ObjectResult]
) -> None:
    tiny_engine = engine(model)
    for index in range(0, 100, 7):
        one = asked[index]
        alone = replace(one, image=0)
        close(tiny_engine.segment_objects(PIXELS[one.image][None], [alone]), [batched[index]])


@pytest.mark.parametrize("objects_at_once", [1, 6, 30])
def test_chunks_change_nothing(
    objects_at_once: int,
    model: Sam3Image,
    asked: list[ObjectQuery],
    batched: list[ObjectResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = watched(monkeypatch)
    close(engine(model, objects_at_once).segment_objects(PIXELS, asked), batched)
    assert max(sizes) <= objects_at_once
    assert sum(sizes) == len(asked)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many objects each pass has."""
    sizes: list[int] = []
    objects = ObjectForward.objects

    def counted(self: ObjectForward, features: Any, image: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(image))
        return objects(self, features, image, *args, **kwargs)

    monkeypatch.setattr(ObjectForward, "objects", counted)
    return sizes


def test_objects_of_as_many_points_share_a_pass_and_no_others_do(
    model: Sam3Image, asked: list[ObjectQuery], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = watched(monkeypatch)
    engine(model).segment_objects(PIXELS, asked)
    forms = {(len(one.labels), one.mask_logits is not None) for one in asked}
    assert len(sizes) == len(forms) < len(KINDS) + 1
    assert sum(sizes) == len(asked)


def test_results_keep_the_order_of_the_queries(
    model: Sam3Image, asked: list[ObjectQuery], batched: list[ObjectResult]
) -> None:
    order = np.random.default_rng(0).permutation(len(asked)).tolist()
    shuffled = engine(model, 20).segment_objects(PIXELS, [asked[index] for index in order])
    close(shuffled, [batched[index] for index in order])


def test_every_point_label_and_mask_counts(model: Sam3Image) -> None:
    rng = np.random.default_rng(3)
    one = query(rng, KINDS["a box and points"], 2)
    mask = query(rng, KINDS["a mask"], 2).mask_logits
    others = [
        one,
        replace(one, labels=(2, 3, *(1 - label for label in one.labels[2:]))),
        replace(one, points_xy=(*one.points_xy[:-1], (0.01, 0.01))),
        replace(one, points_xy=one.points_xy[:2], labels=(2, 3)),
        replace(one, points_xy=one.points_xy[:2], labels=(1, 1)),
        replace(one, mask_logits=mask),
        replace(one, image=1),
    ]
    found = engine(model).segment_objects(PIXELS, others)
    for index, each in enumerate(found[1:]):
        assert (each.mask_logits - found[0].mask_logits).abs().max() > 0.01, others[index + 1]


def test_types_and_shapes(batched: list[ObjectResult]) -> None:
    for result in batched:
        assert type(result.score) is type(result.presence) is float
        assert 0 <= result.score <= 1
        assert 0 < result.presence < 1
        assert result.mask_logits.shape == (1, SIDE, SIDE)
        assert (result.mask_logits.dtype, result.mask_logits.device) == (torch.float32, CPU)
        assert torch.isfinite(result.mask_logits).all()


def test_with_the_detector_beside_it_nothing_changes(asked: list[ObjectQuery]) -> None:
    both = seeded(both=True)
    alone = seeded()
    alone.load_state_dict({name: both.state_dict()[name] for name in alone.state_dict()})
    some = asked[:20]
    close(engine(both).segment_objects(PIXELS, some), engine(alone).segment_objects(PIXELS, some))


def test_out_of_memory_changes_nothing(
    model: Sam3Image, asked: list[ObjectQuery], batched: list[ObjectResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device with room for one image, or for three objects at a time."""
    refused: list[str] = []

    def with_room_for(room: int, name: str, size: Callable[..., int]) -> None:
        original = getattr(ObjectForward, name)

        def call(self: ObjectForward, *args: Any, **kwargs: Any) -> Any:
            if size(*args, **kwargs) > room:
                refused.append(name)
                raise torch.OutOfMemoryError
            return original(self, *args, **kwargs)

        monkeypatch.setattr(ObjectForward, name, call)

    with_room_for(1, "images", len)
    with_room_for(3, "objects", lambda features, image, *_, **__: len(image))
    close(engine(model).segment_objects(PIXELS, asked), batched)
    assert set(refused) == {"images", "objects"}


def test_what_does_not_fit_alone_is_told(
    model: Sam3Image, asked: list[ObjectQuery], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: ObjectForward, *args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("2 GB")

    monkeypatch.setattr(ObjectForward, "objects", full)
    with pytest.raises(torch.OutOfMemoryError, match="2 GB"):
        engine(model).segment_objects(PIXELS, asked[:3])


def test_a_recorded_model_that_runs_out_of_memory_is_lost(
    model: Sam3Image, asked: list[ObjectQuery], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def full(self: ObjectForward, features: Any, image: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(image))
        raise torch.OutOfMemoryError("2 GB")

    monkeypatch.setattr(ObjectForward, "objects", full)
    monkeypatch.setattr(interactive_module, "stage", lambda step, device, recorded: step)
    monkeypatch.setattr(engine_module, "records", lambda device: True)
    with pytest.raises(GraphsLost, match=r"the process must end; batch\.memory_mb=.* \(2 GB\)"):
        engine(model, compiled=True).segment_objects(PIXELS, asked)
    assert len(calls) == 1


class TestLargestTensors:
    """No tensor of a pass has more elements than 32 bits count, whatever memory there is."""

    def test_at_full_size(self) -> None:
        most = LARGEST_TENSOR // object_elements(FULL)
        assert most == 404
        finest, logits = FULL.width // 8, 4
        assert most * max(finest, logits) * (4 * FULL.feature_side) ** 2 < 2**31

    def test_chunks_are_bounded_by_them(self, model: Sam3Image, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_module, "LARGEST_TENSOR", 3 * object_elements(TINY))
        sizes = watched(monkeypatch)
        one = ObjectQuery(image=0, points_xy=((0.5, 0.5),), labels=(1,))
        Engine(model, TINY, device=CPU, memory_mb=100_000).segment_objects(PIXELS, [one] * 7)
        assert sizes == [3, 3, 1]


class TestRefused:
    @pytest.mark.parametrize(
        ("points_xy", "labels", "reason"),
        [
            (((0.5, 0.5),), (1, 1), "1 points with 2 labels"),
            ((), (), "needs a point, a box or a mask"),
            (((0.1, 0.1), (0.5, 0.5)), (3, 2), "come first"),
            (((0.1, 0.1), (0.5, 0.5), (0.3, 0.3)), (1, 2, 3), "come first"),
            (((0.1, 0.1),), (2,), "come first"),
            (((0.1, 0.1),), (-1,), "come first"),
        ],
    )
    def test_malformed_queries(
        self, points_xy: tuple[tuple[float, float], ...], labels: tuple[int, ...], reason: str
    ) -> None:
        with pytest.raises(ValueError, match=reason):
            ObjectQuery(image=0, points_xy=points_xy, labels=labels)

    @pytest.mark.parametrize(
        "mask", [torch.zeros(SIDE, SIDE + 1), torch.zeros(1, SIDE, SIDE), torch.zeros(SIDE, SIDE, dtype=torch.float16)]
    )
    def test_masks_of_another_shape_or_type(self, mask: torch.Tensor, model: Sam3Image) -> None:
        asked = ObjectQuery(image=0, points_xy=(), labels=(), mask_logits=mask)
        with pytest.raises(ValueError, match="masks to refine are not float32"):
            engine(model).segment_objects(PIXELS, [asked])

    @pytest.mark.parametrize("image", [-1, 4])
    def test_objects_of_no_image(self, image: int, model: Sam3Image) -> None:
        with pytest.raises(ValueError, match="batch of 4"):
            engine(model).segment_objects(PIXELS, [ObjectQuery(image=image, points_xy=((0.5, 0.5),), labels=(1,))])

    def test_a_part_that_was_not_loaded(self, model: Sam3Image, tiny: Sam3Image) -> None:
        asked = ObjectQuery(image=0, points_xy=((0.5, 0.5),), labels=(1,))
        with pytest.raises(ValueError, match="has no head for points and boxes"):
            engine(tiny).segment_objects(PIXELS, [asked])
        with pytest.raises(ValueError, match="has no detector"):
            engine(model).segment(PIXELS, [Pair(image=0, text="dog", threshold=0.5)])


def test_no_objects_give_no_results(model: Sam3Image) -> None:
    assert engine(model).segment_objects(PIXELS, []) == []


def test_each_image_is_encoded_once(
    model: Sam3Image, asked: list[ObjectQuery], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    images = ObjectForward.images

    def counted(self: ObjectForward, pixels: torch.Tensor) -> Any:
        seen.append(len(pixels))
        return images(self, pixels)

    monkeypatch.setattr(ObjectForward, "images", counted)
    engine(model).segment_objects(PIXELS, asked)
    engine(model).segment_objects(PIXELS, [one for one in asked if one.image == 2])
    assert (sum(seen[:-1]), seen[-1]) == (len(PIXELS), 1)
