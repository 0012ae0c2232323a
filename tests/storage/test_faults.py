"""A store that fails, from one request to all of them: what passes is tried again, what does not is told at once."""

import gc
import time
from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest

from autolabel.config import LabelConfig
from autolabel.errors import BadInput, RejectCode, RejectedImage, StorageError
from autolabel.inputs.whole_objects import fetch_object
from autolabel.output import lease, run_record
from autolabel.output.lease import acquire, acquired, encoded, last_run, record_uri, this_run
from autolabel.output.settings import label_settings
from autolabel.plan import PlannedImage
from autolabel.storage import Storage, base, open_storage
from autolabel.storage.uris import join
from tests.storage.conftest import STORE_KINDS, Store
from tests.support.faulty_s3 import Fault, FaultyS3
from tests.support.rows import ONTOLOGY

IMAGE = bytes(range(256)) * 400
QUICK: dict[str, dict[str, Any]] = {  # options by which a client waits for half a second
    "s3": {"config_kwargs": {"connect_timeout": 0.5, "read_timeout": 0.5}},
    "gcs": {"requests_timeout": 0.5},
    "azure": {"connection_timeout": 0.5, "read_timeout": 0.5},
}
everywhere = pytest.mark.parametrize("store_kind", STORE_KINDS, indirect=True)


