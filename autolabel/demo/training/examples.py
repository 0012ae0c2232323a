"""Scenes and questions about them as tensors, a batch at a time."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional as F

from autolabel.demo.phrases import COLORS, FILLS, SHAPES, Kind
from autolabel.demo.scenes import draw_scene
from autolabel.demo.training.prompts import Question, ask
from autolabel.sam3.preprocess import normalize, resize

FEW_OBJECTS = 4  # of the scenes that training starts with
ATTRIBUTES = {"color": tuple(COLORS), "shape": SHAPES, "fill": FILLS}
IGNORED = -100  # by torch's cross-entropy


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """A scene as the model sees it, in its square frame of R pixels."""

    pixels: torch.Tensor  # uint8 (3, R, R)
    ids: npt.NDArray[np.uint8]  # (R, R)
    boxes_cxcywh: npt.NDArray[np.float32]  # (K, 4) fractions of the frame
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """B scenes, P questions about them, and K slots for the objects of a scene."""

    pixels: torch.Tensor  # float32 (B, 3, R, R) in [-1, 1]
    coverage: torch.Tensor  # (B, K, 4s, 4s) of every cell of the mask grid by every object
    cells: torch.Tensor  # (B, K, s, s) the same for the grid of features
    boxes: torch.Tensor  # (B, K, 4) cxcywh
    exists: torch.Tensor  # bool (B, K)
    attributes: dict[str, torch.Tensor]  # of every object (B, K), an index into ATTRIBUTES
    scene: torch.Tensor  # (P,) of every question
    questions: list[Question]
    exemplars: list[list[tuple[tuple[float, ...], bool]]]  # of every question: boxes cxcywh, wanted or not
    wanted: torch.Tensor  # bool (P, K)
    meant: dict[str, torch.Tensor]  # (P,) an index into ATTRIBUTES, their number if left open, or IGNORED

    def to(self, device: torch.device) -> "Batch":
        moved: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, torch.Tensor):
                moved[name] = value.to(device)
            elif isinstance(value, dict):
                moved[name] = {key: tensor.to(device) for key, tensor in value.items()}
        return replace(self, **moved)


def draw_examples(seed: int, count: int, resolution: int) -> list[Example]:
    """The first `count` scenes of a seed, drawn on all cores."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        return list(pool.map(partial(draw_example, seed, resolution=resolution), range(count), chunksize=50))


def draw_example(seed: int, index: int, *, resolution: int) -> Example:
    scene = draw_scene(seed, index)
    ids = Image.fromarray(scene.ids).resize((resolution, resolution), Image.Resampling.NEAREST)
    return Example(
        pixels=resize(scene.rgb, resolution),
        ids=np.asarray(ids),
        boxes_cxcywh=np.stack([box_cxcywh(scene.mask(k)) for k in range(len(scene.kinds))]),
        kinds=scene.kinds,
    )


def box_cxcywh(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The box around a mask that is not empty, as fractions of its frame."""
    (height, width), rows, columns = mask.shape, np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    return np.array([(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height], np.float32)


def make_batch(rng: np.random.Generator, examples: Sequence[Example], *, per_scene: int, patch_px: int) -> Batch:
    """A batch of these scenes, each mirrored or not, with `per_scene` questions about each."""
    n_slots = max(len(example.kinds) for example in examples)
    pixels = torch.stack([example.pixels for example in examples])
    ids = torch.from_numpy(np.stack([example.ids for example in examples]))
    boxes = torch.zeros(len(examples), n_slots, 4)
    for place, example in enumerate(examples):
        boxes[place, : len(example.kinds)] = torch.from_numpy(example.boxes_cxcywh)
    for axis in (0, 1):  # mirrored left to right, upside down
        flipped = torch.from_numpy(rng.random(len(examples)) < 0.5)
        pixels[flipped] = pixels[flipped].flip(3 - axis)
        ids[flipped] = ids[flipped].flip(2 - axis)
        boxes[flipped, :, axis] = 1 - boxes[flipped, :, axis]
    covered = (ids[:, None] == torch.arange(1, n_slots + 1)[None, :, None, None]).float()
    questions = [ask(rng, example.kinds, per_scene) for example in examples]
    flat = [(scene, question) for scene, asked in enumerate(questions) for question in asked]
    return Batch(
        pixels=normalize(pixels),
        coverage=F.avg_pool2d(covered, patch_px // 4),
        cells=F.avg_pool2d(covered, patch_px),
        boxes=boxes,
        exists=torch.tensor([[slot < len(example.kinds) for slot in range(n_slots)] for example in examples]),
        attributes={
            name: torch.tensor(
                [
                    [values.index(getattr(kind, name)) for kind in example.kinds] + [0] * (n_slots - len(example.kinds))
                    for example in examples
                ]
            )
            for name, values in ATTRIBUTES.items()
        },
        scene=torch.tensor([scene for scene, _ in flat]),
        questions=[question for _, question in flat],
        exemplars=[
            [(_loosely(rng, boxes[scene, k].tolist()), positive) for k, positive in question.boxes]
            for scene, question in flat
        ],
        wanted=torch.tensor([[slot in question.answer for slot in range(n_slots)] for _, question in flat]),
        meant={
            name: torch.tensor([_meant(question, name, values) for _, question in flat])
            for name, values in ATTRIBUTES.items()
        },
    )


def _meant(question: Question, name: str, values: tuple[str, ...]) -> int:
    if question.meant is None:
        return IGNORED
    value = getattr(question.meant, name)
    return len(values) if value is None else values.index(value)


def _loosely(rng: np.random.Generator, box: list[float]) -> tuple[float, ...]:
    """A box as a person draws it, its edges off by a few percent of its size."""
    cx, cy, w, h = box
    shift, scale = rng.normal(0, 0.03, 2), np.exp(rng.normal(0, 0.05, 2))
    return cx + shift[0] * w, cy + shift[1] * h, w * scale[0], h * scale[1]
