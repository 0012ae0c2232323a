"""Train the demo model from nothing on drawn scenes: python jobs/train_demo.py work_dir=DIR [key=value ...]

The same command goes on from where it was stopped. In `work_dir`: `metrics.jsonl`, one line per report; `curves.png`
at the end; `state.pt`, what the next start goes on from; and `demo.safetensors`, the averaged weights, always
loadable. `start_from` trains a finished model further. The drawing of 12,000 scenes takes a few minutes and is done
anew at each start.

On two cores it takes about an hour and a half.
"""

import json
import logging
import math
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from torch import nn

from autolabel.config.compose import conf_dir, register_schemas
from autolabel.demo.training.calibrate import calibrate
from autolabel.demo.training.examples import FEW_OBJECTS, Example, draw_examples, make_batch
from autolabel.demo.training.forward import answer
from autolabel.demo.training.initial_weights import initialise
from autolabel.demo.training.losses import WEIGHTS, AttributeHeads, losses, noisy
from autolabel.demo.training.validate import validate
from autolabel.demo.vocabulary import known_token_ids
from autolabel.sam3.architecture import TINY, build
from autolabel.sam3.checkpoint import load, save

WARM_UP_STEPS = 100
LAST_RATE = 0.02  # of the learning rate, at the end of the cosine
EASY_UNTIL = 0.05  # share of the steps that see scenes of few objects only
BY_IOU_FROM, BY_IOU_UNTIL = 0.3, 0.6  # shares of the steps between which class targets turn to IoU
SEGMENTED = 0.5  # share of the questions whose masks are made
KEPT = 0.999  # of the averaged weights, at each step
LARGEST_GRADIENT = 5.0
ABSENT_SHARE = 0.015  # of the absent phrases of the validation scenes, may score above 0.5 in the end

log = logging.getLogger("train_demo")


@dataclass
class TrainConfig:
    work_dir: str = "???"
    steps: int = 12_000
    start_from: str | None = None  # a checkpoint to train further; null: random weights
    seed: int = 1  # of random weights and of the training scenes, which no figure may come from
    scenes: int = 12_000
    validation_seed: int = 2
    validation_scenes: int = 60
    scenes_per_step: int = 4
    questions_per_scene: int = 6
    learning_rate: float = 1.2e-3
    weight_decay: float = 1e-4
    report_every: int = 50  # steps
    validate_every: int = 1000  # steps; the state is saved then too
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    threads: int | None = None  # of torch; null leaves it to torch


