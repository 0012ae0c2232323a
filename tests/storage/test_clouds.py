"""What is Google's or Azure's own, and a whole job on an emulator of each."""

import urllib.request
from pathlib import Path
from zlib import crc32

import pytest

from autolabel.errors import BadInput, StorageError
from autolabel.labels.units import open_unit
from autolabel.storage import open_storage
from tests.storage.conftest import STORE_KINDS
from tests.support import emulators
from tests.support.emulators import ACCOUNT, Cloud
from tests.support.jobs import assert_same_labels, rows_of, run_export, run_label, run_verify
from tests.support.scenes import write_scenes

SETTINGS = ("prompts=[red circle, triangle]", "output.unit_size=2")

on_google = pytest.mark.skipif("gcs" not in STORE_KINDS, reason=f"{emulators.missing('gcs')}")
on_azure = pytest.mark.skipif("azure" not in STORE_KINDS, reason=f"{emulators.missing('azure')}")


@pytest.fixture
def cloud(request: pytest.FixtureRequest) -> Cloud:
    cloud: Cloud = request.getfixturevalue(request.param)
    return cloud


@pytest.fixture
def bucket(cloud: Cloud, request: pytest.FixtureRequest) -> str:
    return cloud.make_bucket(f"clouds-{crc32(request.node.name.encode()):08x}")


def on_cloud(cloud: Cloud, *names: str) -> list[str]:
    return [f'{name}.storage_options.{key}="{value}"' for name in names for key, value in cloud.options.items()]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    "cloud",
    [pytest.param("gcs", marks=on_google), pytest.param("azure", marks=on_azure)],
    indirect=True,
)
def test_a_job_from_bucket_to_bucket_gives_the_rows_of_one_on_disk(cloud: Cloud, bucket: str, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in write_scenes(folder, count=5, seed=3):
        cloud.put(f"{bucket}/photos/{name}", (folder / name).read_bytes())
    both = on_cloud(cloud, "input", "output")
    assert "6 images" in run_label(f"{bucket}/photos", f"{bucket}/labels", *both, *SETTINGS)
    assert run_verify(f"{bucket}/labels", *on_cloud(cloud, "output")).clean
    assert "5 images" in run_export(f"{bucket}/labels", *on_cloud(cloud, "output"))

    run_label(folder, tmp_path / "labels", *SETTINGS)
    local = {Path(row["uri"]).name: row for row in rows_of(tmp_path / "labels")}
    storage = open_storage(bucket, cloud.options)
    for unit in range(3):
        for row in open_unit(storage, f"{bucket}/labels", unit).read().to_pylist():
            assert_same_labels(row, local.pop(row["uri"].removeprefix(f"{bucket}/photos/")))
    assert not local


@on_google
@pytest.mark.parametrize("cloud", ["gcs"], indirect=True)
def test_a_page_on_google_is_shown_and_not_saved(cloud: Cloud, bucket: str) -> None:
    storage = open_storage(bucket, cloud.options)
    storage.overwrite(f"{bucket}/report/index.html", b"<html>")
    place = f"b/{bucket.removeprefix('gs://')}/o/report%2Findex.html"
    with urllib.request.urlopen(f"{cloud.endpoint_url}/storage/v1/{place}?alt=media") as answer:
        assert answer.headers["Content-Type"] == "text/html"


@on_google
def test_credentials_of_google_that_are_not_there_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="gs://: no credentials of Google Cloud"):
        open_storage("gs://bucket", {"token": str(tmp_path / "nowhere.json")})


@on_azure
@pytest.mark.parametrize("cloud", ["azure"], indirect=True)
def test_a_container_may_be_named_with_its_account(cloud: Cloud, bucket: str) -> None:
    container = bucket.removeprefix("az://")
    uri = f"abfss://{container}@{ACCOUNT}.dfs.core.windows.net"
    storage = open_storage(uri, cloud.options)
    assert storage.create_once(f"{uri}/folder/a.jpg", b"a")
    assert [item.uri for item in storage.list(f"{uri}/folder")] == [f"{uri}/folder/a.jpg"]
    assert open_storage(bucket, cloud.options).read(f"{bucket}/folder/a.jpg") == b"a"
    with pytest.raises(BadInput, match=f"storage_options and the environment name the account {ACCOUNT}"):
        storage.read(f"abfss://{container}@other.dfs.core.windows.net/folder/a.jpg")


@on_azure
@pytest.mark.parametrize("cloud", ["azure"], indirect=True)
def test_a_wrong_key_of_azure_is_told_at_once(cloud: Cloud) -> None:
    wrong = cloud.options["connection_string"].replace("AccountKey=Eby8", "AccountKey=AAAA")
    with pytest.raises(StorageError, match="az://container/a.jpg: .*Auth"):
        open_storage("az://container", {"connection_string": wrong}).read("az://container/a.jpg")


@on_azure
def test_an_account_of_azure_must_be_named() -> None:
    with pytest.raises(BadInput, match="connection_string or account_name"):
        open_storage("az://container", {"anon": True})


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'gcsfs'")

    monkeypatch.setattr("autolabel.storage.import_module", missing)
    told = r"gs://: its driver is not installed: No module named 'gcsfs'; pip install '\.\[gcs\]'"
    with pytest.raises(BadInput, match=told):
        open_storage("gs://bucket", {})
