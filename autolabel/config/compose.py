"""From what a person typed to the frozen settings of a command: Hydra composes `conf/` against the dataclasses.

Importing this module imports neither torch nor ray.
"""

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from autolabel.config.overrides import expand_prompts
from autolabel.config.schema import COMMANDS
from autolabel.config.validation import problems_of
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


def compose_config(command: str, overrides: list[str]) -> Any:
    """Return what `autolabel <command> <overrides>` runs with, for notebooks and tests.

    Raises:
        BadInput: the settings are wrong; hydra.errors.HydraException: an override is.
    """
    register_schemas()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return to_settings(compose(command, expand_prompts(overrides)))


def to_settings(composed: DictConfig) -> Any:
    """Return the frozen dataclass of a composed configuration.

    Raises:
        BadInput: with every problem between and within its fields.
    """
    try:
        settings = OmegaConf.to_object(composed)
    except FrozenInstanceError as error:  # an override of `+key=`
        raise BadInput(f"a key that is not in --help cannot be added: {error}") from error
    problems = list(problems_of(settings))
    if problems:
        raise BadInput(problems)
    return settings


def describe_keys(schema: type, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield every key of a command: (dotted name, default, sentence)."""
    for entry in fields(schema):
        if is_dataclass(entry.type):
            yield from describe_keys(entry.type, f"{prefix}{entry.name}.")  # type: ignore[arg-type]  # narrowed to a class
        else:
            default = entry.default_factory() if callable(entry.default_factory) else entry.default
            yield f"{prefix}{entry.name}", default, entry.metadata["help"]