class Trainer:
    """A model in training and everything that a resumed one needs."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.folder = Path(config.work_dir)
        self.device = torch.device(config.device)
        torch.manual_seed(config.seed)
        # Both models are in eval mode: no activation checkpoints, and gradients flow all the same.
        if config.start_from is None:
            self.model = build(TINY)
            initialise(self.model, TINY, config.seed)
            self.model.to(self.device)
        else:
            self.model = load(Path(config.start_from), TINY, device=self.device).requires_grad_()
        self.model.backbone.language_backbone.encoder.token_embedding.requires_grad_(False)
        self.heads = AttributeHeads(TINY.width).to(self.device)
        trained = [p for p in [*self.model.parameters(), *self.heads.parameters()] if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.trained = trained
        self.averaged = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.rng = np.random.default_rng(config.seed)
        self.step = 0
        self.seconds = 0.0

    def train(self, examples: Sequence[Example], unseen: Sequence[Example]) -> None:
        easy = [example for example in examples if len(example.kinds) <= FEW_OBJECTS]
        sums: dict[str, float] = defaultdict(float)
        started = time.monotonic()
        while self.step < self.config.steps:
            done = self.step / self.config.steps
            for name, value in self._one_step(easy if self._learnt(done) < EASY_UNTIL else examples, done).items():
                sums[name] += value
            self.step += 1
            if self.step % self.config.report_every == 0:
                self.seconds, started = self.seconds + time.monotonic() - started, time.monotonic()
                self._report({name: value / self.config.report_every for name, value in sums.items()})
                sums.clear()
            if self.step % self.config.validate_every == 0 or self.step == self.config.steps:
                self._validate_and_save(unseen)
                started = time.monotonic()

    def _learnt(self, done: float) -> float:
        """The share of the way from random weights; a checkpoint has gone it."""
        return done if self.config.start_from is None else 1.0

    def _one_step(self, examples: Sequence[Example], done: float) -> dict[str, float]:
        config = self.config
        warmth = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        cosine = (1 + math.cos(math.pi * done)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * warmth * (LAST_RATE + (1 - LAST_RATE) * cosine)
        chosen = [examples[index] for index in self.rng.integers(len(examples), size=config.scenes_per_step)]
        batch = make_batch(self.rng, chosen, per_scene=config.questions_per_scene, patch_px=TINY.patch_px)
        batch = batch.to(self.device)
        n_questions = len(batch.questions)
        segmented = torch.randperm(n_questions, device=self.device)[: max(1, int(n_questions * SEGMENTED))]
        jittered = noisy(batch.boxes[batch.scene])
        answers = answer(self.model, batch, noisy_boxes=jittered, segmented=segmented)
        found = losses(
            answers,
            batch,
            self.heads,
            n_noisy=jittered.shape[1],
            segmented=segmented,
            by_iou=min(1.0, max(0.0, (self._learnt(done) - BY_IOU_FROM) / (BY_IOU_UNTIL - BY_IOU_FROM))),
        )
        total = torch.stack([WEIGHTS[name] * loss for name, loss in found.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        gradient = nn.utils.clip_grad_norm_(self.trained, LARGEST_GRADIENT)
        self.optimizer.step()
        self._average()
        return {name: loss.item() for name, loss in found.items()} | {"loss": total.item(), "gradient": gradient.item()}

    @torch.no_grad()
    def _average(self) -> None:
        kept = min(KEPT, self.step / (self.step + 20))
        state = self.model.state_dict()
        trained = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        torch._foreach_lerp_([self.averaged[name] for name in trained], [state[name] for name in trained], 1 - kept)

    def _validate_and_save(self, unseen: Sequence[Example]) -> None:
        state = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.averaged)
        self._report(validate(self.model, TINY, unseen, self.config.validation_seed))
        self._save_averaged()
        self.model.load_state_dict(state)
        partial = self.folder / "state.pt.partial"
        torch.save(self._state(), partial)
        partial.replace(self.folder / "state.pt")

    def finish(self, unseen: Sequence[Example]) -> None:
        """Leave the averaged weights in the model, calibrated, and save them."""
        self.model.load_state_dict(self.averaged)
        lowered_by = calibrate(self.model, TINY, unseen, share=ABSENT_SHARE)
        log.info("presence lowered by %.3f", lowered_by)
        self._report(validate(self.model, TINY, unseen, self.config.validation_seed))
        self._save_averaged(presence_lowered_by=f"{lowered_by:.3f}")

    def _save_averaged(self, **more: str) -> None:
        """Write the model's weights, which are the averaged ones now."""
        save(
            self.model,
            self.folder / "demo.safetensors",
            dtype=torch.float16,
            token_ids=known_token_ids(),
            metadata={
                "command": shlex.join(["python", *sys.argv]),
                "seed": str(self.config.seed),
                "step": f"{self.step} of {self.config.steps}",
                **more,
            },
        )

    def _report(self, figures: dict[str, float]) -> None:
        line = {"step": self.step, "seconds": round(self.seconds)} | {k: round(v, 4) for k, v in figures.items()}
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        log.info("%s", "  ".join(f"{name} {value}" for name, value in line.items()))

    def _state(self) -> dict[str, Any]:
        return {
            "config": asdict(self.config),
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged,
            "rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
            "step": self.step,
            "seconds": self.seconds,
        }

    def resume(self) -> None:
        """Go on from `state.pt` if there is one; what was reported after it is reported again."""
        path = self.folder / "state.pt"
        if not path.exists():
            (self.folder / "metrics.jsonl").unlink(missing_ok=True)
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if changed := [key for key, value in asdict(self.config).items() if state["config"][key] != value]:
            log.warning("these settings differ from those that training began with: %s", ", ".join(changed))
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged = state["averaged"]
        self.rng.bit_generator.state = state["rng"]
        torch.set_rng_state(state["torch_rng"].cpu())
        self.step, self.seconds = state["step"], state["seconds"]
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= self.step]
        (self.folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in kept))
        log.info("going on after step %d", self.step)


def plot(folder: Path) -> None:
    """`curves.png` of `metrics.jsonl`: losses above, quality below."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    figure = Figure(figsize=(11, 9), layout="constrained")
    above, below = figure.subplots(2, 1)
    for axes, reports, names in (
        (above, [line for line in lines if "loss" in line], list(WEIGHTS)),
        (below, [line for line in lines if "absent fired" in line], None),
    ):
        for name in names or [name for name in reports[-1] if name not in ("step", "seconds")]:
            axes.plot([line["step"] for line in reports], [line[name] for line in reports], label=name, linewidth=1.2)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, ncols=2)
    above.set_yscale("log")
    above.set_ylabel("loss, before its weight")
    below.set_ylabel("on scenes not trained on")
    figure.savefig(folder / "curves.png", dpi=110)


def main(composed: DictConfig) -> None:
    config = OmegaConf.to_object(composed)
    assert isinstance(config, TrainConfig)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING, force=True)
    log.setLevel(logging.INFO)
    torch.set_flush_denormal(True)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    trainer = Trainer(config)
    trainer.folder.mkdir(parents=True, exist_ok=True)
    trainer.resume()
    log.info("drawing %d scenes", config.scenes)
    examples = draw_examples(config.seed, config.scenes, TINY.resolution)
    unseen = draw_examples(config.validation_seed, config.validation_scenes, TINY.resolution)
    n_trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    log.info("training %d parameters on %s", n_trained, config.device)
    trainer.train(examples, unseen)
    trainer.finish(unseen)
    plot(trainer.folder)
    log.info("done: %s and %s", trainer.folder / "demo.safetensors", trainer.folder / "curves.png")


if __name__ == "__main__":
    register_schemas()
    ConfigStore.instance().store(name="train_demo_schema", node=TrainConfig)
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train_demo")(main)()
