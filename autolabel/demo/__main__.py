"""The two steps of `make demo` that are not commands of autolabel.

python -m autolabel.demo draw FOLDER   scenes, one of them broken, an exemplar box and given objects on each, in FOLDER
python -m autolabel.demo sheet FOLDER  FOLDER/contact_sheet.png of FOLDER/labels and FOLDER/masks
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from scipy.ndimage import distance_transform_edt

from autolabel.config.compose import compose_config
from autolabel.demo.contact_sheet import Marks, draw_sheet
from autolabel.demo.ground_truth import demo_scenes, file_name
from autolabel.demo.scenes import Scene, draw_scene
from autolabel.masks.rle import bbox_xywh, encode

COUNT, SEED = 12, 7
BOXED = "like the box"  # a category of conf/prompts/demo.yaml
BOXES, CLICKS = "box to mask", "click to mask"  # categories of given objects
HEADINGS = {
    "circle": "prompts: circle, disc",
    "striped shape": "prompt: striped shape",
    BOXED: "prompt: the green box, no text",
    "elephant": "prompt: elephant; there is none",
    BOXES: "given: the green boxes",
    CLICKS: "given: the green dots, a click each",
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
    annotations = [
        {"image_id": index, **item} for index, scene in enumerate(scenes) for item in (*boxes(scene), click(scene))
    ]
    objects = {
        "images": exemplars["images"],
        "categories": [{"id": 1, "name": BOXES}, {"id": 2, "name": CLICKS}],
        "annotations": [{"id": number, **item} for number, item in enumerate(annotations, start=1)],
    }
    (folder / "objects.json").write_bytes(orjson.dumps(objects))


def boxes(scene: Scene) -> Iterator[dict[str, Any]]:
    """Give every other object of a scene, as a box."""
    for index in range(0, len(scene.kinds), 2):
        yield {"category_id": 1, "bbox": bbox_xywh(encode(scene.mask(index)))}


def click(scene: Scene) -> dict[str, Any]:
    """Return the largest object of a scene, as a click into its middle."""
    largest = max(range(len(scene.kinds)), key=lambda index: int(scene.mask(index).sum()))
    depth = distance_transform_edt(np.pad(scene.mask(largest), 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return {"category_id": 2, "points": [[int(x) + 0.5, int(y) + 0.5]]}


def exemplar(scene: Scene) -> int:
    """Return an object of the kind that is there most often."""
    (kind, _), *_ = Counter(scene.kinds).most_common(1)
    return scene.kinds.index(kind)


def sheet(folder: Path) -> None:
    given = [(folder / "labels", "exemplars.json"), (folder / "masks", "objects.json")]
    outputs = {output: marks_of(orjson.loads((folder / name).read_bytes())) for output, name in given}
    picture = draw_sheet(outputs, folder / "images", headings=HEADINGS, rows=COUNT)
    picture.save(folder / "contact_sheet.png")


def marks_of(coco: dict[str, Any]) -> Marks:
    """Return the boxes and points of a COCO file, by file name and category."""
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    categories = {category["id"]: category["name"] for category in coco["categories"]}
    marks: dict[tuple[str, str], list[Sequence[float]]] = defaultdict(list)
    for item in coco["annotations"]:
        of = marks[names[item["image_id"]], categories[item["category_id"]]]
        of += [item["bbox"]] if "bbox" in item else item["points"]
    return marks


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["draw", folder]:
            draw(Path(folder))
        case ["sheet", folder]:
            sheet(Path(folder))
        case _:
            sys.exit(__doc__)
