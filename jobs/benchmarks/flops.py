"""What the model asks of a device at full size, counted on tensors without memory: nothing is computed.

tflop_per_image  floating-point operations of an image, phrases encoded before. `plain` is Meta's `forward_grounding`,
                 which decodes every pair in full; its text, too, is taken as cached. Each present prompt keeps ten
                 queries.
gb, launches     of eager execution, stage by stage: what kernels read and write, for each image, pair, or pair with
                 masks, and how many are launched for all that go through together.
"""

import json
from collections.abc import Iterator

import torch
from benchmarks.counting import Counting
from torch.utils.flop_counter import FlopCounterMode

from autolabel.sam3.architecture import FULL, Architecture, build_empty, place
from autolabel.sam3.forward import EncodedPrompts, Forward
from autolabel.sam3.precision import PRECISIONS, narrow
from autolabel.sam3.upstream import Prompt, Sam3Image, find_stage

CASES = ((1, 1), (4, 3), (16, 3), (80, 5))  # prompts, of which present
KEPT = 10  # queries of a present prompt
TOKENS = 5  # of a phrase, with start and end

IMAGES, PAIRS_PER_IMAGE = 4, 16  # of the stages' traffic
HITS = {"pair with masks, three of an image": (0, 1, 2), "pair with masks, one of an image": (0,)}  # of each image

META = torch.device("meta")


def run() -> None:
    model = place(build_empty(FULL), FULL, device=META)
    for n_prompts, n_present in CASES:
        operations = {
            "prompts": n_prompts,
            "present": n_present,
            "tflop_per_image": round(tflop_per_image(model, FULL, n_prompts, n_present), 2),
            "plain_tflop_per_image": round(plain(model, n_prompts) / 1e12, 2),
        }
        print(json.dumps({"case": "flops"} | operations), flush=True)
    for precision, dtype in PRECISIONS.items():
        for figures in traffic(narrow(place(build_empty(FULL), FULL, device=META), dtype)):
            print(json.dumps({"case": "flops", "precision": precision} | figures), flush=True)


@torch.inference_mode()
def tflop_per_image(model: Sam3Image, a: Architecture, n_prompts: int, n_present: int) -> float:
    """Return those of one image through a model on the meta device."""
    forward = Forward(model)
    with FlopCounterMode(display=False) as counter:
        features = forward.images(torch.empty(1, 3, a.resolution, a.resolution, device=META))
        encoded = prompts([0] * n_prompts, a, TOKENS + 1)  # and the geometry token
        decoded = forward.find(features, encoded)
        index = torch.empty(KEPT * n_present, dtype=torch.long, device=META)
        hits, n_kept = range(n_present), [KEPT] * n_present
        forward.masks(features, encoded, decoded, pairs=hits, queries=(index, index), n_kept=n_kept)
    return float(counter.get_total_flops() / 1e12)


@torch.no_grad()
def traffic(model: Sam3Image) -> Iterator[dict[str, object]]:
    """Yield those of each stage of a model on the meta device."""
    forward = Forward(model)
    with Counting() as counted:
        features = forward.images(torch.empty(IMAGES, 3, FULL.resolution, FULL.resolution, device=META))
    yield figures_of("image", IMAGES, counted)
    images = [index // PAIRS_PER_IMAGE for index in range(IMAGES * PAIRS_PER_IMAGE)]
    encoded = prompts(images, FULL, 8)
    with Counting() as counted:
        decoded = forward.find(features, encoded)
    yield figures_of("pair", len(images), counted)
    for name, of_image in HITS.items():
        hits = [PAIRS_PER_IMAGE * image + hit for image in range(IMAGES) for hit in of_image]
        index = torch.empty(KEPT * len(hits), dtype=torch.long, device=META)
        with Counting() as counted:
            forward.masks(features, encoded, decoded, pairs=hits, queries=(index, index), n_kept=[KEPT] * len(hits))
        yield figures_of(name, len(hits), counted)


def figures_of(name: str, n_together: int, counted: Counting) -> dict[str, object]:
    return {
        "of": name,
        "together": n_together,
        "launches": counted.launches,
        "gb": round(counted.bytes / 1e9 / n_together, 2),
    }


def prompts(images: list[int], a: Architecture, n_tokens: int) -> EncodedPrompts:
    """Return one for each of these images, on the meta device."""
    return EncodedPrompts(
        images=images,
        tokens=torch.empty(len(images), n_tokens, a.width, device=META),
        padding=torch.empty(len(images), n_tokens, dtype=torch.bool, device=META),
    )


@torch.inference_mode()
def plain(model: Sam3Image, n_prompts: int) -> int:
    """Return those of one image by `forward_grounding`, whose tokens are padded to the context."""
    decoder, side = model.transformer.decoder, FULL.feature_side
    position_bias = type(decoder)._get_rpb_matrix
    # It is told the size as a tensor, whose value a meta tensor does not have.
    decoder._get_rpb_matrix = lambda boxes, size: position_bias(decoder, boxes, (side, side))
    with FlopCounterMode(display=False) as counter:
        images = model.backbone.forward_image(torch.empty(1, 3, FULL.resolution, FULL.resolution, device=META))
        text = {
            "language_features": torch.empty(FULL.context, n_prompts, FULL.width, device=META),
            "language_mask": torch.empty(n_prompts, FULL.context, dtype=torch.bool, device=META),
        }
        ids = torch.empty(n_prompts, dtype=torch.long, device=META)
        stage = find_stage(ids, ids)
        no_boxes = Prompt(
            box_embeddings=torch.empty(0, n_prompts, 4, device=META),
            box_mask=torch.empty(n_prompts, 0, dtype=torch.bool, device=META),
        )
        model.forward_grounding(
            backbone_out={**images, **text}, find_input=stage, find_target=None, geometric_prompt=no_boxes
        )
    return int(counter.get_total_flops())
