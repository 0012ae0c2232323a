"""Every way an input can be given, and what each makes of odd names."""

import functools
import http.server
import json
import os
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from autolabel.config import InputConfig
from autolabel.errors import BadInput
from autolabel.images.decode import decode
from autolabel.inputs.listing import Listing, list_images
from autolabel.inputs.manifests import CellColumn
from autolabel.storage import open_storage
from tests.support.s3 import S3

ODD_NAMES = [
    *("a b.jpg", "a+b.jpg", "a%2Fb.jpg", "a#b?c.jpg", "UP.JPG", "[x].jpg", "x/same.jpg", "y/same.jpg"),
    *("\u00e9.jpg", "e\u0301.jpg"),  # the same letter, composed and decomposed
]


def listed(uri: object, **options: Any) -> Listing:
    column = options.pop("exemplar_column", None)
    cells = CellColumn(key="exemplars.column", name=column) if column else None
    return list_images(InputConfig(uri=str(uri), **options), cells=cells)


def uris(listing: Listing) -> list[str]:
    return [image.uri for image in listing.images]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in [*ODD_NAMES, "notes.txt", "deep/er/z.png", "z.jpeg.bak"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_a_folder_is_searched_by_suffix_in_a_stable_order(folder: Path) -> None:
    listing = listed(folder)
    assert uris(listing) == sorted(str(folder / name) for name in [*ODD_NAMES, "deep/er/z.png"])
    assert listing.root == str(folder)
    assert all(image.size_bytes and image.etag for image in listing.images)
    assert uris(listed(f"{folder}/")) == uris(listed(f"file://{folder}")) == uris(listing)
    assert uris(listed(folder, suffixes=["PNG"])) == [str(folder / "deep/er/z.png")]


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif"])
def test_what_is_decoded_is_listed(suffix: str, tmp_path: Path) -> None:
    """A format that is not would be left out of a mixed folder without a word."""
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (8, 6)).save(path)
    assert decode(path.read_bytes(), apply_exif=True, max_pixels=100).rgb.shape == (6, 8, 3)
    assert uris(listed(tmp_path)) == [str(path)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.JPG", ["UP.JPG"]),
        ("**/same.jpg", ["x/same.jpg", "y/same.jpg"]),
        ("?/same.jpg", ["x/same.jpg", "y/same.jpg"]),
        ("x/*", ["x/same.jpg"]),
        ("deep/**", ["deep/er/z.png"]),
    ],
)
def test_a_glob(folder: Path, pattern: str, names: list[str]) -> None:
    assert uris(listed(f"{folder}/{pattern}")) == [str(folder / name) for name in names]


def test_one_file_and_a_folder_named_like_a_pattern(folder: Path) -> None:
    assert uris(listed(folder / "[x].jpg")) == [str(folder / "[x].jpg")]
    assert listed(folder / "[x].jpg").root == str(folder)
    (folder / "[1]").mkdir()
    (folder / "[1]" / "q.jpg").write_bytes(b"q")
    assert uris(listed(folder / "[1]")) == [str(folder / "[1]" / "q.jpg")]


def test_s3_folder_prefix_and_glob(s3: S3) -> None:
    bucket = s3.make_bucket("sources")
    names = [f"photos/{name}" for name in ODD_NAMES] + ["photos-2/a.jpg", "photos/notes.txt"]
    for name in names:
        s3.put(f"{bucket}/{name}", name.encode())
    options = {"storage_options": s3.options}
    in_folder = sorted(f"{bucket}/photos/{name}" for name in ODD_NAMES)
    assert uris(listed(f"{bucket}/photos", **options)) == in_folder
    assert listed(f"{bucket}/photos/", **options).root == f"{bucket}/photos"
    assert uris(listed(f"{bucket}/photos/a", **options)) == [uri for uri in in_folder if "/photos/a" in uri]
    assert uris(listed(f"{bucket}/photos-*/*.jpg", **options)) == [f"{bucket}/photos-2/a.jpg"]
    assert len(uris(listed(bucket, **options))) == len(names) - 1


