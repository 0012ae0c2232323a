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
from autolabel.review.queue import REASONS, SCHEMA, ReviewQueue, ReviewScores, review_scores
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
    asked = {(3, "car"): 0.1, (3, "automobile"): 0.1, (7, "bus"): 0.1} | (presence or {})
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
    "nothing in doubt": (image(1, [SURE]), {}, []),
    "nothing found": (image(1), {}, []),
    "just above its threshold": (image(1, [found(7, 0.72, (5, 5, 9, 9))]), {"near_threshold": 0.8}, ["bus"]),
    "just below its threshold": (image(1, [SURE], [found(3, 0.45, (50, 40, 9, 9))]), {"near_threshold": 0.5}, ["car"]),
    "far below": (image(1, [SURE], [found(3, 0.3, (50, 40, 9, 9))]), {}, []),
    "above it, but suppressed": (image(1, [SURE], [found(3, 0.52, (11, 10, 20, 20))]), {}, []),
    "two categories on one object": (
        image(1, [found(7, 0.9, (10, 10, 20, 20)), found(3, 0.8, (10, 10, 20, 16))]),
        {"categories_disagree": 0.8},
        ["car", "bus"],
    ),
    "two categories side by side": (image(1, [SURE, found(7, 0.9, (25, 10, 20, 20))]), {}, []),
    "a synonym of the same score": (
        image(1, [SURE], [found(3, 0.95, (10, 10, 20, 20), phrase="automobile")]),
        {},
        [],
    ),
    "a synonym that is far from sure": (
        image(1, [SURE], [found(3, 0.45, (10, 10, 20, 20), phrase="automobile")]),
        {"synonyms_disagree": 0.5},
        ["car"],
    ),
    "another query of the same phrase": (image(1, [SURE], [found(3, 0.42, (10, 10, 20, 20))]), {}, []),
    "in pieces": (image(1, [found(3, 0.95, (10, 10, 22, 20), gap=2)]), {"fragmented": 9 / 20}, ["car"]),
    "half of two at the border": (image(1, [SURE, found(7, 0.95, (0, 40, 9, 9))]), {"at_border": 0.5}, ["bus"]),
    "present, not found": (
        image(1, presence={(7, "bus"): 0.9}),
        {"present_without_instance": 0.8},
        ["bus"],
    ),
    "present, found by the other phrase": (image(1, [SURE], presence={(3, "automobile"): 0.9}), {}, []),
}


@pytest.mark.parametrize(("row", "reasons", "categories"), CASES.values(), ids=CASES)
def test_an_image_has_the_reasons_that_it_gives(
    row: ImageLabels, reasons: dict[str, float], categories: list[str], tmp_path: Path
) -> None:
    output = output_of(tmp_path, [row])
    told = review_scores(read_columns(output.storage, output.uri, 0), output.record)
    assert {name: value for name, value in zip(REASONS, told.reasons[0], strict=True) if value} == pytest.approx(
        reasons
    )
    assert [ONTOLOGY.categories[place].name for place in told.categories[0].as_py()] == categories


def test_the_queue_is_written_most_doubtful_first_without_rejected_images(tmp_path: Path) -> None:
    near, nearer = found(3, 0.56, (10, 10, 9, 9)), found(3, 0.51, (10, 10, 9, 9))
    rejected = ImageLabels(
        image_id=4, uri="s3://bucket/4.jpg", reject_code=RejectCode.TRUNCATED, reject_detail="ends early"
    )
    rows = [image(1, [SURE]), image(2, [near]), image(3, [nearer]), rejected, image(5, [nearer])]
    output = output_of(tmp_path, rows)
    units = [review_scores(read_columns(output.storage, output.uri, unit), output.record) for unit in range(3)]
    uri = ReviewQueue(units).write(output.storage, output.uri, ["car", "bus"])
    table = pq.read_table(uri)
    assert table.schema.equals(SCHEMA)
    assert table["rank"].to_pylist() == [1, 2, 3, 4]
    assert table["image_id"].to_pylist() == [3, 5, 2, 1]  # of equal doubt, the lower id first
    assert table["uri"].to_pylist() == [f"s3://bucket/{n}.jpg" for n in (3, 5, 2, 1)]
    assert table["priority"].to_pylist() == pytest.approx([0.45, 0.45, 0.2, 0.0])
    assert table["reasons"][2].as_py() == pytest.approx(dict.fromkeys(REASONS, 0.0) | {"near_threshold": 0.4})
    assert table["categories"].to_pylist() == [["car"], ["car"], ["car"], []]


def test_a_queue_of_several_row_groups_keeps_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.review.queue.ROWS_PER_GROUP", 10)
    rng = np.random.default_rng(0)
    units = [
        ReviewScores(
            image_id=np.arange(7) + 7 * unit,
            uri=pa.array([f"{7 * unit + n}" for n in range(7)], pa.large_string()),
            reasons=rng.random((7, len(REASONS))).astype(np.float32),
            categories=pa.array([[n % 2] * (n % 3) for n in range(7)], pa.list_(pa.int32())),
        )
        for unit in range(5)
    ]
    storage = open_storage(str(tmp_path), {})
    table = pq.read_table(ReviewQueue(units).write(storage, str(tmp_path), ["a", "b"]))
    assert table["rank"].to_pylist() == list(range(1, 36))
    priorities = table["priority"].to_numpy()
    assert np.all(priorities[:-1] >= priorities[1:])
    for image_id, uri, categories in zip(
        *(table[name].to_pylist() for name in ("image_id", "uri", "categories")), strict=True
    ):
        n = image_id % 7
        assert uri == str(image_id)
        assert categories == ["ab"[n % 2]] * (n % 3)


def test_an_output_without_a_readable_image_has_an_empty_queue(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path), {})
    table = pq.read_table(ReviewQueue([]).write(storage, str(tmp_path), []))
    assert table.num_rows == 0
    assert table.schema.equals(SCHEMA)
