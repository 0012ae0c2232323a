"""An output's disk that is full, read-only, unplugged, or emptied under a job: exit code 1, its path, nothing torn."""

import errno
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from autolabel.cli import commands
from autolabel.config.compose import compose_config
from autolabel.pipeline import cluster, job
from tests.support.faults import reading
from tests.support.free_model import BRIGHT, DARK, FreeModel, Strike
from tests.support.jobs import rows_of, run_verify
from tests.support.ledger import LONG, Ledger

pytestmark = pytest.mark.usefixtures("cluster")

PROMISE = "a disk that fails costs time alone"
N_IMAGES = 400 if LONG else 24
UNIT_SIZE = 2
SOON_S = 30.0
SIZE_BYTES = N_IMAGES * 32 * 1024 + 2**20


@dataclass(frozen=True)
class Disk:
    """A file system of its own, seen at `folder`."""

    folder: Path
    device: Path  # where it stays when it is unplugged

    def fill(self) -> None:
        """To its last byte, while others write."""
        try:
            with (self.folder / "ballast").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(2**16))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def empty(self) -> None:
        (self.folder / "ballast").unlink()

    def protect(self) -> None:
        """Not by its mode, which means nothing to root."""
        mount("-o", "remount,ro,bind", str(self.folder))

    def allow(self) -> None:
        mount("-o", "remount,rw,bind", str(self.folder))

    def unplug(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def plug(self) -> None:
        mount("--bind", str(self.device), str(self.folder))


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=30)


def can_mount() -> bool:
    """Whether this user may mount a file system; tried in a namespace of its own, so that nothing is left behind."""
    try:
        command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", tempfile.gettempdir()]
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


