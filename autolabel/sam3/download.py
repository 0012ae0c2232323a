"""From a checkpoint's URI to a file on this machine, fetched once per node whatever the number of processes.

    weights/sam3.pt                       a local file, used where it lies
    s3://bucket/sam3.pt                   any fsspec URL, kept under AUTOLABEL_CACHE (~/.cache/autolabel)
    hf://owner/repo[@revision][/file]     the Hugging Face hub, kept in its own cache; Meta's repositories are pinned
    pkg://package/file                    a file that an installed Python package ships

Every version of a remote file has a place of its own, and appears there whole.
"""

import fcntl
import hashlib
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import httpx
from huggingface_hub import constants, get_session, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from autolabel.errors import BadInput, CheckpointError, StorageError
from autolabel.storage import Listed, open_storage

RETRY_FOR_S = 30.0
COPY_BYTES = 16 * 2**20
HUB_URI = re.compile(r"hf://(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/@]+))?(/(?P<file>.+))?")
HUB_TRIED_FOR_S = 3.0


@dataclass(frozen=True, kw_only=True)
class HubModel:
    """Defaults of a repository, where its URI names no file or no revision."""

    file: str
    revision: str


HUB_MODELS = {
    "facebook/sam3": HubModel(file="sam3.pt", revision="3c879f39826c281e95690f02c7821c4de09afae7"),
    "facebook/sam3.1": HubModel(file="sam3.1_multiplex.pt", revision="daa63191845a41281374e725f4c9e51c7a824460"),
}
OTHERS = HubModel(file="sam3.pt", revision="main")


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of the hub, as a URI names it."""

    repo: str
    file: str
    revision: str

    @property
    def page(self) -> str:
        """Return where people see its repository."""
        return f"{constants.ENDPOINT}/{self.repo}"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint on this machine; `source` is where it came from, down to the version where that has one."""

    path: Path
    sha256: str
    source: str


def fetch(uri: str, *, storage_options: Mapping[str, Any], sha256: str | None = None) -> Checkpoint:
    """Fetch the file behind a URI, unless this machine has it.

    `storage_options` go to the driver of an fsspec URL. A token for the hub is taken from the environment.

    Raises:
        CheckpointError: not there, not allowed, not reachable, or with another sha256 than expected.
    """
    if uri.startswith("hf://"):
        path, source = _from_hub(uri)
    elif uri.startswith("pkg://"):
        path, source = _from_package(uri), uri
    elif "://" in uri and not uri.startswith("file://"):
        path, source = _from_storage(uri, storage_options)
    else:
        path = Path(uri.removeprefix("file://")).absolute()
        source = str(path)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise CheckpointError(f"{uri}: there is no such file") from error
    except OSError as error:
        raise CheckpointError(f"{uri}: cannot be read: {error.strerror}") from error
    if sha256 is not None and found != sha256.lower():
        raise CheckpointError(f"{uri}: sha256 is {found}, not {sha256.lower()} ({path})")
    return Checkpoint(path=path, sha256=found, source=source)


def check_reachable(uri: str) -> None:
    """Look whether this machine has a file of the hub, or can ask the hub for it; other URIs are left to `fetch`.

    Raises:
        CheckpointError: neither, or the URI is malformed; after `HUB_TRIED_FOR_S` at most.
    """
    if not uri.startswith("hf://"):
        return
    asked = _hub_file(uri)
    try:
        kept = try_to_load_from_cache(asked.repo, asked.file, revision=asked.revision)
    except HFValidationError:  # no name of a repository, which `fetch` says
        return
    if not isinstance(kept, str) and not _hub_answers():
        raise _unreachable(uri, asked)


def _hub_file(uri: str) -> HubFile:
    if (named := HUB_URI.fullmatch(uri)) is None:
        raise CheckpointError(f"{uri}: expected hf://owner/repo, hf://owner/repo@revision or hf://owner/repo/file")
    model = HUB_MODELS.get(named["repo"], OTHERS)
    return HubFile(repo=named["repo"], file=named["file"] or model.file, revision=named["revision"] or model.revision)


def _unreachable(uri: str, asked: HubFile) -> CheckpointError:
    return CheckpointError(
        f"{uri}: {constants.ENDPOINT} cannot be reached from here, or HF_HUB_OFFLINE forbids it, and {asked.file} is "
        f"not in its cache ({constants.HF_HUB_CACHE}): connect this machine, or fetch the file from {asked.page} where "
        "there is a connection, put it on a disk or into a bucket, and say model.checkpoint=PATH"
    )


