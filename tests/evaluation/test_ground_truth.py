"""Ground truth files: what they say, and everything that is wrong with them at once."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from autolabel.config.compose import compose_config
from autolabel.demo.ground_truth import GROUND_TRUTH_NAME, demo_scenes
from autolabel.errors import BadInput
from autolabel.evaluation.ground_truth import MOST_PROBLEMS, read_ground_truth
from autolabel.masks import rle
from tests.support.cases import SIZE_HW, A, B, Document, annotation, compared, ground_truth, image


def problems_of(document: Any) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read_ground_truth(document if isinstance(document, bytes) else orjson.dumps(document), "gt.json")
    return list(caught.value.problems)


def test_objects_and_what_is_known() -> None:
    images = [image(2, neg_category_ids=[2]), image(1, not_exhaustive_category_ids=[1])]
    plain = {"image_id": 1, "category_id": 1, "segmentation": A.to_coco()}
    truth = read_ground_truth(
        orjson.dumps(ground_truth(images, [plain, {**annotation(1, 1, B, crowd=1), "area": 7.5}], ["car", "dog"])), "gt"
    )
    assert [one.id for one in truth.images] == [1, 2]
    assert [(one.rle, one.area_px, one.crowd) for one in truth.objects[1, 1]] == [(A, 100.0, False), (B, 7.5, True)]
    known = {(one.id, category): truth.knows(one, category) for one in truth.images for category in (1, 2)}
    assert known == {(1, 1): True, (1, 2): False, (2, 1): False, (2, 2): True}
    assert truth.images[0].not_exhaustive == {1}


def test_without_lists_of_the_absent_everything_is_known() -> None:
    truth = read_ground_truth(orjson.dumps(ground_truth([image(1)], [], ["car", "dog"])), "gt")
    assert truth.knows(truth.images[0], 2)


def test_all_problems_are_told_at_once() -> None:
    good = image(1)
    document: Document = {
        "images": [good, image(1), image(2, file_name=""), image(3, width=None), image(4, neg_category_ids=[None]), 5],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "car"}, {"id": "x", "name": "y"}, {"id": 3}],
        "annotations": [
            annotation(9, 1, A),
            annotation(1, 9, A),
            {**annotation(1, 1, A), "segmentation": []},
            {**annotation(1, 1, A), "iscrowd": 2},
            None,
            annotation(1, 1, A),
        ],
    }
    assert problems_of(document) == [
        "gt.json images[1]: id 1 is already that of images[0]",
        "gt.json images[2] (''): file_name is not a file name",
        "gt.json images[3] ('3.jpg'): width None and height 40 are not two sizes",
        "gt.json images[4] ('4.jpg'): neg_category_ids or not_exhaustive_category_ids are not lists of ids",
        "gt.json images[5]: its id is not an integer",
        "gt.json categories[1]: name 'car' is already that of categories[0]",
        "gt.json categories[2]: its id is not an integer",
        "gt.json categories[3]: name is None",
        "gt.json annotations[0]: image_id 9 is of no usable image",
        "gt.json annotations[1]: category_id 9 is of no usable category",
        "gt.json annotations[2] (image '1.jpg', category 'car'): segmentation is [], neither run lengths nor polygons",
        "gt.json annotations[3] (image '1.jpg', category 'car'): iscrowd is 2, neither 0 nor 1",
        "gt.json annotations[4]: expected an annotation, not None",
    ]


def test_the_same_problem_everywhere_is_not_told_without_end() -> None:
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}] * 1000
    told = problems_of(ground_truth([image(1)], boxes))
    assert len(told) == MOST_PROBLEMS + 1
    assert told[-1] == f"gt.json: and {1000 - MOST_PROBLEMS} problems more"


@pytest.mark.parametrize(
    "document", [b"", b"{", [], {}, {"images": [], "annotations": {}, "categories": []}, ground_truth([], [])]
)
def test_what_is_no_coco_file_is_told(document: Any) -> None:
    assert len(problems_of(document)) == 1


def test_the_ground_truth_of_demo_scenes_is_read(tmp_path: Path) -> None:
    demo_scenes(compose_config("demo-scenes", [f"output.uri='{tmp_path}'", "count=2"]))
    document = orjson.loads((tmp_path / GROUND_TRUTH_NAME).read_bytes())
    truth = read_ground_truth((tmp_path / GROUND_TRUTH_NAME).read_bytes(), "gt")
    assert truth.lists_absent
    assert sum(map(len, truth.objects.values())) == len(document["annotations"]) > 20
    assert all(truth.knows(one, category) for one in truth.images for category in truth.name_of)
    assert rle.area(truth.objects[1, 1][0].rle) == truth.objects[1, 1][0].area_px


def test_as_an_ontology_each_category_is_found_by_its_name() -> None:
    document = {
        **ground_truth([image(1)], []),
        "categories": [{"id": 0, "name": "a", "supercategory": ""}, {"id": 4, "name": "b"}],
    }
    ontology = read_ground_truth(orjson.dumps(document), "gt").ontology("gt")
    assert [(one.id, one.name, one.phrases, one.supercategory) for one in ontology.categories] == [
        (1, "a", ("a",), None),
        (4, "b", ("b",), None),
    ]


def test_pairs_that_say_nothing_are_told_apart_from_those_without() -> None:
    images = [image(1, neg_category_ids=[2]), image(2, neg_category_ids=[])]
    comparison, _ = compared(ground_truth(images, [annotation(1, 1, A)], ["car", "dog"]), [])
    assert [(pair.image_id, pair.category_id) for pair in comparison.pairs] == [(1, 1)]
    assert (comparison.n_silent_of[2], comparison.n_unknown_pairs, comparison.n_partial_pairs) == (1, 2, 0)
    assert comparison.images[0].size_hw == SIZE_HW
