"""What the demo model is taught: right answers, in the right frame, by losses that fall."""

import itertools
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou, generalized_box_iou

from autolabel.demo.phrases import PHRASES, WORDS, Kind, Phrase
from autolabel.demo.training.calibrate import calibrate
from autolabel.demo.training.examples import Batch, Example, draw_example, make_batch
from autolabel.demo.training.forward import Answers, answer
from autolabel.demo.training.initial_weights import initialise
from autolabel.demo.training.losses import WEIGHTS, AttributeHeads, giou_and_iou, losses, match, noisy
from autolabel.demo.training.prompts import FOREIGN, MIX, Question, ask
from autolabel.demo.vocabulary import known_token_ids
from autolabel.sam3.architecture import TINY, build
from autolabel.sam3.checkpoint import TOKEN_TABLE, load
from autolabel.sam3.download import fetch
from autolabel.sam3.engine import Engine, Pair
from autolabel.sam3.text import tokenizer
from autolabel.sam3.upstream import Sam3Image, box_cxcywh_to_xyxy

SEED = 40
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return [draw_example(SEED, index, resolution=TINY.resolution) for index in range(4)]


@pytest.fixture(scope="module")
def batch(examples: list[Example]) -> Batch:
    return make_batch(np.random.default_rng(0), examples, per_scene=6, patch_px=TINY.patch_px)


@pytest.fixture(scope="module")
def model() -> Sam3Image:
    torch.manual_seed(0)
    model = build(TINY)
    initialise(model, TINY, 0)
    return model


class TestQuestions:
    KINDS = (
        Kind("red", "circle", "plain"),
        Kind("red", "circle", "plain"),
        Kind("red", "square", "plain"),
        Kind("blue", "circle", "striped"),
    )

    @pytest.fixture
    def questions(self) -> list[Question]:
        return ask(np.random.default_rng(1), self.KINDS, 2000)

    def test_every_way_is_asked_about_as_often_as_the_mix_says(self, questions: list[Question]) -> None:
        counts = Counter(question.way for question in questions)
        assert counts.keys() == MIX.keys()
        for way, share in MIX.items():
            assert counts[way] / len(questions) == pytest.approx(share, abs=0.06), way  # some do not fit a scene

    def test_absent_phrases_have_no_answer_and_all_others_have_one(self, questions: list[Question]) -> None:
        for question in questions:
            assert bool(question.answer) == (question.way != "absent"), question
            assert (question.text is None) == (question.way in ("box", "box and negative box"))

    def test_boxes_say_which_objects_are_wanted(self, questions: list[Question]) -> None:
        for question in questions:
            for index, positive in question.boxes:
                assert (index in question.answer) == positive, question
            signs = {positive for _, positive in question.boxes}
            expected = {
                "box": {True},
                "text and box": {True},
                "box and negative box": {True, False},
                "text and negative box": {False},
            }
            assert signs == expected.get(question.way, set())

    def test_a_negative_box_drops_its_whole_kind_and_no_other(self, questions: list[Question]) -> None:
        for question in (one for one in questions if one.way == "text and negative box"):
            assert isinstance(question.meant, Phrase)
            ((boxed, _),) = question.boxes
            meant = {index for index, kind in enumerate(self.KINDS) if question.meant.means(kind)}
            assert question.answer == {index for index in meant if self.KINDS[index] != self.KINDS[boxed]}
            assert boxed in meant

    def test_some_absent_phrases_use_only_words_that_are_there(self, questions: list[Question]) -> None:
        absent = [question.text for question in questions if question.way == "absent"]
        assert {"blue square", "striped square"} & set(absent)
        assert any(word in (text or "") for text in absent for word in FOREIGN)

    def test_foreign_words_are_not_known_words(self) -> None:
        known = set(known_token_ids())
        assert not set(FOREIGN) & set(WORDS)
        for word in FOREIGN:
            if word not in ("angles", "tri"):  # the tokens of "triangles", of which neither alone means anything
                assert not set(tokenizer().encode(word)) <= known, word


