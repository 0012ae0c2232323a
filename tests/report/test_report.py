"""`autolabel report` end to end: what it writes, of which outputs, and what it says of images that changed."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from PIL import Image

from autolabel.config.compose import compose_config
from autolabel.errors import BadInput
from autolabel.evaluation import evaluate
from autolabel.exports import export
from autolabel.labels.units import unit_uri
from autolabel.output import lease, passes
from autolabel.report import report
from autolabel.report.evaluation import read_evaluation
from autolabel.report.page import duration, inline_json
from tests.report.reported import COUNT, HOSTILE, Reported
from tests.support.jobs import rows_of
from tests.support.outputs import labelled_scenes
from tests.support.s3 import S3


def reported_of(output_uri: str, *overrides: str) -> str:
    return report(compose_config("report", [f"output.uri='{output_uri}'", *overrides]))


def data_of(html: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    data: dict[str, Any] = orjson.loads(text)
    return data


def cards_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {card["name"]: card for card in data_of((folder / "index.html").read_text())["cards"]}


def test_it_ends_by_saying_where_to_look(reported: Reported) -> None:
    assert reported.said.splitlines()[-1] == f"Open {reported.folder / 'index.html'} in a browser."
    assert (reported.folder / "index.html").is_file()


def test_every_image_has_a_card_with_its_instances_and_doubts(reported: Reported) -> None:
    cards = cards_of(reported.folder)
    queue = pq.read_table(Path(reported.output.uri) / "review.parquet").to_pylist()
    ranks = {row["image_id"]: row["rank"] for row in queue}
    assert len(cards) == COUNT + 1 == len(queue) + 1
    for row in rows_of(Path(reported.output.uri)):
        card = cards[Path(row["uri"]).name]
        assert (card["image_id"], card["status"]) == (row["image_id"], row["status"])
        assert [one["score"] for one in card["instances"]] == pytest.approx([one["score"] for one in row["instances"]])
        assert (card["doubt"] or {}).get("rank") == ranks.get(row["image_id"])
        if row["status"] == "rejected":
            assert (card["picture"], card["problem"]) == (None, "truncated: ends early")
        else:
            assert (reported.folder / card["picture"]).is_file()


def test_masks_are_drawn_where_they_lie(reported: Reported) -> None:
    for row in rows_of(Path(reported.output.uri)):
        if not row["instances"]:
            continue
        with (
            Image.open(row["uri"]) as image,
            Image.open(reported.folder / f"images/{row['image_id']:08d}.jpg") as drawn,
        ):
            as_read = drawn.resize(image.size)
            difference = np.abs(np.asarray(image.convert("RGB"), int) - np.asarray(as_read, int)).max(axis=2)
        assert max(drawn.size) == min(960, 2 * max(image.size))
        x, y, width, height = map(int, row["instances"][0]["bbox"])
        inside = difference[y : y + height, x : x + width]
        assert inside.mean() > 2 * np.median(difference)


def test_the_page_says_what_it_is_about(reported: Reported) -> None:
    html = (reported.folder / "index.html").read_text()
    root = Path(reported.output.plan.input_root)
    assert f'<h1 id="title">Labels of {root.parent.name}/{root.name}</h1>' in html
    assert "Per image looked at" not in html
    assert "labels of different categories however they overlap" in html


def test_a_chart_of_precision_and_recall_names_its_axes_and_its_lines(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=2)
    in_force = {"threshold": 0.5, "precision": 0.75, "recall": 0.5, "F1": 0.6}
    categories = [
        {
            "name": f"category {n}",
            "n_objects": n,
            "in_force": in_force,
            "curve": {"recall": [0.1, 0.5], "precision": [1.0, 0.75]},
        }
        for n in range(30)
    ]
    evaluation = {"coco": {"AP": 0.61}, "sam3": {}, "categories": categories}
    output.storage.overwrite(f"{output.uri}/evaluation/evaluation.json", orjson.dumps(evaluation))
    reported_of(output.uri)
    html = (tmp_path / "labels" / "report" / "index.html").read_text()
    chart = html[html.index("Precision and recall <") : html.index("</figure>", html.index("Precision and recall <"))]
    assert "recall: of the objects" in chart
    assert "precision: of the labels" in chart
    assert "The 10 categories with the most objects of 30" in chart
    assert re.findall(r"<bdi>(.*?)</bdi>", chart) == [f"category {n}" for n in range(20, 30)]
    rings = re.findall(r'<circle class="ring".*?cx="(.*?)" cy="(.*?)"', chart)
    ends = [points.split()[-1] for points in re.findall(r'points="(.*?)"', chart, re.DOTALL)]
    assert [f"{x},{y}" for x, y in rings] == ends, "the threshold in force is on its curve"


def test_the_gallery_is_bounded(reported: Reported) -> None:
    folder = reported.folder.parent / "few"
    reported_of(reported.output.uri, f"report.uri='{folder}'", "thumbnails=5")
    assert len(cards_of(folder)) == 5
    assert len(list((folder / "images").iterdir())) <= 5
    reported_of(reported.output.uri, f"report.uri='{folder}'", "thumbnails=0")
    assert cards_of(folder) == {}


def test_an_image_that_is_gone_or_changed_is_told_on_its_card(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=3)
    images = tmp_path / "images"
    (images / "000001.jpg").unlink()
    (images / "000002.jpg").write_bytes((images / "000003.jpg").read_bytes())
    reported_of(output.uri)
    cards = cards_of(tmp_path / "labels" / "report")
    assert cards["000001.jpg"]["problem"] == "missing: not there"
    assert cards["000002.jpg"]["problem"] == "changed: not the bytes that were labelled"
    assert cards["000003.jpg"]["problem"] is None


def test_an_unfinished_job_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=7)
    Path(unit_uri(output.uri, 0)).unlink()
    assert "4 images, 4 of them" in reported_of(output.uri)
    html = (tmp_path / "labels" / "report" / "index.html").read_text()
    assert "1 of 2 units are labelled" in " ".join(html.split())
    Path(unit_uri(output.uri, 1)).unlink()
    with pytest.raises(BadInput, match="nothing of .* is labelled yet"):
        reported_of(output.uri)


def test_names_full_of_markup_are_text(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=5, names=HOSTILE)
    reported_of(output.uri)
    html = (tmp_path / "labels" / "report" / "index.html").read_text()
    assert set(HOSTILE) < set(cards_of(tmp_path / "labels" / "report"))
    assert "<img" not in html
    assert html.count("<script") == html.count("</script") == 2


def test_text_cannot_leave_its_script_element() -> None:
    text = "</script><!-- & \u2028\u2029"
    assert not set("<>&\u2028\u2029") & set(inline_json([text]))
    assert orjson.loads(inline_json([text])) == [text]


def test_processes_find_what_one_process_finds(reported: Reported, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = reported.folder.parent / "again"
    monkeypatch.setattr(passes, "UNITS_WORTH_PROCESSES", 1)
    monkeypatch.setattr(passes, "n_cores", lambda: 2)
    queue = Path(reported.output.uri) / "review.parquet"
    before = pq.read_table(queue)
    reported_of(reported.output.uri, f"report.uri='{folder}'")
    assert pq.read_table(queue).equals(before)
    assert (folder / "index.html").read_text() == (reported.folder / "index.html").read_text()


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([], "not known: no time of a run is recorded"),
        ([("2026-11-21T12:00:00+00:00", "2026-11-21T12:00:02+00:00", 0)], "2.5 images/s over 2 s,"),
        ([("2026-11-21T12:00:00+00:00", None, 3)], "at most 0.167 images/s over 30 s,"),
    ],
)
def test_throughput_is_what_the_runs_record(runs: list[tuple[str, str | None, int]], told: str, tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=4)
    for number, (started_at, ended_at, renewals) in enumerate(runs, start=1):
        run = lease.Run(
            number=number,
            host="host",
            user="user",
            pid=1,
            machine=None,
            process_start_ticks=0,
            started_at=started_at,
            renewals=renewals,
            ended_at=ended_at,
        )
        output.storage.overwrite(lease.record_uri(output.uri, number), orjson.dumps(asdict(run)))
    reported_of(output.uri, "thumbnails=0")
    assert told in (tmp_path / "labels" / "report" / "index.html").read_text()


def test_an_output_on_s3_gets_a_page_that_browsers_show(s3: S3, tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=3)
    bucket = s3.make_bucket("report")
    for path in (tmp_path / "labels").rglob("*"):
        if path.is_file():
            s3.put(f"{bucket}/labels/{path.relative_to(output.uri)}", path.read_bytes())
    said = reported_of(f"{bucket}/labels", f"output.storage_options={{endpoint_url: '{s3.endpoint_url}'}}")
    assert said.endswith(f"Open {bucket}/labels/report/index.html in a browser.")
    import s3fs

    fs = s3fs.S3FileSystem(**s3.options)
    keys = [path.partition("/")[2] for path in fs.find("report/labels/report")]
    heads = {key: fs.call_s3("head_object", Bucket="report", Key=key) for key in keys}
    kinds = {key.rpartition(".")[2]: head["ContentType"] for key, head in heads.items()}
    assert kinds == {"html": "text/html", "jpg": "image/jpeg"}
    assert fs.exists("report/labels/review.parquet")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["thumbnails=-1"], "thumbnails: -1 is negative"),
        (["report.uri=s3://user:secret@bucket/x"], "report.uri: holds a password"),
        (["report.uri=''"], "report.uri: empty"),
        (["report.uri=http://host/report"], "report.uri: 'http://host/report': cannot write"),
    ],
)
def test_wrong_settings_are_told(overrides: list[str], message: str, reported: Reported) -> None:
    with pytest.raises(BadInput, match=message):
        reported_of(reported.output.uri, *overrides)


def test_an_evaluation_is_shown_as_far_as_it_tells(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=2)
    index = tmp_path / "labels" / "report" / "index.html"
    quality = {"threshold": 0.5, "precision": 0.875, "recall": 0.625, "F1": 0.729}
    categories = [
        {
            "name": "round",
            "AP": 0.512,
            "in_force": quality,
            "best_F1": {"threshold": 0.431, "F1": 0.777},
            "curve": {"recall": [0.1, 0.5, None], "precision": [1.0, 0.75, None]},
        },
        {"name": "<b>angular", "AP": None, "in_force": quality, "best_F1": None, "curve": None},
    ]
    evaluation = {"coco": {"AP": 0.61, "AP50": 0.812}, "sam3": {"cgF1": None}, "categories": categories}
    output.storage.overwrite(f"{output.uri}/evaluation/evaluation.json", orjson.dumps(evaluation))
    reported_of(output.uri)
    html = index.read_text()
    for shown in (
        "0.610",
        "0.812",
        "undefined",
        "0.512",
        "0.875",
        "0.625",
        "0.729",
        "0.777",
        "0.431",
        "&lt;b&gt;angular",
    ):
        assert shown in html
    assert html.count("<polyline") == 1
    output.storage.overwrite(f"{output.uri}/evaluation/evaluation.json", b'{"coco": {"AP": null}}')
    reported_of(output.uri)
    assert 'id="evaluation"' in index.read_text()


def test_what_evaluate_writes_is_read(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=4)
    export(compose_config("export", [f"output.uri='{output.uri}'"]))
    truth = f"ground_truth.uri='{output.uri}/coco/annotations.json'"  # its own labels: all of them are right
    evaluate(compose_config("evaluate", [f"output.uri='{output.uri}'", truth]))
    found = read_evaluation(output.storage, output.uri)
    assert found is not None
    assert set(found.headline) == {"AP", "AP50", "AP75", "AR", "boundary AP", "cgF1", "IL MCC", "pmF1"}
    assert found.headline["AP"] == pytest.approx(1)
    assert found.columns == ["AP", "precision", "recall", "F1", "best F1", "at threshold"]
    assert [one.name for one in found.curves] == ["round", "angular"]
    reported_of(output.uri)
    assert (tmp_path / "labels" / "report" / "index.html").read_text().count("<polyline") == 2


def test_words_that_the_model_does_not_know_are_told(reported: Reported, tmp_path: Path) -> None:
    assert "does not know" not in (reported.folder / "index.html").read_text()
    output = labelled_scenes(tmp_path, count=2)
    record = orjson.loads(output.storage.read(f"{output.uri}/run.json"))
    output.storage.overwrite(f"{output.uri}/run.json", orjson.dumps({**record, "unknown_words": ["uni<b>corn"]}))
    reported_of(output.uri)
    html = (tmp_path / "labels" / "report" / "index.html").read_text()
    assert "The model does not know &#39;uni&lt;b&gt;corn&#39;: words that find nothing." in html
    assert "model=sam3.1" in html


def test_a_damaged_evaluation_is_told(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=2)
    output.storage.overwrite(f"{output.uri}/evaluation/evaluation.json", b'{"coco": 7}')
    with pytest.raises(BadInput, match=r"evaluation\.json was not written by autolabel"):
        reported_of(output.uri)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (7384, "2 h 3 min")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
