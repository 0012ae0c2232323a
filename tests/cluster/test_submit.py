"""Jobs of a cluster: a head and two workers, with token authentication, spoken to through the job API alone."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from autolabel.cli.commands import main
from autolabel.cli.submit import follow, stage, submit
from autolabel.config.compose import compose_config
from tests.support.jobs import run_verify, statuses
from tests.support.scenes import write_scenes

N_IMAGES = 80
SETTINGS = ("output.unit_size=4", "batch.images=1", "prompts=[red circle, star]")
ACTORS = ("cluster.min_actors=2", "cluster.max_actors=2", "cluster.cpus_per_actor=1")


@dataclass(frozen=True)
class SmallCluster:
    """A head of two cores, and two workers of one core each."""

    folder: Path
    dashboard_port: int
    workers: list[psutil.Process]  # of `ray start --block`

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self.dashboard_port}"}

    def logs(self) -> str:
        return "\n".join(log.read_text()[-1500:] for log in self.folder.glob("node-*.log"))

    def labelling(self) -> list[psutil.Process]:
        """Workers on which an actor labels."""
        return [worker for worker in self.workers if any("UnitActor" in name for name in names_below(worker))]

    def kill(self, worker: psutil.Process) -> None:
        self.workers.remove(worker)
        kill(worker)


def kill(node: psutil.Process) -> None:
    """As a machine goes: all at once."""
    for process in (*node.children(recursive=True), node):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    node.wait()


def names_below(worker: psutil.Process) -> Iterator[str]:
    for process in worker.children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            yield " ".join(process.cmdline())


@pytest.fixture(scope="module")
def small_cluster() -> Iterator[SmallCluster]:
    ports = free_ports(5)
    folder = tempfile.mkdtemp(prefix="r-", dir="/tmp")  # short: paths of sockets are
    here = Path(sys.executable).parent
    path = f"{here}{os.pathsep}{os.environ['PATH']}"  # jobs run its `python`: that of an activated environment
    environment = {**os.environ, "RAY_TMPDIR": folder, "PATH": path}
    head = ["--head", f"--port={ports[0]}", f"--dashboard-port={ports[1]}", "--num-cpus=2", f"--temp-dir={folder}"]
    nodes: list[psutil.Process] = []
    try:
        nodes.append(start_node(environment, ports[2], *head))
        for port in ports[3:]:
            nodes.append(start_node(environment, port, f"--address=127.0.0.1:{ports[0]}", "--num-cpus=1"))
        small = SmallCluster(Path(folder), ports[1], nodes[1:])
        yield small
        nodes[1:] = small.workers
    finally:
        for node in reversed(nodes):
            kill(node)
        shutil.rmtree(folder, ignore_errors=True)


def start_node(environment: dict[str, str], agent_port: int, *arguments: str) -> psutil.Process:
    """Returns when it is up: two that start at once choose the same sockets, and one dies.

    `agent_port` is that of its agent, which starts jobs: each node of a machine needs one of its own.
    """
    command = ["ray", "start", "--block", "--disable-usage-stats"]
    command += [f"--dashboard-agent-listen-port={agent_port}", *arguments]
    log = Path(environment["RAY_TMPDIR"], f"node-{agent_port}.log")
    with log.open("w") as file:
        node = psutil.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 90
    while "Ray runtime started" not in (told := log.read_text()):
        if node.poll() is not None or time.monotonic() > deadline:
            kill(node)
            pytest.fail(f"a node did not start: {told}")
        time.sleep(0.2)
    return node


def free_ports(n: int) -> list[int]:
    """Between those that Ray gives to workers and those that the system gives to anybody: they are used much later."""
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < n:
            with suppress(OSError):
                one = stack.enter_context(socket.create_server(("127.0.0.1", random.randint(20_000, 32_000))))
                ports.append(one.getsockname()[1])
        return ports


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_scenes(folder, count=N_IMAGES - 1, seed=5)
    return folder


def started(small: SmallCluster, elsewhere: Path, *arguments: str) -> "subprocess.Popen[str]":
    """`autolabel submit` in a directory that is not the repository."""
    elsewhere.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "autolabel.cli", "submit", *arguments],
        cwd=elsewhere,
        env=small.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_worker_node_is_killed_and_the_output_is_whole(
    small_cluster: SmallCluster, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "labels"
    request = ["label", f"input.uri={photos}", f"output.uri={output}", *SETTINGS]
    with started(small_cluster, tmp_path / "elsewhere", *request, *ACTORS) as job:
        deadline = time.monotonic() + 60
        while len(list(output.glob("labels/*.parquet"))) < 2 or not small_cluster.labelling():
            assert job.poll() is None, job.stdout and job.stdout.read()
            assert time.monotonic() < deadline, small_cluster.logs()
            time.sleep(0.05)
        struck = small_cluster.labelling()[0]
        small_cluster.kill(struck)
        n_done = len(list(output.glob("labels/*.parquet")))
        assert n_done < N_IMAGES / 4, "the node was killed too late to matter"
        told, _ = job.communicate(timeout=400)
    assert job.returncode == 0, told
    assert "80 images: " in told
    assert str(run_verify(output)).endswith("0 missing, 0 duplicated")
    assert statuses(output).total() == N_IMAGES
    # the exit code of what runs there is that of what runs here
    with started(small_cluster, tmp_path / "elsewhere", *request, "threshold=0.4") as other:
        refused, _ = other.communicate(timeout=200)
    assert other.returncode == 3, refused
    assert "threshold: 0.5 there, 0.4 now" in refused


def test_what_is_sent_runs_by_itself(tmp_path: Path) -> None:
    prompts = tmp_path / "my prompts.yaml"
    prompts.write_text("- person\n- red car\n")
    overrides = ["input.uri=/in", "output.uri=/out", f"prompts.uri='{prompts}'", "prompts=none"]
    sent = stage(tmp_path / "sent", compose_config("label", overrides), overrides)
    command = [sys.executable, "-m", "autolabel.cli", "label", *sent, "--cfg", "job"]
    shown = subprocess.run(command, cwd=tmp_path / "sent", capture_output=True, text=True, check=True).stdout
    assert "uri: prompts.yaml" in shown
    assert (tmp_path / "sent" / "prompts.yaml").read_text() == prompts.read_text()
    where = [
        sys.executable,
        "-c",
        "import autolabel, autolabel.config.compose as c; print(autolabel.__file__, c.conf_dir())",
    ]
    found = subprocess.run(where, cwd=tmp_path / "sent", capture_output=True, text=True, check=True).stdout.split()
    assert found == [str(tmp_path / "sent/autolabel/__init__.py"), str(tmp_path / "sent/autolabel/conf")]


def test_what_cannot_work_there_is_told_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "label", "input.uri=photos", "output.uri=labels", "prompts=[a]"]) == 2
    told = capsys.readouterr().err
    assert "input.uri: 'photos' is a path of this machine; the cluster needs a URL" in told
    assert "output.uri: 'labels' is a path of this machine" in told
    secret = ["submit", "verify", "output.uri=s3://b/out", "+output.storage_options.secret=hush"]
    assert main(secret) == 2
    told = capsys.readouterr().err
    assert "output.storage_options.secret: Ray's dashboard would show it" in told
    assert "hush" not in told
    assert main(["submit", "label", "input.uri=/in", "output.uri=/out", "treshold=0.4"]) == 2
    assert "treshold" in capsys.readouterr().err
    assert main(["submit", "fly"]) == 2
    assert "there is no command" in capsys.readouterr().err


def test_no_cluster_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    assert main(["submit", "verify", "output.uri=/out"]) == 2
    assert "RAY_API_SERVER_ADDRESS=http://<head>:8265 names a Ray cluster" in capsys.readouterr().err


class FakeClient:
    """A job whose log connection breaks once, and that then ends with exit code 3."""

    def __init__(self) -> None:
        self.tails = ["first li", "first line\nlast line\n"]
        self.stopped: list[str] = []

    def get_job_status(self, job_id: str) -> JobStatus:
        return JobStatus.RUNNING if self.tails else JobStatus.FAILED

    async def tail_job_logs(self, job_id: str) -> Any:
        yield self.tails.pop(0)

    def get_job_info(self, job_id: str) -> Any:
        return SimpleNamespace(status=JobStatus.FAILED, message="it was refused", driver_exit_code=3)

    def submit_job(self, **job: Any) -> str:
        return "job-1"

    def stop_job(self, job_id: str) -> None:
        self.stopped.append(job_id)


def test_a_log_is_printed_once_and_the_exit_code_comes_through(capsys: pytest.CaptureFixture[str]) -> None:
    assert follow(cast(JobSubmissionClient, FakeClient()), "job-1") == 3
    printed = capsys.readouterr()
    assert printed.out == "first line\nlast line\n"
    assert "it was refused" in printed.err


@pytest.mark.parametrize(("answer", "stopped"), [("y", ["job-1"]), ("n", []), ("", [])])
def test_ctrl_c_asks_whether_the_job_shall_stop(
    monkeypatch: pytest.MonkeyPatch, answer: str, stopped: list[str]
) -> None:
    client = FakeClient()

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("autolabel.cli.submit.JobSubmissionClient", lambda: client)
    monkeypatch.setattr("autolabel.cli.submit.follow", interrupted)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return answer

    assert submit("verify", ["output.uri=/out"], ask=ask) == 1
    assert asked == ["\nstop job-1, too? [y/N] "]
    assert client.stopped == stopped
