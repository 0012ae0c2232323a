"""Objects of COCO files: boxes, points, masks, parts; every problem is told, with its place."""

import io
import json
import logging
from typing import Any

import numpy as np
import pytest

from autolabel.config import ObjectsConfig
from autolabel.errors import BadInput, RejectCode, RejectedImage
from autolabel.masks.rle import decode, encode
from autolabel.prompts.objects.coco import read_categories, read_objects
from autolabel.prompts.objects.source import GivenObjects
from autolabel.prompts.objects.table import CORNER, NEGATIVE, OPPOSITE, POSITIVE, ObjectPrompt
from tests.support.given_objects import SIZE_HW, Probe, by_name, input_images, probe_of_torn, unwanted_probe

A = {"id": 10, "file_name": "a.jpg", "width": 100, "height": 80}
B = {"id": 11, "file_name": "b.jpg", "width": 200, "height": 50}
CAR, SIGN = {"id": 7, "name": "car"}, {"id": 9, "name": "sign", "supercategory": "street"}
BOX = [10, 20, 30, 40]
AS_CORNERS = pytest.approx(np.array([(0.1, 0.25), (0.4, 0.75)]))
WHERE = "boxes.json annotations[0] (image 'a.jpg')"
TWICE = "another one of this image has the same id; parts of one object say so by object_id"
NAMES = ("a.jpg", "b.jpg", "c.jpg")


def coco(*annotations: Any, images: Any = (A, B), categories: Any = (CAR, SIGN)) -> dict[str, Any]:
    return {"images": images, "categories": categories, "annotations": annotations}


def annotation(**fields: Any) -> dict[str, Any]:
    """A good one, with these fields changed; None takes a field out."""
    merged = {"id": 1, "image_id": 10, "category_id": 7, "bbox": BOX} | fields
    return {name: value for name, value in merged.items() if value is not None}


def given(document: Any, probe: Probe = unwanted_probe, **config: Any) -> GivenObjects:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    images = input_images(*NAMES, probe=probe)
    return read_objects(io.BytesIO(data), "boxes.json", ObjectsConfig(**config), images)


def read(document: Any, probe: Probe = unwanted_probe, **config: Any) -> dict[str, list[ObjectPrompt]]:
    return dict(by_name(given(document, probe, **config), input_images(*NAMES)))


def one(document: Any, **config: Any) -> ObjectPrompt:
    (objects,) = read(document, **config).values()
    (only,) = objects
    return only


def problems_of(document: Any, probe: Probe = unwanted_probe, **config: Any) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read(document, probe, **config)
    return list(caught.value.problems)


def test_a_box_is_two_corners() -> None:
    found = one(coco(annotation()))
    assert (found.object_id, found.category_id, found.labels, found.mask) == ("1", 7, (CORNER, OPPOSITE), None)
    assert np.array(found.points_xy) == AS_CORNERS


@pytest.mark.parametrize(
    ("box", "config"),
    [
        pytest.param([10, 20, 40, 60], {"box_format": "xyxy"}, id="xyxy"),
        pytest.param([25, 40, 30, 40], {"box_format": "cxcywh"}, id="cxcywh"),
        pytest.param([0.1, 0.25, 0.3, 0.5], {"normalized": True}, id="fractions"),
    ],
)
def test_box_formats(box: list[float], config: dict[str, Any]) -> None:
    assert np.array(one(coco(annotation(bbox=box)), **config).points_xy) == AS_CORNERS


def test_points_are_positive_unless_they_say_otherwise() -> None:
    points = [[50, 40], [25, 20, True], [75, 60, False], [0, 0, 0], [100, 80, 1]]
    found = one(coco(annotation(bbox=None, points=points)))
    assert found.points_xy == ((0.5, 0.5), (0.25, 0.25), (0.75, 0.75), (0, 0), (1, 1))
    assert found.labels == (POSITIVE, POSITIVE, NEGATIVE, NEGATIVE, POSITIVE)


def test_the_corners_of_a_box_come_before_its_points() -> None:
    found = one(coco(annotation(points=[[50, 40, False]])))
    assert found.labels == (CORNER, OPPOSITE, NEGATIVE)
    assert found.points_xy[2] == (0.5, 0.5)


