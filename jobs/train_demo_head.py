"""Train the demo model's head for points and boxes on drawn scenes: python jobs/train_demo_head.py work_dir=DIR

The detector stays as it is, bit for bit: its ViT makes the maps of every scene once, and the head learns from those.
The same command goes on from where it was stopped. In `work_dir`: `metrics.jsonl`, a line per report; `state.pt`, what
the next start goes on from; and, at the end, `demo.safetensors`: the detector's weights as its file has them, and the
head's averaged ones, in half precision.

On one core it takes about twelve minutes.
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
import numpy.typing as npt
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from autolabel.config.compose import conf_dir, register_schemas
from autolabel.demo import __file__ as demo_package
from autolabel.demo.training.examples import Example, draw_examples
from autolabel.demo.training.initial_weights import initialise_interactive
from autolabel.demo.training.object_losses import judge
from autolabel.demo.training.object_prompts import Kind, covered, draw_corrections, draw_prompts
from autolabel.sam3.architecture import TINY, Part, build
from autolabel.sam3.checkpoint import load
from autolabel.sam3.interactive import (
    LARGEST_LOGIT,
    InteractiveHead,
    ObjectFeatures,
    Proposals,
    decoded,
    image_terms,
    positions_of,
)
from autolabel.sam3.layouts import saved_name
from autolabel.sam3.preprocess import normalize
from autolabel.sam3.upstream import Sam3Image

CELL_PX = TINY.patch_px // 4  # of a mask
WARM_UP_STEPS = 60
LAST_RATE = 0.02  # of the learning rate, at the end of the cosine
CORRECTED_FROM, CORRECTED_SHARE = 150, 0.25  # steps with a second click where the first answer is wrong
KEPT = 0.995  # of the averaged weights, at each step
LARGEST_GRADIENT = 2.0
AT_ONCE = 16  # scenes through the ViT

log = logging.getLogger("train_demo_head")


@dataclass
class TrainHeadConfig:
    work_dir: str = "???"
    detector: str = str(Path(demo_package).parent / "demo.safetensors")  # a head that it has is not read
    steps: int = 4000
    seed: int = 1  # of random weights and of the training scenes, which no figure may come from
    scenes: int = 900  # each also mirrored
    scenes_per_step: int = 4
    objects_per_scene: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    report_every: int = 100  # steps
    save_every: int = 500
    threads: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """A scene as the head begins with it: what no step changes."""

    trunk: torch.Tensor  # half (V, s, s)
    doubled: torch.Tensor  # half (C, 2s, 2s)
    quadrupled: torch.Tensor  # half (C, 4s, 4s)
    ids: npt.NDArray[np.uint8]  # (R, R)
    boxes_cxcywh: npt.NDArray[np.float32]  # (K, 4)


class Trainer:
    """A head in training and everything that a resumed one needs."""

    def __init__(self, config: TrainHeadConfig) -> None:
        self.config = config
        self.folder = Path(config.work_dir)
        torch.manual_seed(config.seed)
        self.model = with_new_head(Path(config.detector))
        self.head: InteractiveHead = self.model.interactive
        self.head.sam2_convs[:2].requires_grad_(False)  # four fifths of a step's operations
        self.trained = [parameter for parameter in self.head.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98), fused=True
        )
        self.averaged = {name: tensor.clone() for name, tensor in self.head.state_dict().items()}
        self.rng = np.random.default_rng(config.seed)
        self.step = 0
        self.seconds = 0.0

    def train(self, scenes: Sequence[Encoded]) -> None:
        sums: dict[str, float] = defaultdict(float)
        started = time.process_time()
        while self.step < self.config.steps:
            for name, value in self._one_step(scenes, self.step / self.config.steps).items():
                sums[name] += value
            self.step += 1
            if self.step % self.config.report_every == 0:
                self.seconds, started = self.seconds + time.process_time() - started, time.process_time()
                self._report({name: value / self.config.report_every for name, value in sums.items()})
                sums.clear()
            if self.step % self.config.save_every == 0:
                self._save_state()

    def _one_step(self, scenes: Sequence[Encoded], done: float) -> dict[str, float]:
        config, head = self.config, self.head
        warmth = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        for group in self.optimizer.param_groups:
            group["lr"] = (
                config.learning_rate * warmth * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2)
            )
        chosen = [scenes[index] for index in self.rng.integers(len(scenes), size=config.scenes_per_step)]
        of = np.repeat(np.arange(len(chosen)), config.objects_per_scene)
        asked = draw_prompts(self.rng, [chosen[b].ids for b in of], [chosen[b].boxes_cxcywh for b in of])
        coverage, image = covered(asked.masks, CELL_PX), torch.from_numpy(of)
        positions = positions_of(head)
        maps = (torch.stack([getattr(one, name) for one in chosen]).float() for name in ("quadrupled", "doubled"))
        coarse = head.sam2_convs[2](torch.stack([one.trunk for one in chosen]).float())
        features = ObjectFeatures(**image_terms(head, positions, [*maps, coarse]))
        points, labels, before = asked.points, asked.labels, None
        clicks = torch.tensor([kind != Kind.BOX for kind in asked.kinds])
        again = self.step > CORRECTED_FROM and self.rng.random() < CORRECTED_SHARE
        total, losses = torch.zeros(()), defaultdict[str, float](float)
        for turn in range(1 + again):
            found = Proposals(**decoded(head, positions, features, image, points, labels, before, padded=True))
            judged = judge(found, coverage, ambiguous=clicks & (turn == 0), exist=asked.exist, done=done)
            for name, loss in judged.losses.items():
                total = total + loss
                losses[name] += loss.item() / (1 + again)
            if turn < again:
                answers = found.logits.detach()[torch.arange(len(of)), judged.pick][:, None]
                before = answers.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
                shown = F.interpolate(answers, asked.masks.shape[1:], mode="bilinear")[:, 0].numpy() > 0
                more = draw_corrections(self.rng, shown, asked.masks)
                points, labels = torch.cat([points, more[0]], dim=1), torch.cat([labels, more[1]], dim=1)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.trained, LARGEST_GRADIENT)
        self.optimizer.step()
        self._average()
        return losses

    @torch.no_grad()
    def _average(self) -> None:
        kept = min(KEPT, self.step / (self.step + 20))
        state = dict(self.head.named_parameters())
        torch._foreach_lerp_([self.averaged[name] for name in state], list(state.values()), 1 - kept)

    def _report(self, figures: dict[str, float]) -> None:
        line = {"step": self.step, "cpu seconds": round(self.seconds)} | {k: round(v, 4) for k, v in figures.items()}
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        log.info("%s", "  ".join(f"{name} {value}" for name, value in line.items()))

    def _save_state(self) -> None:
        partial = self.folder / "state.pt.partial"
        state: dict[str, Any] = {
            "config": asdict(self.config),
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged,
            "rng": self.rng.bit_generator.state,
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, partial)
        partial.replace(self.folder / "state.pt")

    def resume(self) -> None:
        """Go on from `state.pt` if there is one; what was reported after it is reported again."""
        path, metrics = self.folder / "state.pt", self.folder / "metrics.jsonl"
        if not path.exists():
            metrics.unlink(missing_ok=True)
            return
        state = torch.load(path, weights_only=True)
        if changed := [key for key, value in asdict(self.config).items() if state["config"][key] != value]:
            log.warning("these settings differ from those that training began with: %s", ", ".join(changed))
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged = state["averaged"]
        self.rng.bit_generator.state = state["rng"]
        self.step, self.seconds = state["step"], state["seconds"]
        kept = [line for line in metrics.read_text().splitlines() if json.loads(line)["step"] <= self.step]
        metrics.write_text("".join(f"{line}\n" for line in kept))
        log.info("going on after step %d", self.step)

    def finish(self) -> None:
        """Write the detector's file with the averaged head in it."""
        self.head.load_state_dict(self.averaged)
        with safe_open(self.config.detector, "pt") as file:
            metadata = file.metadata() or {}
            entries = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        entries |= {
            saved_name(f"interactive.{name}"): tensor.half().contiguous()
            for name, tensor in self.head.state_dict().items()
        }
        metadata |= {
            "head_command": shlex.join(["python", *sys.argv]),
            "head_seed": str(self.config.seed),
            "head_step": f"{self.step} of {self.config.steps}",
        }
        partial = self.folder / "demo.safetensors.partial"
        save_file(entries, partial, metadata=metadata)
        partial.replace(self.folder / "demo.safetensors")


