"""The batched engine against Meta's own `Sam3Processor`, one image and one prompt at a time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from sam3.model.geometry_encoders import SequenceGeometryEncoder
from sam3.model.sam3_image_processor import Sam3Processor

from autolabel.masks.rle import decode
from autolabel.sam3 import engine as engine_module
from autolabel.sam3 import forward as forward_module
from autolabel.sam3.architecture import FULL, TINY, build, seed_weights
from autolabel.sam3.engine import (
    LARGEST_TENSOR,
    Engine,
    GraphsLost,
    PairResult,
)
from autolabel.sam3.forward import DecoderOutput, EncodedPrompts, Forward, ImageFeatures
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.preprocess import resize
from autolabel.sam3.sizes import hit_elements, image_elements, pair_elements
from autolabel.sam3.upstream import Sam3Image
from tests.sam3 import reference
from tests.sam3.pairs import (
    ALL_PAIRS,
    BESIDE,
    FAR,
    IMAGES,
    NEAR,
    PROMPTS,
    THRESHOLD,
    Prompt,
    close,
    engine,
    pair,
    random_pairs,
)
from tests.sam3.scenes import SEED, scene

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.stack([resize(rgb, TINY.resolution) for rgb in IMAGES])


@pytest.fixture(scope="module")
def batched(tiny: Sam3Image, pixels: torch.Tensor) -> list[PairResult]:
    return engine(tiny, 1000).segment(pixels, ALL_PAIRS)


@pytest.fixture
def metas(monkeypatch: pytest.MonkeyPatch) -> Sam3Image:
    """The same weights with Meta's own geometry encoder, which on a CPU needs `pin_memory` to do nothing."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    model = build(TINY)
    seed_weights(model, SEED)
    model.geometry_encoder.__class__ = SequenceGeometryEncoder
    return model


def by_processor(model: Sam3Image, rgb: npt.NDArray[np.uint8], prompt: Prompt) -> dict[str, Any]:
    processor = Sam3Processor(model, resolution=TINY.resolution, device="cpu", confidence_threshold=THRESHOLD)
    state: dict[str, Any] = processor.set_image(Image.fromarray(rgb))
    if prompt.text is not None:
        state = processor.set_text_prompt(prompt.text, state)
    for box, positive in zip(prompt.boxes, prompt.positive, strict=True):
        state = processor.add_geometric_prompt(list(box), positive, state)
    return state


def test_equals_metas_processor_one_at_a_time(metas: Sam3Image, batched: list[PairResult]) -> None:
    """Scores and boxes within 1e-4; masks equal but for pixels whose probability is within 1e-4 of a half."""
    n_instances, n_empty, n_tied_pixels = 0, 0, 0
    for asked, ours in zip(ALL_PAIRS, batched, strict=True):
        rgb = IMAGES[asked.image]
        height, width = rgb.shape[:2]
        state = by_processor(metas, rgb, Prompt(asked.text, asked.boxes_cxcywh, asked.positive))
        assert len(ours.scores) == len(state["scores"])
        np.testing.assert_allclose(ours.scores, state["scores"], atol=1e-4)
        np.testing.assert_allclose(ours.boxes_xyxy, state["boxes"] / torch.tensor([width, height] * 2), atol=1e-4)
        for rle, theirs, probability in zip(
            logits_to_rles(ours.mask_logits, (height, width)), state["masks"], state["masks_logits"], strict=True
        ):
            differs = torch.from_numpy(decode(rle)) != theirs[0]
            assert ((probability[0][differs] - 0.5).abs() < 1e-4).all()
            n_tied_pixels += int(differs.sum())
        n_instances += len(ours.scores)
        n_empty += not len(ours.scores)
    assert n_instances > 100
    assert n_empty >= 3
    assert n_tied_pixels <= n_instances // 10


def test_masks_and_scores_are_not_degenerate(batched: list[PairResult]) -> None:
    """The comparison above says little if every answer is the same."""
    covered = torch.cat([(result.mask_logits > 0).float().mean(dim=(1, 2)) for result in batched])
    assert ((covered > 0.02) & (covered < 0.98)).float().mean() > 0.9
    assert covered.std() > 0.05
    assert np.std([result.presence for result in batched]) > 0.1
    assert np.concatenate([result.boxes_xyxy for result in batched]).std(axis=0).min() > 0.05
    for index in range(len(IMAGES)):  # each prompt sees something else in the same image
        best = [result.best_score for asked, result in zip(ALL_PAIRS, batched, strict=True) if asked.image == index]
        assert len({round(score, 5) for score in best}) == len(PROMPTS)


