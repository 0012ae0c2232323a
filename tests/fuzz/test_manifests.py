"""Any manifest is read or explained."""

import json
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel import plan
from autolabel.config import InputConfig
from autolabel.inputs.listing import list_images
from autolabel.inputs.manifests import CellColumn
from tests.support.fuzzing import NUMBERS, WORDS, explained, fuzz, little_memory, record_of, spoilt

CSV_PIECES = st.sampled_from(
    ["uri", ",", '"', "\n", "\r", "a.jpg", "\0", " ", "s3://u:p@b/k", "http://[", "\ufeff", "x" * 200]
)
ROWS = record_of(
    uri=st.sampled_from(["a.jpg", "b/../a.jpg", "s3://b/k"]), width=NUMBERS, height=NUMBERS, size_bytes=NUMBERS
)
PARQUET_TYPES = [pa.string(), pa.binary(), pa.int64(), pa.float32(), pa.timestamp("us"), pa.date64(), pa.large_string()]
PARQUET_TYPES += [
    pa.list_(pa.string()),
    pa.struct([("a", pa.int8())]),
    pa.bool_(),
    pa.dictionary(pa.int8(), pa.string()),
]


@st.composite
def parquet_manifest(draw: st.DrawFn) -> bytes:
    """Columns of the right names and of any type, with any values; or such a file with bytes changed."""
    n = draw(st.integers(0, 4))
    columns = {}
    for name in draw(st.lists(st.sampled_from(["uri", "etag", "width", "size_bytes", "seeds"]), unique=True)):
        kind = draw(st.one_of(st.just(pa.string()), st.sampled_from(PARQUET_TYPES)))
        raw = np.frombuffer(draw(st.binary(min_size=8 * n, max_size=8 * n)), np.int64)
        match kind:
            case _ if pa.types.is_timestamp(kind) or pa.types.is_integer(kind) or pa.types.is_date(kind):
                columns[name] = pa.array(raw, pa.int64()).view(kind)
            case _ if pa.types.is_string(kind) and draw(st.booleans()):
                bad = [draw(st.binary(max_size=6)) for _ in range(n)]
                columns[name] = pa.array(bad, pa.binary()).view(pa.string())
            case _:
                values = {pa.string(): "a.jpg", pa.binary(): b"a", pa.large_string(): "b.jpg", pa.bool_(): True}
                columns[name] = pa.array([values.get(kind)] * n, kind)
    sink = BytesIO()
    pq.write_table(pa.table(columns), sink)
    return draw(st.one_of(st.just(sink.getvalue()), spoilt([sink.getvalue()])))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
def test_any_manifest_is_read_or_explained(suffix: str, tmp_path: Path) -> None:
    manifest = tmp_path / f"m.{suffix}"
    outcomes: Counter[bool] = Counter()
    lines = st.lists(ROWS.map(json.dumps) | st.text(max_size=20), max_size=4).map("\n".join)
    tables = st.lists(CSV_PIECES, max_size=20).map("".join).map("uri,width\n{}".format)
    files: dict[str, st.SearchStrategy[bytes]] = {
        "parquet": parquet_manifest(),
        "csv": st.one_of(tables.map(str.encode), st.binary(max_size=60)),
        "jsonl": st.one_of(lines.map(lambda text: text.encode(errors="replace")), st.binary(max_size=60)),
        "json": st.one_of(
            record_of(images=st.lists(record_of(file_name=WORDS, width=NUMBERS), max_size=3))
            .map(json.dumps)
            .map(str.encode),
            st.binary(max_size=60),
        ),
    }

    @fuzz(250, 3000)
    @given(files[suffix], st.sampled_from([None, None, CellColumn(key="exemplars.column", name="seeds")]))
    def check(data: bytes, column: CellColumn | None) -> None:
        manifest.write_bytes(data)
        with explained(outcomes):
            listing = list_images(InputConfig(uri=str(manifest)), cells=column)
            assert listing.images
            assert len({image.uri for image in listing.images}) == len(listing.images)
            plan.encode(listing, unit_size=2)

    with little_memory():
        check()
    assert min(outcomes[True], outcomes[False]) > 5, outcomes


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_an_enormous_cell(suffix: str, tmp_path: Path) -> None:
    manifest, cell = tmp_path / f"m.{suffix}", "x" * 10_000_000
    match suffix:
        case "csv":
            manifest.write_text(f"uri\n{cell}\n")
        case "jsonl":
            manifest.write_text(json.dumps({"uri": cell}))
        case "parquet":
            pq.write_table(pa.table({"uri": [cell]}), manifest)
    with little_memory():
        (image,) = list_images(InputConfig(uri=str(manifest))).images
    assert image.uri == f"{tmp_path}/{cell}"