def test_objects_keep_the_order_of_their_image() -> None:
    document = coco(
        annotation(id=5, image_id=11, bbox=[0, 0, 100, 25]),
        annotation(id="left", category_id=9),
        annotation(id=4, image_id=11, bbox=[100, 25, 100, 25]),
        annotation(id=3),
    )
    found = read(document)
    assert {name: [each.object_id for each in objects] for name, objects in found.items()} == {
        "a.jpg": ["left", "3"],
        "b.jpg": ["5", "4"],
    }
    assert [each.category_id for each in found["a.jpg"]] == [9, 7]
    assert found["b.jpg"][1].points_xy == ((0.5, 0.5), (1, 1))
    assert given(document).sizes_hw == {0: (80, 100), 1: (50, 200)}


def test_an_object_of_parts_says_so_by_its_object_id() -> None:
    found = read(
        coco(
            annotation(object_id="train"),
            annotation(id=2, object_id="train"),
            annotation(image_id=11, bbox=[0, 0, 9, 9]),
        )
    )
    assert [each.object_id for each in found["a.jpg"]] == ["train", "train"]
    assert [each.object_id for each in found["b.jpg"]] == ["1"]


def test_the_same_id_on_two_images_is_two_objects() -> None:
    found = read(coco(annotation(), annotation(image_id=11, category_id=9, bbox=[0, 0, 9, 9])))
    assert [objects[0].object_id for objects in found.values()] == ["1", "1"]


# --- masks to refine ---


def drawn() -> Any:
    mask = np.zeros(SIZE_HW, bool)
    mask[20:60, 10:40] = True
    return mask


RUNS = encode(drawn()).to_coco()
PLAIN = {"size": [80, 100], "counts": [10 * 80 + 20, *[40, 40] * 29, 40, 20 + 60 * 80]}


@pytest.mark.parametrize(
    "segmentation",
    [
        pytest.param(RUNS, id="run lengths"),
        pytest.param(PLAIN, id="plain run lengths"),
        pytest.param([[10, 20, 40, 20, 40, 60, 10, 60]], id="polygon"),
    ],
)
def test_a_segmentation_is_a_mask_to_refine_where_that_is_asked_for(segmentation: Any) -> None:
    document = coco(annotation(segmentation=segmentation))
    assert one(document).mask is None
    found = one(document, use_masks=True)
    assert found.mask is not None
    assert np.array_equal(decode(found.mask), drawn())
    assert np.array(found.points_xy) == AS_CORNERS


@pytest.mark.parametrize("segmentation", [None, []])
def test_a_box_without_a_segmentation_has_no_mask(segmentation: Any) -> None:
    assert one(coco(annotation(segmentation=segmentation)), use_masks=True).mask is None


def test_masks_need_the_size_of_their_image_although_boxes_are_in_fractions() -> None:
    images = [{"id": 10, "file_name": "a.jpg"}]
    document = coco(annotation(bbox=[0, 0, 1, 1], segmentation=RUNS), images=images)
    found = given(document, lambda uri: SIZE_HW, normalized=True, use_masks=True)
    assert found.sizes_hw == {0: SIZE_HW}
    assert problems_of(document, lambda uri: (100, 80), normalized=True, use_masks=True) == [
        f"{WHERE}: the mask's size [80, 100] is not the image's, [height, width] [100, 80]"
    ]


# --- sizes ---


def test_sizes_that_are_not_stated_are_read_from_the_images_once_each() -> None:
    asked: list[str] = []

    def probe(uri: str) -> tuple[int, int]:
        asked.append(uri)
        return SIZE_HW

    document = coco(annotation(), annotation(id=2), images=[{"id": 10, "file_name": "a.jpg"}, B])
    (objects,) = read(document, probe).values()
    assert len(objects) == 2
    assert np.array(objects[1].points_xy) == AS_CORNERS
    assert asked == ["/in/a.jpg"]


def test_fractions_need_no_size() -> None:
    document = coco(annotation(bbox=[0.1, 0.25, 0.3, 0.5]), images=[{"id": 10, "file_name": "a.jpg"}])
    assert given(document, normalized=True).sizes_hw == {}


def test_an_image_that_cannot_be_probed_is_told_once_and_only_if_it_has_objects() -> None:
    images = [{"id": 10, "file_name": "a.jpg"}, {"id": 11, "file_name": "b.jpg"}]
    assert problems_of(coco(annotation(), annotation(id=2), images=images), probe_of_torn) == [
        "boxes.json images[0] ('a.jpg'): its size is not stated and cannot be read: truncated: JPEG"
    ]


