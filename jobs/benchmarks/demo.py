"""The demo model: what it finds, through the whole job, and how fast it is on one core.

Quality: 200 scenes of a seed that neither training nor validation saw. Found: of the same scenes, the share of objects
that "<color> <shape>" finds (IoU above 0.5 at a score above 0.5), by size, shape and fill; by the engine alone, as are
the masks of boxes, of clicks and of a grid of clicks. Speed: a work unit of scenes with six prompts, from files to
Parquet, in a process that is bound to one core, without Ray.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autolabel.output.settings import label_settings

COUNT, SEED = 200, 11
OBJECT_SCENES, GRID_SCENES, GRID_SIDE = 60, 12, 32
PROMPTS = "[red circle, striped star, blue shape, triangle, heart, elephant]"


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        speed = [sys.executable, __file__, folder]
        print(subprocess.run(speed, check=True, capture_output=True, text=True).stdout, end="", flush=True)  # noqa: S603
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when Ray is imported
        from autolabel.demo.quality import QualityCheck

        check = QualityCheck(Path(folder) / "quality", count=COUNT, seed=SEED)
        for ask in (check.text, check.exemplar, check.negative, check.synonyms):
            figures = {name: round(value, 4) for name, value in ask().items()}
            print(json.dumps({"case": ask.__name__, "scenes": COUNT, "seed": SEED, **figures}), flush=True)
    print(json.dumps({"case": "found", "scenes": COUNT, "seed": SEED, **found_by_kind()}), flush=True)
    for figures in of_single_objects():
        print(json.dumps({"seed": SEED, **figures}), flush=True)


def found_by_kind() -> dict[str, float]:
    """Return recall by size (the longer side of the box, as a share of the picture), shape and fill."""
    import numpy as np
    import torch

    from autolabel.demo.phrases import phrase
    from autolabel.demo.scenes import draw_scene
    from autolabel.demo.training.examples import box_cxcywh
    from autolabel.masks.rle import encode, pairwise_overlap
    from autolabel.sam3.architecture import TINY
    from autolabel.sam3.checkpoint import load
    from autolabel.sam3.download import fetch
    from autolabel.sam3.engine import Engine, Pair
    from autolabel.sam3.masks import logits_to_rles
    from autolabel.sam3.preprocess import resize

    weights = fetch("pkg://autolabel.demo/demo.safetensors", storage_options={}).path
    engine = Engine(load(weights, TINY, device="cpu"), TINY, device=torch.device("cpu"), memory_mb=200)
    hits_of: dict[str, list[bool]] = defaultdict(list)
    for index in range(COUNT):
        scene = draw_scene(SEED, index)
        terms = sorted({phrase(kind.color, kind.shape) for kind in scene.kinds}, key=lambda term: term.text)
        pairs = [Pair(image=0, text=term.text, threshold=0.5) for term in terms]
        results = engine.segment(resize(scene.rgb, TINY.resolution)[None], pairs)
        for term, result in zip(terms, results, strict=True):
            masks = logits_to_rles(result.mask_logits, scene.ids.shape)
            for k, kind in enumerate(scene.kinds):
                if term.means(kind):
                    overlap = pairwise_overlap(masks, [encode(scene.mask(k))], metric="iou")
                    hit = bool((overlap > 0.5).any())
                    size = float(box_cxcywh(scene.mask(k))[2:].max())
                    limit = next((limit for limit in (0.08, 0.12, 0.2) if size < limit), None)
                    hits_of["size from 0.2" if limit is None else f"size below {limit}"].append(hit)
                    hits_of[kind.shape].append(hit)
                    hits_of[kind.fill].append(hit)
    return {name: round(float(np.mean(hits)), 3) for name, hits in sorted(hits_of.items())}


def of_single_objects() -> Iterator[dict[str, Any]]:
    """Yield the IoU of what boxes and clicks single out, and what a grid finds at three settings."""
    import torch

    from autolabel.demo.object_quality import box_around, click_in_the_middle, grid_figures, mask_ious
    from autolabel.demo.scenes import draw_scene
    from autolabel.sam3.architecture import INTERACTIVE_ALONE, TINY
    from autolabel.sam3.checkpoint import load
    from autolabel.sam3.download import fetch
    from autolabel.sam3.engine import Engine
    from autolabel.sam3.grid import GridSettings

    weights = fetch("pkg://autolabel.demo/demo.safetensors", storage_options={}).path
    model = load(weights, TINY, device="cpu", parts=INTERACTIVE_ALONE)
    engine = Engine(model, TINY, device=torch.device("cpu"), memory_mb=200)
    scenes = [draw_scene(SEED, index) for index in range(OBJECT_SCENES)]
    for case, prompt in (("box", box_around), ("click", click_in_the_middle)):
        ious = mask_ious(engine, TINY, scenes, prompt)
        figures = {"mean IoU": ious.mean(), "from 0.5": (ious >= 0.5).mean(), "from 0.75": (ious >= 0.75).mean()}
        figures = {name: round(float(value), 4) for name, value in figures.items()}
        yield {"case": case, "scenes": len(scenes), "objects": len(ious)} | figures
    for iou, stability in ((0.5, 0.8), (0.6, 0.85), (0.7, 0.9)):
        settings = GridSettings(iou=iou, stability=stability, nms=0.7)
        figures = grid_figures(engine, TINY, scenes[:GRID_SCENES], side=GRID_SIDE, settings=settings)
        figures = {name: round(value, 4) for name, value in figures.items()}
        yield {"case": "grid", "scenes": GRID_SCENES, "iou": iou, "stability": stability} | figures


def measure_speed(folder: Path) -> None:
    """Print seconds to load the model, and images a second of the third unit: the first ones fill caches."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported

    from autolabel.config.compose import compose_config
    from autolabel.demo.ground_truth import demo_scenes
    from autolabel.labels.units import read_summary
    from autolabel.output import run_record
    from autolabel.pipeline.actors import load_job_engine
    from autolabel.pipeline.messages import LabelJob
    from autolabel.pipeline.request import read_request, with_full_checkpoint
    from autolabel.pipeline.unit import UnitLabeler
    from autolabel.plan import Plan, encode, seal
    from autolabel.storage import open_storage

    images, output = folder / "images", folder / "labels"
    demo_scenes(compose_config("demo-scenes", [f"output.uri='{images}'", "count=192", f"seed={SEED}"]))
    settings = [f"input.uri='{images}'", f"output.uri='{output}'", f"prompts={PROMPTS}", "output.unit_size=64"]
    config = with_full_checkpoint(compose_config("label", settings))
    ontology, listing, boxes = read_request(config, list_input=True)
    assert listing is not None
    storage = open_storage(str(output), {})
    seal(storage, str(output), encode(listing, boxes, config.output.unit_size))
    job = LabelJob.of(
        config,
        output_uri=str(output),
        record=run_record.new_record(
            label_settings(
                config, ontology, input_uri=config.input.uri, weights="those of the demo", exemplars_sha256=None
            )
        ),
        checkpoint_sha256=None,
    )
    started = time.monotonic()
    engine = load_job_engine(job)
    load_s = time.monotonic() - started
    labeler = UnitLabeler(job, engine)
    reports = [labeler.label_unit(unit) for unit in range(Plan(storage, str(output)).n_units)]
    n_instances = sum(read_summary(storage, str(output), report.unit).n_instances for report in reports)
    last = reports[-1]
    figures = {"case": "speed", "cores": 1, "prompts": 6, "load_s": round(load_s, 2), "instances": n_instances}
    print(json.dumps(figures | {"images_per_s": round(last.summary.n_images / last.seconds, 1)}))


if __name__ == "__main__":
    measure_speed(Path(sys.argv[1]))
