"""A device without room: for one image, which costs that image alone, or for any, which is nobody's fault."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from autolabel.errors import JobFailed
from autolabel.labels.units import open_unit
from autolabel.prompts.concepts import Concept
from autolabel.sam3.architecture import TINY, build, seed_weights
from autolabel.sam3.engine import Engine, Pair, PairResult
from autolabel.sam3.forward import DecoderOutput, EncodedPrompts, Forward, ImageFeatures
from autolabel.segmentation.batch import NO_ROOM, segment_batch
from autolabel.segmentation.concepts import ConceptQuestions
from tests.support.engines import FoundEverywhere, labeler
from tests.support.planned import prepared


class NoRoom(FoundEverywhere):
    """Has room for so many images at a time, and none at all for one image."""

    def __init__(self, *, room: int, too_large: torch.Tensor | None = None) -> None:
        super().__init__()
        self.room = room
        self.too_large = too_large
        self.n_refused = 0

    def segment(self, pixels: torch.Tensor, pairs: Sequence[Pair]) -> list[PairResult]:
        full = len(pixels) > self.room
        if full or (self.too_large is not None and any(torch.equal(one, self.too_large) for one in pixels)):
            self.n_refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().segment(pixels, pairs)


class Watching(FoundEverywhere):
    """Keeps the pixels of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels: list[torch.Tensor] = []

    def segment(self, pixels: torch.Tensor, pairs: Sequence[Pair]) -> list[PairResult]:
        self.pixels.append(pixels)
        return super().segment(pixels, pairs)


QUESTIONS = ConceptQuestions([], {1: 0.5, 2: 0.0}, use_text=True)


def batch(n_images: int) -> tuple[torch.Tensor, list[list[Concept]]]:
    """Images of one colour each, with as many questions as their number says."""
    pixels = torch.arange(1, n_images + 1, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8).clone()
    return pixels, [[Concept(prompt_id=0, category_id=1, phrase="car")] * (image + 1) for image in range(n_images)]


def test_images_that_fit_alone_are_none_of_them_rejected() -> None:
    engine = NoRoom(room=1)
    pixels, asked = batch(3)
    results = segment_batch(QUESTIONS, cast(Engine, engine), pixels, asked)
    assert [None if of_image is None else len(of_image) for of_image in results] == [1, 2, 3]
    assert engine.n_refused == 1
    assert [len(asked) for asked in engine.asked] == [1, 2, 3]


def test_one_that_does_not_fit_costs_itself_alone() -> None:
    pixels, asked = batch(3)
    engine = NoRoom(room=3, too_large=pixels[1])
    results = segment_batch(QUESTIONS, cast(Engine, engine), pixels, asked)
    assert [None if of_image is None else len(of_image) for of_image in results] == [1, None, 3]
    assert engine.n_refused == 2  # with the others, and alone


def test_a_device_without_room_for_anything_is_an_error() -> None:
    engine = NoRoom(room=0)
    with pytest.raises(JobFailed, match="no room even for a blank image: CUDA out of memory"):
        segment_batch(QUESTIONS, cast(Engine, engine), *batch(2))
    assert engine.n_refused == 3  # together, one alone, a blank one


def test_its_row_says_so_and_the_rest_of_the_unit_is_labelled(tmp_path: Path) -> None:
    job, storage = prepared(tmp_path, "batch.images=3")
    watching = Watching()
    labeler(job, watching).label_unit(0)
    (Path(job.output_uri) / "labels" / "00000000.parquet").unlink()
    engine = NoRoom(room=3, too_large=watching.pixels[0][1])
    report = labeler(job, engine).label_unit(0)
    assert engine.n_refused == 2
    assert report.summary.rejected_by == {"out_of_memory": 1}
    rows = open_unit(storage, job.output_uri, 0).read().to_pylist()
    assert [row["status"] for row in rows] == ["labelled", "rejected", "labelled"]
    assert (rows[1]["reject_code"], rows[1]["reject_detail"]) == ("out_of_memory", NO_ROOM)
    assert len(rows[1]["sha256"]) == 64


def test_the_engine_gives_up_after_a_single_pair_and_goes_on_with_the_next_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The real engine; one image has no room for what any prompt keeps."""
    model = build(TINY)
    seed_weights(model, 10)
    engine = Engine(model, TINY, device=torch.device("cpu"), memory_mb=200)
    pixels = torch.randint(0, 256, (3, 3, 192, 192), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    asked = [[Concept(prompt_id=0, category_id=2, phrase=phrase) for phrase in ("dog", "red car")]] * 3
    expected = segment_batch(QUESTIONS, engine, pixels, asked)
    encoded, masks = Forward.images, Forward.masks
    marked: list[torch.Tensor] = []
    refused: list[int] = []

    def images(self: Forward, given: torch.Tensor) -> ImageFeatures:
        features = encoded(self, given)
        if not marked:
            marked.append(features.coarse[1].clone())
        return features

    def no_masks(
        self: Forward, features: ImageFeatures, prompts: EncodedPrompts, found: DecoderOutput, **kwargs: Any
    ) -> torch.Tensor:
        of = {prompts.images[pair] for pair in kwargs["pairs"]}
        if any(torch.allclose(features.coarse[image], marked[0], atol=1e-4) for image in of):
            refused.append(len(kwargs["pairs"]))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return masks(self, features, prompts, found, **kwargs)

    monkeypatch.setattr(Forward, "images", images)
    monkeypatch.setattr(Forward, "masks", no_masks)
    results = segment_batch(QUESTIONS, engine, pixels, asked)
    assert [of_image is None for of_image in results] == [False, True, False]
    assert refused[0] > 1
    assert refused[-1] == 1
    for index in (0, 2):
        for one, other in zip(results[index] or [], expected[index] or [], strict=True):
            assert len(one.scores) == len(other.scores) > 0
            torch.testing.assert_close(one.mask_logits, other.mask_logits, atol=1e-3, rtol=1e-5)