def test_storage_errors_of_a_probe_pass() -> None:
    def probe(uri: str) -> tuple[int, int]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        read(coco(annotation(), images=[{"id": 10, "file_name": "a.jpg"}]), probe)


# --- what is left out ---


def test_crowds_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    document = coco(annotation(iscrowd=1), annotation(id=2, iscrowd=0), annotation(id=3, iscrowd=1, bbox=None))
    with caplog.at_level(logging.WARNING):
        (objects,) = read(document).values()
    assert [each.object_id for each in objects] == ["2"]
    assert "boxes.json: left out, 2 crowds (iscrowd): no objects of their own" in caplog.text


def test_images_and_categories_that_no_annotation_uses_may_be_unknown() -> None:
    images = [A, {"id": 3, "file_name": "elsewhere.jpg"}, {"id": 4}]
    assert len(read(coco(annotation(), images=images, categories=[CAR, {"id": 0, "name": "background"}]))) == 1


# --- problems ---


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(
            coco(annotation(bbox=None)),
            f"{WHERE}: has neither bbox nor points: nothing says where the object is",
            id="bare",
        ),
        pytest.param(
            coco(annotation(bbox=None, points=[])),
            f"{WHERE}: has neither bbox nor points: nothing says where the object is",
            id="no points",
        ),
        pytest.param(
            coco(annotation(bbox=None, points=[[5, 5, 0], [6, 6, False]])),
            f"{WHERE}: has only negative points: nothing says where the object is",
            id="only negative points",
        ),
        pytest.param(
            coco(annotation(bbox=[10, 20, -3, 4])),
            f"{WHERE}: box [10, 20, -3, 4] as xywh has a negative width or height",
            id="bad box",
        ),
        pytest.param(
            coco(annotation(points={"x": 1})),
            f"{WHERE}: points is {{'x': 1}}, not a list of [x, y] or [x, y, positive]",
            id="points of another kind",
        ),
        pytest.param(
            coco(annotation(points=[[5, 5], [5]])),
            f"{WHERE}: points[1] is [5], not [x, y] or [x, y, positive]",
            id="half",
        ),
        pytest.param(
            coco(annotation(points=[["5", 5]])), f"{WHERE}: points[0] is ['5', 5], not of finite numbers", id="text"
        ),
        pytest.param(
            coco(annotation(points=[[5, 5, 2]])),
            f"{WHERE}: points[0] is [5, 5, 2]: positive is true or false, 1 or 0",
            id="corners are not given as points",
        ),
        pytest.param(
            coco(annotation(points=[[100.5, 5]])),
            f"{WHERE}: points[0] [100.5, 5] lies outside its image of width 100 and height 80",
            id="outside",
        ),
        pytest.param(
            coco(annotation(id=None)), f"{WHERE}: id is None: a number or text that names the object", id="nameless"
        ),
        pytest.param(
            coco(annotation(id=True)), f"{WHERE}: id is True: a number or text that names the object", id="boolean name"
        ),
        pytest.param(
            coco(annotation(object_id="")),
            f"{WHERE}: object_id is '': a number or text that names the object",
            id="empty name",
        ),
        pytest.param(
            coco(annotation(image_id=3)),
            "boxes.json annotations[0]: image_id 3 is not among the images",
            id="no such image",
        ),
        pytest.param(
            coco(annotation(), images=[{**A, "file_name": "other.jpg"}]),
            "boxes.json images[0] ('other.jpg'): unknown image: none of the input has this name",
            id="image of no input",
        ),
        pytest.param(
            coco(annotation(category_id=8)),
            "boxes.json annotations[0]: category_id 8 is not among the categories",
            id="no such category",
        ),
        pytest.param(
            coco(annotation(category_id=0), categories=[CAR, {"id": 0, "name": "cat"}]),
            "boxes.json annotations[0]: category_id 0: ids are from 1 to 2147483647 here",
            id="category 0",
        ),
        pytest.param(coco(3), "boxes.json annotations[0]: expected an annotation, not 3", id="not an annotation"),
        pytest.param(coco(), "boxes.json: has no annotations (COCO)", id="no annotations"),
        pytest.param([], "boxes.json: has no annotations (COCO)", id="a list"),
        pytest.param(
            coco(annotation(), annotation(bbox=[1, 2, 30, 40])),
            f"object '1' of /in/a.jpg: {TWICE}",
            id="two of one id",
        ),
        pytest.param(
            coco(annotation(id="x"), annotation(id=2, object_id="x")),
            f"object 'x' of /in/a.jpg: {TWICE}",
            id="an id that is also an object_id",
        ),
        pytest.param(
            coco(annotation(object_id=1), annotation(object_id="1", category_id=9)),
            "object '1' of /in/a.jpg: its parts are of different categories",
            id="parts of different categories",
        ),
    ],
)
def test_a_problem_is_told_with_its_place(document: Any, expected: str) -> None:
    assert problems_of(document) == [expected]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"\xff\xfe\x00\x01", id="not text"),
        pytest.param(b"", id="empty"),
        pytest.param(b'{"images": [{"id": 10, "file_name": "a.j', id="cut"),
        pytest.param(b'{"images": [{"id": 10, "width": NaN}]}', id="nan"),
        pytest.param(b"[" * 10_000, id="nested without end"),
    ],
)
def test_what_is_no_json_is_told(document: bytes) -> None:
    (problem,) = problems_of(document)
    assert problem.startswith("boxes.json: not JSON: ")


