"""Presence as strict as is wanted: the last step of training, after which nothing is learnt any more."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from autolabel.demo.phrases import PHRASES
from autolabel.demo.training.examples import Example
from autolabel.sam3.architecture import Architecture
from autolabel.sam3.engine import Engine, Pair
from autolabel.sam3.upstream import Sam3Image

THRESHOLD = 0.5


@torch.no_grad()
def calibrate(model: Sam3Image, architecture: Architecture, examples: Sequence[Example], *, share: float) -> float:
    """Lower the presence bias until at most `share` of the phrases absent from these scenes score above 0.5.

    Returns:
        By how much, in logits; 0 where the share is met already.
    """
    engine = Engine(model, architecture, device=next(model.parameters()).device, memory_mb=200)
    results = []
    for example in examples:
        absent = [phrase.text for phrase in PHRASES if not any(phrase.means(kind) for kind in example.kinds)]
        results += engine.segment(example.pixels[None], [Pair(image=0, text=text, threshold=1.0) for text in absent])
    presence = np.clip([result.presence for result in results], 1e-6, 1 - 1e-6)
    of_query = np.clip(np.array([result.best_score for result in results]) / presence, THRESHOLD, 1 - 1e-6)
    # A score stays above the threshold while the presence logit, lowered, stays above that of threshold / of_query.
    needed = np.clip(THRESHOLD / of_query, 0, 1 - 1e-6)
    margin = np.sort(_logit(presence) - _logit(needed))[::-1]
    shift = max(0.0, float(margin[int(share * len(margin))]))
    model.transformer.decoder.presence_token_head.layers[-1].bias.sub_(shift)
    return shift


def _logit(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    logit: npt.NDArray[np.float64] = np.log(probability) - np.log1p(-probability)
    return logit
