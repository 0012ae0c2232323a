"""The two steps of `make demo` that are not commands of autolabel.

python -m autolabel.demo draw FOLDER   scenes, one of them broken, and an exemplar box on each, in FOLDER
python -m autolabel.demo sheet FOLDER  FOLDER/contact_sheet.png of the labels in FOLDER/labels
"""

import sys
from collections import Counter
from pathlib import Path

import orjson

from autolabel.config.compose import compose_config
from autolabel.demo.contact_sheet import draw_sheet
from autolabel.demo.ground_truth import demo_scenes, file_name
from autolabel.demo.scenes import Scene, draw_scene
from autolabel.masks.rle import bbox_xywh, encode

COUNT, SEED = 12, 7
BOXED = "like the box"  # a category of conf/prompts/demo.yaml
HEADINGS = {
    "circle": "prompts: circle, disc",
    "striped shape": "prompt: striped shape",
    BOXED: "prompt: the green box, no text",
    "elephant": "prompt: elephant; there is none",
}


def draw(folder: Path) -> None:
    images = folder / "images"
    print(demo_scenes(compose_config("demo-scenes", [f"output.uri='{images}'", f"count={COUNT}", f"seed={SEED}"])))
    data = (images / file_name(0)).read_bytes()
    (images / "truncated.jpg").write_bytes(data[: len(data) // 3])
    scenes = [draw_scene(SEED, index) for index in range(COUNT)]
    exemplars = {
        "images": [
            {"id": index, "file_name": file_name(index), "width": scene.ids.shape[1], "height": scene.ids.shape[0]}
            for index, scene in enumerate(scenes)
        ],
        "categories": [{"id": 1, "name": BOXED}],
        "annotations": [
            {"id": index, "image_id": index, "category_id": 1, "bbox": bbox_xywh(encode(scene.mask(exemplar(scene))))}
            for index, scene in enumerate(scenes)
        ],
    }
    (folder / "exemplars.json").write_bytes(orjson.dumps(exemplars))


def exemplar(scene: Scene) -> int:
    """Return an object of the kind that is there most often."""
    (kind, _), *_ = Counter(scene.kinds).most_common(1)
    return scene.kinds.index(kind)


def sheet(folder: Path) -> None:
    exemplars = orjson.loads((folder / "exemplars.json").read_bytes())
    names = {image["id"]: image["file_name"] for image in exemplars["images"]}
    boxes = {(names[item["image_id"]], BOXED): item["bbox"] for item in exemplars["annotations"]}
    picture = draw_sheet(folder / "labels", folder / "images", headings=HEADINGS, boxes_xywh=boxes, rows=COUNT)
    picture.save(folder / "contact_sheet.png")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["draw", folder]:
            draw(Path(folder))
        case ["sheet", folder]:
            sheet(Path(folder))
        case _:
            sys.exit(__doc__)
