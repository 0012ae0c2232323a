"""`status` tells from an output alone what became of its job, whoever asks."""

import os
import re
import time
from pathlib import Path

import orjson
import pytest

from autolabel.cli.commands import main
from autolabel.config.compose import compose_config
from autolabel.labels.units import read_summary, unit_uri
from autolabel.output import lease
from autolabel.output.job_output import JobOutput
from autolabel.output.lease import Lease, acquired, last_run, record_uri
from autolabel.output.status import JobStatus, status
from autolabel.pipeline import progress
from autolabel.pipeline.heartbeat import InHand
from autolabel.pipeline.progress import Progress
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


@pytest.fixture(autouse=True)
def renewed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.05)


def test_a_running_job_has_a_rate_and_a_holder(labelled: JobOutput) -> None:
    ended_at(labelled, 50, 30, 10)
    with acquired(labelled.storage, labelled.uri) as held:
        record_says(labelled, held, 11, 0.175)
        text = str(asked(labelled))
    done = r"11 of 11 images \(100\.0%\), 3 of 3 units; the last one 00:1\d ago; 0\.175 images/s"
    assert re.search(done, text), text
    assert "90.91% labelled, 0.00% empty, 9.09% rejected" in text
    assert "(all units looked at); truncated: 1" in text
    assert f"(process {os.getpid()})" in text
    assert text.endswith("at work")
    assert "done: run 1 ended at" in str(asked(labelled))


def test_a_dead_job_is_seen_and_has_no_time_left(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=10)
    Path(unit_uri(output.uri, 2)).unlink()
    ended_at(output, 50, 30)
    with acquired(output.storage, output.uri) as held:
        record_says(output, held, 9, 0.2)
        working = asked(output)
        record = output.storage.read(record_uri(output.uri, 1))
    done = (
        r"8 of 11 images \(72\.7%\), 2 of 3 units; the last one 00:3\d ago; 1 more is finished, in units in hand; "
        r"0\.2 images/s, 00:10 left$"
    )
    assert re.search(done, str(working).splitlines()[0]), str(working)
    assert "not done; the same command goes on: run 1 ended" in str(asked(output))
    assert "in hand" not in str(asked(output))  # it is lost
    # the record of a process that is gone, and of one on a machine that nobody here can ask
    for changed, alive in (({"process_start_ticks": 1}, False), ({"machine": None}, None)):
        output.storage.overwrite(record_uri(output.uri, 1), orjson.dumps({**orjson.loads(record), **changed}))
        assert asked(output).alive is alive
        assert asked(output).at_work is (alive is None)
    os.utime(record_uri(output.uri, 1), (time.time() - lease.EXPIRES_S - 5,) * 2)
    text = str(asked(output))
    assert "last heard of 00:50 ago: died; the same command goes on" in text
    assert "left" not in text


def record_says(output: JobOutput, held: Lease, n_finished: int, images_per_s: float | None) -> None:
    """Wait until the holder's record has been renewed with what it says."""
    held.say(n_finished, images_per_s)
    deadline = time.monotonic() + 60
    while (run := last_run(output.storage, output.uri)) is None or run.images_per_s != images_per_s:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def progress_of(output: JobOutput, held: Lease, n_done_before: int) -> Progress:
    return Progress(n_images=output.plan.n_images, n_done_before=n_done_before, say=held.say)


def test_the_rate_is_the_bars_though_units_end_in_bursts_and_a_night_lies_between_two_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From the times of the files, it would be 4 images in no time, or 11 images in a night."""
    monkeypatch.setattr(progress, "LOOK_EVERY_S", 0.02)
    caplog.set_level("INFO", "autolabel")
    output = labelled_scenes(tmp_path, count=10)
    began = time.monotonic()

    def in_hand() -> InHand:
        """Two units of four are worked on, at ten images a second together, and end at the same moment."""
        return InHand(n_images=min(8, int(10 * (time.monotonic() - began))))

    with acquired(output.storage, output.uri) as held:
        first = progress_of(output, held, 0)
        with first.showing(in_hand):
            time.sleep(0.8)
            for unit in (0, 1):
                first.add(read_summary(output.storage, output.uri, unit))
    ended_at(output, 9 * 3600, 9 * 3600, 0)
    of_the_bar = float(caplog.messages[-1].split(", ")[1].split()[0])
    assert asked(output).images_per_s == pytest.approx(of_the_bar, abs=0.1)
    assert of_the_bar == pytest.approx(10, rel=0.3)

    with acquired(output.storage, output.uri) as held:
        assert asked(output).images_per_s == pytest.approx(of_the_bar, abs=0.1)  # this run has finished nothing yet
        second = progress_of(output, held, 8)
        with second.showing(InHand):
            time.sleep(0.1)
            second.add(read_summary(output.storage, output.uri, 2))
            time.sleep(0.5)
    of_the_bar = float(caplog.messages[-1].split(", ")[1].split()[0])
    assert asked(output).images_per_s == pytest.approx(of_the_bar, abs=0.1)
    assert 1 < of_the_bar < 7  # three images in half a second


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
