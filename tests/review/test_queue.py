"""The review queue: what each image's reasons are, and in which order they come."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autolabel import plan
from autolabel.config import OutputConfig
from autolabel.config.compose import compose_config
from autolabel.errors import RejectCode
from autolabel.inputs.listing import Listing
from autolabel.inputs.locations import ImageLocation
from autolabel.labels.types import ImageLabels, Instance, PromptResult
from autolabel.labels.units import file_metadata, read_columns, write_unit
from autolabel.masks.rle import area, bbox_xywh, encode
from autolabel.output import run_record
from autolabel.output.job_output import JobOutput, open_output
from autolabel.output.settings import label_settings
from autolabel.prompts.ontology import Category, Ontology
from autolabel.review.doubts import Doubts, SharedObjects, unit_doubts
from autolabel.review.overlaps import Overlaps
from autolabel.review.queue import SCHEMA, ReviewQueue
from autolabel.review.reasons import REASONS
from autolabel.storage import open_storage

ONTOLOGY = Ontology(
    categories=(
        Category(id=3, name="car", phrases=("car", "automobile")),
        Category(id=7, name="bus", phrases=("bus",), threshold=0.7),
    )
)
PROMPT_ID = {(one.category_id, one.phrase): one.id for one in ONTOLOGY.prompts(exemplars_alone=False)}
SIZE_HW = (60, 80)


def found(
    category_id: int, score: float, box_xywh: tuple[int, int, int, int], *, phrase: str = "car", gap: int = 0
) -> Instance:
    """A rectangle, with `gap` columns missing from its middle."""
    mask = np.zeros(SIZE_HW, bool)
    x, y, w, h = box_xywh
    mask[y : y + h, x : x + w] = True
    mask[:, x + w // 2 : x + w // 2 + gap] = False
    rle = encode(mask)
    return Instance(
        category_id=category_id,
        prompt_id=PROMPT_ID[category_id, "bus" if category_id == 7 else phrase],
        phrase="bus" if category_id == 7 else phrase,
        score=score,
        presence=0.9,
        rle=rle,
        area_px=area(rle),
        bbox_xywh=bbox_xywh(rle),
    )


def image(
    image_id: int,
    labels: Sequence[Instance] = (),
    candidates: Sequence[Instance] = (),
    presence: dict[tuple[int, str], float] | None = None,
) -> ImageLabels:
    asked = {(3, "car"): 0.0, (3, "automobile"): 0.0, (7, "bus"): 0.0} | (presence or {})
    return ImageLabels(
        image_id=image_id,
        uri=f"s3://bucket/{image_id}.jpg",
        size_hw=SIZE_HW,
        orientation=1,
        sha256="0" * 64,
        prompts=tuple(
            PromptResult(
                prompt_id=PROMPT_ID[category_id, phrase],
                category_id=category_id,
                phrase=phrase,
                presence=value,
                best_score=0.1,
                n_instances=sum((i.category_id, i.phrase) == (category_id, phrase) for i in labels),
            )
            for (category_id, phrase), value in asked.items()
        ),
        instances=tuple(labels),
        candidates=tuple(candidates),
    )


def output_of(folder: Path, rows: Sequence[ImageLabels], unit_size: int = 2) -> JobOutput:
    uri = str(folder / "labels")
    storage = open_storage(uri, {})
    config = compose_config("label", ["input.uri=s3://bucket", f"output.uri={uri}"])
    settings = label_settings(config, ONTOLOGY, input_uri="s3://bucket", weights="none", exemplars_sha256=None)
    record = run_record.create_or_match(storage, uri, settings)
    listing = Listing(root="s3://bucket", images=[ImageLocation(row.uri, 10, "e") for row in rows])
    plan.seal(storage, uri, plan.encode(listing, {}, unit_size))
    for unit in range(-(-len(rows) // unit_size)):
        of_unit = rows[unit * unit_size : (unit + 1) * unit_size]
        write_unit(storage, uri, unit, of_unit, file_metadata(record.fingerprint, ONTOLOGY))
    return open_output(OutputConfig(uri=uri))


SURE = found(3, 0.95, (10, 10, 20, 20))
CASES = {
    "sure": (image(1, [SURE]), {"low_score": 0.05}, []),
    "nothing found": (image(1), {}, []),
    "two that are less so": (
        image(1, [found(7, 0.72, (5, 5, 9, 9)), found(3, 0.92, (30, 30, 9, 9))]),
        {"low_score": 0.36},
        ["bus"],
    ),
    "a candidate beside it": (
        image(1, [SURE], [found(3, 0.5, (50, 40, 9, 9))]),
        {"low_score": 0.05, "missed_candidate": 0.25},
        ["car"],
    ),
    "a candidate of another category on it": (
        image(1, [SURE], [found(7, 0.5, (10, 10, 20, 20))]),
        {"low_score": 0.05, "missed_candidate": 0.25},
        ["bus"],
    ),
    "a candidate that is a part of it": (image(1, [SURE], [found(3, 0.45, (12, 12, 5, 5))]), {"low_score": 0.05}, []),
    "a candidate on a better one": (
        image(1, [SURE], [found(3, 0.4, (50, 40, 9, 9)), found(3, 0.3, (50, 41, 9, 9))]),
        {"low_score": 0.05, "missed_candidate": 0.16},
        [],
    ),
    "two categories on one object": (
        image(1, [found(7, 0.9, (10, 10, 20, 20)), found(3, 0.8, (10, 10, 20, 16))]),
        {"low_score": 0.3, "categories_disagree": 0.72 * 5 / 6},
        ["car", "bus"],
    ),
    "two categories side by side": (
        image(1, [SURE, found(7, 0.9, (25, 10, 20, 20))]),
        {"low_score": 0.15},
        [],
    ),
    "a synonym of the same score": (
        image(1, [SURE], [found(3, 0.95, (10, 10, 20, 20), phrase="automobile")]),
        {"low_score": 0.05},
        [],
    ),
    "a synonym that is far from sure": (
        image(
            1,
            [SURE],
            [
                found(3, s, (10, 10, 20, 20), phrase=p)
                for s, p in ((0.9, "car"), (0.45, "automobile"), (0.3, "automobile"))
            ],
        ),
        {"low_score": 0.05, "synonyms_disagree": 0.5},
        ["car"],
    ),
    "one inside another": (
        image(1, [SURE, found(3, 0.8, (12, 12, 9, 9))]),
        {"low_score": 0.25, "nested": 0.76},
        ["car"],
    ),
    "two that share an edge": (
        image(1, [SURE, found(3, 0.8, (25, 10, 20, 20))]),
        {"low_score": 0.25},
        ["car"],
    ),
    "in pieces": (
        image(1, [found(3, 0.95, (10, 10, 22, 20), gap=2)]),
        {"low_score": 0.05, "fragmented": 9 / 20},
        ["car"],
    ),
    "at the border": (image(1, [SURE, found(7, 0.95, (0, 40, 9, 9))]), {"low_score": 0.1}, []),
    "present, not found": (
        image(1, presence={(7, "bus"): 0.9}),
        {"present_without_instance": 0.9},
        ["bus"],
    ),
    "present, and a candidate": (
        image(1, candidates=[found(7, 0.6, (10, 10, 20, 20))], presence={(7, "bus"): 0.9}),
        {"missed_candidate": 0.36, "present_without_instance": 0.54},
        ["bus"],
    ),
    "present, found by the other phrase": (
        image(1, [SURE], presence={(3, "automobile"): 0.9}),
        {"low_score": 0.05},
        [],
    ),
}


@pytest.mark.parametrize(("row", "reasons", "categories"), CASES.values(), ids=CASES)
def test_an_image_has_the_reasons_that_it_gives(
    row: ImageLabels, reasons: dict[str, float], categories: list[str], tmp_path: Path
) -> None:
    output = output_of(tmp_path, [row])
    (told,) = queue_of(output).tables(["car", "bus"])
    given = told["reasons"][0].as_py()
    assert {name: value for name, value in given.items() if value > 1e-6} == pytest.approx(reasons)
    assert told["priority"][0].as_py() == pytest.approx(sum(reasons.values()))
    assert told["categories"][0].as_py() == categories


def queue_of(output: JobOutput) -> ReviewQueue:
    overlaps, doubts = Overlaps.nothing(2), []
    for unit in range(output.plan.n_units):
        of_unit, its_overlaps = unit_doubts(read_columns(output.storage, output.uri, unit), output.record)
        doubts.append(of_unit)
        overlaps += its_overlaps
    return ReviewQueue(doubts, overlaps)


def test_categories_that_share_objects_everywhere_do_not_disagree(tmp_path: Path) -> None:
    """Seen over all units: on one image alone it would be a disagreement."""
    both = [found(7, 0.9, (10, 10, 20, 20)), found(3, 0.9, (10, 10, 20, 19))]
    output = output_of(tmp_path, [image(n, both) for n in range(1, 61)])
    (told,) = queue_of(output).tables(["car", "bus"])
    disagreement = [reasons["categories_disagree"] for reasons in told["reasons"].to_pylist()]
    assert max(disagreement) < 0.1
    assert set(map(tuple, told["categories"].to_pylist())) == {()}
    torn = [found(7, 0.75, (10, 10, 20, 20)), found(3, 0.72, (10, 10, 20, 19))]
    sure = [[found(7, 0.95, (40, 10, 20, 20)), found(3, 0.95, (10, 10, 20, 20))]] * 40
    output = output_of(tmp_path / "torn", [image(n, labels) for n, labels in enumerate([*sure, *[torn] * 20], start=1)])
    (told,) = queue_of(output).tables(["car", "bus"])
    ranked = told.to_pylist()
    assert {row["image_id"] for row in ranked[:20]} == set(range(41, 61))
    assert all(row["categories"] == ["car", "bus"] for row in ranked[:20])
    assert ranked[0]["reasons"]["categories_disagree"] == pytest.approx(0.75 * 0.72, abs=0.1)


def test_of_many_pairs_on_an_image_the_rarest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.review.doubts.MAX_PAIRS", 0)
    both = [found(7, 0.9, (10, 10, 20, 20)), found(3, 0.9, (10, 10, 20, 19))]
    output = output_of(tmp_path, [image(1, both)])
    doubts, overlaps = unit_doubts(read_columns(output.storage, output.uri, 0), output.record)
    assert len(doubts.shared.pair) == 0
    assert overlaps.n_shared.tolist() == [1]


def test_the_queue_is_written_most_doubtful_first_without_rejected_images(tmp_path: Path) -> None:
    near, nearer = found(3, 0.6, (10, 10, 9, 9)), found(3, 0.55, (10, 10, 9, 9))
    rejected = ImageLabels(
        image_id=4, uri="s3://bucket/4.jpg", reject_code=RejectCode.TRUNCATED, reject_detail="ends early"
    )
    rows = [image(1, [SURE]), image(2, [near]), image(3, [nearer]), rejected, image(5, [nearer])]
    output = output_of(tmp_path, rows)
    uri = queue_of(output).write(output.storage, output.uri, ["car", "bus"])
    table = pq.read_table(uri)
    assert table.schema.equals(SCHEMA)
    assert table["rank"].to_pylist() == [1, 2, 3, 4]
    assert table["image_id"].to_pylist() == [3, 5, 2, 1]  # of equal doubt, the lower id first
    assert table["uri"].to_pylist() == [f"s3://bucket/{n}.jpg" for n in (3, 5, 2, 1)]
    assert table["priority"].to_pylist() == pytest.approx([0.45, 0.45, 0.4, 0.05])
    assert table["reasons"][2].as_py() == pytest.approx(dict.fromkeys(REASONS, 0.0) | {"low_score": 0.4})
    assert table["categories"].to_pylist() == [["car"], ["car"], ["car"], []]


def test_a_queue_of_several_row_groups_keeps_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.review.queue.ROWS_PER_GROUP", 10)
    rng = np.random.default_rng(0)
    none = np.zeros(0, np.int64)
    no_shared = SharedObjects(row=none, pair=none, product_sum=np.zeros(0))
    units = [
        Doubts(
            image_id=np.arange(7) + 7 * unit,
            uri=pa.array([f"{7 * unit + n}" for n in range(7)], pa.large_string()),
            reasons=rng.random((7, len(REASONS))).astype(np.float32),
            categories=pa.array([list(range(n % 3)) for n in range(7)], pa.list_(pa.int32())),
            shared=no_shared,
        )
        for unit in range(5)
    ]
    storage = open_storage(str(tmp_path), {})
    table = pq.read_table(ReviewQueue(units, Overlaps.nothing(2)).write(storage, str(tmp_path), ["a", "b"]))
    assert table["rank"].to_pylist() == list(range(1, 36))
    priorities = table["priority"].to_numpy()
    assert np.all(priorities[:-1] >= priorities[1:])
    for image_id, uri, categories in zip(
        *(table[name].to_pylist() for name in ("image_id", "uri", "categories")), strict=True
    ):
        n = image_id % 7
        assert uri == str(image_id)
        assert categories == ["a", "b"][: n % 3]


def test_an_output_without_a_readable_image_has_an_empty_queue(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path), {})
    table = pq.read_table(ReviewQueue([], Overlaps.nothing(0)).write(storage, str(tmp_path), []))
    assert table.num_rows == 0
    assert table.schema.equals(SCHEMA)