@pytest.mark.parametrize("max_pairs", [1, 5, 28])
def test_chunks_change_nothing(
    max_pairs: int, tiny: Sam3Image, pixels: torch.Tensor, batched: list[PairResult]
) -> None:
    close(engine(tiny, max_pairs).segment(pixels, ALL_PAIRS), batched)


def test_padding_with_boxes_of_other_pairs_changes_nothing(tiny: Sam3Image, pixels: torch.Tensor) -> None:
    tiny_engine = engine(tiny, 8)
    few = [pair(0, PROMPTS["text"]), pair(0, PROMPTS["a positive box"])]
    many = pair(1, Prompt(None, (NEAR, FAR, BESIDE) * 3, (True,) * 9))
    close(tiny_engine.segment(pixels, [*few, many])[:2], tiny_engine.segment(pixels, few))


def test_results_keep_the_order_of_the_pairs(tiny: Sam3Image, pixels: torch.Tensor, batched: list[PairResult]) -> None:
    order = np.random.default_rng(0).permutation(len(ALL_PAIRS)).tolist()
    shuffled = engine(tiny, 6).segment(pixels, [ALL_PAIRS[i] for i in order])
    close(shuffled, [batched[i] for i in order])


def test_a_label_and_a_box_count(tiny: Sam3Image, pixels: torch.Tensor) -> None:
    tiny_engine = engine(tiny, 8)
    prompts = [
        Prompt("dog", (NEAR,), (True,)),
        Prompt("dog", (NEAR,), (False,)),
        Prompt("dog", (FAR,), (True,)),
        Prompt("dog"),
    ]
    scores = [result.best_score for result in tiny_engine.segment(pixels, [pair(2, prompt) for prompt in prompts])]
    assert len({round(score, 4) for score in scores}) == 4


def test_each_pair_has_its_own_threshold(tiny: Sam3Image, pixels: torch.Tensor) -> None:
    asked = [replace(ALL_PAIRS[0], image=1, threshold=threshold) for threshold in (0.0, 0.3, 0.6, 1.0)]
    results = engine(tiny, 8).segment(pixels, asked)
    every = results[0].scores
    assert len(every) == TINY.queries
    for one, result in zip(asked, results, strict=True):
        keep = every > one.threshold
        assert np.array_equal(result.scores, every[keep])
        assert np.array_equal(result.boxes_xyxy, results[0].boxes_xyxy[keep])
        assert torch.equal(result.mask_logits, results[0].mask_logits[torch.from_numpy(keep)])
        assert result.best_score == pytest.approx(every.max())
    assert len(results[-1].scores) == 0


def test_a_score_equal_to_the_threshold_is_not_kept(tiny: Sam3Image, pixels: torch.Tensor) -> None:
    tiny_engine = engine(tiny, 8)
    (every,) = tiny_engine.segment(pixels, [pair(1, PROMPTS["text"], threshold=0.0)])
    (above,) = tiny_engine.segment(pixels, [pair(1, PROMPTS["text"], threshold=float(np.median(every.scores[:-1])))])
    assert np.median(every.scores[:-1]) in every.scores
    assert np.array_equal(above.scores, every.scores[every.scores > np.median(every.scores[:-1])])


