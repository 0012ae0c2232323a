"""`status` tells from an output alone what became of its job, whoever asks."""

import os
import time
from pathlib import Path

import orjson
import pytest

from autolabel.cli.commands import main
from autolabel.config.compose import compose_config
from autolabel.labels.units import unit_uri
from autolabel.output import lease
from autolabel.output.job_output import JobOutput
from autolabel.output.lease import acquired, last_run, record_uri
from autolabel.output.status import JobStatus, status
from tests.support.outputs import labelled_scenes


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> JobOutput:
    """Eleven images in three units."""
    return labelled_scenes(tmp_path_factory.mktemp("labelled"), count=10)


def asked(output: JobOutput) -> JobStatus:
    found = status(compose_config("status", [f"output.uri='{output.uri}'"]))
    assert isinstance(found, JobStatus)
    return found


def ended_at(output: JobOutput, *seconds_ago: float) -> None:
    for unit, seconds in enumerate(seconds_ago):
        os.utime(unit_uri(output.uri, unit), (time.time() - seconds,) * 2)


def test_a_running_job_has_a_rate_and_a_holder(labelled: JobOutput) -> None:
    ended_at(labelled, 50, 30, 10)
    with acquired(labelled.storage, labelled.uri):
        text = str(asked(labelled))
    assert "11 of 11 images (100.0%), 3 of 3 units; the last one 00:10 ago; 0.175 images/s" in text  # 4 + 3 in 40 s
    assert "90.91% labelled, 0.00% empty, 9.09% rejected" in text
    assert "(all units looked at); truncated: 1" in text
    assert f"(process {os.getpid()})" in text
    assert text.endswith("at work")
    assert "done: run 1 ended at" in str(asked(labelled))


def test_a_dead_job_is_seen_and_has_no_time_left(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=10)
    Path(unit_uri(output.uri, 2)).unlink()
    ended_at(output, 50, 30)
    with acquired(output.storage, output.uri):
        working = asked(output)
        record = output.storage.read(record_uri(output.uri, 1))
    assert "8 of 11 images (72.7%), 2 of 3 units; the last one 00:30 ago; 0.2 images/s, 00:15 left" in str(working)
    assert "not done; the same command goes on: run 1 ended" in str(asked(output))
    # the record of a process that is gone, and of one on a machine that nobody here can ask
    for changed, alive in (({"process_start_ticks": 1}, False), ({"machine": None}, None)):
        output.storage.overwrite(record_uri(output.uri, 1), orjson.dumps({**orjson.loads(record), **changed}))
        assert asked(output).alive is alive
        assert asked(output).at_work is (alive is None)
    os.utime(record_uri(output.uri, 1), (time.time() - lease.EXPIRES_S - 5,) * 2)
    text = str(asked(output))
    assert "last heard of 00:50 ago: died; the same command goes on" in text
    assert "left" not in text


def test_of_many_units_a_sample_is_looked_at(labelled: JobOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.output.status.FOOTERS", 2)
    assert "(2 of the units looked at)" in str(asked(labelled))


def test_before_the_first_unit_and_where_there_is_no_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = labelled_scenes(tmp_path, count=2)
    Path(unit_uri(output.uri, 0)).unlink()
    assert last_run(output.storage, output.uri) is None
    assert str(asked(output)).splitlines() == [
        f"{output.uri}: 0 of 3 images (0.0%), 0 of 1 units",
        "nothing is labelled yet",
        "no run has begun",
    ]
    assert main(["status", f"output.uri='{tmp_path}/nowhere'"]) == 2
    assert "no job was ever started here" in capsys.readouterr().err