class TestBatch:
    def test_boxes_and_masks_are_turned_with_the_picture(self, examples: list[Example]) -> None:
        batches = [
            make_batch(np.random.default_rng(seed), examples, per_scene=1, patch_px=TINY.patch_px) for seed in range(6)
        ]
        assert any(not torch.equal(batches[0].pixels, other.pixels) for other in batches[1:])
        for one in batches:
            side = one.coverage.shape[-1]
            for scene, slot in one.exists.nonzero().tolist():
                rows, columns = (one.coverage[scene, slot].amax(axis) > 0 for axis in (1, 0))
                x0, y0, x1, y1 = (box_cxcywh_to_xyxy(one.boxes[scene, slot]) * side).tolist()
                assert abs(columns.nonzero().min().item() - x0) < 1.5
                assert abs(columns.nonzero().max().item() + 1 - x1) < 1.5
                assert abs(rows.nonzero().min().item() - y0) < 1.5
                assert abs(rows.nonzero().max().item() + 1 - y1) < 1.5

    def test_objects_keep_their_colour_after_turning(self, batch: Batch) -> None:
        """Cells that an object covers are of one colour in the picture."""
        scene, slot = batch.exists.nonzero()[0].tolist()
        inside = torch.nn.functional.interpolate(
            (batch.coverage[scene, slot] == 1).float()[None, None], scale_factor=TINY.patch_px // 4
        )[0, 0].bool()
        assert inside.any()
        assert batch.pixels[scene][:, inside].std(dim=1).max() < 0.35

    def test_shapes(self, batch: Batch) -> None:
        n_slots, side = batch.exists.shape[1], TINY.feature_side
        assert batch.pixels.shape == (4, 3, TINY.resolution, TINY.resolution)
        assert batch.coverage.shape == (4, n_slots, 4 * side, 4 * side)
        assert batch.cells.shape == (4, n_slots, side, side)
        assert batch.wanted.shape == (24, n_slots)
        assert not (batch.wanted & ~batch.exists[batch.scene]).any()


class TestForward:
    def ask(self, model: Sam3Image, batch: Batch, seed: int) -> Answers:
        torch.manual_seed(seed)
        boxes = noisy(batch.boxes[batch.scene])
        with torch.no_grad():
            return answer(model, batch, noisy_boxes=boxes, segmented=torch.arange(len(batch.scene)))

    def test_it_answers_as_the_engine_does(self, model: Sam3Image, batch: Batch, examples: list[Example]) -> None:
        answers = self.ask(model, batch, 0)
        pixels = ((batch.pixels + 1) * 127.5).round().to(torch.uint8)
        pairs = [
            Pair(
                image=int(scene),
                text=question.text,
                boxes_cxcywh=tuple((b[0], b[1], b[2], b[3]) for b, _ in given),
                positive=tuple(positive for _, positive in given),
                threshold=-1.0,
            )
            for scene, question, given in zip(batch.scene, batch.questions, batch.exemplars, strict=True)
        ]
        results = Engine(model, TINY, device=torch.device("cpu"), memory_mb=200).segment(pixels, pairs)
        own = TINY.queries
        scores = answers.logits[-1, :, :own].sigmoid() * answers.presence[-1].sigmoid()[:, None]
        for index, result in enumerate(results):
            assert torch.allclose(torch.from_numpy(result.scores), scores[index], atol=1e-5)
            boxes = box_cxcywh_to_xyxy(answers.boxes[-1, index, :own])
            assert torch.allclose(torch.from_numpy(result.boxes_xyxy), boxes, atol=1e-4)
            assert torch.allclose(result.mask_logits, answers.masks[index, :own], atol=1e-3)

    def test_denoising_queries_are_not_seen_by_the_others(self, model: Sam3Image, batch: Batch) -> None:
        one, other, own = self.ask(model, batch, 1), self.ask(model, batch, 2), TINY.queries
        assert not torch.allclose(one.logits[..., own:], other.logits[..., own:], atol=1e-3)
        assert torch.allclose(one.logits[..., :own], other.logits[..., :own], atol=1e-5)
        assert torch.allclose(one.presence, other.presence, atol=1e-5)


