"""SA-1B files, by the keys of that data set."""

import json
from pathlib import Path

from pycocotools import mask as coco

from autolabel.masks.rle import decode
from autolabel.output.job_output import JobOutput
from tests.support.jobs import run_export
from tests.support.made import stored


def test_each_image_has_a_file_with_its_masks(hard: JobOutput) -> None:
    assert "14 files, 24 annotations, 1 rejected image left out" in run_export(hard.uri, "format=sa1b")
    files = sorted(Path(hard.uri, "sa1b").glob("*.json"))
    assert len(files) == 14
    instances = stored(hard)
    n_found = 0
    for file in files:
        document = json.loads(file.read_bytes())
        image = document["image"]
        assert image.keys() == {"image_id", "width", "height", "file_name"}
        assert image["file_name"] == f"{file.stem}.jpg"
        own = [instance for name, instance in instances if name == image["file_name"]]
        for annotation, instance in zip(document["annotations"], own, strict=True):
            mask = coco.decode(annotation["segmentation"])
            assert (mask == decode(instance.rle)).all()
            assert mask.shape == (image["height"], image["width"])
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == coco.toBbox(annotation["segmentation"]).tolist()
            assert annotation["crop_box"] == [0, 0, image["width"], image["height"]]
            assert annotation["category"] == {1: "round", 2: "angular"}[instance.category_id]
            assert annotation["predicted_iou"] is annotation["stability_score"] is None  # nobody measured them
            n_found += 1
    assert n_found == 24
