"""The picture at the end of `make demo` shows what the labels say."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from PIL import Image

from autolabel.demo import __main__ as main
from autolabel.demo.__main__ import COUNT
from autolabel.demo.contact_sheet import GAP, HEADING, MARK, PAPER, TILE_WH, TINTS, draw_sheet
from autolabel.masks.rle import encode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images; a category is found on the first one alone."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels" / "coco").mkdir(parents=True)
    images = []
    for number in (1, 2):
        name = f"{number}.png"
        Image.new("RGB", (200, 150), (120, 120, 120)).save(tmp_path / "images" / name)
        images.append({"id": number, "file_name": name, "width": 200, "height": 150})
    mask = np.zeros((150, 200), dtype=bool)
    mask[40:100, 60:140] = True
    annotation = {"id": 1, "image_id": 1, "category_id": 2, "score": 0.875, "segmentation": encode(mask).to_coco()}
    document = {
        "images": images,
        "categories": [{"id": 1, "name": "nothing"}, {"id": 2, "name": "something"}],
        "annotations": [annotation],
    }
    (tmp_path / "labels" / "coco" / "annotations.json").write_bytes(orjson.dumps(document))
    return tmp_path


def tile(sheet: Image.Image, row: int, column: int) -> npt.NDArray[np.int64]:
    """The picture part of a tile."""
    left, top = GAP + column * (TILE_WH[0] + GAP), HEADING + row * (TILE_WH[1] + GAP)
    return np.asarray(sheet.crop((left, top, left + 200, top + 150))).astype(int)


def test_what_is_found_stands_out_where_it_is(folder: Path) -> None:
    sheet = draw_sheet({folder / "labels": {}}, folder / "images", headings={"something": "prompt: x"}, rows=8)
    assert sheet.size == (3 * (TILE_WH[0] + GAP) + GAP, HEADING + 2 * (TILE_WH[1] + GAP) + GAP)
    assert (tile(sheet, 0, 0)[70, 100] == 120).all()
    found, missed, other = tile(sheet, 0, 2), tile(sheet, 0, 1), tile(sheet, 1, 2)
    assert np.abs(found[70, 100] - (0.75 * 120 + 0.25 * np.array(TINTS[0]))).max() < 2
    assert np.abs(found[70, 59] - TINTS[0]).max() < 2  # the outline, just outside
    assert np.ptp(missed[70, 100]) == np.ptp(other[70, 100]) == 0  # grey: nothing found
    assert found[5, 5].mean() < 100  # dimmed


def test_what_prompts_is_drawn_on_its_tile_alone(folder: Path) -> None:
    marks = {("1.png", "something"): [(20.0, 30.0, 50.0, 60.0), (150.0, 120.0)]}
    sheet = draw_sheet({folder / "labels": marks}, folder / "images", headings={}, rows=8)
    for row, column in ((60, 20), (120, 150)):  # the side of a box, and a point
        assert (tile(sheet, 0, 2)[row, column] == MARK).all()
        assert (tile(sheet, 0, 1)[row, column] != MARK).any()
        assert (tile(sheet, 1, 2)[row, column] != MARK).any()


def test_outputs_stand_side_by_side(folder: Path) -> None:
    shutil.copytree(folder / "labels", folder / "masks")
    sheet = draw_sheet({folder / "labels": {}, folder / "masks": {}}, folder / "images", headings={}, rows=8)
    assert sheet.width == 5 * (TILE_WH[0] + GAP) + GAP
    assert (tile(sheet, 0, 4) == tile(sheet, 0, 2)).all()


def test_the_demo_shows_every_scene_and_says_why_a_column_is_empty(folder: Path) -> None:
    coco = folder / "labels" / "coco" / "annotations.json"
    document = orjson.loads(coco.read_bytes())
    names = [f"{number + 1}.png" for number in range(COUNT)]
    for name in names[2:]:
        Image.new("RGB", (200, 150), (120, 120, 120)).save(folder / "images" / name)
    images = [{"id": n + 1, "file_name": name, "width": 200, "height": 150} for n, name in enumerate(names)]
    coco.write_bytes(orjson.dumps({**document, "images": images}))
    shutil.copytree(folder / "labels", folder / "masks")
    for name in ("exemplars.json", "objects.json"):
        (folder / name).write_bytes(orjson.dumps({"images": [], "categories": [], "annotations": []}))
    main.sheet(folder)
    with Image.open(folder / "contact_sheet.png") as drawn:
        assert drawn.height == HEADING + COUNT * (TILE_WH[1] + GAP) + GAP
    assert "there is none" in main.HEADINGS["elephant"]


def test_rows_are_limited(folder: Path) -> None:
    sheet = draw_sheet({folder / "labels": {}}, folder / "images", headings={}, rows=1)
    assert sheet.height == HEADING + TILE_WH[1] + GAP + GAP
    assert sheet.getpixel((0, 0)) == PAPER