def test_types_and_shapes(batched: list[PairResult]) -> None:
    for result in batched:
        k = len(result.scores)
        assert result.scores.dtype == result.boxes_xyxy.dtype == np.float32
        assert (result.scores.shape, result.boxes_xyxy.shape) == ((k,), (k, 4))
        assert (result.mask_logits.dtype, result.mask_logits.device) == (torch.float32, CPU)
        assert result.mask_logits.shape == (k, 4 * TINY.feature_side, 4 * TINY.feature_side)
        assert type(result.presence) is type(result.best_score) is float


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_reference_path_on_random_batches(seed: int) -> None:
    """Other weights, images, prompts and chunks every time; masks may differ by ties alone."""
    rng = np.random.default_rng(seed)
    model = build(TINY)
    seed_weights(model, seed)
    n_images = int(rng.integers(1, 5))
    images = torch.stack([resize(scene(100 * seed + n, (200, 300)), TINY.resolution) for n in range(n_images)])
    pairs = random_pairs(rng, n_images, 24)
    expected = reference.segment(model, images, pairs)
    found = engine(model, int(rng.integers(1, 30))).segment(images, pairs)
    for asked, one, other in zip(pairs, found, expected, strict=True):
        assert one.presence == pytest.approx(other.presence, abs=1e-4)
        assert one.best_score == pytest.approx(other.best_score, abs=1e-4)
        assert len(one.scores) == len(other.scores), asked
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
        np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=1e-4)
        differs = (one.mask_logits > 0) != (other.mask_logits > 0)
        assert (other.mask_logits[differs].abs() < 1e-3).all()
        assert (one.mask_logits - other.mask_logits).abs().max() < 1e-2 if len(one.scores) else True


