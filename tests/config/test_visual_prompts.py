"""Settings of given objects, everything and tiles: what goes with what, and whose prompts a job has."""

from typing import Any

import pytest

from autolabel.config import (
    EverythingConfig,
    ExemplarsConfig,
    InputConfig,
    LabelConfig,
    ModelConfig,
    NewOutputConfig,
    ObjectsConfig,
    PromptsConfig,
    TilesConfig,
)
from autolabel.config.compose import compose_config
from autolabel.config.overrides import expand_prompts
from autolabel.config.validation import problems_of
from autolabel.output.settings import LabelSettings, TileSettings, label_settings
from autolabel.prompts.ontology import EVERYTHING

BOXES, GRID, TILES = ObjectsConfig(uri="boxes.json"), EverythingConfig(points_per_side=32), TilesConfig(size_px=1008)
SEEDS = ExemplarsConfig(uri="seeds.json")


def job(**sections: Any) -> LabelConfig:
    places, output = InputConfig(uri="photos"), NewOutputConfig(uri="labels")
    return LabelConfig(input=places, output=output, model=ModelConfig(seed=0), **sections)


def everything(**values: Any) -> LabelConfig:
    return job(everything=EverythingConfig(points_per_side=32, **values))


def tiled(size_px: int | None = 1008, **values: Any) -> LabelConfig:
    return job(tiles=TilesConfig(size_px=size_px, **values))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        pytest.param(
            job(objects=ObjectsConfig(uri="boxes.json", column="boxes")),
            "objects: give objects.uri or objects.column, not both",
            id="two places",
        ),
        pytest.param(
            job(objects=BOXES, everything=GRID),
            "objects, everything: a job masks given objects, or everything there is; give one of the two",
            id="two kinds",
        ),
        pytest.param(
            job(objects=BOXES, exemplars=SEEDS),
            "exemplars: they are of concepts, and this job masks given objects; label concepts in a job of their own",
            id="exemplars of objects",
        ),
        pytest.param(
            job(everything=GRID, exemplars=ExemplarsConfig(column="seeds")),
            "exemplars: they are of concepts, and this job masks everything there is; label concepts in a job of their "
            "own",
            id="exemplars of everything",
        ),
        pytest.param(
            job(everything=GRID, prompts=PromptsConfig(categories=["car"])),
            "prompts: they ask for concepts, and this job masks everything there is; give one of the two",
            id="phrases for everything",
        ),
        pytest.param(
            job(everything=GRID, prompts=PromptsConfig(uri="street.yaml")),
            "prompts: they ask for concepts, and this job masks everything there is; give one of the two",
            id="file of phrases for everything",
        ),
        pytest.param(
            job(objects=ObjectsConfig(uri="boxes.json", box_format="xyhw")),
            "objects.box_format: 'xyhw' is not one of xywh, xyxy, cxcywh",
            id="box format",
        ),
        pytest.param(
            job(everything=EverythingConfig(points_per_side=0)),
            "everything.points_per_side: 0 is less than 1",
            id="points per side",
        ),
        pytest.param(everything(iou=1.5), "everything.iou: 1.5 is not between 0 and 1", id="iou"),
        pytest.param(everything(stability=-1), "everything.stability: -1 is not between 0 and 1", id="stability"),
        pytest.param(everything(nms=float("nan")), "everything.nms: nan is not between 0 and 1", id="nms"),
        pytest.param(everything(crop_layers=5), "everything.crop_layers: 5 is not between 0 and 4", id="crop layers"),
        pytest.param(everything(crop_layers=-1), "everything.crop_layers: -1 is not between 0 and 4", id="below none"),
        pytest.param(tiled(63, overlap_px=5), "tiles.size_px: 63 is less than 64", id="small tiles"),
        pytest.param(tiled(overlap_px=-1), "tiles.overlap_px: -1 is less than 0", id="overlap"),
        pytest.param(tiled(over_px=0), "tiles.over_px: 0 is less than 1", id="over"),
        pytest.param(
            tiled(None, over_px=2000),
            "tiles.size_px: required with tiles.over_px and tiles.whole, for example tiles.size_px=1008",
            id="over what",
        ),
        pytest.param(
            tiled(None, whole=True),
            "tiles.size_px: required with tiles.over_px and tiles.whole, for example tiles.size_px=1008",
            id="whole beside nothing",
        ),
        pytest.param(
            tiled(overlap_px=505),
            "tiles.overlap_px: 505 is more than half of tiles.size_px 1008",
            id="more overlap than not",
        ),
        pytest.param(
            job(tiles=TILES, objects=BOXES),
            "tiles: given objects are looked at in the whole image; leave tiles.size_px out",
            id="tiles of objects",
        ),
        pytest.param(
            job(tiles=TILES, exemplars=SEEDS),
            "tiles: an exemplar is seen by its own window alone; look for concepts by their phrases, or without tiles",
            id="tiles of exemplars",
        ),
        pytest.param(
            job(tiles=TILES, everything=EverythingConfig(points_per_side=32, crop_layers=1)),
            "tiles, everything.crop_layers: both cut images into windows; give one of the two",
            id="tiles and crops",
        ),
    ],
)
def test_what_does_not_go_together_is_told(config: LabelConfig, told: str) -> None:
    assert list(problems_of(config)) == [told]


