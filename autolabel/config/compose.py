"""From what a person typed to the frozen settings of a command: Hydra composes `conf/` against the dataclasses.

Importing this module imports neither torch nor ray.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autolabel.config.keys import keys_of
from autolabel.config.mistakes import Grammar
from autolabel.config.overrides import expand_prompts
from autolabel.config.schema import COMMANDS
from autolabel.config.validation import missing_keys, problems_of
from autolabel.errors import BadInput


def conf_dir() -> Path:
    """Return the folder of the YAML files: in the wheel within the package, in a checkout beside it."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


QUIET_HYDRA = {
    "output_subdir": None,
    "run": {"dir": "."},
    "job_logging": {"root": None},
    "hydra_logging": {"root": None},
}


def register_schemas() -> None:
    """Make each command's dataclass known to Hydra as `<command>_schema`.

    Every command names `quiet_hydra`, too: Hydra makes no folders, and leaves logging to the command.
    """
    ConfigStore.instance().store(name="quiet_hydra", node={"hydra": QUIET_HYDRA})
    for command, schema in COMMANDS.items():
        node = OmegaConf.structured(schema)
        allow_overrides(node)
        ConfigStore.instance().store(name=f"{command}_schema", node=node)


def allow_overrides(node: DictConfig) -> None:
    """Let Hydra merge into the schema of a frozen dataclass; the objects made of it are frozen all the same.

    A dictionary takes new keys: `input.storage_options.endpoint_url=...` needs no `+`.
    """
    OmegaConf.set_readonly(node, None)
    if OmegaConf.get_type(node) is dict:
        OmegaConf.set_struct(node, False)
    for name in node:
        if isinstance(child := node._get_node(name), DictConfig):
            allow_overrides(child)


def grammar_of(command: str, config_dirs: Sequence[str] = ()) -> Grammar:
    """Return what can be typed after a command; `config_dirs` are folders with more choices."""
    keys = {key.name: key for key in keys_of(COMMANDS[command])}
    schema = OmegaConf.structured(COMMANDS[command])
    allow_overrides(schema)
    folders = [conf_dir(), *map(Path, config_dirs)]
    return Grammar(
        command=command,
        keys=keys,
        groups={
            group: sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})
            for group in groups_of(command)
        },
        schema=schema,
        command_of={
            key.name: other for other, schema in COMMANDS.items() for key in keys_of(schema) if key.name not in keys
        },
    )


def groups_of(command: str) -> dict[str, str]:
    """Return the groups of a command that conf/ has choices for, with the one that is taken where nothing is said."""
    defaults = yaml.safe_load((conf_dir() / f"{command}.yaml").read_text("utf-8"))["defaults"]
    return {group: choice for entry in defaults if isinstance(entry, dict) for group, choice in entry.items()}


def checked_arguments(command: str, arguments: Sequence[str]) -> list[str]:
    """Return what was typed after a command as Hydra takes it.

    Raises:
        BadInput: a line for each mistake, and one for each problem that the rest would have by itself.
    """
    config_dirs = values_of_option(arguments, "--config-dir", "-cd")
    typed = grammar_of(command, config_dirs).read(arguments)
    names = values_of_option(arguments, "--config-name", "-cn")
    problems = [*typed.problems, *(problem for name in names if (problem := file_problem(command, name, config_dirs)))]
    if not problems:
        return expand_prompts(typed.taken)
    with suppress(HydraException, OmegaConfBaseException):
        if not any(argument.startswith("-") for argument in typed.taken):  # or another file would have its say
            problems += problems_of(OmegaConf.to_object(composed(command, expand_prompts(typed.taken))))
    raise BadInput(problems)


def file_problem(command: str, name: str, config_dirs: Sequence[str]) -> str | None:
    """Return what is wrong with the file of a --config-name, as far as is seen without composing it."""
    file = f"{name.removesuffix('.yaml')}.yaml"
    path = next((path for folder in [conf_dir(), *map(Path, config_dirs)] if (path := folder / file).is_file()), None)
    if path is None:
        where = " or ".join(config_dirs) or f"{conf_dir()}; --config-dir names the folder of yours"
        return f"--config-name: there is no {file} in {where}"
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        return f"{path}: not YAML: {' '.join(str(error).split())}"
    goes_on = isinstance(document, dict) and "defaults" in document
    return None if goes_on else f"{path}: {how_to_go_on(command)}"


def how_to_go_on(command: str) -> str:
    return f"begin it with `defaults: [{command}, _self_]`, from which it goes on"


def values_of_option(arguments: Sequence[str], *names: str) -> list[str]:
    """Return the values that an option is given, by any of its names."""
    values = list[str]()
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in names:
            values += [value] if equals else arguments[index + 1 : index + 2]
    return values


def compose_config(command: str, overrides: Sequence[str]) -> Any:
    """Return what `autolabel <command> <overrides>` runs with, for notebooks and tests.

    Raises:
        BadInput: an override or the settings are wrong.
    """
    return to_settings(command, composed(command, checked_arguments(command, overrides)))


def composed(command: str, overrides: list[str]) -> DictConfig:
    register_schemas()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(command, overrides)


def to_settings(command: str, composed: DictConfig) -> Any:
    """Return the frozen dataclass of a composed configuration.

    Raises:
        BadInput: with every problem between and within its fields.
    """
    if OmegaConf.get_type(composed) is not COMMANDS[command]:
        raise BadInput(f"--config-name: the file is of another command: {how_to_go_on(command)}")
    settings = OmegaConf.to_object(composed)
    problems = [*missing_keys(settings), *problems_of(settings)]
    if problems:
        raise BadInput(problems)
    return settings
