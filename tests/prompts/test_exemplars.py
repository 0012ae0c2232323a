"""Exemplars: how they join phrases, and that every problem is told, with its place."""

import json
from typing import Any

import pytest

from autolabel.config import ExemplarsConfig
from autolabel.errors import BadInput, RejectCode, RejectedImage
from autolabel.prompts.concepts import Concept, Exemplar, ImageExemplars, concepts
from autolabel.prompts.exemplars import read_cell, read_coco
from autolabel.prompts.ontology import Category, Ontology

ONTOLOGY = Ontology(
    categories=(
        Category(id=1, name="car", phrases=("car", "red van")),
        Category(id=2, name="traffic light", phrases=("traffic light",)),
    )
)
PROMPTS = ONTOLOGY.prompts(without_phrase=True)  # 0 car, 1 red van, 2 exemplars of a car, 3 traffic light, 4 theirs
SIZE_HW = (480, 640)
NAN = float("nan")


def exemplar(category_id: int = 1, *, positive: bool = True) -> Exemplar:
    return Exemplar(category_id=category_id, box_cxcywh=(0.5, 0.5, 0.25, 0.25), positive=positive)


# --- concepts ---


@pytest.mark.parametrize("use_text", [True, False])
def test_without_exemplars_every_phrase_is_a_concept(use_text: bool) -> None:
    assert concepts(PROMPTS, [], use_text=use_text) == (
        Concept(prompt_id=0, category_id=1, phrase="car"),
        Concept(prompt_id=1, category_id=1, phrase="red van"),
        Concept(prompt_id=3, category_id=2, phrase="traffic light"),
    )


def test_text_and_exemplars_make_one_prompt_for_each_phrase() -> None:
    own = (exemplar(), exemplar(positive=False))
    assert concepts(PROMPTS, own, use_text=True) == (
        Concept(prompt_id=0, category_id=1, phrase="car", exemplars=own),
        Concept(prompt_id=1, category_id=1, phrase="red van", exemplars=own),
        Concept(prompt_id=3, category_id=2, phrase="traffic light"),
    )


def test_without_text_exemplars_prompt_alone_and_other_categories_by_phrase() -> None:
    own = (exemplar(), exemplar(positive=False))
    assert concepts(PROMPTS, own, use_text=False) == (
        Concept(prompt_id=2, category_id=1, phrase=None, exemplars=own),
        Concept(prompt_id=3, category_id=2, phrase="traffic light"),
    )


def test_exemplars_go_to_their_own_category() -> None:
    first, second = exemplar(1), exemplar(2)
    found = concepts(PROMPTS, [second, first], use_text=False)
    assert [concept.exemplars for concept in found] == [(first,), (second,)]


# --- COCO file ---

BOX = [64, 48, 128, 96]
EXPECTED = Exemplar(category_id=1, box_cxcywh=(0.2, 0.2, 0.2, 0.2), positive=True)
PLAN = {"a/b.jpg": "s3://in/a/b.jpg", "c.jpg": "s3://in/c.jpg", "./c.jpg": "s3://in/c.jpg"}


def coco(annotations: Any, images: Any = None, categories: Any = None) -> dict[str, Any]:
    return {
        "images": [{"id": 10, "file_name": "a/b.jpg", "width": 640, "height": 480}] if images is None else images,
        "categories": [{"id": 77, "name": "car"}] if categories is None else categories,
        "annotations": annotations,
    }


def annotation(**fields: Any) -> dict[str, Any]:
    """A good one, with these fields changed; None takes a field out."""
    merged = {"id": 1, "image_id": 10, "category_id": 77, "bbox": BOX} | fields
    return {name: value for name, value in merged.items() if value is not None}


def unwanted_probe(*_: Any) -> tuple[int, int]:
    raise AssertionError("the size is known or not needed")


def read(document: Any, probe: Any = unwanted_probe, **config: Any) -> dict[str, ImageExemplars]:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_coco(
        data,
        place="seeds.json",
        ontology=ONTOLOGY,
        config=ExemplarsConfig(**config),
        find_image=PLAN.get,
        probe=probe,
    )


def problems_of(document: Any, probe: Any = unwanted_probe, **config: Any) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read(document, probe, **config)
    return list(caught.value.problems)


