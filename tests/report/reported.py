"""A report that was made, and names that a page must not take for its own markup."""

from dataclasses import dataclass
from pathlib import Path

from autolabel.output.job_output import JobOutput

COUNT = 14
HOSTILE = (
    "<img src=x onerror=alert(1)>.jpg",
    "\"'><script>alert(2)<.jpg",
    "</script><script>alert(3).jpg",  # of a folder called <
    "&lt;b&gt;.jpg",
)


@dataclass(frozen=True)
class Reported:
    output: JobOutput
    folder: Path
    said: str