def write_manifest(path: Path, records: list[dict[str, Any]]) -> None:
    match path.suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(records), path)
        case ".csv":
            lines = [",".join(records[0]), *(",".join(f'"{v}"' for v in record.values()) for record in records)]
            path.write_text("\n".join(lines) + "\n")
        case _:
            path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_manifest_keeps_its_order_and_one_of_each(tmp_path: Path, suffix: str) -> None:
    names = [
        "z.jpg",
        "sub/z.jpg",
        "/abs/q.png",
        "z.jpg",
        "sub/../z.jpg",
        "s3://bucket/k 1.jpg",
        "s3://other/k 1.jpg",
        "x.raw",
    ]
    manifest = tmp_path / f"m.{suffix}"
    write_manifest(manifest, [{"uri": name, "split": "train", "width": 40, "height": 30} for name in names])
    listing = listed(manifest)
    here = str(tmp_path)
    kept = [
        f"{here}/z.jpg",
        f"{here}/sub/z.jpg",
        "/abs/q.png",
        "s3://bucket/k 1.jpg",
        "s3://other/k 1.jpg",
        f"{here}/x.raw",
    ]
    assert uris(listing) == kept
    assert listing.duplicates == [f"{here}/z.jpg"] * 2
    assert listing.sizes_hw[f"{here}/z.jpg"] == (30, 40)
    assert uris(listed(manifest, image_root="s3://bucket/root"))[0] == "s3://bucket/root/z.jpg"


def test_a_manifest_on_s3_is_relative_to_itself(s3: S3) -> None:
    bucket = s3.make_bucket("manifests")
    s3.put(f"{bucket}/lists/m.jsonl", b'{"uri": "a.jpg"}\n{"uri": "b/../b.jpg"}\n')
    listing = listed(f"{bucket}/lists/m.jsonl", storage_options=s3.options)
    assert uris(listing) == [f"{bucket}/lists/a.jpg", f"{bucket}/lists/b/../b.jpg"]  # keys are not paths


def test_a_coco_file_gives_its_images(tmp_path: Path) -> None:
    coco = {"images": [{"id": 7, "file_name": "b.jpg", "width": 4, "height": 3}, {"id": 9, "file_name": "a.jpg"}]}
    (tmp_path / "gt.json").write_text(json.dumps(coco))
    listing = listed(tmp_path / "gt.json", image_root=str(tmp_path / "val"))
    assert uris(listing) == [str(tmp_path / "val/b.jpg"), str(tmp_path / "val/a.jpg")]
    assert listing.root == str(tmp_path / "val")
    assert listing.sizes_hw == {str(tmp_path / "val/b.jpg"): (3, 4)}


