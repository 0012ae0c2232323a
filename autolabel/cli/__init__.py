"""The command line: `autolabel <command> [hydra overrides]`."""

from autolabel.cli.commands import main

__all__ = ["main"]