def test_problems_are_told_together() -> None:
    config = job(
        objects=BOXES,
        everything=GRID,
        exemplars=SEEDS,
        prompts=PromptsConfig(categories=["car"]),
        tiles=TilesConfig(size_px=1008, overlap_px=600),
    )
    assert [problem.partition(":")[0] for problem in problems_of(config)] == [
        *("objects, everything", "exemplars", "exemplars", "prompts"),
        *("tiles.overlap_px", "tiles", "tiles"),
    ]


@pytest.mark.parametrize(
    ("config", "has_concepts"),
    [
        pytest.param(job(objects=BOXES), False, id="objects"),
        pytest.param(job(objects=ObjectsConfig(column="boxes", use_masks=True)), False, id="column"),
        pytest.param(everything(crop_layers=4), False, id="everything in crops"),
        pytest.param(job(everything=GRID, tiles=TILES), False, id="everything in tiles"),
        pytest.param(tiled(overlap_px=504, over_px=5000, whole=True), True, id="concepts in tiles"),
    ],
)
def test_what_goes_together_is_taken(config: LabelConfig, has_concepts: bool) -> None:
    assert list(problems_of(config)) == []
    assert config.has_concepts == has_concepts


# --- prompts ---


@pytest.mark.parametrize(
    "typed",
    [
        "objects.uri=boxes.json",
        "++objects.uri=boxes.json",
        "objects={uri: boxes.json}",
        "objects.column=boxes",
        "everything.points_per_side=32",
        "everything={points_per_side: 8}",
    ],
)
def test_who_asks_for_something_else_than_concepts_does_not_mean_those_of_the_demo(typed: str) -> None:
    assert expand_prompts([typed]) == ["prompts=none", typed]
    beside = ["prompts=street", "prompts.uri=limits.yaml", "prompts.categories=[]"]
    assert [expand_prompts([typed, prompts]) for prompts in beside] == [[typed, prompts] for prompts in beside]


@pytest.mark.parametrize("typed", ["objects.box_format=xyxy", "tiles.size_px=1008", "everything.crop_layers=1"])
def test_other_keys_of_the_sections_leave_the_prompts_as_they_are(typed: str) -> None:
    assert expand_prompts([typed]) == [typed]


def test_a_job_of_objects_as_it_is_typed() -> None:
    config = compose_config("label", ["input.uri=photos", "output.uri=labels", "objects.uri=boxes.json"])
    assert config.objects == BOXES
    assert config.prompts == PromptsConfig()
    assert not config.has_concepts


# --- what run.json says of them ---


def settings_of(config: LabelConfig, objects_sha256: str | None = None) -> LabelSettings:
    return label_settings(config, EVERYTHING, input_uri="photos", weights="none", objects_sha256=objects_sha256)


def test_sections_that_are_not_asked_for_are_no_keys() -> None:
    concepts = settings_of(job())
    assert not {"objects", "everything", "tiles"} & concepts.to_dict().keys()
    assert (concepts.threshold, concepts.has_concepts) == (0.5, True)


@pytest.mark.parametrize(
    ("config", "sha256", "keys"),
    [
        pytest.param(job(objects=BOXES), "ab12", {"objects"}, id="objects"),
        pytest.param(job(everything=GRID, tiles=TILES), None, {"everything", "tiles"}, id="everything in tiles"),
    ],
)
def test_sections_come_back_from_run_json(config: LabelConfig, sha256: str | None, keys: set[str]) -> None:
    settings = settings_of(config, sha256)
    assert {"objects", "everything", "tiles"} & settings.to_dict().keys() == keys
    assert LabelSettings.from_dict(settings.to_dict(), EVERYTHING) == settings
    assert settings.fingerprint != settings_of(job()).fingerprint


def test_of_given_objects_all_masks_are_labels_unless_a_threshold_says_otherwise() -> None:
    settings = settings_of(job(objects=BOXES, min_area=0), "ab12")
    assert (settings.threshold, settings.nms.within, settings.nms.across) == (0.0, None, None)
    assert settings.keep_threshold_of == {1: -1.0}
    assert settings.rules.min_area_px == 1
    assert settings_of(job(objects=BOXES, threshold=0.7), "ab12").threshold == 0.7


def test_tiles_are_of_images_larger_than_one_by_default() -> None:
    assert settings_of(tiled()).tiles == TileSettings(size_px=1008, overlap_px=200, over_px=1008, whole=False)
    assert settings_of(tiled(over_px=3000)).tiles == TileSettings(
        size_px=1008, overlap_px=200, over_px=3000, whole=False
    )
