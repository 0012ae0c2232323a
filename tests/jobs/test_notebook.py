"""The notebook runs from its first cell to its last, and shows what the labels say."""

import base64
import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nbclient import NotebookClient
from PIL import Image

from autolabel import Labels
from tests.support.outputs import labelled_scenes
from tests.support.s3 import S3

pytestmark = pytest.mark.long

CHECKOUT = Path(__file__).parents[2]
NOTEBOOK = CHECKOUT / "notebooks" / "inspect.ipynb"
N_SCENES = 5

Run = Callable[..., dict[str, list[Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("notebook")
    labelled_scenes(place, count=N_SCENES)
    return place / "labels"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Executes the notebook over an output; the outputs of its cells by their ids."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))  # nothing of the user's, his kernels least of all
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")])))

    def executed(uri: str, storage_options: dict[str, Any]) -> dict[str, list[Any]]:
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
        parameters.source = f"OUTPUT = {uri!r}\nSTORAGE_OPTIONS = {storage_options!r}"
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
        return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}

    return executed


def pictures(outputs: list[Any], kind: str) -> list[np.ndarray]:
    shown = [output.data[kind] for output in outputs if kind in output.get("data", {})]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in shown]


def difference(picture: np.ndarray, other: Image.Image) -> float:
    """Mean absolute difference of levels 0 to 255."""
    return float(np.abs(picture - np.asarray(other, np.float64)).mean())


def text(outputs: list[Any]) -> str:
    return "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs)


def table(outputs: list[Any]) -> list[list[str]]:
    """The rows of a shown data frame, without its header."""
    return [line.split()[1:] for line in text(outputs).splitlines()[1:]]


def test_it_shows_what_the_labels_say(run: Run, folder: Path) -> None:
    outputs = run(str(folder), {})
    labels = Labels(str(folder))
    images = list(labels)

    assert f"{len(images)} of {len(images)} images are labelled" in text(outputs["open"])
    assert table(outputs["statuses"]) == [["labelled", str(N_SCENES)], ["rejected", "1"]]
    counted = Counter(instance.category for image in images for instance in image.instances)
    on = Counter(category for image in images for category in {i.category for i in image.instances})
    assert {row[0]: (int(row[1]), int(row[2])) for row in table(outputs["counts"])} == {
        category.name: (counted[category.name], on[category.name]) for category in labels.categories
    }

    shown = pictures(outputs["look"], "image/jpeg")
    assert len(shown) == 3
    for picture, image in zip(shown, images, strict=False):
        from_drawn, from_plain = (difference(picture, other) for other in (image.draw(), image.image()))
        assert from_drawn < 3, "but for what JPEG loses"
        assert from_plain > 2 * from_drawn
    least = min((instance.score, instance.category) for image in images for instance in image.instances)
    assert f"{least[1]} {least[0]:.2f}: " in text(outputs["least"])
    (alone,) = pictures(outputs["least"], "image/png")
    assert alone.ndim == 3
    (plot,) = pictures(outputs["scores"], "image/png")
    assert plot.std() > 10

    assert table(outputs["rejected"]) == [["truncated", "1"]]
    assert "truncated.jpg' rejected: truncated: ends early" in text(outputs["rejected-images"])
    assert "There is no review queue yet" in text(outputs["review"])


def test_it_reads_s3_and_the_review_queue(run: Run, folder: Path, s3: S3) -> None:
    bucket = s3.make_bucket("notebook")
    for path in folder.rglob("*"):
        if path.is_file():
            s3.put(f"{bucket}/out/{path.relative_to(folder)}", path.read_bytes())
    queue = io.BytesIO()
    uris = {image.image_id: image.uri for image in Labels(str(folder))}
    ranked = pa.table({"rank": [1, 2], "image_id": [4, 2], "uri": [uris[4], uris[2]], "priority": [0.75, 0.5]})
    pq.write_table(ranked, queue)
    s3.put(f"{bucket}/out/review.parquet", queue.getvalue())

    outputs = run(f"{bucket}/out", s3.options)
    assert f"{len(uris)} of {len(uris)} images are labelled" in text(outputs["open"])
    assert [row[:2] for row in table(outputs["review"])] == [["1", "4"], ["2", "2"]]
    shown = pictures(outputs["review-images"], "image/jpeg")
    for picture, image_id in zip(shown, (4, 2), strict=True):
        assert difference(picture, Labels(str(folder))[image_id].draw()) < 3


def test_it_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), cell.id
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