def test_coco_file() -> None:
    images = [
        {"id": 10, "file_name": "a/b.jpg", "width": 640, "height": 480},
        {"id": 3, "file_name": "c.jpg", "width": 100, "height": 200},
        {"id": 4, "file_name": "not in the plan, and not used.jpg"},
    ]
    categories = [{"id": 77, "name": " car "}, {"id": 1, "name": "traffic light"}, {"id": 2, "name": "unused zebra"}]
    found = read(
        coco(
            [
                annotation(),
                annotation(negative=True, iscrowd=0, segmentation=[], area=5),
                annotation(image_id=3, category_id=1, bbox=[0, 0, 50, 200]),
            ],
            images,
            categories,
        )
    )
    assert found == {
        "s3://in/a/b.jpg": ImageExemplars(
            size_hw=(480, 640),
            exemplars=(EXPECTED, Exemplar(category_id=1, box_cxcywh=EXPECTED.box_cxcywh, positive=False)),
        ),
        "s3://in/c.jpg": ImageExemplars(
            size_hw=(200, 100), exemplars=(Exemplar(category_id=2, box_cxcywh=(0.25, 0.5, 0.5, 1), positive=True),)
        ),
    }


def test_coco_ids_may_be_text() -> None:
    images = [{"id": "x", "file_name": "a/b.jpg", "width": 640, "height": 480}]
    found = read(coco([annotation(image_id="x", category_id="y")], images, [{"id": "y", "name": "car"}]))
    assert found["s3://in/a/b.jpg"].exemplars == (EXPECTED,)


def test_unstated_size_is_probed_once() -> None:
    asked: list[str] = []

    def probe(uri: str) -> tuple[int, int]:
        asked.append(uri)
        return SIZE_HW

    document = coco([annotation(), annotation()], [{"id": 10, "file_name": "a/b.jpg"}])
    assert read(document, probe)["s3://in/a/b.jpg"] == ImageExemplars(size_hw=SIZE_HW, exemplars=(EXPECTED, EXPECTED))
    assert asked == ["s3://in/a/b.jpg"]


def test_fractions_need_no_size() -> None:
    document = coco([annotation(bbox=[0.1, 0.1, 0.2, 0.2])], [{"id": 10, "file_name": "a/b.jpg"}])
    (found,) = read(document, normalized=True).values()
    assert found.size_hw is None
    assert found.exemplars[0].box_cxcywh == pytest.approx((0.2, 0.2, 0.2, 0.2))


def test_unreadable_image_is_a_problem_told_once() -> None:
    def probe(uri: str) -> tuple[int, int]:
        raise RejectedImage(RejectCode.TRUNCATED, "JPEG")

    document = coco([annotation(), annotation()], [{"id": 10, "file_name": "a/b.jpg"}])
    assert problems_of(document, probe) == [
        "seeds.json images[0] ('a/b.jpg'): its size is not stated and cannot be read: truncated: JPEG"
    ]


def test_storage_errors_of_a_probe_pass() -> None:
    def probe(uri: str) -> tuple[int, int]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        read(coco([annotation()], [{"id": 10, "file_name": "a/b.jpg"}]), probe)


IMAGE = {"id": 10, "file_name": "a/b.jpg", "width": 640, "height": 480}
CAR = {"id": 77, "name": "car"}
WHERE = "seeds.json annotations[0] (image 'a/b.jpg', category 'car')"


