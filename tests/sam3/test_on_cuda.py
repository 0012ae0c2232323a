"""The lines for CUDA, on tensors that claim to be there: one left on the host, or of the wrong type, raises.

Nothing is computed: these are shapes, types and devices, at full size, in seconds. That the results are right is what
`python jobs/benchmark.py gpu` shows on a real one.
"""

from collections.abc import Iterator

import pytest
import torch
from torch._subclasses import FakeTensor, FakeTensorMode

from autolabel.sam3 import device as on_cuda
from autolabel.sam3 import forward as forward_module
from autolabel.sam3.architecture import FULL, build_empty, place
from autolabel.sam3.engine import Engine, Pair
from autolabel.sam3.forward import EncodedPrompts, Forward
from autolabel.sam3.precision import PRECISIONS, narrow
from autolabel.sam3.preprocess import normalize
from autolabel.sam3.upstream import Prompt, Sam3Image

CUDA = torch.device("cuda", 0)
N_IMAGES, SIDE, CELLS = 2, FULL.resolution, FULL.feature_side**2


@pytest.fixture(params=PRECISIONS)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sam3Image]:
    """The full model on CUDA, in a mode of tensors without memory; what should be pinned is taken for it."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: False)
    model = narrow(place(build_empty(FULL), FULL, device="meta"), PRECISIONS[request.param])
    with FakeTensorMode(), torch.no_grad():
        for module in model.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        there = torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA)
                        tensors[name] = torch.nn.Parameter(there) if tensors is module._parameters else there
        decoder = model.transformer.decoder
        decoder.compilable_cord_cache = decoder._get_coords(FULL.feature_side, FULL.feature_side, CUDA)
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


def test_a_tensor_left_on_the_host_raises(model: Sam3Image) -> None:
    """The guard guards."""
    with pytest.raises(Exception, match="cpu"):
        Forward(model).images(torch.empty(1, 3, SIDE, SIDE))
