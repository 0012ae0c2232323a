"""An image that kills whoever decodes it: the job ends, and that image alone is rejected."""

from pathlib import Path

import pytest

from tests.support.deadly import deadly_images, make_deadly
from tests.support.faults import Start
from tests.support.free_model import FreeModel
from tests.support.jobs import rows_of, run_verify
from tests.support.scenes import write_scenes


def test_the_rest_of_its_unit_is_labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    photos, output = tmp_path / "photos", tmp_path / "labels"
    write_scenes(photos, count=11, seed=6)
    deaths = deadly_images(tmp_path, monkeypatch)
    make_deadly(photos / "scene-06.jpg")
    command = ["label", f"input.uri={photos}", f"output.uri={output}", "output.unit_size=4"]
    command += ["prompts=[red circle, triangle]", "cluster.cpus_per_actor=1"]
    job = start(command, model=FreeModel())
    assert job.wait() == 0, job.log.read_text()
    assert len(set(deaths.read_text().splitlines())) >= 2  # an actor, and then the quarantine of another
    assert run_verify(output).clean
    codes = {Path(row["uri"]).name: row["reject_code"] for row in rows_of(output) if row["reject_code"]}
    assert codes == {"scene-06.jpg": "decoder_died", "truncated.jpg": "truncated"}
