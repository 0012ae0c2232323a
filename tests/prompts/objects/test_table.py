"""Objects as arrays, joined and written to the plan's column: they come back as they were, image by image, in order."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.config import ObjectsConfig
from autolabel.masks.rle import Rle, encode
from autolabel.prompts.objects import entries
from autolabel.prompts.objects.entries import MASK, Entries, Problems
from autolabel.prompts.objects.table import OBJECT, ObjectPrompt, ObjectTable, read_cells
from tests.support.fuzzing import fuzz

N_IMAGES = 6
FULL = encode(np.ones((4, 5), bool))
FRACTIONS = st.floats(0, 1, width=32)
POINTS = st.lists(st.tuples(st.tuples(FRACTIONS, FRACTIONS), st.sampled_from([0, 1, 2, 3])), min_size=1, max_size=4)
PLACED = st.tuples(
    st.integers(0, N_IMAGES - 1),
    st.builds(
        lambda name, category, points, mask: ObjectPrompt(
            object_id=name,
            category_id=category,
            points_xy=tuple(xy for xy, _ in points),
            labels=tuple(label for _, label in points),
            mask=mask,
        ),
        st.sampled_from(["", "1", "a b", "é", "\U0001f697"]),
        st.integers(1, 2**31 - 1),
        POINTS,
        st.none() | st.just(FULL),
    ),
)


def table_of(placed: list[tuple[int, ObjectPrompt]]) -> ObjectTable:
    """Return a part of a table, its objects as a file has them: of images in any order."""
    objects = [one for _, one in placed]
    return ObjectTable(
        image=np.array([image for image, _ in placed], np.int64),
        object_id=pa.array([one.object_id for one in objects], pa.string()),
        is_part=np.zeros(len(placed), np.bool_),
        category_id=np.array([one.category_id for one in objects], np.int64),
        point_ends=np.cumsum([len(one.labels) for one in objects], dtype=np.int64),
        points_xy=np.array([xy for one in objects for xy in one.points_xy], np.float32).reshape(-1, 2),
        labels=np.array([label for one in objects for label in one.labels], np.int8),
        masks=pa.array([mask_cell(one.mask) for one in objects], MASK),
    )


def mask_cell(mask: Rle | None) -> dict[str, object] | None:
    return None if mask is None else {"size": list(mask.size_hw), "counts": mask.counts}


@fuzz(60, 10_000)
@given(st.lists(st.lists(PLACED, max_size=8), min_size=1, max_size=3), st.data())
def test_objects_come_back_in_order(parts: list[list[tuple[int, ObjectPrompt]]], data: st.DataObject) -> None:
    table = ObjectTable.joined([table_of(part) for part in parts])
    placed = [one for part in parts for one in part]
    expected = [[one for on, one in placed if on == image] for image in range(N_IMAGES)]
    assert table.n_on(N_IMAGES).tolist() == [len(of_image) for of_image in expected]
    start = data.draw(st.integers(0, N_IMAGES))
    stop = data.draw(st.integers(start, N_IMAGES))
    column = table.column(start, stop)
    assert column.type == pa.list_(OBJECT)
    column.validate(full=True)
    assert [list(read_cells(cell)) for cell in column.to_pylist()] == expected[start:stop]


def test_joined_again_nothing_changes() -> None:
    placed = [(2, "b"), (0, "a"), (2, "c")]
    once = ObjectTable.joined(
        [
            table_of([(image, ObjectPrompt(object_id=name, category_id=1, points_xy=((0.5, 0.25),), labels=(1,)))])
            for image, name in placed
        ]
    )
    assert once.image.tolist() == [0, 2, 2]
    assert once.object_id.to_pylist() == ["a", "b", "c"]
    assert ObjectTable.joined([once]).column(0, 3).equals(once.column(0, 3))


def test_no_objects_are_an_empty_cell_for_each_image() -> None:
    assert ObjectTable.joined([table_of([])]).column(0, 3).to_pylist() == [[], [], []]


def test_no_cell_is_no_objects() -> None:
    assert list(read_cells(None)) == []


def test_entries_put_away_in_chunks_are_those_that_were_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "CHUNK", 4)
    collected = Entries(ObjectsConfig(normalized=True), Problems())
    for index in range(11):
        points = [[index / 16, 0.5]] * (index % 3 + 1)
        collected.add({"points": points}, image=index % 2, size_hw=None, name=index, category_id=1, place=f"[{index}]")
    column = collected.table(["/in/a.jpg", "/in/b.jpg"]).column(0, 2)
    found = [[(one.object_id, one.points_xy) for one in read_cells(cell)] for cell in column.to_pylist()]
    assert found == [
        [(str(index), ((index / 16, 0.5),) * (index % 3 + 1)) for index in range(11) if index % 2 == image]
        for image in range(2)
    ]
