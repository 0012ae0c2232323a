"""`autolabel submit <command> [overrides]`: the command as a job of a Ray cluster, followed from here to its end.

The cluster gets this very package with its configuration, whatever the working directory; the packages it needs must be
in the cluster's image. Everything that can be checked here is checked before anything is sent.
"""

import asyncio
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from ray.job_submission import JobStatus, JobSubmissionClient

from autolabel.config.compose import checked_arguments, compose_config, conf_dir
from autolabel.config.keys import keys_of
from autolabel.config.overrides import quoted
from autolabel.errors import BadInput, JobFailed
from autolabel.redaction import redacted_override
from autolabel.storage.uris import scheme_of

SHIPPED = ("prompts.uri", "exemplars.uri", "objects.uri")  # files that the driver reads: they go along
SEND_FOR_S = 60.0


def submit(command: str, overrides: Sequence[str], *, ask: Callable[[str], str] = input) -> int:
    """Run a command on the cluster of RAY_API_SERVER_ADDRESS or RAY_ADDRESS; its exit code.

    On Ctrl-C, `ask` is asked whether the job shall stop, too; without a terminal it goes on.

    Raises:
        BadInput: the settings are wrong, name a place of this machine or a secret, or there is no cluster.
        JobFailed: the cluster does not take the job.
    """
    settings = compose_config(command, overrides)
    problems = list(places_of_this_machine(settings))
    problems += [
        f"{override.partition('=')[0]}: Ray's dashboard would show it; give credentials by the cluster's own means"
        for override in overrides
        if redacted_override(override) != override
    ]
    if problems:
        raise BadInput(problems)
    try:
        client = JobSubmissionClient()
    except (ConnectionError, RuntimeError, ValueError) as error:
        hint = "RAY_API_SERVER_ADDRESS=http://<head>:8265 names a Ray cluster"
        raise BadInput(f"{hint}; there is none, or it does not answer: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        sent = stage(Path(folder), settings, checked_arguments(command, overrides))
        entrypoint = shlex.join(["python", "-m", "autolabel.cli", command, *sent])
        job_id = send(client, entrypoint, folder)
    print(f"autolabel submit: {job_id}: {entrypoint}", file=sys.stderr, flush=True)
    try:
        return follow(client, job_id)
    except KeyboardInterrupt:
        if sys.stdin.isatty() and ask(f"\nstop {job_id}, too? [y/N] ").strip().lower() in ("y", "yes"):
            client.stop_job(job_id)
            print(f"autolabel submit: {job_id} is told to stop", file=sys.stderr)
        else:
            print(f"autolabel submit: {job_id} goes on; ray job logs --follow {job_id}", file=sys.stderr)
        return 1


def send(client: JobSubmissionClient, entrypoint: str, folder: str) -> str:
    """Return the id of the job; a head that is just up has nobody to start it yet, and answers 500.

    Raises:
        JobFailed: it is not taken.
    """
    deadline = time.monotonic() + SEND_FOR_S
    while True:
        try:
            return client.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": folder})
        except RuntimeError as error:
            if "status code 5" not in str(error) or time.monotonic() > deadline:
                raise JobFailed(f"the cluster does not take the job: {error}") from error
            time.sleep(1)


def places_of_this_machine(settings: Any) -> Iterator[str]:
    """Yield a problem for each path that means nothing to another machine."""
    for key in keys_of(type(settings)):
        value = attrgetter(key.name)(settings)
        if key.is_place and value and is_relative(value) and not is_shipped(key.name, value):
            yield f"{key.name}: {value!r} is a path of this machine; the cluster needs a URL, or a path all nodes share"


def is_shipped(name: str, uri: str) -> bool:
    """Tell whether a file goes along: a YOLO data set is many of them, and does not."""
    return name in SHIPPED and (name != "objects.uri" or uri.lower().endswith(".json"))


def is_relative(uri: str) -> bool:
    return scheme_of(uri) == "file" and not uri.startswith(("/", "file:///"))


def stage(folder: Path, settings: Any, overrides: list[str]) -> list[str]:
    """Put into a folder what the job needs; the overrides that name it there."""
    package = Path(__file__).resolve().parents[1]
    shutil.copytree(package, folder / "autolabel", ignore=shutil.ignore_patterns("__pycache__"))
    if not (package / "conf").is_dir():  # a checkout keeps it at the top level
        shutil.copytree(conf_dir(), folder / "autolabel" / "conf")
    sent = list(overrides)
    for name in SHIPPED:
        group, _, key = name.partition(".")
        uri = getattr(getattr(settings, group, None), key, None)
        if uri is None or scheme_of(uri) != "file" or not is_shipped(name, uri):
            continue
        path = Path(uri.removeprefix("file://")).expanduser()
        if not path.is_file():
            raise BadInput(f"{name}: {uri} does not exist")
        target = f"{group}{path.suffix}"
        shutil.copyfile(path, folder / target)
        sent.append(f"{name}={quoted(target)}")
    return sent


def follow(client: JobSubmissionClient, job_id: str) -> int:
    """Print what the job prints until it ends; the exit code of its process."""
    n_printed = 0

    async def tail() -> None:
        nonlocal n_printed
        n_heard = 0
        async for text in client.tail_job_logs(job_id):
            fresh = text[max(0, n_printed - n_heard) :]  # a connection that was lost begins with what was printed
            n_heard += len(text)
            n_printed = max(n_printed, n_heard)
            print(fresh, end="", flush=True)

    while not client.get_job_status(job_id).is_terminal():
        asyncio.run(tail())
    info = client.get_job_info(job_id)
    if info.status == JobStatus.SUCCEEDED:
        return 0
    print(f"autolabel submit: {job_id} {info.status}: {info.message}", file=sys.stderr)
    return info.driver_exit_code or 1
