"""bfloat16 where it is safe: nearly the same answers, and no weight that must stay wide made narrow."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from autolabel import demo
from autolabel.demo.scenes import draw_scene
from autolabel.rle import pairwise_overlap
from autolabel.sam3.architecture import TINY, build, seed_weights
from autolabel.sam3.checkpoint import load
from autolabel.sam3.engine import Engine, Pair, PairResult
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.precision import PRECISIONS, narrow
from autolabel.sam3.preprocess import resize

WEIGHTS = Path(demo.__file__).parent / "demo.safetensors"
PHRASES = ("red shape", "circle", "striped star", "blue square", "shape", "moon", "plain heart", "elephant")
SEED, N_SCENES = 31, 25


def segment(dtype: torch.dtype, pixels: torch.Tensor, pairs: list[Pair]) -> list[PairResult]:
    model = narrow(load(WEIGHTS, TINY, device="cpu"), dtype)
    return Engine(model, TINY, device=torch.device("cpu"), memory_mb=200).segment(pixels, pairs)


def mask_ious(one: PairResult, other: PairResult) -> npt.NDArray[np.float64]:
    """Of each instance in both; none where they are not as many."""
    if len(one.scores) != len(other.scores):
        return np.empty(0)
    masks = (logits_to_rles(result.mask_logits, (480, 640)) for result in (one, other))
    return np.diag(pairwise_overlap(*masks, metric="iou"))


def test_the_trained_model_finds_the_same_in_bfloat16() -> None:
    scenes = [draw_scene(SEED, index) for index in range(N_SCENES)]
    pixels = torch.stack([resize(scene.rgb, TINY.resolution) for scene in scenes])
    pairs = [Pair(image=image, text=text, threshold=0.5) for image in range(N_SCENES) for text in PHRASES]
    boxed = Pair(image=0, text=None, boxes_cxcywh=((0.5, 0.5, 0.3, 0.3),), positive=(True,), threshold=0.5)
    wide, narrowed = (segment(dtype, pixels, [*pairs, boxed]) for dtype in PRECISIONS.values())
    same = [len(one.scores) == len(other.scores) for one, other in zip(wide, narrowed, strict=True)]
    assert np.mean(same) >= 0.99
    overlaps = np.concatenate([mask_ious(a, b) for a, b in zip(wide, narrowed, strict=True)])
    assert len(overlaps) > 300
    assert np.mean(overlaps >= 0.99) >= 0.97  # 0.981 measured; masks of a few cells of the 64 x 64 grid differ most
    assert max(abs(a.best_score - b.best_score) for a, b in zip(wide, narrowed, strict=True)) > 0  # it was narrower


@pytest.fixture(scope="module")
def narrowed() -> torch.nn.Module:
    model = build(TINY)
    seed_weights(model, 1)
    return narrow(model, torch.bfloat16)


def test_what_must_be_exact_stays_wide(narrowed: torch.nn.Module) -> None:
    wide = {name for name, parameter in narrowed.named_parameters() if parameter.dtype == torch.float32}
    for part in ("transformer.decoder.", "geometry_encoder.", "dot_prod_scoring.", "segmentation_head.mask_predictor."):
        assert {name for name, _ in narrowed.named_parameters() if name.startswith(part)} <= wide
    n_wide = sum(narrowed.get_parameter(name).numel() for name in wide)
    assert n_wide < 0.5 * sum(parameter.numel() for parameter in narrowed.parameters())


def test_complex_buffers_keep_both_parts(narrowed: torch.nn.Module) -> None:
    buffers = [buffer for buffer in narrowed.buffers() if buffer.is_complex()]
    assert buffers
    assert all(buffer.dtype == torch.complex64 and buffer.imag.abs().max() > 0 for buffer in buffers)
