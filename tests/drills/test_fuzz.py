"""Bytes and values from strangers, as hypothesis makes them up: only the documented errors come of them.

In `make test` the examples are few and always the same; in `make drills` they are many and new ones each time.
"""

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autolabel import cli, exemplars, plan, run_record
from autolabel.composition import compose_config
from autolabel.concepts import ImageExemplars
from autolabel.config import ExemplarsConfig, ExportConfig, InputConfig, OutputConfig, VerifyConfig
from autolabel.errors import AutolabelError, BadInput, RejectedImage
from autolabel.exports import export
from autolabel.images import decode, probe_size
from autolabel.labels import file_metadata, read_summary, write_unit
from autolabel.mask_checks import extent, mask_problems
from autolabel.ontology import parse_prompt_file, read_categories
from autolabel.rle import Rle, encode, run_lengths
from autolabel.rle import decode as decode_rle
from autolabel.sources import Listing, list_images
from autolabel.storage import Listed, open_storage
from autolabel.verify import verify
from tests.bad_images import bad_images, good_images
from tests.drills.ledger import LONG
from tests.test_readers import ONTOLOGY, instance, looked_at, unreadable

MAX_PIXELS = 1_000_000
MOST_MEMORY_MB = 600.0  # over what was there before; a bomb that goes off takes gigabytes


def fuzz(short: int, long: int) -> settings:
    """How many examples, in the short and in the long setting."""
    return settings(
        max_examples=long if LONG else short,
        derandomize=not LONG,
        database=None,
        deadline=timedelta(seconds=20),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )


@contextmanager
def little_memory() -> Iterator[None]:
    """The block never holds much more memory than there was before it; all of it counts, that of C libraries too."""
    before_mb = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    yield
    grown_mb = memory_mb("VmHWM") - before_mb
    assert grown_mb < MOST_MEMORY_MB, f"{grown_mb:.0f} MB"


def memory_mb(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{what}:"))
    return int(line.split()[1]) / 1000


def test_little_memory_notices_a_bomb() -> None:
    with pytest.raises(AssertionError, match="MB"), little_memory():
        assert b"x" * int(MOST_MEMORY_MB * 1.2e6)


@st.composite
def spoilt(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A file with some bytes changed, some taken out or doubled, or its end cut off or another's put there."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 6))):
        if not data:
            break
        # Headers decide most, so half of the changes are there.
        at = draw(st.integers(0, min(len(data), draw(st.sampled_from([64, len(data)]))) - 1))
        match draw(st.sampled_from(["byte", "word", "remove", "double"])):
            case "byte":
                data[at] = draw(st.integers(0, 255))
            case "word":
                data[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\0\0\0\x80"]))
            case "remove":
                del data[at : at + draw(st.integers(1, 40))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
    match draw(st.sampled_from(["whole", "whole", "cut", "other end"])):
        case "cut":
            del data[draw(st.integers(0, len(data))) :]
        case "other end":
            data += draw(st.sampled_from(originals))[draw(st.integers(0, 200)) :]
    return bytes(data)


# --- images ---


@pytest.fixture(scope="module")
def image_files() -> list[bytes]:
    return [*good_images().values(), *(data for data, _ in bad_images().values())]


def test_any_bytes_are_an_image_or_a_rejection(image_files: list[bytes]) -> None:
    outcomes: Counter[str] = Counter()

    @fuzz(700, 8000)
    @given(st.one_of(spoilt(image_files), spoilt(image_files), st.binary(max_size=300)))
    def check(data: bytes) -> None:
        try:
            decoded = decode(data, apply_exif=True, max_pixels=MAX_PIXELS)
        except RejectedImage as rejection:
            outcomes[rejection.code if rejection.detail else "without a detail"] += 1
        else:
            height, width, channels = decoded.rgb.shape
            assert (channels, decoded.rgb.dtype) == (3, np.uint8)
            assert 0 < height * width <= MAX_PIXELS
            assert 1 <= decoded.orientation <= 8
            assert probe_size(data, apply_exif=True, max_pixels=MAX_PIXELS) == (height, width)
            outcomes["decoded"] += 1

    with little_memory():
        check()
    assert outcomes["decoded"] > 30
    assert "without a detail" not in outcomes
    assert len(outcomes) >= 7, outcomes


# --- prompts and exemplars ---

TEXT = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["car", " Car", "car\t", "", "  ", "\u00e9", "e\u0301", "\U0001f697", "\ud800", "a\0b", "~", "null"]
    ),
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**53, 2**64, 10**400, 0.5, math.nan, math.inf, True]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8
)


def mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any] = ANYTHING) -> st.SearchStrategy[Any]:
    """Values as they should be, and now and then something else."""
    return st.integers(0, 11).flatmap(lambda drawn: other if drawn == 11 else usual)


