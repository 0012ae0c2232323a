"""`autolabel <command> [hydra overrides]`: exit code 0 done, 1 failed, 2 bad configuration or input, 3 refused."""

import io
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import hydra
import yaml
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from autolabel.cli.help import SUBMIT_USAGE, USAGE, help_text
from autolabel.config import COMMANDS
from autolabel.config.compose import checked_arguments, conf_dir, register_schemas, to_settings
from autolabel.errors import AutolabelError, BadInput, did_you_mean
from autolabel.redaction import redacted, redacted_override
from autolabel.signals import interruptible, witnessed
from autolabel.version import __version__

BAD_CONFIGURATION = 2


def label(settings: Any) -> int:
    if starts_ray(settings.cluster.address):
        # Ray listens on every interface, and reads this when it is imported: let only this user's processes in.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    from autolabel.pipeline.precheck import check_at_first_sight

    check_at_first_sight(settings)
    from autolabel.pipeline.job import label as run  # imports torch and ray, which takes seconds

    print(run(settings))
    return 0


def starts_ray(address: str | None) -> bool:
    """Return whether ray.init() would start a Ray here: its own rules, which it applies too late to be asked."""
    if address is not None or "RAY_ADDRESS" in os.environ:
        return address == "local"
    folder = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray"
    return not (folder / "ray_current_cluster").exists()  # left by `ray start`, removed by `ray stop`


def status(settings: Any) -> int:
    from autolabel.output.status import status as run

    print(run(settings))
    return 0


def verify(settings: Any) -> int:
    from autolabel.output.verify import verify as run

    verdict = run(settings)
    print(verdict)
    return 0 if verdict.clean else 1


def refine(settings: Any) -> int:
    from autolabel.pipeline.refine import refine as run

    print(run(settings))
    return 0


def export(settings: Any) -> int:
    from autolabel.exports import export as run

    print(run(settings))
    return 0


def evaluate(settings: Any) -> int:
    from autolabel.evaluation import evaluate as run

    print(run(settings))
    return 0


def report(settings: Any) -> int:
    from autolabel.report import report as run

    print(run(settings))
    return 0


def demo_scenes(settings: Any) -> int:
    from autolabel.demo.ground_truth import demo_scenes as run

    print(run(settings))
    return 0


RUN: dict[str, Callable[[Any], int]] = {
    "label": label,
    "status": status,
    "verify": verify,
    "refine": refine,
    "export": export,
    "evaluate": evaluate,
    "report": report,
    "demo-scenes": demo_scenes,
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    asked_for_help = not {"-h", "--help"}.isdisjoint(arguments)
    if "--version" in arguments:
        print(f"autolabel {__version__}")
        return 0
    submitted = arguments[:1] == ["submit"]
    usage = SUBMIT_USAGE if submitted else USAGE
    command, *overrides = arguments[submitted:] or [""]
    if command in ("", "-h", "--help"):
        print(usage, end="")
        return 0 if asked_for_help else BAD_CONFIGURATION
    if command not in COMMANDS:
        unknown = f"there is no command {command!r}{did_you_mean(command, [*COMMANDS, 'submit'])}"
        print(f"autolabel: {unknown}\n\n{usage}", end="", file=sys.stderr)
        return BAD_CONFIGURATION
    if asked_for_help:
        print(f"{SUBMIT_USAGE}\n" if submitted else "", help_text(command), sep="", end="")
        return 0
    return submit(command, overrides) if submitted else run_command(command, overrides)


def submit(command: str, overrides: list[str]) -> int:
    from autolabel.cli.submit import submit as run  # imports ray

    try:
        return run(command, overrides)
    except AutolabelError as error:
        print(f"autolabel submit {command}: {error}", file=sys.stderr)
        return error.exit_code


def run_command(command: str, overrides: list[str]) -> int:
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("autolabel").setLevel(logging.INFO)
    code: int | None = None

    def task(composed: DictConfig) -> None:
        nonlocal code
        code = 1  # what a traceback, which Hydra prints, ends with
        try:
            settings = to_settings(command, composed)
            with interruptible(farewell), witnessed(f"autolabel {command}: its process was ended; {how_to_go_on}"):
                code = RUN[command](settings)
        except AutolabelError as error:
            print(f"autolabel {command}: {error}", file=sys.stderr)
            code = error.exit_code
        except OSError as error:  # of files and storages: a path that leads nowhere is bad input
            print(f"autolabel {command}: {error}", file=sys.stderr)
            wrong_path = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
            code = BAD_CONFIGURATION if wrong_path else 1
        except OmegaConfBaseException as error:
            print(f"autolabel {command}: {error}", file=sys.stderr)
            code = BAD_CONFIGURATION
        except KeyboardInterrupt:
            code = 1

    again = shlex.join(["autolabel", command, *map(redacted_override, overrides)])
    how_to_go_on = f"this goes on from here:\n{again}"

    def farewell() -> None:
        print(f"autolabel {command}: interrupted; {how_to_go_on}", file=sys.stderr, flush=True)

    try:
        checked = checked_arguments(command, overrides)
    except BadInput as error:
        print(f"autolabel {command}: {error}", file=sys.stderr)
        return error.exit_code
    register_schemas()
    sys.argv = [f"autolabel {command}", *checked]
    shows_configuration = any(override.startswith(("--cfg", "-c")) for override in overrides)
    try:
        with redacted_stdout() if shows_configuration else nullcontext():
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(task)()
    except SystemExit as stopped:  # Hydra has said what is wrong with the overrides, or printed what it was asked for
        if code is None:
            return BAD_CONFIGURATION if stopped.code else 0
    return code or 0


@contextmanager
def redacted_stdout() -> Iterator[None]:
    """Print the YAML that Hydra prints of a configuration without the secrets in it."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        if printed.getvalue():
            settings = redacted(yaml.safe_load(printed.getvalue()))
            print(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), end="")