@pytest.mark.parametrize(
    ("case", "document", "expected"),
    [
        ("label without box", coco([annotation(bbox=None)]), [f"{WHERE}: label without box: bbox is missing"]),
        (
            "bad box",
            coco([annotation(bbox=[1, 2, -3, 4])]),
            [f"{WHERE}: box [1, 2, -3, 4] as xywh has a negative width or height"],
        ),
        ("nan", coco([annotation(bbox=[1, 2, NAN, 4])]), [f"{WHERE}: box [1, 2, nan, 4] is not of 4 finite numbers"]),
        ("negative", coco([annotation(negative=1)]), [f"{WHERE}: negative is 1, not true or false"]),
        ("crowd", coco([annotation(iscrowd=1)]), [f"{WHERE}: a crowd (iscrowd) is not a box of one instance"]),
        (
            "unknown image id",
            coco([annotation(image_id=11)]),
            ["seeds.json annotations[0]: image_id 11 is not among the images"],
        ),
        (
            "no image id",
            coco([annotation(image_id=None)]),
            ["seeds.json annotations[0]: image_id None is not among the images"],
        ),
        (
            "boolean image id",
            coco([annotation(image_id=True)], [IMAGE | {"id": 1}]),
            ["seeds.json annotations[0]: image_id True is not among the images"],
        ),
        (
            "unknown category id",
            coco([annotation(category_id=[77])]),
            ["seeds.json annotations[0]: category_id [77] is not among the categories"],
        ),
        ("not an annotation", coco([3]), ["seeds.json annotations[0]: expected an annotation, not 3"]),
        (
            "unknown image, told once",
            coco([annotation(), annotation()], [IMAGE | {"file_name": "b.jpg"}]),
            ["seeds.json images[0] ('b.jpg'): unknown image: none of the input has this name"],
        ),
        (
            "unknown category, told once",
            coco([annotation(), annotation()], None, [CAR | {"name": "trafic light"}]),
            ["seeds.json categories[0]: unknown category 'trafic light' (did you mean 'traffic light'?)"],
        ),
        (
            "category without name",
            coco([annotation()], None, [{"id": 77}]),
            ["seeds.json categories[0]: unknown category None"],
        ),
        (
            "image id twice",
            coco([annotation()], [IMAGE, IMAGE | {"file_name": "c.jpg"}]),
            ["seeds.json images[1]: id 10 is already that of images[0]"],
        ),
        (
            "image twice under two names",
            coco(
                [annotation(), annotation(image_id=11)],
                [IMAGE | {"file_name": "c.jpg"}, IMAGE | {"id": 11, "file_name": "./c.jpg"}],
            ),
            ["seeds.json images[1] ('./c.jpg'): the same image as images[0]"],
        ),
        (
            "category id twice",
            coco([annotation()], None, [CAR, CAR]),
            ["seeds.json categories[1]: id 77 is already that of categories[0]"],
        ),
        (
            "image without id",
            coco([], [{"file_name": "a/b.jpg"}]),
            ["seeds.json images[0]: an entry without a usable id: {'file_name': 'a/b.jpg'}"],
        ),
        ("not an image", coco([], [None]), ["seeds.json images[0]: an entry without a usable id: None"]),
        (
            "image without name",
            coco([annotation()], [{"id": 10}]),
            ["seeds.json images[0]: file_name is None, not a file name"],
        ),
        (
            "width without height",
            coco([annotation()], [{"id": 10, "file_name": "a/b.jpg", "width": 640}]),
            ["seeds.json images[0] ('a/b.jpg'): width 640 and height None are not two positive integers"],
        ),
        (
            "size of nothing",
            coco([annotation()], [IMAGE | {"width": 0}]),
            ["seeds.json images[0] ('a/b.jpg'): width 0 and height 480 are not two positive integers"],
        ),
        ("a list", [], ["seeds.json: expected images, annotations and categories (COCO), not []"]),
        ("results file", {"images": []}, ["seeds.json: images, annotations and categories (COCO) must be lists"]),
        ("cut", b'{"images":\n [', ["seeds.json: not JSON: Expecting value: line 2 column 3 (char 13)"]),
    ],
)
def test_coco_problem(case: str, document: Any, expected: list[str]) -> None:
    assert problems_of(document) == expected


@pytest.mark.parametrize(
    ("case", "document"),
    [("not text", b"\xff\xfe\x00\x01\x02"), ("nested without end", b"[" * 100_000), ("empty", b"")],
)
def test_what_is_no_json_at_all(case: str, document: bytes) -> None:
    (problem,) = problems_of(document)
    assert problem.startswith("seeds.json: not JSON: ")


def test_all_problems_are_told_together() -> None:
    document = coco([annotation(bbox=[0, 0, 0, 0], negative="no"), annotation(image_id=0, category_id=0), annotation()])
    assert [problem.split(":")[0] for problem in problems_of(document)] == [
        WHERE,
        WHERE,
        "seeds.json annotations[1]",
        "seeds.json annotations[1]",
    ]