def test_out_of_memory_changes_nothing(
    tiny: Sam3Image, pixels: torch.Tensor, batched: list[PairResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device with room for one image, three pairs, or the masks of two at a time."""
    refused: list[str] = []

    def with_room_for(room: int, name: str, size: Callable[..., int]) -> None:
        original = getattr(Forward, name)

        def call(self: Forward, *args: Any, **kwargs: Any) -> Any:
            if size(*args, **kwargs) > room:
                refused.append(name)
                raise torch.OutOfMemoryError
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Forward, name, call)

    with_room_for(1, "images", lambda images: len(images))
    with_room_for(3, "find", lambda features, asked: len(asked.images))
    with_room_for(2, "masks", lambda *_, pairs, **__: len(pairs))
    close(engine(tiny, 1000).segment(pixels, ALL_PAIRS), batched)
    assert set(refused) == {"images", "find", "masks"}


class TestNothingIsComputedInVain:
    @pytest.fixture
    def calls(self, tiny: Sam3Image, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
        """The batch sizes that parts of the model are called with."""
        seen: dict[str, list[int]] = {}

        def watch(name: str, owner: Any, method: str, size: Callable[..., int]) -> None:
            original = getattr(owner, method)

            def call(*args: Any, **kwargs: Any) -> Any:
                seen.setdefault(name, []).append(size(*args, **kwargs))
                return original(*args, **kwargs)

            monkeypatch.setattr(owner, method, call)

        neck, head = tiny.backbone.vision_backbone, tiny.segmentation_head
        watch("text", tiny.backbone, "forward_text", lambda texts, device: len(texts))
        watch("trunk", neck.trunk, "forward", len)
        watch("finer maps", neck.convs[0], "forward", len)
        watch("unread maps", neck.convs[3], "forward", len)
        watch("first attention", tiny.transformer.encoder.layers[0].self_attn.out_proj, "forward", len)
        watch("second attention", tiny.transformer.encoder.layers[1].self_attn.out_proj, "forward", len)
        watch("pixel decoder", head.pixel_decoder.norms[0], "forward", len)
        watch("finer convolution", head.pixel_decoder.conv_layers[0], "forward", len)
        watch("mask queries", head.mask_predictor.mask_embed, "forward", len)
        watch("semantic", head.semantic_seg_head, "forward", len)
        watch("scoring", tiny.dot_prod_scoring, "forward", lambda hidden, *_: len(hidden))
        return seen

    def test_images_and_phrases_once_and_masks_of_what_is_kept(
        self, tiny: Sam3Image, pixels: torch.Tensor, calls: dict[str, list[int]]
    ) -> None:
        tiny_engine = engine(tiny, 1000)
        results = tiny_engine.segment(pixels, ALL_PAIRS)
        tiny_engine.segment(pixels, ALL_PAIRS)
        n_kept = sum(len(result.scores) for result in results)
        n_hit = sum(len(result.scores) > 0 for result in results)
        assert 0 < n_hit < len(ALL_PAIRS)
        n_phrases = len({prompt.text or "visual" for prompt in PROMPTS.values()})
        assert calls == {
            "text": [1] * n_phrases,
            "trunk": [len(pixels)] * 2,
            "first attention": [len(pixels)] * 2,
            "second attention": [len(ALL_PAIRS)] * 2,
            "scoring": [1] * 2,
            "pixel decoder": [n_hit] * 2,
            "mask queries": [n_kept] * 2,
            "finer maps": [len(pixels)] * 2,
            "finer convolution": [len(pixels)] * 2,
        }

    def test_where_nothing_is_found_no_mask_is_begun(
        self, tiny: Sam3Image, pixels: torch.Tensor, calls: dict[str, list[int]]
    ) -> None:
        nowhere = [replace(one, threshold=0.999999) for one in ALL_PAIRS]
        results = engine(tiny, 1000).segment(pixels, nowhere)
        assert not any(len(result.scores) for result in results)
        assert results[0].mask_logits.shape == (0, 4 * TINY.feature_side, 4 * TINY.feature_side)
        assert not {"finer maps", "finer convolution", "pixel decoder", "mask queries"} & calls.keys()

    def test_finer_maps_are_made_of_the_images_with_something_alone(
        self, tiny: Sam3Image, pixels: torch.Tensor, calls: dict[str, list[int]]
    ) -> None:
        some = [replace(one, threshold=0.0 if one.image == 2 else 0.999999) for one in ALL_PAIRS]
        engine(tiny, 1000).segment(pixels, some)
        assert calls["finer maps"] == [1]


def test_no_pairs_give_no_results(tiny: Sam3Image, pixels: torch.Tensor) -> None:
    assert engine(tiny, 4).segment(pixels, []) == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (torch.zeros(1, 3, 224, 224), "float32"),
        (torch.zeros(1, 3, 100, 100, dtype=torch.uint8), "100"),
        (torch.zeros(3, 224, 224, dtype=torch.uint8), "not uint8"),
    ],
)
def test_other_pixels_are_refused(tiny: Sam3Image, wrong: torch.Tensor, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        engine(tiny, 4).segment(wrong, [pair(0, PROMPTS["text"])])


@pytest.mark.parametrize("image", [-1, 4])
def test_pairs_of_no_image_are_refused(image: int, tiny: Sam3Image, pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="batch of 4"):
        engine(tiny, 4).segment(pixels, [pair(image, PROMPTS["text"])])


@pytest.mark.parametrize("prompt", [Prompt(None), Prompt("dog", (NEAR,)), Prompt("dog", (), (True,))])
def test_malformed_pairs_are_refused(prompt: Prompt) -> None:
    with pytest.raises(ValueError, match="needs text|labels"):
        pair(0, prompt)


class TestLargestTensors:
    """No tensor of a pass has more elements than 32 bits count, whatever memory there is."""

    def test_at_full_size(self) -> None:
        sizes = {image_elements: 43, pair_elements: 101, hit_elements: 50}
        for elements, most in sizes.items():
            assert LARGEST_TENSOR // elements(FULL) == most
            assert 2 * most * elements(FULL) < 2**31 + 2 * elements(FULL)

    def test_chunks_are_bounded_by_them(self, tiny: Sam3Image, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_module, "LARGEST_TENSOR", 3 * pair_elements(TINY))
        sizes: list[int] = []
        find = Forward.find

        def counted(self: Forward, features: ImageFeatures, asked: EncodedPrompts) -> DecoderOutput:
            sizes.append(len(asked.images))
            return find(self, features, asked)

        monkeypatch.setattr(Forward, "find", counted)
        Engine(tiny, TINY, device=CPU, memory_mb=100_000).segment(
            torch.stack([resize(IMAGES[0], TINY.resolution)]), [pair(0, PROMPTS["text"])] * 7
        )
        assert sizes == [3, 3, 1]


def test_a_recorded_model_that_runs_out_of_memory_is_lost(
    pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA graphs do not survive it: nothing smaller is tried in this process."""
    calls: list[int] = []

    def full(self: Forward, features: ImageFeatures, asked: EncodedPrompts) -> DecoderOutput:
        calls.append(len(asked.images))
        raise torch.OutOfMemoryError("2 GB")

    monkeypatch.setattr(Forward, "find", full)
    monkeypatch.setattr(forward_module, "stage", lambda step, device, recorded: step)
    monkeypatch.setattr(engine_module, "records", lambda device: True)
    recorded = Engine(build(TINY), TINY, device=CPU, memory_mb=1000, compiled=True)
    with pytest.raises(GraphsLost, match=r"the process must end; batch\.memory_mb=.* \(2 GB\)"):
        recorded.segment(pixels, ALL_PAIRS)
    assert calls == [16]