def with_new_head(detector: Path) -> Sam3Image:
    """Load a detector, frozen, and put an untrained head beside it."""
    model = load(detector, TINY, device="cpu").requires_grad_(False)
    model.interactive = build(TINY, parts=frozenset(Part)).interactive
    initialise_interactive(model)
    return model


@torch.inference_mode()
def encoded(model: Sam3Image, examples: Sequence[Example]) -> list[Encoded]:
    """Run what stays frozen on scenes and their mirror images."""
    convs, trunk = model.interactive.sam2_convs, model.backbone.vision_backbone.trunk
    scenes = []
    for start in range(0, len(examples), AT_ONCE):
        some = examples[start : start + AT_ONCE]
        for mirrored in (False, True):
            pixels = torch.stack([example.pixels for example in some])
            maps = trunk(normalize(pixels.flip(3) if mirrored else pixels))[-1]
            found = [each.half() for each in (maps, convs[1](maps), convs[0](maps))]
            for example, own, doubled, quadrupled in zip(some, *found, strict=True):
                boxes = example.boxes_cxcywh.copy()
                if mirrored:
                    boxes[:, 0] = 1 - boxes[:, 0]
                scenes.append(
                    Encoded(
                        trunk=own.clone(),
                        doubled=doubled.clone(),
                        quadrupled=quadrupled.clone(),
                        ids=np.ascontiguousarray(example.ids[:, ::-1] if mirrored else example.ids),
                        boxes_cxcywh=boxes,
                    )
                )
    return scenes


def main(composed: DictConfig) -> None:
    config = OmegaConf.to_object(composed)
    assert isinstance(config, TrainHeadConfig)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING, force=True)
    log.setLevel(logging.INFO)
    torch.set_flush_denormal(True)
    torch.set_num_threads(config.threads)
    trainer = Trainer(config)
    trainer.folder.mkdir(parents=True, exist_ok=True)
    trainer.resume()
    log.info("drawing %d scenes", config.scenes)
    scenes = encoded(trainer.model, draw_examples(config.seed, config.scenes, TINY.resolution))
    log.info("training %d parameters", sum(parameter.numel() for parameter in trainer.trained))
    trainer.train(scenes)
    trainer.finish()
    log.info("done: %s", trainer.folder / "demo.safetensors")


if __name__ == "__main__":
    register_schemas()
    ConfigStore.instance().store(name="train_demo_head_schema", node=TrainHeadConfig)
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train_demo_head")(main)()
