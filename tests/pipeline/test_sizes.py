"""Threads and batches by what Ray gave a process, and not by what its host has."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolabel.config import BatchConfig
from autolabel.parallel import n_cores
from autolabel.pipeline.sizes import Sizes, sizes_of
from autolabel.pipeline.unit import UnitLabeler
from tests.support.engines import FoundNowhere, labeler
from tests.support.planned import prepared


@pytest.mark.parametrize(
    ("n_cpus", "n_gpus", "batch", "load", "decode", "finish"),
    [
        pytest.param(16, 1, 16, 32, 16, 4, id="a GPU's pod"),
        pytest.param(12, 1, 16, 24, 12, 3, id="cluster=gpu"),
        pytest.param(7, 0, 4, 16, 7, 2, id="a laptop"),
        pytest.param(0, 0, 4, 16, 1, 2, id="one core, which Ray Data has"),
        pytest.param(0.875, 1, 16, 16, 1, 2, id="less than one"),
        pytest.param(4.5, 0.5, 16, 16, 4, 2, id="half a GPU"),
    ],
)
def test_by_default(n_cpus: float, n_gpus: float, batch: int, load: int, decode: int, finish: int) -> None:
    assert sizes_of(BatchConfig(), n_cpus=n_cpus, n_gpus=n_gpus) == Sizes(
        batch_images=batch, load_threads=load, decode_threads=decode, finish_threads=finish
    )


def test_settings_count() -> None:
    sizes = sizes_of(BatchConfig(images=3, load_threads=5), n_cpus=16, n_gpus=1)
    assert (sizes.batch_images, sizes.load_threads) == (3, 5)


def test_outside_of_ray_all_cores_are_there() -> None:
    assert sizes_of(BatchConfig(), n_cpus=None, n_gpus=0).decode_threads == n_cores()


def test_a_labeler_has_these_threads(tmp_path: Path) -> None:
    job, _ = prepared(tmp_path)
    made: UnitLabeler = labeler(replace(job, n_cpus=9.0), FoundNowhere())
    assert made._decoding._max_workers == 9
    assert made._stream._loading._max_workers == 18
    assert made._stream._finishing._max_workers == 2
    assert made._stream._batch_images == 4