@pytest.fixture
def place(
    store_kind: str, store: Store, faulty: FaultyS3, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> tuple[Storage, str]:
    """A bucket with one image, of a server that can be made to fail."""
    monkeypatch.setattr(base, "FIRST_DELAY_S", 0.01)
    if store_kind == "gcs":
        monkeypatch.setattr("autolabel.storage.gcs.CONNECT_S", 0.5)
    uri = store.make_bucket(f"faults-{crc32(request.node.name.encode()):08x}")
    store.put(f"{uri}/image.jpg", IMAGE)
    return open_storage(uri, {**store.options, **QUICK[store_kind]}), uri


def read(storage: Storage, uri: str) -> None:
    assert storage.read(f"{uri}/image.jpg") == IMAGE
    assert storage.read(f"{uri}/image.jpg", etag=storage.stat(f"{uri}/image.jpg").etag) == IMAGE


def stat(storage: Storage, uri: str) -> None:
    assert storage.stat(f"{uri}/image.jpg").size_bytes == len(IMAGE)


def list_all(storage: Storage, uri: str) -> None:
    assert [item.uri for item in storage.list(uri)] == [f"{uri}/image.jpg"]


def use(storage: Storage, uri: str) -> None:
    assert storage.read_with(f"{uri}/image.jpg", lambda file: (file.seek(-3, 2), file.read())[1]) == IMAGE[-3:]


def create_once(storage: Storage, uri: str) -> None:
    assert storage.create_once(f"{uri}/new", b"new")
    assert not storage.create_once(f"{uri}/new", b"other")
    assert storage.read(f"{uri}/new") == b"new"


def overwrite(storage: Storage, uri: str) -> None:
    for data in (b"first", b"second"):
        storage.overwrite(f"{uri}/record", data)
    assert storage.read(f"{uri}/record") == b"second"


def replace(storage: Storage, uri: str) -> None:
    with storage.replace(f"{uri}/export") as file:
        for _ in range(3):
            file.write(b"line\n")
    assert storage.read(f"{uri}/export") == b"line\n" * 3


OPERATIONS = [read, stat, list_all, use, create_once, overwrite, replace]
Operation = Callable[[Storage, str], None]


@everywhere
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("kind", ["slow_down", "internal", "reset", "stall", "slow_down_after"])
def test_what_passes_is_tried_again(
    kind: str, operation: Operation, place: tuple[Storage, str], faulty: FaultyS3
) -> None:
    with faulty.failing(Fault(kind=kind, times=2)):
        operation(*place)


@pytest.mark.parametrize("kind", ["conflict", "request_timeout"])
def test_of_what_s3_blames_the_client_for_some_passes(kind: str, place: tuple[Storage, str], faulty: FaultyS3) -> None:
    with faulty.failing(Fault(kind=kind, methods="PUT", times=3)):
        create_once(*place)


@everywhere
@pytest.mark.parametrize("kind", ["reset_after", "slow_down_after"])
def test_a_lost_answer_to_a_put_does_no_harm(kind: str, place: tuple[Storage, str], faulty: FaultyS3) -> None:
    storage, uri = place
    with faulty.failing(Fault(kind=kind, methods="PUT|POST", times=1)):
        assert storage.create_once(f"{uri}/name", b"mine")  # the second attempt is answered 412, by our own bytes
    assert storage.read(f"{uri}/name") == b"mine"
    with faulty.failing(Fault(kind="slow_down", methods="PUT|POST", times=1)):
        assert not storage.create_once(f"{uri}/name", b"another's")
    with faulty.failing(Fault(kind=kind, methods="PUT|POST", times=1)):
        storage.overwrite(f"{uri}/name", b"new")
    assert storage.read(f"{uri}/name") == b"new"


@everywhere
@pytest.mark.parametrize("operation", [read, use, list_all], ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("kind", ["short_body", "reset_after"])
def test_half_an_answer_is_none(kind: str, operation: Operation, place: tuple[Storage, str], faulty: FaultyS3) -> None:
    with faulty.failing(Fault(kind=kind, methods="GET", times=2)):
        operation(*place)


@everywhere
def test_an_answer_that_cannot_be_parsed_is_asked_for_again(place: tuple[Storage, str], faulty: FaultyS3) -> None:
    with faulty.failing(Fault(kind="garbled", path="prefix=", times=2)):
        list_all(*place)


@pytest.mark.long
@everywhere
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_no_image_is_rejected_for_what_the_storage_does(
    rate: float, place: tuple[Storage, str], faulty: FaultyS3
) -> None:
    storage, uri = place
    listed = storage.stat(f"{uri}/image.jpg")
    image = planned(listed.uri, etag=listed.etag)
    kinds = ("slow_down", "reset", "short_body", "reset_after")
    with faulty.failing(*(Fault(kind=kind, rate=rate / 4, seed=seed) for seed, kind in enumerate(kinds))):
        for _ in range(round(30 / rate)):
            assert fetch_object(image, storage) == IMAGE
        assert sum(faulty.fired().values()) > 10


def planned(uri: str, *, etag: str | None) -> PlannedImage:
    return PlannedImage(image_id=1, uri=uri, size_bytes=len(IMAGE), etag=etag, unit=0, size_hw=None, exemplars=())


@everywhere
@pytest.mark.parametrize(
    ("kind", "code"),
    [("no_key", RejectCode.MISSING), ("forbidden", RejectCode.FORBIDDEN), ("other_etag", RejectCode.CHANGED)],
)
def test_what_is_said_of_one_object_rejects_that_image(
    kind: str, code: RejectCode, place: tuple[Storage, str], faulty: FaultyS3
) -> None:
    storage, uri = place
    listed = storage.stat(f"{uri}/image.jpg")
    with faulty.failing(Fault(kind=kind, methods="GET")):
        with pytest.raises(RejectedImage) as rejected:
            fetch_object(planned(listed.uri, etag=listed.etag), storage)
        assert rejected.value.code == code
        assert faulty.n_requests() == 1, "it was asked again"


SAID_OTHERWISE = [("gcs", "too_many"), ("gcs", "too_many_as_403"), ("azure", "too_many"), ("azure", "archived")]
TOLD = {
    "no_bucket": {"s3": "NoSuchBucket", "gcs": "bucket does not exist", "azure": "ContainerNotFound"},
    "expired": {"s3": "ExpiredToken", "gcs": "401 required: Anonymous", "azure": "AuthenticationFailed"},
    "no_conditions": {"s3": "NotImplemented", "gcs": "501 notImplemented", "azure": "NotImplemented"},
    "wrong": {"s3": "InvalidRequest", "gcs": "400 invalid", "azure": "InvalidHeaderValue"},
}


@everywhere
@pytest.mark.parametrize("kind", TOLD)
def test_what_does_not_pass_is_told_at_once(
    kind: str, store_kind: str, place: tuple[Storage, str], faulty: FaultyS3
) -> None:
    storage, uri = place
    for operation in (lambda: storage.read(f"{uri}/image.jpg"), lambda: storage.create_once(f"{uri}/new", b"new")):
        with faulty.failing(Fault(kind=kind)):
            with pytest.raises(StorageError, match=rf"{uri}/.*{TOLD[kind][store_kind]}"):
                operation()
            assert sum(faulty.fired().values()) == 1


@pytest.mark.parametrize(
    ("store_kind", "kind"),
    [(kind, fault) for kind, fault in SAID_OTHERWISE if kind in STORE_KINDS],
    indirect=["store_kind"],
)
def test_what_a_status_does_not_tell_its_reason_does(kind: str, place: tuple[Storage, str], faulty: FaultyS3) -> None:
    with faulty.failing(Fault(kind=kind, methods="GET", times=2)):
        if kind == "archived":
            with pytest.raises(PermissionError, match="BlobArchived"):
                place[0].read(f"{place[1]}/image.jpg")
        else:
            read(*place)


@everywhere
def test_a_write_that_is_not_allowed_is_told_at_once(place: tuple[Storage, str], faulty: FaultyS3) -> None:
    storage, uri = place
    with faulty.failing(Fault(kind="forbidden")), pytest.raises(StorageError, match=f"{uri}/new: cannot be written"):
        storage.create_once(f"{uri}/new", b"new")


@everywhere
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_an_outage_ends_in_an_error_within_its_time(
    operation: Operation,
    place: tuple[Storage, str],
    faulty: FaultyS3,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "WARN_AFTER_S", 0.3)
    storage, uri = place
    began = time.monotonic()
    with (
        faulty.failing(Fault(kind="reset")),
        pytest.raises(StorageError, match=rf"{uri}/?.* \(tried \d+ times in \d s\)"),
    ):
        operation(storage.retrying_for(1.5), uri)
    assert 1.5 < time.monotonic() - began < 10
    assert "trying for up to 1.5 s" in caplog.text


@everywhere
def test_an_outage_that_ends_is_sat_out(place: tuple[Storage, str], faulty: FaultyS3) -> None:
    with faulty.failing(Fault(kind="reset", for_s=1.5)):
        began = time.monotonic()
        read(*place)
        assert time.monotonic() - began > 1


def test_a_put_that_is_never_asked_for_its_body_ends(place: tuple[Storage, str], faulty: FaultyS3) -> None:
    """aiohttp waits for `100 Continue` without end."""
    storage, uri = place
    began = time.monotonic()
    with (
        faulty.failing(Fault(kind="stall")),
        pytest.raises(StorageError, match=f"{uri}/new: .*no answer for 1 s"),
    ):
        storage.retrying_for(0).create_once(f"{uri}/new", b"new")
    assert time.monotonic() - began < 10


def test_timeouts_are_the_users_to_change(faulty: FaultyS3) -> None:
    options: dict[str, Any] = {"endpoint_url": faulty.endpoint_url, "config_kwargs": {"read_timeout": 77}}
    storage = open_storage("s3://bucket", options)
    config = storage.fs._prepare_config_kwargs()  # type: ignore[attr-defined]
    assert (config["connect_timeout"], config["read_timeout"]) == (5, 77)
    with pytest.raises(BadInput, match="retry_for_s"):
        open_storage("s3://bucket", {"retry_for_s": "long"})


LARGE = bytes(range(256)) * (12 << 12)  # three blocks of 5 MiB
PARTS = {"s3": "uploadId=", "gcs": "upload_id=", "azure": "comp=block"}
FINISHING = {"s3": "uploadId=", "gcs": "upload_id=", "azure": "comp=blocklist"}


@everywhere
@pytest.mark.parametrize("kind", ["slow_down", "reset", "reset_after"])
def test_a_large_export_sends_the_part_that_failed_again(
    kind: str, store_kind: str, place: tuple[Storage, str], faulty: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolabel.storage.buckets.BLOCK_BYTES", 5 << 20)
    storage, uri = place
    fault = Fault(kind=kind, methods="PUT", path=PARTS[store_kind], times=2)
    with faulty.failing(fault), storage.replace(f"{uri}/export") as file:
        for start in range(0, len(LARGE), 1 << 20):
            file.write(LARGE[start : start + (1 << 20)])
    assert storage.read(f"{uri}/export") == LARGE


@everywhere
def test_a_large_export_whose_last_answer_was_lost_is_whole(
    store_kind: str, place: tuple[Storage, str], faulty: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolabel.storage.buckets.BLOCK_BYTES", 5 << 20)
    storage, uri = place
    with storage.replace(f"{uri}/export") as file:
        file.write(LARGE)
        finishing = "POST" if store_kind == "s3" else "PUT"
        faulty.inject(Fault(kind="reset_after", methods=finishing, path=FINISHING[store_kind], times=1))
    assert faulty.fired() == {"reset_after": 1}
    assert storage.read(f"{uri}/export") == LARGE


@everywhere
def test_a_large_export_that_fails_leaves_what_was_there(
    place: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolabel.storage.buckets.BLOCK_BYTES", 5 << 20)
    storage, uri = place
    storage.overwrite(f"{uri}/export", b"whole")
    with pytest.raises(RuntimeError, match="on purpose"), storage.replace(f"{uri}/export") as file:
        file.write(LARGE)
        raise RuntimeError("on purpose")
    gc.collect()  # some drivers would complete the file now
    assert storage.read(f"{uri}/export") == b"whole"


@pytest.mark.parametrize("kind", ["reset_after", "slow_down_after"])
def test_a_claim_whose_answer_was_lost_is_not_refused_by_itself(
    kind: str, place: tuple[Storage, str], faulty: FaultyS3
) -> None:
    with faulty.failing(Fault(kind=kind, methods="PUT", path="/runs/", times=1)):
        mine = acquire(*place)
    assert mine.number == 1
    assert last_run(*place) == mine


def test_a_claim_that_another_won_meanwhile_is_lost(place: tuple[Storage, str], faulty: FaultyS3) -> None:
    """Another run of this very process, in the same second: all but the claim's own id are equal."""
    storage, uri = place
    assert storage.create_once(record_uri(uri, 1), encoded(this_run(1)))
    with faulty.failing(Fault(kind="slow_down", methods="PUT|POST", times=1)):
        assert not storage.create_once(record_uri(uri, 1), encoded(this_run(1)))


def test_run_json_whose_answer_was_lost_is_ours(place: tuple[Storage, str], faulty: FaultyS3) -> None:
    storage, uri = place
    settings = label_settings(LabelConfig(), ONTOLOGY, input_uri="in", weights="none")
    with faulty.failing(Fault(kind="reset_after", methods="PUT", path=run_record.RUN_NAME, times=1)):
        mine = run_record.create_or_match(storage, uri, settings)
    assert storage.read(join(uri, run_record.RUN_NAME)).find(mine.run_id.encode()) > 0


def test_a_lease_outlives_an_outage_and_ends_in_one(
    place: tuple[Storage, str], faulty: FaultyS3, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    monkeypatch.setattr(lease, "EXPIRES_S", 0.5)
    with acquired(*place) as mine:
        with faulty.failing(Fault(kind="reset")):
            time.sleep(1.5)
            mine.check()
        before = last_run(*place)
        time.sleep(1)
        mine.check()
        after = last_run(*place)
        assert before is not None
        assert after is not None
        assert after.renewals > before.renewals
        faulty.inject(Fault(kind="reset"))
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert "the next run will have to find out by itself that this one has ended" in caplog.text
    assert faulty.fired()["reset"] > 0


def test_secrets_in_urls_are_not_told(faulty: FaultyS3) -> None:
    """Of an HTTP server, where a signed query is part of what is asked for."""
    storage = open_storage("http://x", {"retry_for_s": 0})
    signed = f"{faulty.endpoint_url}/bucket/a.jpg?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=5ec&part=7"
    for kind, error in (("slow_down", StorageError), ("forbidden", PermissionError)):
        with faulty.failing(Fault(kind=kind)), pytest.raises(error) as caught:
            storage.read(signed)
        assert "a.jpg?X-Amz-Credential=***&X-Amz-Signature=***&part=7" in str(caught.value)
        assert "5ec" not in str(caught.value)
        assert "AKIA" not in str(caught.value)


@everywhere
def test_a_storage_that_ignores_the_condition_of_creating_is_found_out(
    place: tuple[Storage, str], faulty: FaultyS3, store_kind: str
) -> None:
    storage, uri = place
    storage.check_create_once(f"{uri}/labels")
    if store_kind != "azure":  # whose conditions are signed: none could be taken away on its way
        told = f"{uri}/labels: this storage cannot hold an output"
        with faulty.failing(Fault(kind="unconditional", methods="PUT|POST")), pytest.raises(BadInput, match=told):
            storage.check_create_once(f"{uri}/labels")
    assert [item.uri for item in storage.list(uri)] == [f"{uri}/image.jpg"]


def test_trying_a_storage_outlives_lost_answers(place: tuple[Storage, str], faulty: FaultyS3) -> None:
    storage, uri = place
    with faulty.failing(Fault(kind="reset_after", rate=0.5)):
        for _ in range(10):
            storage.check_create_once(uri)
    with faulty.failing(Fault(kind="forbidden", methods="DELETE")):
        storage.check_create_once(uri)  # who may create need not be allowed to remove


def test_an_output_is_not_claimed_where_creating_once_does_not_hold(
    place: tuple[Storage, str], faulty: FaultyS3
) -> None:
    storage, uri = place
    settings = label_settings(LabelConfig(), ONTOLOGY, input_uri="in", weights="none")
    ignoring = faulty.failing(Fault(kind="unconditional", methods="PUT"))
    with ignoring, pytest.raises(BadInput, match="cannot hold an output"):
        run_record.create_or_match(storage, uri, settings)
    assert run_record.read(storage, uri) is None
