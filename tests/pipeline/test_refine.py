"""`refine` decides again: what it writes is what labelling with the new limits would have written."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from autolabel.cli.commands import main
from autolabel.config import OutputConfig
from autolabel.config.compose import compose_config
from autolabel.errors import BadInput, Refused
from autolabel.evaluation.prompts_yaml import prompts_yaml
from autolabel.output.job_output import JobOutput, finished_output
from autolabel.output.settings import RefinedFrom
from autolabel.pipeline.refine import refine
from tests.support.jobs import rows_of, run_verify
from tests.support.made import box_mask
from tests.support.made_objects import NO_MASK, MadeObject, make_objects_output
from tests.support.outputs import ONTOLOGY, labelled_scenes

ROW = ["image_id", "status", "prompts", "instances", "candidates"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> JobOutput:
    return labelled_scenes(tmp_path_factory.mktemp("labelled"), count=10)


def refined(labelled: JobOutput, folder: Path, *overrides: str) -> JobOutput:
    uri = str(folder / "refined")
    print(refine(compose_config("refine", [f"output.uri='{labelled.uri}'", f"refined.uri='{uri}'", *overrides])))
    return finished_output(OutputConfig(uri=uri))


def rows(output: JobOutput) -> list[dict[str, Any]]:
    return [{name: row[name] for name in ROW} for row in rows_of(Path(output.uri))]


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(["threshold=0.35"], id="lower"),
        pytest.param(["threshold=0.8"], id="higher"),
        pytest.param(["nms.within=null"], id="no NMS"),
        pytest.param(["nms.within=null", "nms.across=0.5", "nms.metric=ios"], id="another NMS"),
        pytest.param(["min_area=2000", "max_area=9000"], id="areas"),
        pytest.param(["max_instances=2", "threshold=0.3"], id="at most two"),
    ],
)
def test_as_if_labelled_with_these_limits(labelled: JobOutput, tmp_path: Path, limits: list[str]) -> None:
    """Scenes and mistakes are drawn from a seed, so the same instances are divided by other limits here."""
    expected = labelled_scenes(tmp_path, count=10, overrides=limits)
    found = refined(labelled, tmp_path, *limits)
    assert rows(found) == rows(expected)
    assert rows(found) != rows(labelled)
    assert run_verify(found.uri).clean
    assert found.record.settings.rules == expected.record.settings.rules
    origin = RefinedFrom(uri=labelled.uri, fingerprint=labelled.record.fingerprint)
    assert found.record.settings.refined_from == origin


def test_nothing_asked_is_the_same_and_a_refined_set_can_be_refined(labelled: JobOutput, tmp_path: Path) -> None:
    first = refined(labelled, tmp_path / "first")
    assert rows(first) == rows(labelled)
    low = refined(first, tmp_path / "low", "threshold=0.3", "nms.within=null")
    back = refined(low, tmp_path / "back", "threshold=0.5", "nms.within=0.7")
    assert rows(back) == rows(labelled)


def test_thresholds_of_categories_come_from_a_prompts_file(labelled: JobOutput, tmp_path: Path) -> None:
    categories = [{**c, "threshold": 0.9 if c["id"] == 1 else 0.3} for c in ONTOLOGY.to_list()]
    file = tmp_path / "prompts.yaml"
    file.write_text(yaml.safe_dump({"categories": categories}))
    found = rows(refined(labelled, tmp_path, f"prompts.uri='{file}'"))
    scores: dict[int, list[float]] = {1: [], 2: []}
    for row in found:
        for instance in row["instances"]:
            scores[instance["category_id"]].append(instance["score"])
    assert min(scores[1]) > 0.9
    assert 0.3 < min(scores[2]) < 0.4


def test_the_same_command_goes_on_and_another_one_is_refused(labelled: JobOutput, tmp_path: Path) -> None:
    once = refined(labelled, tmp_path, "threshold=0.7")
    kept, lost = (Path(once.uri, "labels", f"{unit:08d}.parquet") for unit in (0, 1))
    before, contents = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    refined(labelled, tmp_path, "threshold=0.7")
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == contents
    with pytest.raises(Refused, match=r"threshold: 0\.7 there, 0\.8 now"):
        refined(labelled, tmp_path, "threshold=0.8")


def test_everything_wrong_is_told(labelled: JobOutput, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput) as low:
        refined(labelled, tmp_path, "threshold=0.1")
    assert [problem.split(" is below")[0] for problem in low.value.problems] == [
        "threshold of 'round': 0.1",
        "threshold of 'unicorn': 0.1",
    ]
    with pytest.raises(BadInput) as others:
        refined(labelled, tmp_path, "prompts=[round, horse]")
    assert [problem.partition(" in ")[0] for problem in others.value.problems] == [
        "prompts: 'angular' is missing",
        "prompts: 'horse' is not",
        "prompts: 'round' has id and phrases (1, ('round',)),",
        "prompts: 'unicorn' is missing",
    ]
    code = main(["refine", f"output.uri='{labelled.uri}'", "threshold=much", "nms.within=2", "max_instances=0"])
    told = capsys.readouterr().err
    assert code == 2
    for problem in (
        "refined.uri: required",
        "threshold: 'much' is neither a number nor same",
        "nms.within: 2 is not between 0 and 1",
        "max_instances: 0 is not 1 or more",
    ):
        assert problem in told
    assert not (tmp_path / "refined").exists()


# --- given objects ---


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> JobOutput:
    images = {
        "a.jpg": [
            MadeObject("sure", 3, box_mask(0, 0, 20, 20), 0.9),
            MadeObject("less", 3, box_mask(0, 0, 20, 19), 0.6),
            MadeObject("sign", 7, box_mask(5, 5, 5, 5), 0.6),
            MadeObject("nothing", 3, NO_MASK, 0.95),
        ]
    }
    return make_objects_output(str(tmp_path_factory.mktemp("given") / "labels"), images)


@pytest.mark.parametrize(
    ("overrides", "labels"),
    [
        pytest.param([], ["sure", "less", "sign"], id="as they were"),
        pytest.param(["threshold=0.7"], ["sure"], id="threshold"),
        pytest.param(["prompts=[{name: car, threshold: 0.7}]"], ["sure", "sign"], id="of a category"),
        pytest.param(["prompts=[{name: car, id: 3, max_instances: 1}]"], ["sure", "sign"], id="number"),
        pytest.param(["min_area=100"], ["sure", "less"], id="area"),
        pytest.param(["min_area=0"], ["sure", "less", "sign"], id="no area is no label"),
        pytest.param(["nms.within=0.9"], ["sure", "sign"], id="NMS, if asked for"),
    ],
)
def test_limits_decide_which_given_objects_are_labels_and_none_is_lost(
    given: JobOutput, overrides: list[str], labels: list[str], tmp_path: Path
) -> None:
    output = refined(given, tmp_path, *overrides)
    (row,) = rows(output)
    assert [one["object_id"] for one in row["instances"]] == labels
    assert len(row["instances"]) + len(row["candidates"]) == 4
    assert run_verify(output.uri).clean


def test_prompts_of_given_objects_only_set_limits(given: JobOutput, tmp_path: Path) -> None:
    typed = "prompts=[red car, {name: car, phrases: [van]}, {name: bus, threshold: 0.1}, {name: sign, id: 8}]"
    with pytest.raises(BadInput) as caught:
        refined(given, tmp_path, typed)
    assert list(caught.value.problems) == [
        "prompts[0]: 'red car' asks for a concept, and this job masks given objects: prompts may only set limits of "
        "their categories, {name: ..., threshold: ...}",
        "prompts[1]: phrases is not for given objects, only name, threshold, max_instances, supercategory, id",
        f"prompts[2]: {given.uri} has no category 'bus'",
        f"prompts[3]: 'sign' has the id 7 in {given.uri}, not 8",
    ]


def test_the_thresholds_that_an_evaluation_writes_are_taken(given: JobOutput, tmp_path: Path) -> None:
    settings = given.record.settings
    file = tmp_path / "prompts.yaml"
    file.write_text(prompts_yaml(settings.ontology, {3: 0.7, 7: 0.0}, {}))
    (row,) = rows(refined(given, tmp_path, f"prompts.uri='{file}'"))
    assert [one["object_id"] for one in row["instances"]] == ["sure", "sign"]


def test_unfinished_labels_are_not_refined(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=6)
    Path(output.uri, "labels", "00000001.parquet").unlink()
    with pytest.raises(BadInput, match="1 of 2 units are not labelled yet"):
        refined(output, tmp_path)
