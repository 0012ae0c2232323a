"""The version of this package: in `run.json`, and by `autolabel --version`."""

__version__ = "0.1.0"
