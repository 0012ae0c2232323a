"""`python with_overrides.py FILE SCRIPT`: SCRIPT with the lines of FILE as its arguments, in this same process.

No shell reads the lines, so an override is written in the ConfigMap just as it is meant, with the quotes of Hydra's
grammar and no others. Blank lines and lines that begin with `#` are left out. Signals and exit codes are the script's.
"""

import os
import sys
from pathlib import Path


def overrides_of(text: str) -> list[str]:
    """One override to a line."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


if __name__ == "__main__":
    file, script = sys.argv[1:]
    overrides = overrides_of(Path(file).read_text("utf-8"))
    os.execv(sys.executable, [sys.executable, script, *overrides])  # noqa: S606 - no shell is the point
