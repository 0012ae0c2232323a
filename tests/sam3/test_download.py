"""A checkpoint's file, once per node; every failure is a CheckpointError that says what to do."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import fsspec
import httpx
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from huggingface_hub import constants
from huggingface_hub import errors as hub

from autolabel.errors import CheckpointError
from autolabel.sam3 import download
from autolabel.sam3.download import HUB_MODELS, check_reachable, fetch

DATA = b"weights" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "checkpoints"


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/models/sam3.pt", DATA)
    yield fs
    fs.rm("/models", recursive=True)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was downloaded from memory://, slowly enough for others to come between."""
    seen: list[str] = []
    copy = download._copy

    def slow(source: IO[bytes], target: Path) -> None:
        seen.append(str(target))
        time.sleep(0.05)
        copy(source, target)

    monkeypatch.setattr(download, "_copy", slow)
    return seen


class TestLocal:
    def test_is_used_where_it_lies(self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "sam3.pt").write_bytes(DATA)
        monkeypatch.chdir(tmp_path)
        for uri in ("sam3.pt", str(tmp_path / "sam3.pt"), f"file://{tmp_path}/sam3.pt"):
            found = fetch(uri, storage_options={})
            assert (found.path, found.sha256, found.source) == (tmp_path / "sam3.pt", SHA256, str(tmp_path / "sam3.pt"))
        assert not cache.exists()

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"sam3\.pt: there is no such file"):
            fetch(str(tmp_path / "sam3.pt"), storage_options={})

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="cannot be read"):
            fetch(str(tmp_path), storage_options={})

    def test_sha256(self, tmp_path: Path) -> None:
        (tmp_path / "sam3.pt").write_bytes(DATA)
        uri = str(tmp_path / "sam3.pt")
        assert fetch(uri, storage_options={}, sha256=SHA256.upper()).sha256 == SHA256
        with pytest.raises(CheckpointError, match=f"sha256 is {SHA256}, not {'0' * 64}"):
            fetch(uri, storage_options={}, sha256="0" * 64)


