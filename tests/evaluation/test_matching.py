"""Which image and category of a ground truth is which of an output."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from autolabel.errors import BadInput
from autolabel.evaluation.comparison import compare
from autolabel.evaluation.detections import Detections
from autolabel.evaluation.ground_truth import GroundTruth, read_ground_truth
from autolabel.evaluation.matching import match_categories, match_images
from autolabel.inputs.listing import Listing
from autolabel.inputs.locations import ImageLocation
from autolabel.output.job_output import JobOutput
from autolabel.plan import Plan, encode, seal
from autolabel.prompts.ontology import Category, Ontology
from autolabel.storage import open_storage
from tests.support.cases import A, B, annotation, ground_truth, image

IMAGES = ["/data/a/1.jpg", "/data/b/1.jpg", "/data/a/2.jpg", "/data/3.jpg", "s3://bucket/4.jpg"]
ONTOLOGY = Ontology(
    categories=(
        Category(id=1, name="car", phrases=("car", "van")),
        Category(id=5, name="person", phrases=("pedestrian",)),
        Category(id=7, name="unicorn", phrases=("unicorn",)),
    )
)


def truth_of(document: dict[str, Any]) -> GroundTruth:
    return read_ground_truth(orjson.dumps(document), "gt")


def named(*names: str) -> GroundTruth:
    return truth_of(ground_truth([image(id, file_name=name) for id, name in enumerate(names, start=1)], []))


@pytest.fixture
def output(tmp_path: Path) -> JobOutput:
    """Of which only the plan is there."""
    storage, uri = open_storage(str(tmp_path), {}), str(tmp_path)
    seal(storage, uri, encode(Listing(root="/data", images=[ImageLocation(one) for one in IMAGES]), unit_size=2))
    return JobOutput(storage=storage, uri=uri, record=None, plan=Plan(storage, uri))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("a/1.jpg", "/data/a/1.jpg"),
        ("/data/b/1.jpg", "/data/b/1.jpg"),
        ("s3://bucket/4.jpg", "s3://bucket/4.jpg"),
        ("3.jpg", "/data/3.jpg"),
        ("2.jpg", "/data/a/2.jpg"),
        ("/elsewhere/2.jpg", "/data/a/2.jpg"),
        ("4.jpg", "s3://bucket/4.jpg"),
    ],
)
def test_an_image_is_found_by_name_by_uri_or_by_the_last_part(output: JobOutput, name: str, uri: str) -> None:
    match = match_images(named("nowhere.jpg", name), output)
    assert {id: planned.uri for id, planned in match.planned.items()} == {2: uri}
    assert (match.missing, match.ambiguous) == (("nowhere.jpg",), ())


@pytest.mark.parametrize(
    ("names", "missing", "ambiguous"),
    [
        (["3.jpg", "1.jpg"], (), ("1.jpg",)),  # two of the output
        (["3.jpg", "x/2.jpg", "y/2.jpg"], (), ("x/2.jpg", "y/2.jpg")),  # two of the ground truth
        (["3.jpg", "/data/3.jpg"], (), ("/data/3.jpg",)),  # one image under two names
        (["3.jpg", "a/2.jpg", "a/2.jpg"], (), ("a/2.jpg", "a/2.jpg")),
        (["3.jpg", "5.jpg", "x/1.png"], ("5.jpg", "x/1.png"), ()),
        (["a/1.jpg", "b/1.jpg"], (), ()),
    ],
)
def test_what_cannot_be_told_is_left_out_by_name(
    output: JobOutput, names: list[str], missing: tuple[str, ...], ambiguous: tuple[str, ...]
) -> None:
    match = match_images(named(*names), output)
    assert (match.missing, match.ambiguous) == (missing, ambiguous)
    assert len(match.planned) == len(names) - len(missing) - len(ambiguous)


def test_nothing_in_common_is_bad_input(output: JobOutput) -> None:
    with pytest.raises(
        BadInput, match="none of its 2 images is an image of the output: 'x.jpg', '1.jpg' there, 'a/1.jpg'"
    ):
        match_images(named("x.jpg", "1.jpg"), output)
    with pytest.raises(BadInput, match="no category in common: tree there, car, person, unicorn in the output"):
        match_categories(truth_of(ground_truth([image(1)], [], ["tree"])), ONTOLOGY)


def test_a_category_is_found_by_name_or_by_phrase() -> None:
    match = match_categories(truth_of(ground_truth([image(1)], [], ["Pedestrian", "dog", "van", " car "])), ONTOLOGY)
    assert match.category_of == {1: 5, 3: 1, 4: 1}
    assert match.truth_ids_of == {1: [3, 4], 5: [1]}
    assert (match.only_in_truth, match.only_in_ontology) == (("dog",), ("unicorn",))


@pytest.mark.parametrize(
    ("absent", "annotations", "n_objects", "exhaustive"),
    [
        (None, [annotation(1, 1, A), annotation(1, 2, B)], 2, True),
        (None, [annotation(1, 1, A), annotation(1, 2, A)], 1, True),  # one object under both names
        (None, [annotation(1, 1, A), annotation(1, 1, A)], 2, True),  # two objects, as the file says
        ([], [annotation(1, 1, A)], 1, False),  # there may be vans
        ([2], [annotation(1, 1, A)], 1, True),
    ],
)
def test_categories_that_are_one_here_are_known_together(
    absent: list[int] | None, annotations: list[Any], n_objects: int, exhaustive: bool
) -> None:
    fields = {} if absent is None else {"neg_category_ids": absent}
    truth = truth_of(ground_truth([image(1, **fields)], annotations, ["car", "van"]))
    match = match_categories(truth, ONTOLOGY)
    nothing = Detections(of={}, threshold_of={}, floor_of={})
    (pair,) = compare(truth, nothing, match, {1}).pairs
    assert (pair.category_id, len(pair.truth), pair.exhaustive) == (1, n_objects, exhaustive)
