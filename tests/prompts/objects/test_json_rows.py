"""Lists of JSON as they stream, against json.loads; what is nested without end is refused before it costs anything."""

import io
import json
from typing import Any

import ijson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import BadInput
from autolabel.prompts.objects.json_rows import MAX_DEPTH, ShallowFile, rows
from tests.support.fuzzing import fuzz

TEXTS = st.text(st.sampled_from('[]{}"\\ab\n'), max_size=8)
VALUES = st.recursive(
    TEXTS | st.integers(-5, 5) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@fuzz(50, 10_000)
@given(st.lists(VALUES, max_size=4), VALUES)
def test_rows_are_what_json_says(entries: list[Any], beside: Any) -> None:
    document = json.dumps({"x": beside, "images": entries, "y": beside}).encode()
    assert list(rows(io.BytesIO(document), "images", "boxes.json")) == entries


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def read_in_blocks(document: bytes, sizes: list[int]) -> bytes:
    file, data = ShallowFile(io.BytesIO(document)), b""
    while block := file.read(sizes[len(data) % len(sizes)]):
        data += block
    return data


@fuzz(50, 10_000)
@given(VALUES, st.lists(st.integers(1, 9), min_size=1))
def test_depth_is_counted_right_wherever_the_file_is_cut(value: Any, sizes: list[int]) -> None:
    n_around = MAX_DEPTH - depth_of(value)
    document = b"[" * n_around + json.dumps(value).encode() + b"]" * n_around
    assert read_in_blocks(document, sizes) == document
    with pytest.raises(ijson.JSONError, match=f"nested deeper than {MAX_DEPTH}"):
        read_in_blocks(b"[" + document + b"]", sizes)


@pytest.mark.parametrize("before", [b"[", b'{"a":', b'"[[[", [', b'{"images": ['])
def test_what_is_nested_without_end_is_refused(before: bytes) -> None:
    with pytest.raises(ijson.JSONError, match=f"nested deeper than {MAX_DEPTH}"):
        ShallowFile(io.BytesIO(before * 10_000)).read(-1)
    with pytest.raises(BadInput, match=r"^boxes\.json: not JSON: "):
        list(rows(io.BytesIO(before * 10_000), "images", "boxes.json"))


def test_as_deep_as_may_be() -> None:
    inner: Any = 1
    for _ in range(MAX_DEPTH - 2):
        inner = [inner]
    deepest = json.dumps({"images": [inner]}).encode()
    assert list(rows(io.BytesIO(deepest), "images", "boxes.json")) == [inner]
    with pytest.raises(BadInput, match="nested deeper than"):
        list(rows(io.BytesIO(json.dumps({"images": [[inner]]}).encode()), "images", "boxes.json"))


def test_brackets_in_names_are_not_depth() -> None:
    entries = [f'photo [{{"{index}\\' for index in range(3 * MAX_DEPTH)]
    assert list(rows(io.BytesIO(json.dumps({"images": entries}).encode()), "images", "boxes.json")) == entries


def test_a_list_is_read_again_from_the_start() -> None:
    file = io.BytesIO(b'\xef\xbb\xbf{"images": [1, 2], "categories": [3]}')
    assert [list(rows(file, name, "boxes.json")) for name in ("images", "categories", "images", "none")] == [
        [1, 2],
        [3],
        [1, 2],
        [],
    ]