class TestStorage:
    uri = "memory://models/sam3.pt"

    def test_is_downloaded_once(self, memory: MemoryFileSystem, downloads: list[str], cache: Path) -> None:
        one, other = (fetch(self.uri, storage_options={}) for _ in range(2))
        assert one == other
        assert one.path.read_bytes() == DATA
        assert one.path.parent == cache
        assert one.path.name.endswith("-sam3.pt")
        assert (one.sha256, len(downloads)) == (SHA256, 1)
        assert one.source.startswith(f"{self.uri} (size 7000)")

    def test_is_downloaded_once_by_many_threads(self, memory: MemoryFileSystem, downloads: list[str]) -> None:
        start = threading.Barrier(8)

        def together() -> download.Checkpoint:
            start.wait()
            return fetch(self.uri, storage_options={})

        with ThreadPoolExecutor(8) as pool:
            found = [future.result() for future in [pool.submit(together) for _ in range(8)]]
        assert len(set(found)) == len(downloads) == 1

    def test_versions_do_not_mix(self, memory: MemoryFileSystem, downloads: list[str]) -> None:
        old = fetch(self.uri, storage_options={})
        memory.pipe_file("/models/sam3.pt", DATA[::-1] + b"!")
        new = fetch(self.uri, storage_options={})
        assert (old.path.read_bytes(), new.path.read_bytes(), len(downloads)) == (DATA, DATA[::-1] + b"!", 2)

    def test_a_file_replaced_meanwhile_is_not_kept(
        self, memory: MemoryFileSystem, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy = download._copy

        def replaced(source: IO[bytes], target: Path) -> None:
            copy(source, target)
            memory.pipe_file("/models/sam3.pt", DATA + b"!")

        with monkeypatch.context() as patched:
            patched.setattr(download, "_copy", replaced)
            with pytest.raises(CheckpointError, match="replaced or cut off while it was downloaded"):
                fetch(self.uri, storage_options={})
        assert fetch(self.uri, storage_options={}).path.read_bytes() == DATA + b"!"

    def test_a_download_cut_off_is_not_kept(
        self, memory: MemoryFileSystem, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(download, "_copy", lambda source, target: target.write_bytes(DATA[:9]))
            with pytest.raises(CheckpointError, match="replaced or cut off"):
                fetch(self.uri, storage_options={})
        assert fetch(self.uri, storage_options={}).path.read_bytes() == DATA

    def test_the_leftover_of_a_killed_download_is_overwritten(
        self, memory: MemoryFileSystem, downloads: list[str], cache: Path
    ) -> None:
        path = fetch(self.uri, storage_options={}).path
        path.rename(path.with_name(f"{path.name}.partial"))
        path.with_name(f"{path.name}.partial").write_bytes(b"torn" * 9999)
        assert fetch(self.uri, storage_options={}).path.read_bytes() == DATA
        assert not list(cache.glob("*.partial"))

    def test_sha256(self, memory: MemoryFileSystem) -> None:
        assert fetch(self.uri, storage_options={}, sha256=SHA256).sha256 == SHA256
        with pytest.raises(CheckpointError, match="sha256 is"):
            fetch(self.uri, storage_options={}, sha256="0" * 64)

    @pytest.mark.parametrize(
        ("uri", "options", "reason"),
        [
            ("memory://models/other.pt", {}, "there is no such file"),
            ("memory://models", {}, "there is no such file"),
            ("nosuch://models/sam3.pt", {}, "no storage of this kind"),
            ("s3://models/sam3.pt", {"no_such_option": 1}, "no storage of this kind"),
            ("http://127.0.0.1:9/sam3.pt", {"retry_for_s": 0}, "download failed|there is no such file"),
        ],
    )
    def test_failures(self, uri: str, options: dict[str, int], reason: str, memory: MemoryFileSystem) -> None:
        with pytest.raises(CheckpointError, match=f"{uri}: ({reason})"):
            fetch(uri, storage_options=options)

    def test_denied(self, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(self: MemoryFileSystem, remote: str, **_: Any) -> None:
            raise PermissionError("Forbidden")

        monkeypatch.setattr(MemoryFileSystem, "info", denied)
        with pytest.raises(CheckpointError, match="access is denied; check the credentials: Forbidden"):
            fetch(self.uri, storage_options={})

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path / "file"))
        with pytest.raises(CheckpointError, match="set AUTOLABEL_CACHE: Not a directory"):
            fetch(self.uri, storage_options={})


class Served(BaseHTTPRequestHandler):
    """A storage that counts how often it gave the whole file away, slowly."""

    n_downloads = 0

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.send_header("ETag", '"one"')
        self.end_headers()

    def do_GET(self) -> None:
        type(self).n_downloads += 1
        self.do_HEAD()
        time.sleep(0.5)
        self.wfile.write(DATA)

    def log_message(self, format: str, *args: object) -> None:
        """Not on the test's screen."""


FETCH = "import sys; from autolabel.sam3.download import fetch; print(fetch(sys.argv[1], storage_options={}).path)"


def test_is_downloaded_once_by_many_processes(cache: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as server:
        threading.Thread(target=server.serve_forever).start()
        uri = f"http://127.0.0.1:{server.server_port}/sam3.pt"
        command = [sys.executable, "-c", FETCH, uri]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(3)]
        paths = {process.communicate(timeout=60)[0].strip() for process in processes}
        server.shutdown()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert Served.n_downloads == 1
    (path,) = paths
    assert Path(path).read_bytes() == DATA


PINNED = {repo: model.revision for repo, model in HUB_MODELS.items()}
LICENCE = "accept the licence at https://huggingface.co/o/r .*, then set HF_TOKEN"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def answer(status: int) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co"))


class TestHub:
    @pytest.fixture(autouse=True)
    def reachable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download, "_hub_answers", lambda: True)

    @pytest.mark.parametrize(
        ("uri", "asked", "source"),
        [
            (
                "hf://facebook/sam3",
                ("facebook/sam3", "sam3.pt", PINNED["facebook/sam3"]),
                "facebook/sam3@{}/sam3.pt",
            ),
            (
                "hf://facebook/sam3.1",
                ("facebook/sam3.1", "sam3.1_multiplex.pt", PINNED["facebook/sam3.1"]),
                "facebook/sam3.1@{}/sam3.1_multiplex.pt",
            ),
            (
                "hf://facebook/sam3/model.safetensors",
                ("facebook/sam3", "model.safetensors", PINNED["facebook/sam3"]),
                "facebook/sam3@{}/model.safetensors",
            ),
            ("hf://facebook/sam3@v2", ("facebook/sam3", "sam3.pt", "v2"), "facebook/sam3@{}/sam3.pt"),
            ("hf://me/mine", ("me/mine", "sam3.pt", "main"), "me/mine@{}/sam3.pt"),
            ("hf://me/mine/a/b.safetensors", ("me/mine", "a/b.safetensors", "main"), "me/mine@{}/a/b.safetensors"),
            ("hf://me/mine@dev/b.pt", ("me/mine", "b.pt", "dev"), "me/mine@{}/b.pt"),
        ],
    )
    def test_finds_the_file_and_its_commit(
        self, uri: str, asked: tuple[str, str, str], source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def downloaded(repo: str, file: str, *, revision: str, local_files_only: bool) -> str:
            assert (repo, file, revision, local_files_only) == (*asked, False)
            path = tmp_path / "models--x" / "snapshots" / COMMIT / file
            path.parent.mkdir(parents=True)
            path.write_bytes(DATA)
            return str(path)

        monkeypatch.setattr(download, "hf_hub_download", downloaded)
        found = fetch(uri, storage_options={}, sha256=SHA256)
        assert found.path.read_bytes() == DATA
        assert found.source == f"hf://{source.format(COMMIT)}"

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (hub.GatedRepoError("no", response=answer(403)), LICENCE),
            (hub.HfHubHTTPError("no", response=answer(401)), LICENCE),
            (hub.RepositoryNotFoundError("no", response=answer(401)), "no such repository, or a private one"),
            (hub.RevisionNotFoundError("no", response=answer(404)), "o/r has no revision main"),
            (
                hub.RemoteEntryNotFoundError("no", response=answer(404)),
                r"o/r has no sam3\.pt at revision main; that is a file of hf://facebook/sam3",
            ),
            (hub.LocalEntryNotFoundError("no"), "cannot be reached .* say model.checkpoint=PATH"),
            (hub.HfHubHTTPError("busy", response=answer(503)), "answers 503"),
            (httpx.ReadTimeout("slow"), "download failed: slow"),
            (OSError(28, "No space left on device"), "No space left"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    def test_failures(self, error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(*_: str, **__: object) -> str:
            raise error

        monkeypatch.setattr(download, "hf_hub_download", failing)
        with pytest.raises(CheckpointError, match=f"hf://o/r: .*{reason}"):
            fetch("hf://o/r", storage_options={})

    @pytest.mark.parametrize(
        ("uri", "reason"),
        [
            ("hf://facebook/sam3.1/sam3.pt", r"that is a file of hf://facebook/sam3$"),
            ("hf://facebook/sam3/sam3.1_multiplex.pt", r"that is a file of hf://facebook/sam3\.1$"),
            ("hf://facebook/sam3.1/model.safetensors", r"its file is sam3\.1_multiplex\.pt$"),
            ("hf://me/mine/weights.pt", r"name the file, for example hf://me/mine/model\.safetensors$"),
        ],
    )
    def test_another_repositorys_file_name(self, uri: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(*_: str, **__: object) -> str:
            raise hub.RemoteEntryNotFoundError("no", response=answer(404))

        monkeypatch.setattr(download, "hf_hub_download", missing)
        with pytest.raises(CheckpointError, match=reason):
            fetch(uri, storage_options={})

    @pytest.mark.parametrize("uri", ["hf://", "hf://sam3", "hf://o/r@", "hf://o/r@a@b", "hf://o//r", "hf://o/r/"])
    def test_malformed(self, uri: str) -> None:
        for attempt in (check_reachable, lambda uri: fetch(uri, storage_options={})):
            with pytest.raises(CheckpointError, match="expected hf://owner/repo"):
                attempt(uri)

    def test_names_that_the_hub_never_had(self) -> None:
        check_reachable("hf://o o/r--r")
        with pytest.raises(CheckpointError, match="no such repository"):
            fetch("hf://o o/r--r", storage_options={})


class TestUnreachableHub:
    @pytest.fixture(autouse=True)
    def unreachable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    @pytest.mark.parametrize("uri", ["hf://facebook/sam3", "hf://facebook/sam3.1", "hf://me/mine"])
    def test_is_told_in_seconds_with_what_to_do(self, uri: str) -> None:
        started = time.monotonic()
        with pytest.raises(
            CheckpointError, match=r"cannot be reached.*fetch the file from .*say model\.checkpoint=PATH"
        ):
            fetch(uri, storage_options={})
        assert time.monotonic() - started < 8  # 24 by the hub's client alone

    def test_is_told_before_anything_is_fetched(self) -> None:
        with pytest.raises(CheckpointError, match=r"cannot be reached.*say model\.checkpoint=PATH"):
            check_reachable("hf://facebook/sam3.1")

    @pytest.mark.parametrize(
        "uri", ["", "weights/sam3.pt", "s3://bucket/sam3.pt", "pkg://autolabel.demo/demo.safetensors"]
    )
    def test_is_not_asked_for_what_lies_elsewhere(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download, "_hub_answers", lambda: pytest.fail("asked"))
        check_reachable(uri)

    def test_is_given_up_where_nothing_answers_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As where packets are dropped: a name is looked up, and address after address tried, without end."""
        given_up = threading.Event()

        class Session:
            def head(self, url: str, *, timeout: float) -> None:
                given_up.wait(60)

        monkeypatch.setattr(download, "get_session", Session)
        monkeypatch.setattr(download, "HUB_TRIED_FOR_S", 0.2)
        started = time.monotonic()
        assert not download._hub_answers()
        assert time.monotonic() - started < 5
        given_up.set()

    def test_is_not_needed_for_what_is_in_the_cache(self, tmp_path: Path) -> None:
        revision = PINNED["facebook/sam3.1"]
        kept = tmp_path / "models--facebook--sam3.1" / "snapshots" / revision / "sam3.1_multiplex.pt"
        kept.parent.mkdir(parents=True)
        kept.write_bytes(DATA)
        check_reachable("hf://facebook/sam3.1")
        found = fetch("hf://facebook/sam3.1", storage_options={}, sha256=SHA256)
        assert (found.path, found.source) == (kept, f"hf://facebook/sam3.1@{revision}/sam3.1_multiplex.pt")

    def test_a_short_failure_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[str] = []

        class Session:
            def head(self, url: str, *, timeout: float) -> None:
                tried.append(url)
                if len(tried) < 3:
                    raise httpx.ConnectError("not yet")

        monkeypatch.setattr(download, "get_session", Session)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        assert download._hub_answers()
        assert len(tried) == 3

    def test_offline_mode_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
        monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waited"))
        with pytest.raises(CheckpointError, match=r"HF_HUB_OFFLINE forbids it"):
            fetch("hf://facebook/sam3", storage_options={})


class TestPackage:
    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An importable package that ships a file."""
        folder = tmp_path / "ships_weights" / "inner"
        folder.mkdir(parents=True)
        for package in (folder, folder.parent):
            (package / "__init__.py").touch()
        (folder / "weights.safetensors").write_bytes(b"weights")
        monkeypatch.syspath_prepend(tmp_path)
        return folder

    def test_is_used_where_it_is_installed(self, package: Path) -> None:
        uri = "pkg://ships_weights.inner/weights.safetensors"
        found = fetch(uri, storage_options={}, sha256=hashlib.sha256(b"weights").hexdigest())
        assert (found.path, found.source) == (package / "weights.safetensors", uri)

    def test_a_missing_file_is_told(self, package: Path) -> None:
        with pytest.raises(CheckpointError, match="pkg://ships_weights/weights.safetensors: there is no such file"):
            fetch("pkg://ships_weights/weights.safetensors", storage_options={})

    @pytest.mark.parametrize("uri", ["pkg://no_such_package/x", "pkg://ships_weights", "pkg:///x", "pkg://json.tool/x"])
    def test_no_package(self, uri: str, package: Path) -> None:
        with pytest.raises(CheckpointError, match="expected pkg://package/file of an installed package"):
            fetch(uri, storage_options={})
