"""One photo through SAM3 at Meta's sizes with random weights: minutes and gigabytes on a CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autolabel.masks.rle import area
from autolabel.sam3.architecture import FULL, build, seed_weights
from autolabel.sam3.engine import Engine, Pair
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.preprocess import resize


@pytest.mark.slow
def test_a_photo_through_the_full_size(photos: Path) -> None:
    rgb = np.array(Image.open(photos / "large.jpg").convert("RGB"))
    model = build(FULL)
    seed_weights(model, 0)
    engine = Engine(model, FULL, device=torch.device("cpu"), memory_mb=500)
    box = ((0.5, 0.5, 0.4, 0.4),)
    pairs = [
        Pair(image=0, text="ball", threshold=0.0),
        Pair(image=0, text="a cloud", threshold=0.0),
        Pair(image=0, text=None, boxes_cxcywh=box, positive=(True,), threshold=0.5),
    ]
    results = engine.segment(resize(rgb, FULL.resolution)[None], pairs)
    ball, cloud, exemplar = results
    for result in results:
        assert 0 < result.presence < 1
        assert 0 < result.best_score <= result.presence
        assert np.isfinite(result.boxes_xyxy).all()
        assert torch.isfinite(result.mask_logits).all()
        assert result.mask_logits.shape == (len(result.scores), 288, 288)
    assert len(ball.scores) == len(cloud.scores) == FULL.queries
    assert (exemplar.scores > 0.5).all()
    assert abs(ball.scores - cloud.scores).max() > 1e-3  # the text counts
    assert ball.scores.std() > 1e-3  # and so do the queries
    n_pixels = rgb.shape[0] * rgb.shape[1]
    areas = [area(rle) for rle in logits_to_rles(ball.mask_logits[:20], rgb.shape[:2])]
    assert 0 < np.median(areas) < n_pixels
    assert len(set(areas)) > 10
