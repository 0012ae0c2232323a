"""`autolabel evaluate` as a user calls it: known answers, partial ground truths, and what is told of them."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest
import yaml

from autolabel.cli.commands import main
from autolabel.config import OutputConfig
from autolabel.config.compose import compose_config
from autolabel.demo.ground_truth import GROUND_TRUTH_NAME, demo_scenes
from autolabel.demo.scenes import draw_scene
from autolabel.errors import BadInput
from autolabel.evaluation import evaluate
from autolabel.evaluation.prompts_yaml import entry
from autolabel.exports import export
from autolabel.labels.units import file_metadata, read_columns, unit_uri, write_unit
from autolabel.masks.rle import encode
from autolabel.output.job_output import JobOutput, open_output
from autolabel.pipeline.refine import refine
from autolabel.prompts.categories import parse_prompt_file, read_categories
from autolabel.storage import open_storage
from tests.support.cases import HALF_OF_A, A, B, C, Document, annotation, ground_truth, image, result
from tests.support.jobs import rows_of
from tests.support.outputs import SHAPES, labelled_scenes
from tests.support.s3 import S3

COUNT, SEED = 10, 3


def run(folder: Path, *overrides: str) -> tuple[str, dict[str, Any]]:
    """Text and JSON of an evaluation."""
    text = evaluate(compose_config("evaluate", [f"evaluation.uri='{folder}/evaluation'", *overrides]))
    return text, orjson.loads((folder / "evaluation" / "evaluation.json").read_bytes())


def of_results(folder: Path, truth: Document, results: list[Document], *overrides: str) -> tuple[str, dict[str, Any]]:
    (folder / "truth.json").write_bytes(orjson.dumps(truth))
    (folder / "results.json").write_bytes(orjson.dumps(results))
    return run(folder, f"ground_truth.uri='{folder}/truth.json'", f"results.uri='{folder}/results.json'", *overrides)


IMAGES = [image(1), image(2), image(3)]
BOTH = [annotation(1, 1, A), annotation(1, 1, B)]
FOUND = [result(1, 1, A), result(1, 1, B)]


@pytest.mark.parametrize(
    ("annotations", "results", "ap", "cg_f1", "counts", "best_f1"),
    [
        pytest.param(BOTH, FOUND, 1.0, 100.0, (2, 0, 0), 1.0, id="perfect labels"),
        pytest.param(BOTH, [*FOUND, result(2, 1, C, 0.6)], 1.0, 50.0, (2, 1, 0), 1.0, id="one on an absent phrase"),
        pytest.param(BOTH, FOUND[:1], 51 / 101, 200 / 3, (1, 0, 1), 2 / 3, id="one of two missed"),
        pytest.param(BOTH, [], 0.0, 0.0, (0, 0, 2), None, id="zero results"),
        pytest.param([], FOUND, None, None, (0, 2, 0), None, id="nothing there"),
        pytest.param([], [], None, None, (0, 0, 0), None, id="nothing there, nothing found"),
        pytest.param(
            [annotation(id, 1, A) for id in (1, 2, 3)],
            [result(id, 1, A) for id in (1, 2, 3)],
            *(1.0, None, (3, 0, 0), 1.0),
            id="no image without",
        ),
    ],
)
def test_known_answers(
    annotations: list[Document],
    results: list[Document],
    ap: float | None,
    cg_f1: float | None,
    counts: tuple[int, int, int],
    best_f1: float | None,
    tmp_path: Path,
) -> None:
    text, figures = of_results(tmp_path, ground_truth(IMAGES, annotations), results)
    (car,) = figures["categories"]
    best = car["best_F1"] and car["best_F1"]["F1"]
    assert [figures["coco"]["AP"], figures["sam3"]["cgF1"], best] == [
        None if one is None else pytest.approx(one) for one in (ap, cg_f1, best_f1)
    ]
    assert (car["in_force"]["TP"], car["in_force"]["FP"], car["in_force"]["FN"]) == counts
    assert ("cgF1 undefined" in text) == (cg_f1 is None)
    assert ("that keep their threshold" in text) == (best_f1 is None)


def test_scores_below_the_threshold_are_ranked_but_are_no_labels(tmp_path: Path) -> None:
    results = [result(1, 1, A), result(1, 1, B, 0.4)]
    _, figures = of_results(tmp_path, ground_truth(IMAGES, BOTH), results)
    (car,) = figures["categories"]
    assert figures["coco"]["AP"] == pytest.approx(1.0)
    assert (car["in_force"]["recall"], car["best_F1"]["threshold"], car["best_F1"]["recall"]) == (0.5, 0.2, 1.0)
    _, lower = of_results(tmp_path, ground_truth(IMAGES, BOTH), results, "results.threshold=0.2")
    assert lower["categories"][0]["in_force"] == car["best_F1"]


def test_a_partial_ground_truth_is_said(tmp_path: Path) -> None:
    images = [
        image(1, neg_category_ids=[2]),
        image(2, neg_category_ids=[], not_exhaustive_category_ids=[1]),
        image(3, neg_category_ids=[1]),
    ]
    truth = ground_truth(images, [annotation(1, 1, A), annotation(2, 1, A)], ["car", "dog"])
    results = [result(id, category, mask) for id in (1, 2, 3) for category in (1, 2) for mask in (A, HALF_OF_A)]
    text, figures = of_results(tmp_path, truth, results)
    car, dog = figures["categories"]
    assert (car["in_force"]["TP"], car["in_force"]["FP"]) == (2, 3)  # beside A on image 1, both on image 3
    assert (dog["in_force"]["TP"], dog["in_force"]["FP"]) == (0, 2)  # on image 1, where there is none
    assert figures["sam3"]["pairs"] == {"IL_TP": 1, "IL_FN": 0, "IL_FP": 2, "IL_TN": 0}
    assert "pairs of an image and a category that are not known, left out: 2 of 6, with 4 labels on them" in text
    assert "nothing is false beside their objects: 1 of 6" in text


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> JobOutput:
    return labelled_scenes(tmp_path_factory.mktemp("labelled"), count=COUNT, seed=SEED)


def without_candidates(output: JobOutput, folder: Path) -> JobOutput:
    """A copy of an output that holds labels alone."""
    uri = str(shutil.copytree(output.uri, folder / "without"))
    metadata = file_metadata(output.record.fingerprint, output.record.settings.ontology)
    for unit in range(output.plan.n_units):
        rows = [replace(row, candidates=()) for row in read_columns(output.storage, uri, unit).images()]
        output.storage.delete(unit_uri(uri, unit))
        assert write_unit(output.storage, uri, unit, rows, metadata)
    return open_output(OutputConfig(uri=uri))


def drawn_truth(**names: str) -> Document:
    """What `labelled_scenes` drew; `names` replaces those of its categories."""
    images, annotations = [], []
    for id in range(1, COUNT + 1):
        scene = draw_scene(SEED, id - 1)
        height, width = scene.ids.shape
        images.append({"id": id, "file_name": f"{id:06d}.jpg", "height": height, "width": width})
        for index, kind in enumerate(scene.kinds):
            if scene.mask(index).any():
                category_id = next((id for id, shapes in SHAPES.items() if kind.shape in shapes), None)
                assert category_id
                annotations.append(annotation(id, category_id, encode(scene.mask(index))))
    return ground_truth(images, annotations, [names.get(name, name) for name in ("round", "angular", "unicorn")])


def of_output(folder: Path, output: JobOutput, truth: Document, *overrides: str) -> tuple[str, dict[str, Any]]:
    (folder / "truth.json").write_bytes(orjson.dumps(truth))
    return run(folder, f"ground_truth.uri='{folder}/truth.json'", f"output.uri='{output.uri}'", *overrides)


def test_labels_are_measured_as_they_are_and_curves_reach_down_to_the_candidates(
    output: JobOutput, tmp_path: Path
) -> None:
    text, figures = of_output(tmp_path, output, drawn_truth())
    rows = [row for row in rows_of(Path(output.uri)) if row["status"] != "rejected"]
    for one in figures["categories"]:
        own = [i for row in rows for i in row["instances"] if i["category_id"] == one["id"]]
        assert one["in_force"]["TP"] + one["in_force"]["FP"] == len(own)
        assert one["in_force"]["threshold"] == output.record.settings.rules.threshold_of[one["id"]]
    round_, angular, unicorn = figures["categories"]
    assert round_["curve"]["recall"][-1] > round_["in_force"]["recall"] > 0.3
    assert round_["best_F1"]["F1"] > round_["in_force"]["F1"]
    assert min(round_["curve"]["precision"]) == 1  # the synonym's twins are below NMS, and count nowhere
    assert angular["in_force"]["FP"] > 0  # what is round and was taken for angular
    assert unicorn["in_force"]["recall"] is None
    assert figures["ground_truth"]["images_missing"] == []
    assert f"On {COUNT} images and 3 categories" in text


def test_labels_and_their_export_have_the_same_figures(output: JobOutput, tmp_path: Path) -> None:
    """Where nothing is stored below the thresholds, which the export leaves out and the evaluation ranks."""
    output = without_candidates(output, tmp_path)
    export(compose_config("export", [f"output.uri='{output.uri}'"]))
    coco = orjson.loads((Path(output.uri) / "coco" / "annotations.json").read_bytes())
    truth = drawn_truth()
    id_of = {one["file_name"]: one["id"] for one in coco["images"]}
    for one in truth["images"]:
        one["id"] = id_of[one["file_name"]]
    for one in truth["annotations"]:
        one["image_id"] = id_of[f"{one['image_id']:06d}.jpg"]
    truth["categories"][2]["id"] = 5
    _, by_output = of_output(tmp_path, output, truth)
    results = f"results.uri='{output.uri}/coco/results.json'"
    _, by_file = run(tmp_path, f"ground_truth.uri='{tmp_path}/truth.json'", results, "results.threshold=0")
    assert by_output["coco"] == by_file["coco"]
    assert by_output["sam3"] == by_file["sam3"]
    assert 0 < by_output["coco"]["AP"] < 1


def test_some_images_under_other_names_and_categories_by_phrase(output: JobOutput, tmp_path: Path) -> None:
    truth = drawn_truth(round="Blob", angular="angular shape", unicorn="dragon")
    truth["images"] = [{**one, "file_name": f"elsewhere/{one['file_name']}"} for one in truth["images"][:3]]
    truth["images"] += [image(99, file_name="gone.jpg"), image(98, file_name="truncated.jpg")]
    truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] <= 3] + [annotation(98, 1, A)]
    text, figures = of_output(tmp_path, output, truth)
    told = figures["ground_truth"]
    assert told["n_images"] == 4
    assert (told["images_missing"], told["images_ambiguous"]) == (["gone.jpg"], [])
    assert told["images_rejected"] == ["truncated.jpg"]
    assert told["categories_only_in_ground_truth"] == ["dragon"]
    assert told["categories_only_in_output"] == ["unicorn"]
    assert [one["name"] for one in figures["categories"]] == ["round", "angular"]
    for sentence in (
        "images that are not in the output, left out: 1 ('gone.jpg')",
        "images that could not be read when they were labelled, so nothing was found: 1 ('truncated.jpg')",
        "categories of the ground truth alone, left out: 1 ('dragon')",
        "categories of the output alone, left out: 1 ('unicorn')",
    ):
        assert sentence in text


def test_the_prompts_file_is_the_ontology_with_the_best_thresholds(output: JobOutput, tmp_path: Path) -> None:
    _, figures = of_output(tmp_path, output, drawn_truth())
    text = (tmp_path / "evaluation" / "prompts.yaml").read_text()
    entries = parse_prompt_file(text, "prompts.yaml")
    back = read_categories(entries, place="prompts.yaml", count_tokens=lambda all: [1] * len(all), max_tokens=32)
    best_of = {one["id"]: (one["best_F1"] or one["in_force"])["threshold"] for one in figures["categories"]}
    assert yaml.safe_load(text)["categories"] == [
        entry(category, best_of[category.id]) for category in output.record.settings.ontology.categories
    ]
    assert [category.threshold for category in back.categories] == list(best_of.values())
    assert best_of[1] != output.record.settings.rules.threshold_of[1]


def test_labels_refined_by_that_file_are_as_good_as_it_says(output: JobOutput, tmp_path: Path) -> None:
    _, before = of_output(tmp_path, output, drawn_truth())
    prompts = f"prompts={tmp_path}/evaluation/prompts.yaml"
    refine(compose_config("refine", [f"output.uri='{output.uri}'", f"refined.uri='{tmp_path}/refined'", prompts]))
    _, after = run(tmp_path, f"ground_truth.uri='{tmp_path}/truth.json'", f"output.uri='{tmp_path}/refined'")
    expected = [one["best_F1"] or one["in_force"] for one in before["categories"]]
    assert [one["in_force"] for one in after["categories"]] == expected
    assert [one["curve"] for one in after["categories"]] == [one["curve"] for one in before["categories"]]


def test_by_default_everything_lies_in_the_output(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=COUNT, seed=SEED)
    (tmp_path / "truth.json").write_bytes(orjson.dumps(drawn_truth()))
    text = evaluate(
        compose_config("evaluate", [f"ground_truth.uri='{tmp_path}/truth.json'", f"output.uri='{output.uri}'"])
    )
    folder = Path(output.uri) / "evaluation"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["evaluation.json", "f1.svg", "precision_recall.svg", "prompts.yaml"]
    assert text.splitlines()[-4:] == [
        str(folder / name) for name in ("evaluation.json", "prompts.yaml", "precision_recall.svg", "f1.svg")
    ]


def test_every_place_is_reached_by_its_own_options(s3: S3, tmp_path: Path) -> None:
    bucket = s3.make_bucket("evaluation")
    s3.put(f"{bucket}/truth.json", orjson.dumps(ground_truth(IMAGES, BOTH)))
    s3.put(f"{bucket}/results.json", orjson.dumps(FOUND))
    names = {"ground_truth": "truth.json", "results": "results.json", "evaluation": "evaluation"}
    overrides = [f"{key}.uri={bucket}/{name}" for key, name in names.items()]
    overrides += [f"{key}.storage_options.endpoint_url={s3.endpoint_url}" for key in names]
    text = evaluate(compose_config("evaluate", overrides))
    written = open_storage(bucket, s3.options).read(f"{bucket}/evaluation/evaluation.json")
    assert orjson.loads(written)["sam3"]["cgF1"] == 100
    assert f"{bucket}/evaluation/prompts.yaml" in text


def test_the_ground_truth_of_demo_scenes_works_as_it_is(tmp_path: Path) -> None:
    demo_scenes(compose_config("demo-scenes", [f"output.uri='{tmp_path}'", "count=3"]))
    truth = orjson.loads((tmp_path / GROUND_TRUTH_NAME).read_bytes())
    results = [
        {**{key: one[key] for key in ("image_id", "category_id", "segmentation")}, "score": 0.9}
        for one in truth["annotations"]
    ]
    _, figures = of_results(tmp_path, truth, results)
    assert figures["coco"]["AP"] == pytest.approx(1.0)
    assert figures["sam3"]["cgF1"] == pytest.approx(100)
    assert figures["ground_truth"]["n_pairs_unknown"] == 0


def test_what_does_not_fit_is_bad_input(output: JobOutput, tmp_path: Path) -> None:
    truth = drawn_truth()
    truth["images"][0] |= {"height": 40, "width": 60}
    truth["images"][1] |= {"height": 40, "width": 60}
    truth["annotations"] = [annotation(1, 1, A)]
    with pytest.raises(BadInput) as caught:
        of_output(tmp_path, output, truth)
    first, second = caught.value.problems
    assert re.fullmatch(r"ground_truth\.uri: image '000001\.jpg' is 60 x 40 pixels, \d+ x \d+ in the output", first)
    assert "'000002.jpg'" in second


def test_a_unit_that_is_missing_matters_where_it_holds_an_image(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=COUNT, seed=SEED)
    Path(unit_uri(output.uri, 1)).unlink()
    truth = drawn_truth()
    with pytest.raises(BadInput, match="1 of the 3 units that hold images of the ground truth are not labelled yet"):
        of_output(tmp_path, output, truth)
    some = {
        **truth,
        "images": truth["images"][:4],
        "annotations": [o for o in truth["annotations"] if o["image_id"] < 5],
    }
    _, figures = of_output(tmp_path, output, some)
    assert figures["ground_truth"]["n_images"] == 4


def test_plots_show_names_as_text(tmp_path: Path) -> None:
    names = ["<script>&", "$x$ and $", "_hidden", "猫", "a name that is much too long to stand in a legend"]
    truth = ground_truth(IMAGES, [annotation(1, id, A) for id in range(1, 6)], names)
    results = [result(1, id, A, 0.9) for id in range(1, 6)] + [result(1, id, B, 0.4) for id in range(1, 6)]
    of_results(tmp_path, truth, results)
    for name in ("precision_recall.svg", "f1.svg"):
        drawn = ElementTree.fromstring((tmp_path / "evaluation" / name).read_bytes())
        texts = [(one.text or "").strip("\N{WORD JOINER}") for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
        assert {*names[:4], "a name that is much too long …"} <= set(texts)
        assert not list(drawn.iter("{http://www.w3.org/2000/svg}script"))


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        ([], ["ground_truth.uri: required", "output.uri, results.uri: give one of the two"]),
        (["ground_truth.uri=t", "output.uri=a", "results.uri=b"], ["give one of the two", "evaluation.uri: required"]),
        (["ground_truth.uri=t", "results.uri=b", "results.threshold=1"], ["results.threshold: 1.0", "evaluation.uri"]),
        (["ground_truth.uri=nowhere.json", "results.uri=b", "evaluation.uri=e"], ["nowhere.json"]),
        (
            ["ground_truth.uri=t", "results.uri=r", "evaluation.uri=https://x/y"],
            ["evaluation.uri: 'https://x/y': cannot"],
        ),
        (["ground_truth.uri=https://a:secret@b/t", "output.uri=o"], ["ground_truth.uri: holds a password"]),
    ],
)
def test_a_bad_call_is_told(
    overrides: list[str],
    messages: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *overrides]) == 2
    told = capsys.readouterr().err
    assert all(message in told for message in messages)
    assert "secret" not in told
    assert list(tmp_path.iterdir()) == []
