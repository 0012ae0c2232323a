"""What the tests of SAM3 share: one small seeded model."""

import pytest
import torch

from autolabel.sam3.architecture import TINY, build, seed_weights
from autolabel.sam3.upstream import Sam3Image
from tests.sam3.scenes import SEED


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> Sam3Image:
    """TINY with seeded weights. Shared: tests that change a model build their own."""
    model = build(TINY)
    seed_weights(model, SEED)
    return model
