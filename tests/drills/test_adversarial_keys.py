"""Names that break what is built on names: each image has a row under its very name, and COCO leads back to it."""

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from autolabel.config import ExportConfig, InputConfig, OutputConfig, VerifyConfig
from autolabel.config.compose import compose_config
from autolabel.errors import BadInput
from autolabel.exports import export
from autolabel.inputs.listing import list_images
from autolabel.labels.types import Status
from autolabel.labels.units import unit_uri
from autolabel.output.job_output import open_output
from autolabel.output.verify import verify
from autolabel.pipeline.job import label
from autolabel.storage import Storage, open_storage
from autolabel.storage.uris import join, resolve_uri
from tests.support.adversarial_names import NO_KEYS, NO_PATHS, ON_DISK
from tests.support.bad_images import encoded
from tests.support.free_model import FreeModel
from tests.support.jobs import images_of, rows_of
from tests.support.ledger import LONG, Ledger
from tests.support.s3 import S3

NOT_LISTED = ["a folder.jpg/", "/"]  # S3's markers of empty folders; a manifest may still name such an object


@dataclass(frozen=True)
class Place:
    """A storage with images of adversarial names: which URI holds the image of which width."""

    storage: Storage
    root: str
    folder: str
    widths: dict[str, int]  # what a listing of `folder` gives
    elsewhere: dict[str, int]  # what a manifest alone can name

    @property
    def manifest(self) -> dict[str, int]:
        return self.widths | self.elsewhere


def photo(width: int) -> bytes:
    return encoded(Image.new("L", (width, 8), 255), "PNG")


def on_disk(folder: Path) -> Place:
    names = [*ON_DISK, *NO_KEYS]
    widths = {f"{folder}/in/{name}": 8 + n for n, name in enumerate(names)}
    elsewhere = {f"{folder}/two/{name}": 500 + n for n, name in enumerate(names[:5])}
    for path, width in (widths | elsewhere).items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_bytes(photo(width))
    assert len({path.lower() for path in widths}) < len(widths)
    return Place(open_storage(str(folder), {}), str(folder), f"{folder}/in", widths, elsewhere)


def on_s3(s3: S3, name: str) -> Place:
    buckets = [s3.make_bucket(f"adversarial-{name}-{n}") for n in (1, 2)]
    names = [*ON_DISK, *NO_PATHS]
    widths = {f"{buckets[0]}/in/{name}": 8 + n for n, name in enumerate(names)}
    elsewhere = {f"{buckets[1]}/in/{name}": 500 + n for n, name in enumerate(names)}  # the same keys in two buckets
    elsewhere |= {f"{buckets[0]}/in/{name}": 700 + n for n, name in enumerate(NOT_LISTED)}
    widths[f"{buckets[0]}/in/{buckets[1]}/x.jpg"] = 490  # relative to `in`, both would be called by the other's URI
    elsewhere[f"{buckets[1]}/x.jpg"] = 491
    for uri, width in (widths | elsewhere).items():
        s3.put(uri, photo(width))
    assert max(len(uri.removeprefix(f"{buckets[0]}/").encode()) for uri in widths) == 1024
    return Place(open_storage(buckets[0], s3.options), buckets[0], f"{buckets[0]}/in", widths, elsewhere)


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return on_disk(tmp_path)
    return on_s3(request.getfixturevalue("s3"), f"{abs(hash(tmp_path)):x}"[:12])


def as_parquet(uris: list[str]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"uri": uris}), sink)
    return sink.getvalue()


def as_csv(uris: list[str]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, quoting=csv.QUOTE_ALL)
    rows.writerow(["uri"])
    rows.writerows([uri] for uri in uris)
    return text.getvalue().encode()


def as_jsonl(uris: list[str]) -> bytes:
    return "\n".join(json.dumps({"uri": uri}, ensure_ascii=False) for uri in uris).encode()


MANIFESTS: dict[str, Callable[[list[str]], bytes]] = {"parquet": as_parquet, "csv": as_csv, "jsonl": as_jsonl}


def input_of(place: Place, kind: str) -> tuple[str, list[str]]:
    """The input and the images in it, in order; a manifest names the first and the last of them twice."""
    if kind == "folder":
        return place.folder, sorted(place.widths)
    uris = list(place.manifest)
    uri = join(place.folder, f"list.{kind}")
    with place.storage.replace(uri) as file:
        file.write(MANIFESTS[kind]([uris[0], *uris, uris[-1]]))
    return uri, uris


def config(place: Place) -> dict[str, object]:
    return {name: place.storage.options[name] for name in ("endpoint_url",) if name in place.storage.options}


