"""`autolabel <command> --help`: every key with its default and its sentence."""

from typing import Any

from autolabel.config import COMMANDS
from autolabel.config.compose import conf_dir, describe_keys


def help_text(command: str) -> str:
    """Return every key with its default and its sentence, and the choices of every group."""
    lines = [f"usage: autolabel {command} [key=value ...]", ""]
    for group in sorted(path for path in conf_dir().iterdir() if path.is_dir()):
        if command == "label":
            lines.append(f"  {group.name}={'|'.join(sorted(file.stem for file in group.glob('*.yaml')))}")
    if command == "label":
        lines += ["  prompts=[person, red car]", "  prompts=FILE.yaml", ""]
    for name, default, sentence in describe_keys(COMMANDS[command]):
        lines += [f"  {name}={default_text(default)}", f"      {sentence}"]
    return "\n".join(lines) + "\n"


def default_text(default: Any) -> str:
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    return f"[{','.join(map(str, default))}]" if isinstance(default, list) else str(default)
