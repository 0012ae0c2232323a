"""The demo model's head for points and boxes: what it is taught, and what it masks on scenes that it never saw."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from autolabel import demo
from autolabel.demo.object_quality import box_around, click_in_the_middle, grid_figures, mask_ious
from autolabel.demo.scenes import Scene, draw_scene
from autolabel.demo.training.examples import draw_example
from autolabel.demo.training.object_losses import judge
from autolabel.demo.training.object_prompts import Kind, ObjectPrompts, covered, draw_corrections, draw_prompts
from autolabel.sam3.architecture import INTERACTIVE_ALONE, TINY
from autolabel.sam3.checkpoint import load
from autolabel.sam3.engine import Engine
from autolabel.sam3.grid import GridSettings
from autolabel.sam3.interactive import NO_POINT, Proposals
from autolabel.sam3.objects import ObjectQuery
from autolabel.sam3.preprocess import resize

SEED = 23  # neither trained on (1) nor validated on (2) nor what the model card measures (11)
REPOSITORY = Path(__file__).parents[2]
WEIGHTS = Path(demo.__file__).parent / "demo.safetensors"
R = TINY.resolution


@pytest.fixture(scope="module")
def engine() -> Engine:
    model = load(WEIGHTS, TINY, device="cpu", parts=INTERACTIVE_ALONE)
    return Engine(model, TINY, device=torch.device("cpu"), memory_mb=200)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(SEED, index) for index in range(16)]


@pytest.fixture(scope="module")
def prompts() -> ObjectPrompts:
    examples = [draw_example(SEED, index, resolution=R) for index in range(4)] * 100
    rng = np.random.default_rng(0)
    return draw_prompts(rng, [one.ids for one in examples], [one.boxes_cxcywh for one in examples])


class TestQuality:
    """With a margin below what jobs/benchmark.py demo measures on more scenes."""

    def test_boxes(self, engine: Engine, scenes: list[Scene]) -> None:
        ious = mask_ious(engine, TINY, scenes, box_around)
        assert len(ious) > 80
        assert ious.mean() > 0.78

    def test_clicks(self, engine: Engine, scenes: list[Scene]) -> None:
        ious = mask_ious(engine, TINY, scenes, click_in_the_middle)
        assert ious.mean() > 0.75

    def test_a_grid(self, engine: Engine, scenes: list[Scene]) -> None:
        settings = GridSettings(iou=0.5, stability=0.8, nms=0.7)
        figures = grid_figures(engine, TINY, scenes[:4], side=32, settings=settings)
        assert figures["objects"] > 20
        assert figures["found"] > 0.85, figures
        assert figures["right"] > 0.5, figures

    def test_scores_and_presence_mean_something(self, engine: Engine, scenes: list[Scene]) -> None:
        """A click on the ground has a lower object score than one on an object, most times."""
        rng = np.random.default_rng(0)
        on_objects, on_ground = [], []
        for scene in scenes:
            pixels = resize(scene.rgb, R)[None]
            ground = scene.ids == 0
            rows, columns = np.nonzero(ground)
            picks = rng.integers(len(rows), size=4)
            height, width = ground.shape
            asked = [click_in_the_middle(scene.mask(k)) for k in range(len(scene.kinds))]
            points = [((columns[n] + 0.5) / width, (rows[n] + 0.5) / height) for n in picks]
            elsewhere = [ObjectQuery(image=0, points_xy=((float(x), float(y)),), labels=(1,)) for x, y in points]
            on_objects += [result.presence for result in engine.segment_objects(pixels, asked)]
            on_ground += [result.presence for result in engine.segment_objects(pixels, elsewhere)]
        assert np.median(on_objects) > 0.9
        assert np.median(on_ground) < 0.5

    def test_the_file_says_how_it_was_made(self) -> None:
        with safe_open(WEIGHTS, "pt") as file:
            metadata = file.metadata()
        assert metadata["head_seed"] == "1"
        done, _, planned = metadata["head_step"].partition(" of ")
        assert done == planned
        assert metadata["head_command"] in (WEIGHTS.parent / "MODEL_CARD.md").read_text()


class TestPrompts:
    def test_every_kind_is_drawn(self, prompts: ObjectPrompts) -> None:
        shares = {kind: prompts.kinds.count(kind) / len(prompts.kinds) for kind in Kind}
        assert shares[Kind.GROUND] == pytest.approx(0.08, abs=0.05)
        assert shares[Kind.CLICK] == pytest.approx(0.47, abs=0.08)
        assert torch.equal(prompts.exist, torch.tensor([kind != Kind.GROUND for kind in prompts.kinds]))

    def test_clicks_are_on_what_they_mean(self, prompts: ObjectPrompts) -> None:
        for kind, points, labels, mask in zip(
            prompts.kinds, prompts.points, prompts.labels, prompts.masks, strict=True
        ):
            x, y = points[0].int().tolist()
            if kind == Kind.CLICK:
                assert labels.tolist() == [1, NO_POINT]
                assert mask[y, x]
            if kind == Kind.GROUND:
                assert labels.tolist() == [1, NO_POINT]
                assert not mask.any()

    def test_boxes_are_about_what_they_mean(self, prompts: ObjectPrompts) -> None:
        n_boxes = 0
        for kind, points, labels, mask in zip(
            prompts.kinds, prompts.points.numpy(), prompts.labels, prompts.masks, strict=True
        ):
            if kind == Kind.BOX and mask.any():
                n_boxes += 1
                assert labels.tolist() == [2, 3]
                rows, columns = np.nonzero(mask)
                low, high = np.array([columns.min(), rows.min()]), np.array([columns.max() + 1, rows.max() + 1])
                assert (abs(points - [low, high]) <= 0.25 * (high - low) + 2).all()
        assert n_boxes > 100

    def test_corrections_are_where_masks_differ(self) -> None:
        rng = np.random.default_rng(0)
        wanted = rng.random((20, 8, 8)) < 0.5
        found = wanted ^ (rng.random((20, 8, 8)) < 0.1)
        found[0] = wanted[0]
        wanted[1] = False
        points, labels = draw_corrections(rng, found, wanted)
        assert labels[:2].flatten().tolist() == [NO_POINT, NO_POINT]
        for m in range(2, 20):
            x, y = points[m, 0].int().tolist()
            assert found[m, y, x] != wanted[m, y, x]
            assert bool(labels[m, 0]) == wanted[m, y, x]

    def test_coverage(self) -> None:
        masks = np.zeros((1, 6, 6), bool)
        masks[0, :3, :2] = True
        assert torch.allclose(covered(masks, 3)[0], torch.tensor([[2 / 3, 0.0], [0.0, 0.0]]))


class TestLosses:
    def made(self, logits: torch.Tensor, ious: list[list[float]]) -> Proposals:
        return Proposals(logits=logits, ious=torch.tensor(ious), present=torch.zeros(len(logits)))

    def test_the_answer_is_the_one_asked_for(self) -> None:
        logits = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        found = self.made(logits, [[0.9, 0.1, 0.3, 0.2]] * 2)
        judged = judge(
            found,
            torch.ones(2, 8, 8),
            ambiguous=torch.tensor([True, False]),
            exist=torch.tensor([True, True]),
            done=0.0,
        )
        assert judged.pick.tolist() == [2, 0]

    def test_a_right_mask_costs_next_to_nothing_and_a_wrong_one_much(self) -> None:
        target = torch.zeros(1, 8, 8)
        target[:, :4] = 1
        right = (target * 20 - 10)[:, None].expand(-1, 4, -1, -1)
        yes, sure = torch.tensor([True]), [[1.0] * 4]
        for done in (0.0, 1.0):
            good = judge(self.made(right, sure), target, ambiguous=yes, exist=yes, done=done).losses
            bad = judge(self.made(-right, sure), target, ambiguous=yes, exist=yes, done=done).losses
            assert good["mask"] < 0.01 < 1 < bad["mask"]
            assert good["iou"] < 0.01 < 1 < bad["iou"]

    def test_what_is_nowhere_has_no_mask_to_learn(self) -> None:
        logits = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        no = torch.tensor([False])
        found = self.made(logits, [[0.5] * 4])
        losses = judge(found, torch.zeros(1, 8, 8), ambiguous=no, exist=no, done=0.0).losses
        assert losses["mask"] == 0
        assert losses["iou"] == pytest.approx(2 * 0.25)  # it should have been 0


@pytest.mark.slow
def test_training_goes_on_where_it_was_killed_and_leaves_the_detector_alone(tmp_path: Path) -> None:
    """The script itself: six steps at once, and six with a kill in between, end in the same weights."""
    settings = ["steps=6", "scenes=6", "report_every=1", "save_every=2"]

    def command(folder: str) -> list[str]:
        return [sys.executable, "jobs/train_demo_head.py", f"work_dir={tmp_path / folder}", *settings]

    subprocess.run(command("whole"), cwd=REPOSITORY, check=True, capture_output=True)
    killed = subprocess.Popen(command("killed"), cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    while not (tmp_path / "killed" / "state.pt").exists():
        assert killed.poll() is None
        time.sleep(0.005)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "demo.safetensors").exists()
    again = subprocess.run(command("killed"), cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert "going on after step" in again.stderr
    lines = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    with (
        safe_open(WEIGHTS, "pt") as shipped,
        safe_open(tmp_path / "whole" / "demo.safetensors", "pt") as whole,
        safe_open(tmp_path / "killed" / "demo.safetensors", "pt") as parts,
    ):
        assert set(whole.keys()) == set(parts.keys()) == set(shipped.keys())
        changed = [name for name in whole.keys() if not torch.equal(whole.get_tensor(name), shipped.get_tensor(name))]  # noqa: SIM118  # not a dict
        assert all(name.startswith("inst_interactive_predictor.") or ".sam2_convs." in name for name in changed)
        assert len(changed) > 100
        for name in whole.keys():  # noqa: SIM118
            assert torch.equal(whole.get_tensor(name), parts.get_tensor(name)), name