@pytest.mark.parametrize("kind", ["folder", *MANIFESTS])
def test_names_are_listed_byte_for_byte(kind: str, place: Place) -> None:
    uri, expected = input_of(place, kind)
    listing = list_images(InputConfig(uri=uri, storage_options=config(place)))
    assert [image.uri for image in listing.images] == expected
    assert len(listing.duplicates) == (0 if kind == "folder" else 2)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("kind", ["folder", *(MANIFESTS if LONG else ["csv"])])
def test_names_come_through_the_job_and_back(kind: str, place: Place, ledger: Ledger) -> None:
    uri, expected = input_of(place, kind)
    output_uri = join(place.root, "labels of + a%20job")
    options = [f"{name}.storage_options.{k}={v}" for name in ("input", "output") for k, v in config(place).items()]
    where = [f"input.uri='{uri}'", f"output.uri='{output_uri}'", "output.unit_size=32", "prompts=[thing]"]
    before = {item.uri for item in place.storage.list(place.root)}
    label(compose_config("label", [*where, *options]), load=FreeModel())
    output_config = OutputConfig(uri=output_uri, storage_options=config(place))
    export(ExportConfig(output=output_config))
    verdict = verify(VerifyConfig(output=output_config))

    # Parquet
    output = open_output(output_config)
    rows = images_of(output)
    assert [row.image_id for row in rows] == list(range(1, len(expected) + 1))
    assert [row.uri for row in rows] == expected
    assert {row.uri: row.size_hw and row.size_hw[1] for row in rows} == {uri: place.manifest[uri] for uri in expected}
    assert {row.status for row in rows} == {Status.LABELLED}

    # COCO, and back
    annotations = join(output_uri, "coco/annotations.json")
    document = json.loads(place.storage.read(annotations))
    names = [image["file_name"] for image in document["images"]]
    root = document["info"]["input_root"]
    assert [resolve_uri(name, root) for name in names] == expected
    assert len(set(names)) == len(expected)
    assert [image["width"] for image in document["images"]] == [place.manifest[uri] for uri in expected]
    again = InputConfig(uri=annotations, image_root=root, storage_options=config(place))
    assert [image.uri for image in list_images(again).images] == expected
    for name in names:  # a reader who joins them to a folder of its own stays in it
        assert os.path.normpath(f"/own/folder/{name}").startswith("/own/folder/")

    # nothing but the output's own names was written
    units = {unit_uri(output_uri, unit) for unit in range(output.plan.n_units)}
    written = {item.uri for item in place.storage.list(place.root)} - before
    own = {join(output_uri, name) for name in ("run.json", "plan.parquet", "runs/00000001.json")}
    own |= {annotations, join(output_uri, "coco/results.json")}
    assert written == own | units
    ledger.add("a name is what the storage says", f"{place.storage.scheme}, {kind}", verdict, n_fired=len(expected))


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3:///a.jpg", "s3://a bucket/a.jpg", "gs://"])
def test_a_manifest_that_names_no_object_is_told_at_once(uri: str, tmp_path: Path) -> None:
    """And not by the storage, in the middle of the job."""
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(as_jsonl(["s3://bucket/a.jpg", uri]))
    with pytest.raises(BadInput, match=f"line 2: {uri!r} names no object"):
        list_images(InputConfig(uri=str(manifest)))


@pytest.mark.usefixtures("cluster")
def test_names_that_no_storage_can_hold_are_missing_images(s3: S3, tmp_path: Path, ledger: Ledger) -> None:
    bucket = s3.make_bucket(f"impossible-{abs(hash(tmp_path)):x}"[:40])
    uris = ["a\0b.jpg", "n" * 300 + ".jpg", f"{bucket}/{'n' * 1100}.jpg", f"{bucket}/a\0b.jpg", "there.jpg"]
    (tmp_path / "there.jpg").write_bytes(photo(8))
    (tmp_path / "m.jsonl").write_bytes(as_jsonl(uris))
    where = [f"input.uri={tmp_path}/m.jsonl", f"output.uri={tmp_path}/labels", "prompts=[thing]"]
    options = [f"input.storage_options.{name}={value}" for name, value in s3.options.items()]
    label(compose_config("label", [*where, *options]), load=FreeModel())
    output = OutputConfig(uri=f"{tmp_path}/labels")
    codes = [row["reject_code"] for row in rows_of(Path(output.uri))]
    assert codes == ["missing"] * 4 + [None]
    verdict = verify(VerifyConfig(output=output))
    ledger.add("a bad image costs itself alone", "impossible names", verdict, n_fired=4)
