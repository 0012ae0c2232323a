"""How good the demo model is, measured through the whole job: files in, Parquet and COCO out, COCO's own evaluation.

Every figure is of scenes drawn from a seed that training never saw. Jobs run on the Ray that is connected, or start
one, as `autolabel label` does.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.dataset as ds

from autolabel.config.compose import compose_config
from autolabel.demo.average_precision import average_precision
from autolabel.demo.ground_truth import GROUND_TRUTH_NAME, demo_scenes
from autolabel.demo.phrases import COLORS, PHRASES, SHAPES, SYNONYMS, Kind, Phrase, phrase
from autolabel.demo.scenes import Scene, draw_scene
from autolabel.exports import export
from autolabel.masks.rle import Rle, area, bbox_xywh, encode, pairwise_overlap
from autolabel.pipeline.job import label

LOWEST_SCORE = 0.05  # of what average precision is computed over
THRESHOLD = 0.5
# Words that training never used, alone and beside words that it did.
UNSEEN = (
    *("airplane", "keyboard", "banana", "traffic light", "octagon"),
    *("red bicycle", "blue elevator", "striped zebra", "yellow pentagon", "triangle sandwich"),
)


@dataclass(frozen=True, kw_only=True)
class Boxed:
    """An exemplar box on a scene, and the objects that it, with the phrase of its category, asks for."""

    image: int  # index of the scene
    category: str
    exemplar: int  # object
    positive: bool
    answer: tuple[int, ...]


class QualityCheck:
    """Scenes of one seed in a folder, labelled in several ways below it."""

    def __init__(self, folder: Path, *, count: int, seed: int, overrides: Sequence[str] = ()) -> None:
        self.folder, self.overrides = folder, overrides
        self.input = folder / "scenes"
        demo_scenes(compose_config("demo-scenes", [f"output.uri='{self.input}'", f"count={count}", f"seed={seed}"]))
        self.scenes = [draw_scene(seed, index) for index in range(count)]
        self.rng = np.random.default_rng([seed, count])

    def text(self, phrases: Sequence[Phrase] = PHRASES, unseen: Sequence[str] = UNSEEN) -> dict[str, float]:
        """Return AP and AP50 over the phrases, and the share of (image, absent phrase) pairs with a score above 0.5."""
        output = self._label("text", [{"name": text} for text in [*(term.text for term in phrases), *unseen]])
        truth = orjson.loads((self.input / GROUND_TRUTH_NAME).read_bytes())
        names = {category["id"]: category["name"] for category in truth["categories"]}
        texts = {term.text for term in phrases}
        truth["annotations"] = [item for item in truth["annotations"] if names[item["category_id"]] in texts]
        results = _results(output, truth)
        truth["categories"] = [category for category in truth["categories"] if category["name"] in texts]
        ap, ap50 = average_precision(truth, results)
        fired: dict[bool, list[bool]] = defaultdict(list)
        for scene, row in zip(self.scenes, self._rows(output), strict=True):
            present = {term.text for term in phrases if any(term.means(kind) for kind in scene.kinds)}
            for prompt in row["prompts"]:
                if prompt["phrase"] not in present:
                    fired[prompt["phrase"] in unseen].append(prompt["best_score"] > THRESHOLD)
        figures = {"AP": ap, "AP50": ap50, "absent fired": float(np.mean(fired[False] + fired[True]))}
        if unseen:
            figures["unseen words fired"] = float(np.mean(fired[True]))
        return figures

    def exemplar(self) -> dict[str, float]:
        """Ask with one positive box and no text: AP and AP50 over the objects of the boxed kind."""
        boxes = []
        for image, scene in enumerate(self.scenes):
            boxed = int(self.rng.integers(len(scene.kinds)))
            answer = tuple(k for k, kind in enumerate(scene.kinds) if kind == scene.kinds[boxed])
            boxes.append(Boxed(image=image, category="boxed", exemplar=boxed, positive=True, answer=answer))
        return self._boxed("exemplar", boxes, [{"name": "boxed"}], "exemplars.use_text=false")

    def negative(self) -> dict[str, float]:
        """Ask with a phrase that several kinds on an image fit, and a negative box on one.

        Return AP and AP50 over the other kinds.
        """
        phrases = [*(phrase(shape=shape) for shape in SHAPES), *(phrase(color=color) for color in COLORS)]
        boxes = []
        for image, scene in enumerate(self.scenes):
            choices = [(term, kinds) for term in phrases if len(kinds := _kinds_meant(term, scene)) > 1]
            if choices:
                term, kinds = choices[self.rng.integers(len(choices))]
                unwanted = kinds[self.rng.integers(len(kinds))]
                answer = tuple(k for k, kind in enumerate(scene.kinds) if term.means(kind) and kind != unwanted)
                boxed = scene.kinds.index(unwanted)
                boxes.append(Boxed(image=image, category=term.text, exemplar=boxed, positive=False, answer=answer))
        return self._boxed("negative", boxes, [{"name": term.text} for term in phrases])

    def synonyms(self) -> dict[str, float]:
        """Ask with every synonym of a shape in one category.

        Return the share of objects that are labelled, and labelled twice.
        """
        shapes = [shape for shape in SHAPES if shape in SYNONYMS]
        categories = [{"name": shape, "phrases": [shape, *SYNONYMS[shape]]} for shape in shapes]
        output = self._label("synonyms", categories, f"threshold={THRESHOLD}")
        n_labels: list[int] = []
        for scene, row in zip(self.scenes, self._rows(output), strict=True):
            for number, shape in enumerate(shapes, start=1):
                truth = [encode(scene.mask(k)) for k, kind in enumerate(scene.kinds) if kind.shape == shape]
                masks = [_rle(instance) for instance in row["instances"] if instance["category_id"] == number]
                n_labels += (pairwise_overlap(masks, truth, metric="iou") > 0.5).sum(axis=0).tolist()
        counts = np.array(n_labels)
        return {"labelled": float((counts > 0).mean()), "labelled twice": float((counts > 1).mean())}

    def _boxed(
        self, name: str, boxes: Sequence[Boxed], categories: list[dict[str, Any]], *overrides: str
    ) -> dict[str, float]:
        """Label with exemplars and compare what each box's category gave on its image with its answer."""
        exemplars = self.folder / f"{name}-exemplars.json"
        ids = {category["name"]: number for number, category in enumerate(categories, start=1)}
        truth = orjson.loads((self.input / GROUND_TRUTH_NAME).read_bytes())
        annotations: list[dict[str, Any]] = []
        answers: list[dict[str, Any]] = []
        for box in boxes:
            scene = self.scenes[box.image]
            shared = {"image_id": box.image + 1, "category_id": ids[box.category]}
            bbox = list(bbox_xywh(encode(scene.mask(box.exemplar))))
            annotations.append({"id": len(annotations) + 1, **shared, "bbox": bbox, "negative": not box.positive})
            for k in box.answer:
                rle = encode(scene.mask(k))
                shape = {"segmentation": rle.to_coco(), "area": area(rle), "bbox": list(bbox_xywh(rle)), "iscrowd": 0}
                answers.append({"id": len(answers) + 1, **shared, **shape})
        named = [{"id": number, "name": name} for name, number in ids.items()]
        exemplars.write_bytes(
            orjson.dumps({"images": truth["images"], "categories": named, "annotations": annotations})
        )
        output = self._label(name, categories, f"exemplars.uri='{exemplars}'", *overrides)
        truth |= {"categories": named, "annotations": answers}
        pairs = {(box.image + 1, ids[box.category]) for box in boxes}
        results = [item for item in _results(output, truth) if (item["image_id"], item["category_id"]) in pairs]
        ap, ap50 = average_precision(truth, results, by_category=False)
        return {"AP": ap, "AP50": ap50, "prompts": len(boxes)}

    def _label(self, name: str, categories: list[dict[str, Any]], *overrides: str) -> Path:
        """Run `label` and `export`; the folder of the output."""
        output, prompts = self.folder / name, self.folder / f"{name}.yaml"
        prompts.write_bytes(orjson.dumps({"categories": categories}))  # JSON is YAML
        settings = [f"prompts={prompts}", f"threshold={LOWEST_SCORE}", *self.overrides, *overrides]
        label(compose_config("label", [f"input.uri='{self.input}'", f"output.uri='{output}'", *settings]))
        export(compose_config("export", [f"output.uri='{output}'"]))
        return output

    def _rows(self, output: Path) -> list[dict[str, Any]]:
        """Return the row of every scene, in order."""
        table = ds.dataset(output / "labels", format="parquet").sort_by("uri").to_table()
        rows: list[dict[str, Any]] = table.select(["uri", "prompts", "instances"]).to_pylist()
        return rows


def _results(output: Path, truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the exported results with the image and category ids of the ground truth, which knows names."""
    exported = orjson.loads((output / "coco" / "annotations.json").read_bytes())
    image_ids = {image["file_name"]: image["id"] for image in truth["images"]}
    category_ids = {category["name"]: category["id"] for category in truth["categories"]}
    image_id = {image["id"]: image_ids[image["file_name"]] for image in exported["images"]}
    category_id = {
        category["id"]: category_ids[category["name"]]
        for category in exported["categories"]
        if category["name"] in category_ids
    }
    return [
        result | {"image_id": image_id[result["image_id"]], "category_id": category_id[result["category_id"]]}
        for result in orjson.loads((output / "coco" / "results.json").read_bytes())
        if result["category_id"] in category_id
    ]


def _kinds_meant(term: Phrase, scene: Scene) -> list[Kind]:
    return sorted({kind for kind in scene.kinds if term.means(kind)})


def _rle(instance: dict[str, Any]) -> Rle:
    height, width = instance["segmentation"]["size"]
    return Rle(size_hw=(height, width), counts=instance["segmentation"]["counts"])