CAN_MOUNT = can_mount()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if not CAN_MOUNT:
        pytest.skip("no file system can be mounted here")
    disk = Disk(folder=tmp_path / "disk", device=tmp_path / "device")
    for folder in (disk.folder, disk.device):
        folder.mkdir()
    try:
        mount("-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(disk.device))
        disk.plug()
        yield disk
    finally:
        for folder in (disk.folder, disk.device):
            while os.path.ismount(folder):
                subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disks") / "photos"
    folder.mkdir()
    for n in range(N_IMAGES):
        (folder / f"{n:04d}.png").write_bytes(DARK if n % 3 == 0 else BRIGHT)
    return folder


def label_settings(photos: Path) -> list[str]:
    return [f"input.uri={photos}", f"output.unit_size={UNIT_SIZE}", "batch.images=2", "prompts=[thing]"]


@pytest.fixture(scope="module")
def labelled(photos: Path, cluster: None) -> Path:
    """The output of a job that nothing happened to; tests copy it."""
    output = photos.parent / "labelled"
    job.label(compose_config("label", [f"output.uri={output}", *label_settings(photos)]), load=FreeModel())
    return output


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command on an output, with a free model; its exit code and what it said."""
    label = job.label

    def command(output: Path, *, name: str = "label", model: FreeModel | None = None) -> tuple[int, str]:
        monkeypatch.setattr(job, "label", partial(label, load=model or FreeModel()))
        code = commands.main([name, f"output.uri={output}", *(label_settings(photos) if name == "label" else [])])
        return code, capsys.readouterr().err

    return command


def strike(deed: Callable[[], object], folder: Path, at_batch: int = N_IMAGES // 4) -> Strike:
    notes = folder / "notes"
    notes.mkdir()
    return Strike(deed, at_batch=at_batch, folder=notes)


def assert_nothing_torn(output: Path) -> None:
    """What is there is whole, for whoever looks in now."""
    for path in output.glob("labels/*.parquet"):
        assert pq.read_table(path).num_rows == UNIT_SIZE
    for path in (*output.glob("*.json"), *output.glob("runs/*.json"), *output.glob("coco/*.json")):
        json.loads(path.read_bytes())
    if (output / "plan.parquet").exists():
        verdict = run_verify(output)
        assert (verdict.n_problems, verdict.n_duplicated) == (0, 0), str(verdict)


def assert_completes(run: Run, output: Path, photos: Path, drill: str, ledger: Ledger, detected_s: float) -> None:
    """The same command again."""
    code, told = run(output)
    assert code == 0, told
    rows = rows_of(output)
    assert [row["uri"] for row in rows] == sorted(map(str, photos.iterdir()))
    assert [row["status"] for row in rows] == ["empty" if n % 3 == 0 else "labelled" for n in range(N_IMAGES)]
    assert run(output, name="export")[0] == 0
    assert not list(output.rglob("*.tmp"))
    ledger.add(PROMISE, drill, run_verify(output), n_fired=1, detected_s=detected_s)


def n_labelled(output: Path) -> int:
    return len(list(output.glob("labels/*.parquet")))


PLACES = ["among the labels", "at the export", *(["at the start"] if LONG else [])]


def struck_command(
    place: str, output: Path, run: Run, deed: Callable[[], object], labelled: Path, folder: Path
) -> tuple[int, str, float]:
    """A command whose disk fails at the place: its exit code, what it said, and how soon."""
    struck = strike(deed, folder)
    with reading(output):
        match place:
            case "among the labels":
                code, told = run(output, model=FreeModel(before=struck))
                return code, told, time.time() - struck.struck_at
            case "at the export":
                shutil.copytree(labelled, output)
        deed()
        began = time.time()
        code, told = run(output, name="export" if place == "at the export" else "label")
    return code, told, time.time() - began


def assert_told(code: int, told: str, error_number: int, output: Path) -> None:
    assert code == 1
    assert os.strerror(error_number) in told
    assert str(output) in told
    assert "Traceback" not in told


def assert_as_far_as(place: str, output: Path) -> None:
    n_units = N_IMAGES // UNIT_SIZE
    match place:
        case "at the start":
            assert n_labelled(output) == 0
        case "among the labels":
            assert 0 < n_labelled(output) < n_units
        case "at the export":
            assert n_labelled(output) == n_units


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_disk_that_takes_no_writes(
    fault: str, place: str, disk: Disk, photos: Path, labelled: Path, run: Run, ledger: Ledger, tmp_path: Path
) -> None:
    output = disk.folder / "labels-of-a-job"
    faults = {"full": (disk.fill, errno.ENOSPC, disk.empty), "read-only": (disk.protect, errno.EROFS, disk.allow)}
    deed, error_number, mend = faults[fault]
    code, told, detected_s = struck_command(place, output, run, deed, labelled, tmp_path)
    assert_told(code, told, error_number, output)
    assert detected_s < SOON_S
    assert_nothing_torn(output)
    assert_as_far_as(place, output)
    left = list(output.rglob("*.tmp"))
    assert not left or fault == "read-only", "a full disk is filled further"
    mend()
    for path in left:  # could not be removed then
        path.unlink()
    assert_completes(run, output, photos, f"disk {fault} {place}", ledger, detected_s)


@pytest.fixture
def one_unit_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody is between its look at the plan and its write when the fault strikes."""
    monkeypatch.setattr(cluster, "UNITS_IN_HAND", 1)


@pytest.mark.usefixtures("one_unit_at_a_time")
def test_a_disk_that_is_unplugged(disk: Disk, photos: Path, run: Run, ledger: Ledger, tmp_path: Path) -> None:
    """Its place is an empty folder then, to which one could write."""
    output = disk.folder / "labels-of-a-job"
    struck = strike(disk.unplug, tmp_path)
    code, told = run(output, model=FreeModel(before=struck))
    detected_s = time.time() - struck.struck_at
    assert code == 1
    assert f"{output}/plan.parquet disappeared" in told
    assert "Traceback" not in told
    assert detected_s < SOON_S
    assert not output.exists(), "an output without its plan has been begun"
    disk.plug()
    kept = {path: path.read_bytes() for path in output.glob("labels/*.parquet")}
    assert 0 < len(kept) < N_IMAGES // UNIT_SIZE
    assert_nothing_torn(output)
    assert_completes(run, output, photos, "disk unplugged", ledger, detected_s)
    assert {path: path.read_bytes() for path in kept} == kept


@pytest.mark.usefixtures("one_unit_at_a_time")
def test_an_output_that_is_removed(photos: Path, run: Run, ledger: Ledger, tmp_path: Path) -> None:
    output = tmp_path / "labels-of-a-job"
    struck = strike(partial(shutil.rmtree, output), tmp_path)
    code, told = run(output, model=FreeModel(before=struck))
    detected_s = time.time() - struck.struck_at
    assert code == 1
    assert f"{output}/plan.parquet disappeared" in told
    assert "Traceback" not in told
    assert detected_s < SOON_S
    assert not output.exists()
    assert_completes(run, output, photos, "output removed", ledger, detected_s)


@pytest.mark.usefixtures("one_unit_at_a_time")
@pytest.mark.skipif(not LONG, reason="the short setting removes the whole output")
def test_labels_that_are_removed(photos: Path, run: Run, ledger: Ledger, tmp_path: Path) -> None:
    """Some units' files, after their units were reported done."""
    output = tmp_path / "labels-of-a-job"
    struck = strike(partial(shutil.rmtree, output / "labels"), tmp_path)
    code, told = run(output, model=FreeModel(before=struck))
    assert struck.struck_at
    assert code == 1
    assert "units are still missing" in told
    assert str(output) in told
    assert_nothing_torn(output)
    assert_as_far_as("among the labels", output)
    assert_completes(run, output, photos, "labels removed", ledger, time.time() - struck.struck_at)


def test_labels_without_their_plan_are_not_taken_for_another_plans(labelled: Path, run: Run, tmp_path: Path) -> None:
    output = Path(shutil.copytree(labelled, tmp_path / "labels-of-a-job"))
    (output / "plan.parquet").unlink()
    code, told = run(output)
    assert code == 3
    assert f"{output}/labels holds labels, but the plan" in told


def full(fd: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_for_this_process() -> None:
    """From now on it finds the disk full as it syncs what it wrote."""
    os.fsync = full


@pytest.mark.skipif(CAN_MOUNT and not LONG, reason="the short setting has a real disk for it")
def test_a_disk_that_is_full_for_an_actor(photos: Path, run: Run, ledger: Ledger, tmp_path: Path) -> None:
    output = tmp_path / "labels-of-a-job"
    struck = strike(fill_for_this_process, tmp_path)
    with reading(output):
        code, told = run(output, model=FreeModel(before=struck))
    detected_s = time.time() - struck.struck_at
    assert_told(code, told, errno.ENOSPC, output / "labels")
    assert detected_s < SOON_S
    assert_nothing_torn(output)
    assert_as_far_as("among the labels", output)
    assert not list(output.rglob("*.tmp"))
    assert_completes(run, output, photos, "disk full for an actor", ledger, detected_s)
