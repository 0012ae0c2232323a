"""The lines for CUDA, on tensors that claim to be there: one left on the host, or of the wrong type, raises.

Nothing is computed: these are shapes, types and devices, at full size, in seconds. That the results are right is what
`python jobs/benchmark.py gpu` shows on a real one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

import pytest
import torch
from torch._subclasses import FakeTensor, FakeTensorMode

from autolabel.sam3 import device as on_cuda
from autolabel.sam3 import forward as forward_module
from autolabel.sam3 import grid as grid_module
from autolabel.sam3 import interactive as interactive_module
from autolabel.sam3 import objects as objects_module
from autolabel.sam3.architecture import DETECTOR_ALONE, FULL, INTERACTIVE_ALONE, Part, build_empty, place
from autolabel.sam3.engine import Engine, Pair
from autolabel.sam3.forward import EncodedPrompts, Forward
from autolabel.sam3.grid import GridSettings
from autolabel.sam3.interactive import ObjectForward
from autolabel.sam3.objects import ObjectQuery
from autolabel.sam3.precision import PRECISIONS, narrow
from autolabel.sam3.preprocess import normalize
from autolabel.sam3.upstream import Prompt, Sam3Image

CUDA = torch.device("cuda", 0)
N_IMAGES, SIDE, CELLS = 2, FULL.resolution, FULL.feature_side**2


@pytest.fixture(params=PRECISIONS)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sam3Image]:
    """The full detector on CUDA, in a mode of tensors without memory; what should be pinned is taken for it."""
    with claimed(monkeypatch, request.param, DETECTOR_ALONE) as model:
        decoder = model.transformer.decoder
        decoder.compilable_cord_cache = decoder._get_coords(FULL.feature_side, FULL.feature_side, CUDA)
        yield model


@pytest.fixture(params=PRECISIONS)
def head(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sam3Image]:
    """The full ViT with the head for points and boxes, likewise."""
    with claimed(monkeypatch, request.param, INTERACTIVE_ALONE) as model:
        yield model


@contextmanager
def claimed(monkeypatch: pytest.MonkeyPatch, precision: str, parts: frozenset[Part]) -> Iterator[Sam3Image]:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: False)
    model = narrow(place(build_empty(FULL, parts=parts), FULL, device="meta"), PRECISIONS[precision])
    with FakeTensorMode(), torch.no_grad():
        for module in model.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        there = torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA)
                        tensors[name] = torch.nn.Parameter(there) if tensors is module._parameters else there
        yield model


def all_on_cuda(*tensors: torch.Tensor) -> bool:
    return all(isinstance(tensor, FakeTensor) and tensor.device == CUDA for tensor in tensors)


@pytest.mark.parametrize("shared", [False, True], ids=["a pair an image", "several pairs an image"])
def test_every_stage(model: Sam3Image, shared: bool) -> None:
    forward = Forward(model)
    pixels = torch.empty(N_IMAGES, 3, SIDE, SIDE, dtype=torch.uint8)
    features = forward.images(normalize(on_cuda.on_device(pixels, CUDA)))
    assert features.coarse.shape == (N_IMAGES, CELLS, FULL.width)
    assert all_on_cuda(features.trunk, features.coarse, features.attended, features.no_boxes)

    images = [0, 1] * (3 if shared else 1)
    boxes = Prompt(
        box_embeddings=torch.empty(3, len(images), 4, device=CUDA),
        box_mask=torch.empty(len(images), 3, dtype=torch.bool, device=CUDA),
        box_labels=torch.empty(3, len(images), dtype=torch.long, device=CUDA),
    )
    tokens, padding = forward.boxes(features, on_cuda.on_device(images, CUDA), boxes)
    assert tokens.shape == (len(images), 4, FULL.width)
    assert padding.dtype == torch.bool

    asked = EncodedPrompts(images=images, tokens=tokens, padding=padding)
    found = forward.find(features, asked)
    assert found.scores.shape == (len(images), FULL.queries)
    assert all_on_cuda(found.presence, found.scores, found.boxes_xyxy, found.queries, found.memory)

    which = torch.empty(5 * len(images), dtype=torch.long, device=CUDA)
    logits = forward.masks(
        features, asked, found, pairs=range(len(images)), queries=(which, which), n_kept=[5] * len(images)
    )
    assert logits.shape == (5 * len(images), 4 * FULL.feature_side, 4 * FULL.feature_side)
    results = (features.trunk, tokens, found.scores, found.memory, logits)
    assert all_on_cuda(*results)
    assert {result.dtype for result in results} == {torch.float32}


def test_the_text_encoder(model: Sam3Image) -> None:
    encoder = model.backbone.language_backbone
    _, tokens = encoder.encoder(torch.empty(2, FULL.context, dtype=torch.long, device=CUDA))
    encoded = encoder.resizer(tokens)
    assert all_on_cuda(encoded)
    assert encoded.dtype == torch.float32


@pytest.mark.parametrize("compiled", [False, True])
def test_prompts_of_text_and_boxes(model: Sam3Image, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_module, "stage", lambda step, device, recorded: step)
    engine = Engine(model, FULL, device=CUDA, memory_mb=10_000, compiled=compiled)

    def encode(phrases: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.empty(len(phrases), 5, FULL.width, device=CUDA)
        return tokens, torch.empty(tokens.shape[:2], dtype=torch.bool, device=CUDA)

    monkeypatch.setattr(engine._texts, "encode", encode)
    features = engine._forward.images(torch.empty(N_IMAGES, 3, SIDE, SIDE, device=CUDA))
    boxes = ((0.5, 0.5, 0.2, 0.2), (0.1, 0.1, 0.1, 0.1))
    pairs = [
        Pair(image=0, text="car", threshold=0.5),
        Pair(image=1, text=None, boxes_cxcywh=boxes, positive=(True, False), threshold=0.5),
        Pair(image=1, text="car", boxes_cxcywh=boxes[:1], positive=(True,), threshold=0.5),
    ]
    prompts = engine._encoded_prompts(features, pairs)
    n_tokens = 8 if compiled else 5 + 1 + 2
    assert prompts.tokens.shape == (3, n_tokens, FULL.width)
    assert prompts.padding.shape == (3, n_tokens)
    assert all_on_cuda(prompts.tokens, prompts.padding)


@pytest.mark.parametrize(("n_points", "refined"), [(1, False), (4, False), (0, True), (4, True)])
def test_every_stage_of_single_objects(head: Sam3Image, n_points: int, refined: bool) -> None:
    forward = ObjectForward(head.backbone.vision_backbone.trunk, head.interactive)
    pixels = torch.empty(N_IMAGES, 3, SIDE, SIDE, dtype=torch.uint8)
    features = forward.images(normalize(on_cuda.on_device(pixels, CUDA)))
    of_images = [getattr(features, field.name) for field in fields(features)]
    assert all_on_cuda(*of_images)
    assert {each.dtype for each in of_images} == {torch.float32}
    assert features.coarse.shape == (N_IMAGES, CELLS, FULL.width)

    side = 4 * FULL.feature_side
    masks = torch.empty(5, 1, side, side, device=CUDA) if refined else None
    points, labels = torch.empty(5, n_points, 2, device=CUDA), torch.empty(5, n_points, device=CUDA)
    for padded in {False, n_points > 2}:
        found = forward.objects(
            features, torch.empty(5, dtype=torch.long, device=CUDA), points, labels, masks, padded=padded
        )
        assert (found.logits.shape, found.ious.shape, found.present.shape) == ((5, 4, side, side), (5, 4), (5,))
        chosen = (*found.best_of_three(), *found.stable_or_best(forward.decoder))
        assert all_on_cuda(found.logits, found.ious, found.present, *chosen)
        assert {each.dtype for each in (found.logits, found.ious, found.present, *chosen)} == {torch.float32}


@pytest.mark.parametrize("compiled", [False, True])
def test_single_objects_are_asked_on_cuda(head: Sam3Image, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an engine sends to the head, and what it makes of the answer before it goes to the host."""
    monkeypatch.setattr(interactive_module, "stage", lambda step, device, recorded: step)
    monkeypatch.setattr(objects_module, "to_host", sent)
    engine = Engine(head, FULL, device=CUDA, memory_mb=10_000, compiled=compiled)
    features = engine._object_forward.images(torch.empty(N_IMAGES, 3, SIDE, SIDE, device=CUDA))
    asked = [
        ObjectQuery(image=0, points_xy=((0.1, 0.1), (0.5, 0.5), (0.3, 0.3)), labels=(2, 3, 0)),
        ObjectQuery(image=1, points_xy=((0.5, 0.5),), labels=(1,)),
        ObjectQuery(image=1, points_xy=(), labels=(), mask_logits=torch.empty(288, 288)),
    ]
    with pytest.raises(Sent) as caught:
        engine._objects.segment(features, asked)
    assert caught.value.shape == (1, 288, 288)
    for one in asked:
        proposals = engine._objects._proposals(features, engine._objects._form(one), [one])
        assert all_on_cuda(proposals.logits, proposals.ious, proposals.present)

    monkeypatch.setattr(grid_module, "to_host", sent)
    with pytest.raises(Sent) as caught:
        engine._grid.segment(features.of_image(1), [(0.5, 0.5)] * 7, GridSettings(iou=0.8, stability=0.9, nms=0.7))
    assert caught.value.shape == (7, 3, 288, 288)


class Sent(Exception):
    """What reached the copy to the host, beyond which there are values."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


def sent(tensor: torch.Tensor) -> None:
    assert all_on_cuda(tensor)
    raise Sent(tuple(tensor.shape))


def test_a_tensor_left_on_the_host_raises(model: Sam3Image) -> None:
    """The guard guards."""
    with pytest.raises(Exception, match="cpu"):
        Forward(model).images(torch.empty(1, 3, SIDE, SIDE))


def test_an_object_left_on_the_host_raises(head: Sam3Image) -> None:
    forward = ObjectForward(head.backbone.vision_backbone.trunk, head.interactive)
    features = forward.images(torch.empty(1, 3, SIDE, SIDE, device=CUDA))
    image, points = torch.zeros(1, dtype=torch.long, device=CUDA), torch.empty(1, 1, 2)
    with pytest.raises(Exception, match="cpu"):
        forward.objects(features, image, points, torch.empty(1, 1, device=CUDA))