def _from_hub(uri: str) -> tuple[Path, str]:
    """Let the hub's own client fetch and keep a file; the commit that it resolved the revision to is in its path."""
    asked = _hub_file(uri)
    repo, file, revision, page = asked.repo, asked.file, asked.revision, asked.page
    gated = (
        f"{uri}: access is restricted: accept the licence at {page} (each repository has its own), then set HF_TOKEN "
        "to a token of that account"
    )
    try:
        path = Path(hf_hub_download(repo, file, revision=revision, local_files_only=not _hub_answers()))
    except GatedRepoError as error:
        raise CheckpointError(gated) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise CheckpointError(f"{uri}: no such repository, or a private one and no HF_TOKEN for it: {page}") from error
    except LocalEntryNotFoundError as error:
        raise _unreachable(uri, asked) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{uri}: {repo} has no revision {revision}") from error
    except EntryNotFoundError as error:
        raise CheckpointError(
            f"{uri}: {repo} has no {file} at revision {revision}; {_right_name(repo, file)}"
        ) from error
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise CheckpointError(gated) from error
        raise CheckpointError(f"{uri}: {constants.ENDPOINT} answers {error.response.status_code}: {error}") from error
    except (OSError, httpx.HTTPError) as error:
        raise CheckpointError(f"{uri}: download failed: {error}") from error
    commit = path.parts[-1 - len(Path(file).parts)]
    return path, f"hf://{repo}@{commit}/{file}"


def _hub_answers() -> bool:
    """Tell within seconds whether the hub can be reached. Its client would try for half a minute before it said no.

    It is asked by a thread that can be left alone: where packets are dropped, looking up the hub's name and trying
    each of its addresses take as long as they like.
    """
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_ask_hub()), name="hub", daemon=True).start()
    try:
        return answers.get(timeout=HUB_TRIED_FOR_S)
    except queue.Empty:
        return False


def _ask_hub() -> bool:
    give_up_at = time.monotonic() + HUB_TRIED_FOR_S
    while True:
        try:
            get_session().head(constants.ENDPOINT, timeout=HUB_TRIED_FOR_S)
        except OfflineModeIsEnabled:
            return False
        except httpx.TransportError:
            if time.monotonic() + 1 > give_up_at:
                return False
            time.sleep(1)
        else:
            return True


def _right_name(repo: str, file: str) -> str:
    """Return what to write instead of a file that a repository does not have."""
    if (owner := next((name for name, model in HUB_MODELS.items() if model.file == file), repo)) != repo:
        return f"that is a file of hf://{owner}"
    if model := HUB_MODELS.get(repo):
        return f"its file is {model.file}"
    return f"name the file, for example hf://{repo}/model.safetensors"


def _from_package(uri: str) -> Path:
    """Return the path on this machine: packages may lie elsewhere on the next one."""
    package, _, name = uri.removeprefix("pkg://").partition("/")
    try:
        spec = find_spec(package) if name else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(f"{uri}: expected pkg://package/file of an installed package")
    return Path(spec.submodule_search_locations[0]) / name


def _from_storage(uri: str, storage_options: Mapping[str, Any]) -> tuple[Path, str]:
    """Download a file into the cache, under a name of its own for every version of it."""
    folder = Path(os.environ.get("AUTOLABEL_CACHE") or "~/.cache/autolabel").expanduser() / "checkpoints"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be created, set AUTOLABEL_CACHE: {error.strerror}") from error
    try:
        storage = open_storage(uri, dict(storage_options)).retrying_for(RETRY_FOR_S)
        version = storage.stat(uri)
        key = hashlib.sha256(f"{uri}\n{_told(version)}".encode()).hexdigest()[:32]
        path = folder / f"{key}-{uri.rpartition('/')[2]}"
        with _locked(folder / f"{key}.lock"):
            if not path.exists():
                partial = path.with_name(f"{path.name}.partial")
                storage.read_with(uri, lambda file: _copy(file, partial))
                if storage.stat(uri) != version or version.size_bytes not in (None, partial.stat().st_size):
                    raise CheckpointError(f"{uri}: was replaced or cut off while it was downloaded; try again")
                partial.replace(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CheckpointError(f"{uri}: there is no such file") from error
    except PermissionError as error:
        raise CheckpointError(f"{uri}: access is denied; check the credentials: {error}") from error
    except StorageError as error:
        raise CheckpointError(f"{uri}: download failed: {error}") from error
    except CheckpointError:
        raise
    except BadInput as error:
        raise CheckpointError(f"{uri}: no storage of this kind, or not with these options: {error}") from error
    return path, f"{uri} ({_told(version)})"


def _told(version: Listed) -> str:
    """Return what changes when the file does: its size, and etag or time where the storage tells one."""
    stamps = {"size": version.size_bytes, "etag": version.etag, "modified": version.modified_at}
    return ", ".join(f"{name} {stamp}" for name, stamp in stamps.items() if stamp is not None)


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, COPY_BYTES)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that excludes every other holder on this node, threads too; the system frees a dead one's."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
