"""A model's weights as the files that people have hold them: names, shapes and what lies beside them."""

import json
from pathlib import Path

import torch

from autolabel.sam3.layouts import interactive_head
from autolabel.sam3.transformers_names import to_transformers

State = dict[str, torch.Tensor]
NECK = "backbone.vision_backbone."
IN_SAFETENSORS = {torch.float32: "F32", torch.float16: "F16", torch.complex64: "C64", torch.int64: "I64"}


def released(state: State) -> State:
    """Return the layout of sam3.pt: the detector's weights, and those of the video tracker and its neck."""
    return {
        **{f"detector.{name}": tensor for name, tensor in state.items()},
        f"detector.{NECK}sam2_convs.0.conv_1x1.bias": torch.ones(4),
        "tracker.maskmem_tpos_enc": torch.ones(7, 1, 1, 64),
    }


def multiplex(state: State) -> State:
    """Return the layout of sam3.1_multiplex.pt: a neck of three levels, and two more necks for the trackers."""
    detector = {name: tensor for name, tensor in state.items() if not name.startswith(f"{NECK}convs.3.")}
    necks = {
        name.replace(".convs.", f".{kind}_convs."): tensor.clone()
        for name, tensor in detector.items()
        if name.startswith(f"{NECK}convs.")
        for kind in ("interactive", "propagation")
    }
    return {
        **{f"detector.{name}": tensor for name, tensor in (detector | necks).items()},
        "tracker.model.sam_mask_decoder.iou_token.weight": torch.ones(16, 4),
        "tracker.model.interactivity_no_mem_embed": torch.ones(1, 1, 4),
    }


def comfyui(state: State) -> State:
    """Return the layout of ComfyUI's file of SAM 3.1: half precision, without what can be computed or is never read."""
    return {
        name: tensor.half()
        for name, tensor in multiplex(state).items()
        if not name.endswith(("freqs_cis", "text_projection"))
    }


def transformers(state: State) -> State:
    """Return the layout of `Sam3Model.save_pretrained`."""
    return {there: part.contiguous() for name in state for there, part in to_transformers(name, state[name]).items()}


def transformers_video(state: State) -> State:
    """Return the layout of the model.safetensors on the hub, a `Sam3VideoModel`."""
    return {
        **{f"detector_model.{name}": tensor for name, tensor in transformers(state).items()},
        "tracker_model.memory_fuser.layers.0.scale": torch.ones(4),
        "tracker_neck.fpn_layers.0.proj1.bias": torch.ones(4),
    }


def older(state: State) -> State:
    """Return the layout of Meta's files from before the release."""
    return {f"sam3_model.{name}": tensor for name, tensor in state.items()} | {
        "sam2_predictor.maskmem_tpos_enc": torch.ones(7, 1, 1, 64)
    }


def with_predictor(state: State) -> State:
    """Return an image model that was built with its interactive predictor."""
    return state | {
        "inst_interactive_predictor.model.no_mem_embed": torch.ones(1, 1, 4),
        f"{NECK}sam2_convs.0.conv_1x1.bias": torch.ones(4),
    }


def real_rotary(state: State) -> State:
    """Return rotary tables as SAM 3.1's code can have them, in real numbers."""
    tables = {name: tensor for name, tensor in state.items() if name.endswith("freqs_cis")}
    return {name: tensor for name, tensor in state.items() if name not in tables} | {
        f"{name}_{part}": getattr(table, part).contiguous()
        for name, table in tables.items()
        for part in ("real", "imag")
    }


def head_of(state: State) -> State:
    """Return the head for points and boxes of a model's weights, by its own names: there are none without it."""
    return {n.removeprefix("interactive."): tensor for n, tensor in state.items() if n.startswith("interactive.")}


def head_released(state: State) -> State:
    """Return the head as sam3.pt has it, with the neck's coarsest level, which nothing reads."""
    return {
        (f"detector.{NECK}{name}" if name.startswith("sam2_convs.") else f"tracker.{name}"): tensor
        for name, tensor in head_of(state).items()
    } | {f"detector.{NECK}sam2_convs.3.conv_1x1.bias": torch.ones(4)}


def head_of_predictor(state: State) -> State:
    """Return the head as an image model with an interactive predictor has it, and this project's own files."""
    return {
        (f"{NECK}{name}" if name.startswith("sam2_convs.") else f"inst_interactive_predictor.model.{name}"): tensor
        for name, tensor in head_of(state).items()
    }


def head_multiplex(state: State) -> State:
    """Return the head as sam3.1_multiplex.pt has it, beside the decoder for many objects, by the head's older name."""
    renamed = {
        "sam2_convs.": f"detector.{NECK}interactive_convs.",
        "sam_": "tracker.model.interactive_sam_",
        "no_mem_embed": "tracker.model.interactivity_no_mem_embed",
    }
    return {
        there + name.removeprefix(here): tensor
        for name, tensor in head_of(state).items()
        for here, there in renamed.items()
        if name.startswith(here)
    } | {"tracker.model.sam_mask_decoder.iou_token.weight": torch.ones(16, 4)}


def transformers_head() -> State:
    """Return the head's tensors of transformers' `Sam3VideoModel` at full size, as it names them, without memory."""
    shapes = json.loads((Path(__file__).parents[1] / "data" / "transformers_head.json").read_text())
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def head_of_transformers_video(state: State) -> State:
    """Return the head as transformers' `Sam3VideoModel` has it; which name is which is the loader's map."""
    head = head_of(state)
    return {
        there: torch.cat([head[here] for here in interactive_head({there: tensor})])
        for there, tensor in transformers_head().items()
    }


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def write_holes(path: Path, state: State) -> None:
    """Write a safetensors file with these names and shapes and a hole for their bytes: it takes no room on the disk."""
    header, end = {}, 0
    for name, tensor in state.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        dtype = IN_SAFETENSORS[tensor.dtype]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