def record_of(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mappings with those fields, now and then with something else in one, without one, or something else."""
    whole = st.fixed_dictionaries({name: mostly(usual) for name, usual in values.items()})
    without = mostly(st.none(), st.sampled_from(sorted(values)))
    return mostly(st.tuples(whole, without).map(lambda drawn: {k: v for k, v in drawn[0].items() if k != drawn[1]}))


WORDS = st.sampled_from(["car", "person", "dog", "bus", "red car", "\u00e9", "e\u0301", "\U0001f697", "~", "null"])
CATEGORIES = record_of(
    name=WORDS,
    id=st.integers(1, 99),
    supercategory=WORDS,
    phrases=st.lists(WORDS, min_size=1, max_size=3, unique=True),
    threshold=st.floats(0, 0.99),
    max_instances=st.integers(1, 9),
)
YAML_PIECES = ["- ", "a: ", "&x ", "*x", "<<: ", "!!int ", "!!python/object:os.system ", "? ", "[", "]", "{", "}", ","]
YAML_PIECES += [
    '"',
    "'",
    "|\n",
    "\n",
    "  ",
    "name",
    "2001-99-99",
    "1_000",
    "0b2",
    "0x",
    "1:60",
    "=",
    "#",
    "%",
    "\0",
    "\t",
]


def count_tokens(phrases: Any) -> list[int]:
    return [len(phrase.split()) for phrase in phrases]


def read_prompts(text: str) -> None:
    """Read a prompt file as a job does."""
    entries = parse_prompt_file(text, "prompts.yaml")
    ontology = read_categories(entries, place="prompts.yaml", count_tokens=count_tokens, max_tokens=5)
    assert len({category.id for category in ontology.categories}) == len(entries)
    json.dumps(ontology.to_list()).encode()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("[" * 200_000, "nested deeper", id="deeper than the C stack"),
        pytest.param("- " * 200_000, "nested deeper", id="a list in a list in a list"),
        pytest.param(
            "a0: &a0 {k: 1, l: 2}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60)),
            "merge keys",
            id="2^60 merged fields",
        ),
        pytest.param("- 2001-99-99", "not YAML", id="no date"),
        pytest.param("- " + "9" * 5000, "not YAML", id="no number that Python reads"),
        pytest.param("- !!bool maybe", "not YAML", id="no boolean"),
        pytest.param("- !!python/object/apply:os.system [exit]", "not YAML", id="code"),
    ],
)
def test_a_prompt_file_made_to_harm(text: str, told: str) -> None:
    with little_memory(), pytest.raises(BadInput, match=told):
        read_prompts(text)


def test_any_prompt_file_is_read_or_explained() -> None:
    outcomes: Counter[bool] = Counter()

    @fuzz(400, 5000)
    @given(
        st.one_of(
            st.lists(CATEGORIES, max_size=4).map(lambda entries: yaml.safe_dump(entries, allow_unicode=True)),
            st.lists(mostly(WORDS, TEXT), min_size=1, max_size=4, unique=True).map(json.dumps),
            st.lists(st.sampled_from(YAML_PIECES) | st.text(max_size=3), max_size=20).map("".join),
        )
    )
    def check(text: str) -> None:
        with explained(outcomes):
            read_prompts(text)

    with little_memory():
        check()
    assert min(outcomes[True], outcomes[False]) > 20, outcomes


BOXES = st.lists(st.floats(-5, 40) | st.integers(-5, 40), min_size=4, max_size=4) | ANYTHING
NAMES = st.sampled_from(["car", "person", "x"])
IMAGES = record_of(id=st.integers(1, 3), file_name=st.sampled_from(["a", "b"]), width=st.just(40), height=st.just(30))
ANNOTATIONS = record_of(
    image_id=st.integers(1, 3), category_id=st.integers(1, 3), bbox=BOXES, negative=st.booleans(), iscrowd=st.just(0)
)
COCO = record_of(
    images=st.lists(IMAGES, max_size=3),
    annotations=st.lists(ANNOTATIONS, max_size=3),
    categories=st.lists(record_of(id=st.integers(1, 3), name=NAMES), max_size=3),
)
CELLS = st.lists(record_of(category=NAMES, bbox=BOXES, negative=st.booleans()), max_size=3) | ANYTHING
EXEMPLAR_SETTINGS = st.builds(
    ExemplarsConfig,
    box_format=st.sampled_from(["xywh", "xyxy", "cxcywh"]),
    normalized=st.booleans(),
    use_text=st.booleans(),
)


def plan_of(found: dict[str, ImageExemplars]) -> bytes:
    """What exemplars come to; it must take whatever was read."""
    images = [Listed(uri) for uri in found]
    return plan.encode(Listing(root="r", images=images), found, 2)


def test_any_exemplars_are_read_or_explained() -> None:
    outcomes: Counter[bool] = Counter()

    def probe(uri: str = "") -> tuple[int, int]:
        return 30, 40

    @fuzz(500, 5000)
    @given(
        st.one_of(COCO.map(json.dumps).map(str.encode), st.binary(max_size=50)),
        CELLS,
        st.none() | st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1)),
        EXEMPLAR_SETTINGS,
    )
    @example(b"[" * 200_000, "[" * 200_000, None, ExemplarsConfig())
    def check(document: bytes, cell: Any, size_hw: tuple[int, int] | None, config: ExemplarsConfig) -> None:
        with explained(outcomes):
            plan_of(
                exemplars.read_coco(
                    document, place="e.json", ontology=ONTOLOGY, config=config, find_image={"a": "a"}.get, probe=probe
                )
            )
        with explained(outcomes):
            read = exemplars.read_cell(
                cell, place="row 1", ontology=ONTOLOGY, config=config, size_hw=size_hw, probe=probe
            )
            plan_of({"a": read})

    with little_memory():
        check()
    assert min(outcomes[True], outcomes[False]) > 20, outcomes


@contextmanager
def explained(outcomes: Counter[bool]) -> Iterator[None]:
    """The block comes through, or raises what a user is told in one message."""
    try:
        yield
    except AutolabelError as error:
        told = str(error)
    else:
        outcomes[True] += 1
        return
    assert told.strip()
    outcomes[False] += 1


# --- manifests ---

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
        kind = draw(st.sampled_from([pa.string(), *PARQUET_TYPES]))
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
    @given(files[suffix], st.sampled_from([None, None, "seeds"]))
    def check(data: bytes, column: str | None) -> None:
        manifest.write_bytes(data)
        with explained(outcomes):
            listing = list_images(InputConfig(uri=str(manifest)), exemplar_column=column)
            assert listing.images
            assert len({image.uri for image in listing.images}) == len(listing.images)
            plan.encode(listing, {}, 2)

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
        (image,) = list_images(InputConfig(uri=str(manifest)), exemplar_column=None).images
    assert image.uri == f"{tmp_path}/{cell}"


# --- masks ---

COUNTS = st.one_of(
    st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=30),
    st.text(max_size=10),
    st.lists(st.booleans(), min_size=1, max_size=60).map(lambda bits: encode(np.array([bits])).counts),
)
SIDES = st.one_of(st.integers(1, 60), st.sampled_from([-1, 2**16, 2**31 - 1]))


def test_any_counts_are_a_mask_or_refused() -> None:
    outcomes: Counter[bool] = Counter()

    @fuzz(1500, 15_000)
    @given(COUNTS, SIDES, SIDES, st.booleans())
    def check(counts: str, height: int, width: int, fits: bool) -> None:
        if fits and counts.isascii():  # as wide as the runs say, so that more than none are masks
            height, width = 1, max(1, min(60, sum(ord(character) - 48 for character in counts)))
        rle = Rle(size_hw=(height, width), counts=counts)
        segmentation = {"size": [height, width], "counts": counts}
        told = list(
            mask_problems({"segmentation": segmentation, "area": 1, "bbox": [0.0, 0.0, 1.0, 1.0]}, (height, width))
        )
        try:
            runs = run_lengths(rle)
        except ValueError:
            assert told[0].startswith("mask does not decode")
            outcomes[False] += 1
            return
        assert runs.sum() == height * width
        if height * width <= 3600:
            mask = decode_rle(rle)
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if len(rows):
                box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
                assert extent(runs, height) == (mask.sum(), box)
            assert ("mask is not written as pycocotools writes it" in told) == (encode(mask) != rle)
            outcomes[True] += 1

    with little_memory():
        check()
    assert min(outcomes[True], outcomes[False]) > 50, outcomes


@given(st.integers(1, 12), st.integers(1, 12), st.data())
@fuzz(300, 3000)
def test_the_extent_of_a_mask_is_that_of_its_pixels(height: int, width: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [0] * 4
    if len(rows):
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    assert extent(run_lengths(encode(mask)), height) == (mask.sum(), box)


# --- outputs ---


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images in units of two, as a job writes them."""
    uri = str(tmp_path_factory.mktemp("fuzz") / "labels-of-a-job")
    storage = open_storage(uri, {})
    config = compose_config("label", ["input.uri=s3://bucket", f"output.uri={uri}"])
    record = run_record.claim(
        storage,
        uri,
        run_record.label_settings(config, ONTOLOGY, input_uri="s3://bucket", weights="seed 0", exemplars_sha256=None),
    )
    images = [Listed(f"s3://bucket/{n}.jpg", 10, "e") for n in range(1, 6)]
    plan.seal(storage, uri, plan.encode(Listing(root="s3://bucket", images=images), {}, 2))
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
                record["fingerprint"] = run_record.fingerprint(record["settings"])
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


# --- the command line ---

OVERRIDES = st.one_of(
    st.tuples(
        st.sampled_from(["output.uri", "output.storage_options", "+new", "~output", "format", "output", "+output.new"]),
        st.text(st.sampled_from("ab0.,:=[]{}()\"'\\ $~*?#!|-+\u00e9\n"), max_size=12),
    ).map("=".join),
    st.text(st.sampled_from("ab.=[]{}\"'$@:,+~ "), max_size=10),
)


def test_any_override_is_taken_or_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    codes: Counter[int] = Counter()

    @fuzz(40, 300)
    @given(st.sampled_from(["verify", "export"]), st.lists(OVERRIDES, min_size=1, max_size=2))
    def check(command: str, overrides: list[str]) -> None:
        told = StringIO()
        with redirect_stderr(told), redirect_stdout(StringIO()):
            code = cli.main([command, *overrides])
        assert "Traceback" not in told.getvalue(), told.getvalue()
        assert code == 0 or told.getvalue()
        codes[code] += 1

    with little_memory():
        check()
    assert codes[2] > 10, codes
    assert set(codes) <= {0, 2}, codes


# --- code in Parquet ---


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
            list_images(InputConfig(uri=str(tmp_path / "m.parquet")), exemplar_column=None)
    else:
        (copy / name).write_bytes(sink.getvalue())
        outcomes: Counter[bool] = Counter()
        look_at(copy, outcomes)
        assert outcomes[False] >= 1
    assert not trace.exists()
