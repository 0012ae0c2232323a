"""One labelled output and its report, which tests read and do not change."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from autolabel.config.compose import compose_config
from autolabel.output.job_output import JobOutput
from autolabel.report import report
from tests.support.outputs import labelled_scenes

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


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    folder = tmp_path_factory.mktemp("reported")
    output = labelled_scenes(folder, count=COUNT)
    said = report(compose_config("report", [f"output.uri='{output.uri}'"]))
    return Reported(output, Path(output.uri) / "report", said)