def test_only_negatives_need_text() -> None:
    document = coco([annotation(negative=True)])
    assert not read(document)["s3://in/a/b.jpg"].exemplars[0].positive
    assert problems_of(document, use_text=False) == [
        "seeds.json (image 'a/b.jpg') (category 'car'): only negative exemplars and no text (use_text is false)"
    ]
    assert len(read(coco([annotation(negative=True), annotation()]), use_text=False)) == 1


def test_byte_order_mark_is_no_problem() -> None:
    assert read(b"\xef\xbb\xbf" + json.dumps(coco([annotation()])).encode())


# --- a manifest's cell ---


def cell(value: Any, size_hw: tuple[int, int] | None = SIZE_HW, probe: Any = unwanted_probe, **config: Any) -> Any:
    return read_cell(
        value,
        place="in.csv row 7 seeds",
        ontology=ONTOLOGY,
        config=ExemplarsConfig(**config),
        size_hw=size_hw,
        probe=probe,
    )


@pytest.mark.parametrize("value", [None, "", "  ", NAN, [], "[]", ()])
def test_cell_without_exemplars(value: Any) -> None:
    assert cell(value, None) == ImageExemplars(size_hw=None, exemplars=())


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("negative", [None, False, True])
def test_cell(as_json: bool, negative: bool | None) -> None:
    value = [{"category": " car", "bbox": BOX, "negative": negative}]
    expected = Exemplar(category_id=1, box_cxcywh=(0.2, 0.2, 0.2, 0.2), positive=not negative)
    found = cell(json.dumps(value) if as_json else value)
    assert found == ImageExemplars(size_hw=SIZE_HW, exemplars=(expected,))


def test_cell_asks_for_the_size_only_where_it_must() -> None:
    pixels, fractions = [{"category": "car", "bbox": BOX}], [{"category": "car", "bbox": [0.1, 0.1, 0.2, 0.2]}]
    assert cell(pixels, None, lambda: SIZE_HW) == ImageExemplars(size_hw=SIZE_HW, exemplars=(EXPECTED,))
    assert cell(fractions, None, normalized=True).exemplars[0].box_cxcywh == pytest.approx((0.2, 0.2, 0.2, 0.2))


PLACE = "in.csv row 7 seeds"


@pytest.mark.parametrize(
    ("case", "value", "expected"),
    [
        ("not a list", 3, [f"{PLACE}: expected a list of exemplars, not 3"]),
        ("a mapping", '{"category": "car"}', [f"{PLACE}: expected a list of exemplars, not {{'category': 'car'}}"]),
        ("broken", "[1,", [f"{PLACE}: not JSON: Expecting value: line 1 column 4 (char 3)"]),
        ("not an entry", [3], [f"{PLACE}[0]: expected an exemplar with category and bbox, not 3"]),
        ("no category", [{"bbox": BOX}], [f"{PLACE}[0]: unknown category None"]),
        (
            "unknown category",
            [{"category": "cars", "bbox": BOX}],
            [f"{PLACE}[0]: unknown category 'cars' (did you mean 'car'?)"],
        ),
        (
            "unknown field",
            [{"category": "car", "bbox": BOX, "negativ": True}],
            [f"{PLACE}[0]: unknown field 'negativ' (did you mean 'negative'?)"],
        ),
        (
            "two",
            [{"category": "car"}, {"category": "car", "bbox": BOX}, {"category": "car", "bbox": BOX, "negative": "no"}],
            [
                f"{PLACE}[0] (category 'car'): label without box: bbox is missing",
                f"{PLACE}[2] (category 'car'): negative is 'no', not true or false",
            ],
        ),
    ],
)
def test_cell_problem(case: str, value: Any, expected: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        cell(value)
    assert list(caught.value.problems) == expected


def test_cell_of_an_unreadable_image() -> None:
    def probe() -> tuple[int, int]:
        raise RejectedImage(RejectCode.EMPTY_FILE, "0 bytes")

    with pytest.raises(BadInput, match="its size is not stated and cannot be read: empty_file: 0 bytes"):
        cell([{"category": "car", "bbox": BOX}], None, probe)


def test_cell_of_only_negatives_needs_text() -> None:
    value = [{"category": "car", "bbox": BOX, "negative": True}]
    with pytest.raises(BadInput, match=r"\(category 'car'\): only negative exemplars"):
        cell(value, use_text=False)