def test_exemplar_cells_are_carried(tmp_path: Path) -> None:
    cell = [{"category": "car", "bbox": [1, 2, 3, 4]}]
    for suffix in ("parquet", "jsonl"):
        write_manifest(tmp_path / f"m.{suffix}", [{"uri": "a.jpg", "seeds": cell}, {"uri": "b.jpg", "seeds": None}])
        listing = listed(tmp_path / f"m.{suffix}", exemplar_column="seeds")
        assert listing.cells == {str(tmp_path / "a.jpg"): cell}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "path,split\na.jpg,train\n", "no column 'uri'; it has path, split.*: input.uri_column=NAME"),
        ("m.jsonl", '{"path": "a.jpg"}\n{"path": "b.jpg"}', "^[^\n]*no column 'uri'; it has path[^\n]*$"),
        ("m.csv", "uri\n", "is empty"),
        ("m.jsonl", '{"uri": "a.jpg"}\n{"uri": ', "line 2: not JSON"),
        ("m.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("m.jsonl", '{"uri": ""}\n{"uri": "a.jpg"}\n{"uri": 3}\n', "line 1: uri is empty.*\n.*line 3: uri is empty"),
        ("m.jsonl", b"\xff\xfe", "not UTF-8"),
        ("m.json", "{}", "no list of `images`"),
        ("m.json", "{", "not JSON"),
        ("m.json", '{"images": []}', "is empty"),
        ("m.json", '{"images": [{"id": 1}]}', r"images\[0\]: file_name is missing"),
        ("m.parquet", b"PAR1 no", "not a Parquet file"),
    ],
)
def test_a_bad_manifest_is_explained(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(BadInput, match=message):
        listed(tmp_path / name)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_the_column_of_uris_can_have_any_name(tmp_path: Path, suffix: str) -> None:
    manifest = tmp_path / f"m.{suffix}"
    write_manifest(manifest, [{"path": "a.jpg", "width": 4, "height": 3}, {"path": "b.jpg", "width": 4, "height": 3}])
    listing = listed(manifest, uri_column="path")
    assert uris(listing) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    assert len(listing.sizes_hw) == 2
    with pytest.raises(BadInput, match=r"no column 'paht' \(did you mean 'path'\?\); it has path, width, height"):
        listed(manifest, uri_column="paht")


def test_only_a_manifest_has_a_column_of_uris(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "gt.json").write_text('{"images": []}')
    for uri in (folder, tmp_path / "gt.json"):
        with pytest.raises(BadInput, match=r"input\.uri_column: .* is no manifest with columns"):
            listed(uri, uri_column="path")


def test_a_scheme_without_a_driver_is_told_before_anything_is_read(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", [{"uri": "a.jpg"}, {"uri": "nosuch://bucket/b.jpg"}])
    with pytest.raises(BadInput, match="nosuch://"):
        listed(tmp_path / "m.jsonl")


@pytest.mark.parametrize("uri", ["nowhere", "nowhere.csv", "nowhere.json", "nowhere/*.jpg", "nowhere.jpg"])
def test_an_input_that_is_not_there_is_named(tmp_path: Path, uri: str) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        listed(tmp_path / uri)


def test_a_column_of_exemplars_must_be_there(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", [{"uri": "a.jpg"}])
    write_manifest(tmp_path / "m.parquet", [{"uri": "a.jpg"}])
    with pytest.raises(BadInput, match="no column 'seeds'"):
        listed(tmp_path / "m.parquet", exemplar_column="seeds")
    with pytest.raises(BadInput, match="no row of .* has a value in column 'seeds'"):
        listed(tmp_path / "m.jsonl", exemplar_column="seeds")
    (tmp_path / "gt.json").write_text('{"images": []}')
    with pytest.raises(BadInput, match="exemplars.uri"):
        listed(tmp_path / "gt.json", exemplar_column="seeds")


def test_images_on_the_web_are_read_one_by_one(tmp_path: Path) -> None:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if "forbidden" in self.path:
                self.send_error(403)
            else:
                super().do_GET()

        def log_message(self, *args: Any) -> None:
            pass

    (tmp_path / "a b.jpg").write_bytes(b"pixels")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        site = f"http://127.0.0.1:{server.server_port}"
        names = ["a%20b.jpg", "gone.jpg", "forbidden.jpg"]
        write_manifest(tmp_path / "m.jsonl", [{"uri": f"{site}/{name}"} for name in names])
        listing = listed(tmp_path / "m.jsonl")
        assert uris(listing) == [f"{site}/{name}" for name in names]
        storage = open_storage(site, {})
        assert storage.read(uris(listing)[0]) == b"pixels"
        with pytest.raises(FileNotFoundError):
            storage.read(uris(listing)[1])
        with pytest.raises(PermissionError, match="forbidden.jpg: 403"):
            storage.read(uris(listing)[2])
        with pytest.raises(FileNotFoundError, match="not a URL"):
            storage.read("http://")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_file_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    with open(os.fsencode(tmp_path) + b"/\xff.jpg", "wb") as file:
        file.write(b"b")
    with pytest.raises(BadInput, match=r"udcff.jpg' is not valid UTF-8; rename it"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("inf", "e"), (None, "e")),
        (("1e30", "e"), (None, "e")),
        (("-5", "e"), (None, "e")),
        (("12.0", '"""quoted"""'), (12, "quoted")),
        (("", ""), (None, None)),
    ],
)
def test_odd_sizes_and_etags_of_a_manifest(tmp_path: Path, cells: tuple[str, str], expected: tuple[Any, Any]) -> None:
    (tmp_path / "m.csv").write_text(f"uri,size_bytes,etag\r\na.jpg,{cells[0]},{cells[1]}\r\n", encoding="utf-8-sig")
    (image,) = listed(tmp_path / "m.csv").images
    assert (image.size_bytes, image.etag) == expected


def test_a_cell_may_hold_the_exemplars_of_a_crowd(tmp_path: Path) -> None:
    cell = json.dumps([{"category": "person", "bbox": [1, 2, 3, 4]}] * 5000)
    quoted = cell.replace('"', '""')
    (tmp_path / "m.csv").write_text(f'uri,seeds\na.jpg,"{quoted}"\n')
    assert listed(tmp_path / "m.csv", exemplar_column="seeds").cells == {str(tmp_path / "a.jpg"): cell}
