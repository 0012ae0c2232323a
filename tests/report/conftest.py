"""One labelled output and its report, which tests read and do not change."""

from pathlib import Path

import pytest

from autolabel.config.compose import compose_config
from autolabel.report import report
from tests.report.reported import COUNT, Reported
from tests.support.outputs import labelled_scenes


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    folder = tmp_path_factory.mktemp("reported")
    output = labelled_scenes(folder, count=COUNT)
    said = report(compose_config("report", [f"output.uri='{output.uri}'"]))
    return Reported(output, Path(output.uri) / "report", said)
