"""An output with anything in it is read or explained; and no code in it runs."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel import plan
from autolabel.config import ExportConfig, InputConfig, OutputConfig, VerifyConfig
from autolabel.config.compose import compose_config
from autolabel.errors import BadInput
from autolabel.exports import export
from autolabel.inputs.listing import Listing, list_images
from autolabel.inputs.locations import ImageLocation
from autolabel.labels.units import file_metadata, read_summary, write_unit
from autolabel.output import run_record
from autolabel.output.settings import fingerprint_of, label_settings
from autolabel.output.verify import verify
from autolabel.storage import open_storage
from tests.support.fuzzing import ANYTHING, TEXT, explained, fuzz, little_memory, spoilt
from tests.support.rows import ONTOLOGY, instance, looked_at, unreadable

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images in units of two, as a job writes them."""
    uri = str(tmp_path_factory.mktemp("fuzz") / "labels-of-a-job")
    storage = open_storage(uri, {})
    config = compose_config("label", ["input.uri=s3://bucket", f"output.uri={uri}"])
    record = run_record.create_or_match(
        storage,
        uri,
        label_settings(config, ONTOLOGY, input_uri="s3://bucket", weights="seed 0"),
    )
    images = [ImageLocation(f"s3://bucket/{n}.jpg", 10, "e") for n in range(1, 6)]
    plan.seal(storage, uri, plan.encode(Listing(root="s3://bucket", images=images), unit_size=2))
    units = [[looked_at(1, instance("car")), unreadable(2)], [looked_at(3), looked_at(4)], [looked_at(5)]]
    for unit, rows in enumerate(units):
        write_unit(storage, uri, unit, rows, file_metadata(record.fingerprint, ONTOLOGY))
    assert verify(VerifyConfig(output=OutputConfig(uri=uri))).clean
    return Path(uri)


def look_at(output: Path, outcomes: Counter[bool]) -> None:
    """Everything that reads an output, over one that may be spoilt."""
    config, storage = OutputConfig(uri=str(output)), open_storage(str(output), {})
    with explained(outcomes):
        verdict = verify(VerifyConfig(output=config))
        assert str(verdict)
        outcomes[False] += not verdict.clean
    with explained(outcomes):
        export(ExportConfig(output=config))
    with explained(outcomes):
        for _ in plan.Plan(storage, str(output)).units():
            pass
    with explained(outcomes):
        read_summary(storage, str(output), 0)


@pytest.mark.parametrize("name", ["labels/00000000.parquet", "plan.parquet", "run.json"])
def test_an_output_with_any_bytes_in_it_is_read_or_explained(name: str, output: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(output, tmp_path / "copy"))
    outcomes: Counter[bool] = Counter()

    @fuzz(120, 1500)
    @given(st.one_of(spoilt([(output / name).read_bytes()]), st.binary(max_size=60)))
    def check(data: bytes) -> None:
        (copy / name).write_bytes(data)
        look_at(copy, outcomes)

    with little_memory():
        check()
    assert min(outcomes[True], outcomes[False]) > 20, outcomes


def test_a_run_json_with_any_values_is_read_or_explained(output: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(output, tmp_path / "copy"))
    whole = json.loads((output / "run.json").read_bytes())
    outcomes: Counter[bool] = Counter()
    settings_of = st.fixed_dictionaries({}, optional=dict.fromkeys(whole["settings"], ANYTHING))

    @fuzz(120, 1500)
    @given(st.fixed_dictionaries({}, optional=dict.fromkeys(whole, ANYTHING)), settings_of, st.booleans())
    def check(fields: dict[str, Any], changed: dict[str, Any], signed: bool) -> None:
        record = {**whole, "settings": {**whole["settings"], **changed}, **fields}
        if signed:  # a stranger can compute a fingerprint too
            try:
                record["fingerprint"] = fingerprint_of(record["settings"])
            except TypeError:  # of what is no JSON
                return
        (copy / "run.json").write_text(json.dumps(record))
        look_at(copy, outcomes)

    with little_memory():
        check()
    assert min(outcomes[True], outcomes[False]) > 20, outcomes