class TestLosses:
    def test_matching_is_the_cheapest_assignment(self) -> None:
        torch.manual_seed(3)
        logits, boxes = torch.randn(1, 1, 5), torch.rand(1, 1, 5, 4) * 0.4 + 0.3
        objects, wanted = torch.rand(1, 4, 4) * 0.4 + 0.3, torch.tensor([[True, False, True, True]])
        found = match(logits, boxes, objects, wanted)
        assert sorted(found.slot.tolist()) == [0, 2, 3]
        giou, _ = giou_and_iou(boxes[0, 0][:, None], objects[0][None])
        cost = 5 * torch.cdist(boxes[0, 0], objects[0], p=1) - 2 * giou - 2 * logits[0, 0].sigmoid()[:, None]
        best = min(
            sum(cost[query, slot].item() for query, slot in zip(order, (0, 2, 3), strict=True))
            for order in itertools.permutations(range(5), 3)
        )
        assert cost[found.query, found.slot].sum().item() == pytest.approx(best, abs=1e-5)

    def test_overlaps_are_torchvisions(self) -> None:
        torch.manual_seed(4)
        one, other = torch.rand(20, 4) * 0.5 + 0.1, torch.rand(20, 4) * 0.5 + 0.1
        giou, iou = giou_and_iou(one[:, None], other[None])
        a, b = box_cxcywh_to_xyxy(one), box_cxcywh_to_xyxy(other)
        assert torch.allclose(giou, generalized_box_iou(a, b), atol=1e-5)
        assert torch.allclose(iou, box_iou(a, b), atol=1e-5)

    @pytest.mark.long
    def test_a_few_steps_on_one_batch_bring_every_loss_down(self, examples: list[Example]) -> None:
        torch.manual_seed(0)
        model, heads = build(TINY), AttributeHeads(TINY.width)
        initialise(model, TINY, 0)
        batch = make_batch(np.random.default_rng(0), examples[:2], per_scene=3, patch_px=TINY.patch_px)
        trained = [p for p in [*model.parameters(), *heads.parameters()] if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-3)
        segmented, history = torch.arange(6), []
        for _ in range(25):
            boxes = noisy(batch.boxes[batch.scene])
            answers = answer(model, batch, noisy_boxes=boxes, segmented=segmented)
            found = losses(answers, batch, heads, n_noisy=boxes.shape[1], segmented=segmented, by_iou=0.0)
            assert found.keys() == WEIGHTS.keys()
            history.append({name: loss.item() for name, loss in found.items()})
            optimizer.zero_grad()
            sum(WEIGHTS[name] * loss for name, loss in found.items()).backward()  # type: ignore[union-attr]
            torch.nn.utils.clip_grad_norm_(trained, 5.0)
            optimizer.step()
        for name in ("class", "noisy class", "presence", "mask", "semantic mask", "attributes of cells"):
            assert np.mean([one[name] for one in history[-3:]]) < 0.8 * history[0][name], name


@pytest.mark.long
def test_calibration_lets_the_share_fire_that_is_asked_for(examples: list[Example]) -> None:
    model = load(fetch("pkg://autolabel.demo/demo.safetensors", storage_options={}).path, TINY, device="cpu")
    with torch.no_grad():
        model.transformer.decoder.presence_token_head.layers[-1].bias.add_(3.0)

    def fired() -> float:
        engine, best = Engine(model, TINY, device=torch.device("cpu"), memory_mb=200), []
        for example in examples:
            absent = [one.text for one in PHRASES if not any(one.means(kind) for kind in example.kinds)]
            asked = [Pair(image=0, text=text, threshold=1.0) for text in absent]
            best += [result.best_score for result in engine.segment(example.pixels[None], asked)]
        return float(np.mean([score > 0.5 for score in best]))

    assert fired() > 0.02
    assert calibrate(model, TINY, examples, share=0.01) > 0
    assert 0.005 < fired() <= 0.01
    assert calibrate(model, TINY, examples, share=0.5) == 0


def test_only_known_words_have_rows_of_their_own(model: Sam3Image) -> None:
    table = model.state_dict()[TOKEN_TABLE]
    assert len(torch.unique(table, dim=0)) == len(known_token_ids()) + 1


@pytest.mark.slow
def test_training_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """The script itself: six steps at once, and six with a kill in between, end in the same weights."""
    settings = ["steps=6", "scenes=6", "validation_scenes=1", "report_every=1", "validate_every=2", "threads=1"]

    def command(folder: str) -> list[str]:
        return [sys.executable, "jobs/train_demo.py", f"work_dir={tmp_path / folder}", *settings]

    subprocess.run(command("whole"), cwd=REPOSITORY, check=True, capture_output=True)
    killed = subprocess.Popen(command("killed"), cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    while not (tmp_path / "killed" / "state.pt").exists():
        assert killed.poll() is None
        time.sleep(0.005)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "curves.png").exists()
    again = subprocess.run(command("killed"), cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert "going on after step" in again.stderr
    whole, parts = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "killed"))
    assert whole["step"] == parts["step"] == 6
    for name, tensor in whole["model"].items():
        assert torch.equal(tensor, parts["model"][name]), name
    for folder in ("whole", "killed"):
        lines = [json.loads(line) for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 2, 3, 4, 4, 5, 6, 6, 6]
        assert (tmp_path / folder / "curves.png").stat().st_size > 10_000
