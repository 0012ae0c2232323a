"""Images whose decoding kills the process, as a bug in a C library would."""

import os
from pathlib import Path

import pytest

MARK = b"deadly"

# Python runs sitecustomize at its start, in every process that has its folder on PYTHONPATH.
SITECUSTOMIZE = """
import os
import signal
from autolabel.images import decode as decoding

decode = decoding.decode

def deadly(data, **settings):
    if data.endswith({mark!r}):
        with open({deaths!r}, "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        os.kill(os.getpid(), signal.SIGSEGV)
    return decode(data, **settings)

decoding.decode = deadly
"""


def deadly_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let processes that start from now on die of images made deadly.

    Return the file that each notes its death in.
    """
    site, deaths = folder / "site", folder / "deaths"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE.format(mark=MARK, deaths=str(deaths)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    return deaths


def make_deadly(image: Path) -> None:
    """Mark an image after the end of its picture, which is no part of it; size and time stay as the plan says."""
    stat = image.stat()
    data = image.read_bytes()
    image.write_bytes(data[: len(data) - len(MARK)] + MARK)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