def change_of(value: Any) -> st.SearchStrategy[Any]:
    """Something else in the place of a value, of a type that Parquet takes there, or nothing."""
    match value:
        case str():
            return st.none() | TEXT.filter(lambda text: text.isascii())
        case bool() | int():
            return st.none() | st.sampled_from([0, -1, 1, 100])
        case float():
            return st.none() | st.floats(width=32)
        case list():
            return st.none() | st.just([]) | st.just(value[:1]) | st.just([*value, *value]) | st.just([None])
        case _:
            return st.none()


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested values."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths_in(inner, (*path, key))


def test_rows_with_any_values_are_read_or_explained(output: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(output, tmp_path / "copy"))
    unit = copy / "labels" / "00000000.parquet"
    table = pq.read_table(unit)
    rows = table.to_pylist()
    never_null = {(row, name) for row in range(len(rows)) for name in ("image_id", "uri", "status")}  # by the schema
    paths = [path for path in paths_in(rows) if len(path) > 1 and path not in never_null]
    outcomes: Counter[bool] = Counter()

    @fuzz(150, 2000)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        changed = json.loads(json.dumps(rows))
        *parents, last = data.draw(st.sampled_from(paths))
        place = changed
        for key in parents:
            place = place[key]
        place[last] = data.draw(change_of(place[last]))
        pq.write_table(pa.Table.from_pylist(changed, schema=table.schema), unit)
        look_at(copy, outcomes)

    with little_memory():
        check()
    assert min(outcomes[True], outcomes[False]) > 20, outcomes


def test_a_mask_that_claims_a_huge_image_takes_no_memory(output: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(output, tmp_path / "copy"))
    unit, side = copy / "labels" / "00000000.parquet", 60_000  # 3.6 GB of pixels
    table = pq.read_table(unit)
    rows = table.to_pylist()
    rows[0].update(width=side, height=side)
    counts = numbers_as_counts([5, 7, side * side - 12])
    rows[0]["instances"][0]["segmentation"] = {"size": [side, side], "counts": counts}
    rows[0]["instances"][0].update(area=7, bbox=[0.0, 5.0, 1.0, 7.0])
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), unit)
    with little_memory():
        verdict = verify(VerifyConfig(output=OutputConfig(uri=str(copy))))
    assert verdict.clean, str(verdict)  # so the mask was read, and found to be what the row says


def numbers_as_counts(runs: list[int]) -> str:
    """COCO's string of up to three runs, by its definition."""
    counts = ""
    for number in runs:
        while True:
            group, number = number & 31, number >> 5
            last = number == (-1 if group & 16 else 0)
            counts += chr(48 + group + (0 if last else 32))
            if last:
                break
    return counts


class Deed:
    """What a pickle of a stranger does when it is opened."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("name", ["manifest", "plan.parquet", "labels/00000000.parquet"])
@pytest.mark.parametrize("column", ["plain", "nested"])
def test_parquet_of_a_stranger_runs_no_code(name: str, column: str, output: Path, tmp_path: Path) -> None:
    """A column of Ray Data's own extension type holds pickles, opened as its values are asked for."""
    from ray.data.extensions import ArrowPythonObjectArray

    trace = tmp_path / "trace"
    pickled = ArrowPythonObjectArray.from_objects([Deed(trace)])
    values = pickled if column == "plain" else pa.StructArray.from_arrays([pickled], names=["inner"])
    sink = BytesIO()
    copy = Path(shutil.copytree(output, tmp_path / "copy"))
    if name == "manifest":
        pq.write_table(pa.table({"uri": values}), sink)
    else:
        table = pq.read_table(copy / name).slice(0, 1)
        table = table.set_column(table.column_names.index("uri"), "uri", values)
        pq.write_table(table, sink)
    assert not trace.exists()
    pq.read_table(BytesIO(sink.getvalue())).to_pylist()
    assert trace.exists(), "the trap is none"
    trace.unlink()
    if name == "manifest":
        (tmp_path / "m.parquet").write_bytes(sink.getvalue())
        with pytest.raises(BadInput, match="extension type"):
            list_images(InputConfig(uri=str(tmp_path / "m.parquet")))
    else:
        (copy / name).write_bytes(sink.getvalue())
        outcomes: Counter[bool] = Counter()
        look_at(copy, outcomes)
        assert outcomes[False] >= 1
    assert not trace.exists()
