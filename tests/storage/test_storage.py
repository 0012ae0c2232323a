"""Every storage keeps the same promises; the S3 ones against a server process."""

import os
import threading
from pathlib import Path
from typing import IO

import pytest

from autolabel.errors import BadInput, StorageError
from autolabel.storage import Listed, ObjectChanged, Storage, base, buckets, check_output, open_storage
from autolabel.storage.buckets import BucketStorage, Page
from autolabel.storage.uris import join, path_of
from tests.storage.conftest import STORE_KINDS, Store
from tests.support import emulators
from tests.support.s3 import S3

Place = tuple[Storage, str]


@pytest.fixture(params=["file", "memory", *STORE_KINDS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A storage and an empty folder on it."""
    if request.param == "file":
        return open_storage(str(tmp_path), {}), str(tmp_path)
    if request.param == "memory":
        folder = f"memory://{tmp_path.name}"
        return open_storage(folder, {}), folder
    server: Store = request.getfixturevalue(request.param)
    folder = server.make_bucket(f"storage-{abs(hash(tmp_path)):x}"[:40])
    return open_storage(folder, server.options), folder


@pytest.mark.parametrize("kind", emulators.KINDS)
def test_other_object_stores_are_tried_where_they_can_be(kind: str) -> None:
    if reason := emulators.missing(kind):
        pytest.skip(f"no test of {kind}: {reason}")
    assert kind in STORE_KINDS


def test_create_once_then_never_again(place: Place) -> None:
    storage, folder = place
    uri = join(folder, "labels/00000000.parquet")
    assert storage.create_once(uri, b"first")
    assert not storage.create_once(uri, b"second")
    assert storage.read(uri) == b"first"
    assert [item.uri for item in storage.list(join(folder, "labels"))] == [uri]


def test_a_deleted_object_is_gone(place: Place) -> None:
    storage, folder = place
    uris = [join(folder, f"coco/{name}.json") for name in "ab"]
    for uri in uris:
        storage.overwrite(uri, b"data")
    for _ in range(2):  # there is nothing wrong with deleting what is not there
        storage.delete(uris[0])
    assert [item.uri for item in storage.list(join(folder, "coco"))] == [uris[1]]


def test_of_racing_creators_one_wins(place: Place) -> None:
    storage, folder = place
    uri = join(folder, "raced")
    start = threading.Barrier(8)
    won: list[bytes] = []

    def create(data: bytes) -> None:
        start.wait()
        if storage.create_once(uri, data):
            won.append(data)

    threads = [threading.Thread(target=create, args=(bytes([n]) * 1000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if storage.scheme == "memory":  # fsspec's memory file system checks, then writes: good for one thread
        assert won
    else:
        assert won == [storage.read(uri)]


def test_list_is_recursive_with_sizes_and_etags_that_read_accepts(place: Place) -> None:
    storage, folder = place
    names = ["a.jpg", "deep/er/b c+d%2F.jpg", "deep/ü.jpg"]
    for name in names:
        storage.create_once(join(folder, f"in/{name}"), name.encode())
    storage.create_once(join(folder, "in-other/a.jpg"), b"not in the folder")
    found = sorted(storage.list(join(folder, "in")), key=lambda item: item.uri)
    assert [item.uri for item in found] == sorted(join(folder, f"in/{name}") for name in names)
    for item in found:
        assert storage.read(item.uri, etag=item.etag) == item.uri.removeprefix(f"{folder}/in/").encode()
        assert storage.stat(item.uri) == item
        assert item.size_bytes == len(item.uri.removeprefix(f"{folder}/in/").encode())


def test_nothing_is_listed_where_there_is_no_folder(place: Place) -> None:
    storage, folder = place
    assert list(storage.list(join(folder, "absent"))) == []


def test_a_replaced_object_is_noticed(place: Place) -> None:
    storage, folder = place
    if storage.scheme == "memory":
        pytest.skip("fsspec's memory file system has no etags")
    uri = join(folder, "image.jpg")
    storage.create_once(uri, b"first")
    listed = storage.stat(uri)
    with storage.replace(uri) as file:
        file.write(b"other")  # as long as the first
    if storage.scheme == "file":
        os.utime(uri, ns=(1, 1))
    with pytest.raises(ObjectChanged):
        storage.read(uri, etag=listed.etag)
    assert storage.read(uri, etag=storage.stat(uri).etag) == b"other"


def test_what_is_missing_is_a_file_not_found(place: Place) -> None:
    storage, folder = place
    for operation in (storage.read, storage.stat):
        with pytest.raises(FileNotFoundError):
            operation(join(folder, "absent"))


def test_a_writer_that_fails_leaves_what_was_there(place: Place) -> None:
    storage, folder = place
    if storage.scheme == "memory":
        pytest.skip("fsspec's memory file system shows a file while it is written; it is no place for an output")
    uri = join(folder, "coco.json")
    storage.create_once(uri, b"whole")
    with pytest.raises(RuntimeError, match="on purpose"), storage.replace(uri) as file:
        file.write(b"half")
        raise RuntimeError("on purpose")
    assert storage.read(uri) == b"whole"
    assert [item.uri for item in storage.list(folder)] == [uri]


def test_open_reads_from_anywhere(place: Place) -> None:
    storage, folder = place
    storage.create_once(join(folder, "plan"), bytes(range(200)))

    def last_three(file: IO[bytes]) -> bytes:
        file.seek(-3, os.SEEK_END)
        return file.read()

    assert storage.read_with(join(folder, "plan"), last_three) == bytes([197, 198, 199])


@pytest.mark.parametrize("place", STORE_KINDS, indirect=True)
def test_object_stores_list_page_by_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, folder = place
    uris = [f"{folder}/many/{n:03d}.jpg" for n in range(25)]
    for uri in uris:
        storage.create_once(uri, b"x")
    assert isinstance(storage, BucketStorage)
    request, n_pages = storage._page, 0

    def counted(bucket: str, prefix: str, token: str | None) -> Page:
        nonlocal n_pages
        n_pages += 1
        return request(bucket, prefix, token)

    monkeypatch.setattr(storage, "_page", counted)
    monkeypatch.setattr(buckets, "PAGE_ITEMS", 10)
    listing = storage.list(f"{folder}/many")
    assert next(listing).uri == uris[0]
    assert n_pages == 1, "the next page is asked for when it is needed"
    assert [item.uri for item in listing] == uris[1:]
    assert n_pages == 3


def test_s3_account_errors_end_the_job(s3: S3) -> None:
    with pytest.raises(StorageError, match="NoSuchBucket"):
        open_storage("s3://no-such-bucket", s3.options).read("s3://no-such-bucket/a.jpg")


def test_an_unreachable_endpoint_is_told_after_all_attempts() -> None:
    options = {"endpoint_url": "http://127.0.0.1:9", "retry_for_s": 0.5}
    with pytest.raises(StorageError, match=r"s3://bucket/a.jpg.*tried \d+ times in \d s"):
        open_storage("s3://bucket", options).read("s3://bucket/a.jpg")


def test_retrying_comes_through_what_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "FIRST_DELAY_S", 0.001)
    failures = [OSError("busy"), TimeoutError("stalled")]

    def operation() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert base.retrying(operation, uri="x", transient=(OSError,), for_s=10) == "done"
    assert not failures


@pytest.mark.parametrize("uri", ["http://host/labels", "hf://datasets/x/y", "zip://a"])
def test_an_output_that_cannot_create_once_is_refused(uri: str) -> None:
    with pytest.raises(BadInput, match="cannot write to"):
        check_output(uri)


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(BadInput, match="nosuch://"):
        open_storage("nosuch://x", {})


def test_links_are_followed_once_and_dangling_ones_are_inputs(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(b"1")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    found = list(open_storage(str(tmp_path), {}).list(str(tmp_path)))
    assert sorted(item.uri for item in found) == [str(tmp_path / "a/1.jpg"), str(tmp_path / "dangling.jpg")]
    assert Listed(str(tmp_path / "dangling.jpg")) in found


def test_a_file_removed_while_its_folder_is_listed_is_none(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"x")
    listing = open_storage(str(tmp_path), {}).list(str(tmp_path))
    first = next(listing)
    gone, stays = sorted(path for path in tmp_path.iterdir() if str(path) != first.uri)
    gone.unlink()
    assert [item.uri for item in listing] == [str(stays)]


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "FIRST_DELAY_S", 0.001)
    storage = open_storage("memory://listing", {"retry_for_s": 0.5})
    for name in ("a.jpg", "sub/b.jpg"):
        storage.create_once(f"memory://listing/{name}", b"x")
    ls, fails = storage.fs.ls, 2  # type: ignore[attr-defined]

    def failing(path: str, **options: object) -> object:
        nonlocal fails
        if path.endswith("sub") and fails:
            fails -= 1
            raise OSError("503 Slow Down")
        return ls(path, **options)

    monkeypatch.setattr(storage.fs, "ls", failing)  # type: ignore[attr-defined]
    assert sorted(item.uri for item in storage.list("memory://listing")) == [
        "memory://listing/a.jpg",
        "memory://listing/sub/b.jpg",
    ]
    assert fails == 0
    fails = 1000
    with pytest.raises(StorageError, match="sub.*503 Slow Down"):
        list(storage.list("memory://listing"))

    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(StorageError, match="closed: cannot be listed: Permission denied"):
        list(open_storage(str(tmp_path), {}).list(str(tmp_path)))


def test_work_on_a_file_is_done_again_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "FIRST_DELAY_S", 0.001)
    storage = open_storage("memory://used", {})
    storage.create_once("memory://used/file", b"content")
    starts: list[int] = []

    def work(file: IO[bytes]) -> bytes:
        starts.append(file.tell())
        data = file.read()
        if len(starts) < 3:
            raise ConnectionResetError("reset by peer")
        return data

    assert storage.read_with("memory://used/file", work) == b"content"
    assert starts == [0, 0, 0]


def test_options_that_the_driver_refuses_are_bad_input(s3: S3) -> None:
    for options in ({"nonsense": 1}, {"endpoint_url": "nonsense"}):
        with pytest.raises(BadInput, match="storage_options"):
            open_storage("s3://bucket", options).read("s3://bucket/a.jpg")
    with pytest.raises(BadInput, match="not a bucket and a key"):
        open_storage("s3://", s3.options).read("s3:///a.jpg")


def test_home_and_upper_case_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert path_of("~/labels") == "/home/someone/labels"
    assert path_of("FILE:///data/a.jpg") == path_of("file:///data/a.jpg") == "/data/a.jpg"