def test_byte_order_mark_is_no_problem() -> None:
    assert read(b"\xef\xbb\xbf" + json.dumps(coco(annotation())).encode())


def test_problems_are_told_together() -> None:
    document = coco(
        annotation(bbox=[1, 2, 3]),
        annotation(id=2, image_id=5, category_id=5),
        annotation(id=3, segmentation=[[1, 2]]),
        annotation(id=4),
        annotation(id=4),
        images=[A, A],
    )
    assert problems_of(document, use_masks=True) == [
        "boxes.json images[1]: id 10 is already that of images[0]",
        f"{WHERE}: box [1, 2, 3] is not a list of 4 numbers",
        "boxes.json annotations[1]: image_id 5 is not among the images",
        "boxes.json annotations[1]: category_id 5 is not among the categories",
        "boxes.json annotations[2] (image 'a.jpg'): polygon [1, 2] is not a list of x and y of three points or more",
        f"object '4' of /in/a.jpg: {TWICE}",
    ]


def test_of_very_many_problems_some_are_told_and_the_others_counted() -> None:
    problems = problems_of(coco(*(annotation(id=index, bbox=[1, 2, 0, 0]) for index in range(73))))
    assert len(problems) == 51
    assert problems[49].startswith("boxes.json annotations[49] ")
    assert problems[50] == "... and 23 more problems of this kind"


def test_fifty_problems_are_all_told() -> None:
    problems = problems_of(coco(*(annotation(id=index, bbox=[1, 2, 0, 0]) for index in range(50))))
    assert [problem.split(" ")[1] for problem in problems] == [f"annotations[{index}]" for index in range(50)]


# --- categories ---


def categories(entries: Any) -> Any:
    return read_categories(io.BytesIO(json.dumps({"categories": entries}).encode()), "boxes.json")


def test_categories_keep_their_ids() -> None:
    entries = [
        CAR,
        {**SIGN, "isthing": 1},
        {"id": 12, "name": "tree", "supercategory": ""},
        {"id": 0, "name": "background"},
    ]
    assert categories(entries) == [CAR, SIGN, {"id": 12, "name": "tree"}]


@pytest.mark.parametrize(
    ("entries", "ids"),
    [
        pytest.param([], "", id="none"),
        pytest.param([{"id": 0, "name": "cat"}, {"id": "7", "name": "dog"}], "; their ids are [0, '7']", id="unusable"),
    ],
)
def test_a_file_without_usable_categories_is_refused(entries: Any, ids: str) -> None:
    with pytest.raises(BadInput) as caught:
        categories(entries)
    assert caught.value.problems == (f"boxes.json: has no categories (COCO) with ids from 1 to 2147483647{ids}",)


def test_a_rejected_probe_does_not_hide_other_problems() -> None:
    def probe(uri: str) -> tuple[int, int]:
        raise RejectedImage(RejectCode.EMPTY_FILE, "0 bytes")

    images = [{"id": 10, "file_name": "a.jpg"}, B]
    document = coco(annotation(), annotation(id=2, image_id=11, bbox=[500, 0, 9, 9]), images=images)
    assert problems_of(document, probe) == [
        "boxes.json images[0] ('a.jpg'): its size is not stated and cannot be read: empty_file: 0 bytes",
        "boxes.json annotations[1] (image 'b.jpg'): box [500, 0, 9, 9] as xywh lies outside its image of width 200 and "
        "height 50",
    ]
