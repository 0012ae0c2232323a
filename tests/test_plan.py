"""The plan holds given objects: they come back with the unit of their image, and row groups stay small."""

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from autolabel import plan
from autolabel.config import ObjectsConfig
from autolabel.inputs.listing import Listing
from autolabel.inputs.locations import ImageLocation
from autolabel.masks.rle import Rle
from autolabel.plan import Plan
from autolabel.prompts.objects.entries import Entries, Problems
from autolabel.prompts.objects.source import GivenObjects
from autolabel.prompts.objects.table import ObjectPrompt
from autolabel.storage import open_storage
from tests.support.made import box_mask
from tests.support.made_objects import MadeObject, make_objects_output

N_IMAGES = 11
RUNS = {"size": [4, 6], "counts": [5, 2, 17]}


def n_on(image: int) -> int:
    return (3 * image) % 5


def listing() -> Listing:
    return Listing(root="/in", images=[ImageLocation(f"/in/{image}.jpg") for image in range(N_IMAGES)])


def given() -> GivenObjects:
    """Objects on most of the images, told from the last image to the first."""
    entries = Entries(ObjectsConfig(normalized=True, use_masks=True), Problems())
    for image in reversed(range(N_IMAGES)):
        for number in range(n_on(image)):
            entry = {"points": [[image / 16, number / 8]] * (number + 1), "segmentation": RUNS if number == 1 else None}
            entries.add(entry, image=image, size_hw=(4, 6), name=number, category_id=image + 1, place="given")
    table = entries.table([image.uri for image in listing().images])
    return GivenObjects(table=table, sizes_hw={image: (4, 6) for image in range(N_IMAGES) if n_on(image)})


def expected(image: int) -> tuple[ObjectPrompt, ...]:
    return tuple(
        ObjectPrompt(
            object_id=str(number),
            category_id=image + 1,
            points_xy=((image / 16, number / 8),) * (number + 1),
            labels=(1,) * (number + 1),
            mask=Rle(size_hw=(4, 6), counts="52a0") if number == 1 else None,
        )
        for number in range(n_on(image))
    )


def sealed(folder: Path, objects: GivenObjects | None) -> Plan:
    storage = open_storage(str(folder), {})
    assert plan.seal(storage, str(folder), plan.encode(listing(), unit_size=2, objects=objects))
    return Plan(storage, str(folder))


def test_objects_come_back_with_their_images(tmp_path: Path) -> None:
    images = [image for _, unit in sealed(tmp_path, given()).units() for image in unit]
    assert [image.objects for image in images] == [expected(image) for image in range(N_IMAGES)]
    assert [image.size_hw for image in images] == [(4, 6) if n_on(image) else None for image in range(N_IMAGES)]
    assert sum(len(image.objects) for image in images) == 20


def test_a_plan_without_objects_has_none(tmp_path: Path) -> None:
    images = [image for _, unit in sealed(tmp_path, None).units() for image in unit]
    assert {(image.objects, image.size_hw) for image in images} == {((), None)}


@pytest.mark.parametrize(
    ("most", "rows_of_groups"),
    [
        pytest.param(1000, [11], id="few objects"),
        pytest.param(8, [4, 4, 3], id="of two units each"),  # 20 objects on 11 images: 3.6 in a unit
        pytest.param(1, [2, 2, 2, 2, 2, 1], id="of a unit at least"),
    ],
)
def test_row_groups_are_smaller_the_more_objects_there_are(
    most: int, rows_of_groups: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "OBJECTS_PER_ROW_GROUP", most)
    data = plan.encode(listing(), unit_size=2, objects=given())
    footer = pq.ParquetFile(io.BytesIO(data)).metadata
    assert [footer.row_group(group).num_rows for group in range(footer.num_row_groups)] == rows_of_groups
    images = [image for _, unit in sealed(tmp_path, given()).units() for image in unit]
    assert [image.objects for image in images] == [expected(image) for image in range(N_IMAGES)]


def test_parts_of_an_object_are_planned_one_by_one(tmp_path: Path) -> None:
    objects = {"a.jpg": [MadeObject("train", 3, box_mask(0, 0, 9, 9), n_parts=2)]}
    (image,) = make_objects_output(str(tmp_path / "labels"), objects).plan.images_of(0)
    assert [one.object_id for one in image.objects] == ["train", "train"]
