"""Outputs that the tests of every format share; each writes into folders of its own."""

import shutil
from pathlib import Path

import pytest

from autolabel.config import OutputConfig
from autolabel.output.job_output import JobOutput, open_output
from tests.support.made import Made, hard_masks, make_output
from tests.support.outputs import labelled_scenes


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> JobOutput:
    """Twenty drawn images with their files, and a truncated one."""
    return labelled_scenes(tmp_path_factory.mktemp("scenes"), count=20)


@pytest.fixture(scope="session")
def hard(tmp_path_factory: pytest.TempPathFactory) -> JobOutput:
    """An image for each of hard_masks, one with all of them, one with none, one rejected."""
    masks = hard_masks()
    scored = [(mask, 0.5 + 0.03 * n) for n, mask in enumerate(masks.values())]
    images: dict[str, list[Made] | None] = {f"/photos/{n}.jpg": [Made(2, mask)] for n, (mask, _) in enumerate(scored)}
    images["/photos/all.jpg"] = [Made(1 + n % 2, mask, score) for n, (mask, score) in enumerate(scored)]
    images |= {"/photos/empty.jpg": [], "/photos/torn.jpg": None}
    return make_output(str(tmp_path_factory.mktemp("hard") / "labels"), images)


@pytest.fixture
def own_scenes(scenes: JobOutput, tmp_path: Path) -> JobOutput:
    """The same in a folder of the test's own."""
    shutil.copytree(scenes.uri, tmp_path / "a folder", ignore=shutil.ignore_patterns("coco*", "yolo"))
    return open_output(OutputConfig(uri=str(tmp_path / "a folder")))
