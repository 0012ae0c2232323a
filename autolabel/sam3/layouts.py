"""Which tensor of a file is which of the model's, in every layout that SAM3's weights are found in.

A file has the image model's names as Meta or as transformers gives them, alone or below the prefix of a detector,
beside trackers; training wraps all of it once more. What is left out, and what may be missing, is said here by name;
all the rest has to be there exactly.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from autolabel.sam3.transformers_names import from_transformers, head_of_transformers, to_transformers

WRAPPERS = ("module.", "model.", "_orig_mod.")  # before every name: torch's DDP, Lightning, torch.compile
DETECTORS = ("detector.", "detector_model.", "sam3_model.")  # Meta, transformers, Meta's older files

LEFT_OUT = (
    "tracker.",  # of videos: Meta, then transformers, then Meta's older files
    "tracker_model.",
    "tracker_neck.",
    "sam2_predictor.",
    "inst_interactive_predictor.",
    "backbone.vision_backbone.sam2_convs.",  # the maps that trackers and the interactive head read; SAM 3.1's names
    "backbone.vision_backbone.interactive_convs.",
    "backbone.vision_backbone.propagation_convs.",
)

# Set to NaN, all of these leave every result as it is: tests/sam3/test_layouts.py.
UNREAD = re.compile(
    r"backbone\.vision_backbone\.convs\.3\."  # a level of the neck that the model drops, and SAM 3.1 lacks
    r"|backbone\.language_backbone\.encoder\.text_projection$"
    r"|geometry_encoder\.points_"  # exemplars are boxes
    r"|segmentation_head\.semantic_seg_head\."
    r"|segmentation_head\.pixel_decoder\.(conv_layers|norms)\.2\."
)
ROTARY = re.compile(r"backbone\.vision_backbone\.trunk\.blocks\.\d+\.attn\.freqs_cis$")  # functions of the sizes alone
ROTARY_IN_TWO = re.compile(r"backbone\.vision_backbone\.trunk\.blocks\.\d+\.attn\.freqs_cis_(real|imag)$")

# The head of point and box prompts by SAM 3's names without their prefix, from where each generation keeps it: SAM 3,
# an image model with an interactive predictor, SAM 3.1. The last one's `tracker.model.sam_mask_decoder.` is another.
INTERACTIVE = (
    (r"(detector\.)?backbone\.vision_backbone\.(sam2|interactive)_convs\.(?=[012]\.)", "sam2_convs."),
    (r"tracker\.model\.interactive_sam_(?=prompt_encoder\.|mask_decoder\.)", "sam_"),
    (r"tracker\.model\.interactivity_no_mem_embed$", "no_mem_embed"),
    (r"(tracker|inst_interactive_predictor\.model)\.(?=sam_prompt_encoder\.|sam_mask_decoder\.|no_mem_embed$)", ""),
)

# How this project's own files have it: as an image model with an interactive predictor.
SAVED = (
    ("interactive.sam2_convs.", "backbone.vision_backbone.sam2_convs."),
    ("interactive.", "inst_interactive_predictor.model."),
)

Entries = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a kind of file has the model's tensors: `split` is what it makes of one by its name, `join` the inverse."""

    split: Callable[[str, torch.Tensor], Entries]
    join: Callable[[str, Sequence[torch.Tensor]], torch.Tensor]


META = Layout(split=lambda name, tensor: {name: tensor}, join=lambda name, parts: parts[0])
TRANSFORMERS = Layout(split=to_transformers, join=from_transformers)


def layout_of(names: Collection[str]) -> Layout:
    """Return the layout of a file with these names, prefixes taken off."""
    return TRANSFORMERS if any(name.startswith("detr_encoder.") for name in names) else META


def unwrapped(entries: Entries) -> Entries:
    """Take off the prefixes that training puts before every name, several at once too."""
    for wrapper in WRAPPERS:
        if entries and all(name.startswith(wrapper) for name in entries):
            return unwrapped({name.removeprefix(wrapper): tensor for name, tensor in entries.items()})
    return entries


def image_model(entries: Entries) -> Entries:
    """Choose the image model's tensors of all that a file holds, without its detector's prefix.

    A name that is there with and without the prefix stays as it is, and so is one too many.
    """
    prefix = next((each for each in DETECTORS if any(name.startswith(each) for name in entries)), "")
    bare = {name if name.removeprefix(prefix) in entries else name.removeprefix(prefix): name for name in entries}
    return {
        name: entries[named]
        for name, named in bare.items()
        if not (name.startswith(LEFT_OUT) or ROTARY_IN_TWO.match(name))
    }


def interactive_head(entries: Entries) -> Entries:
    """Choose the tensors of the head of point and box prompts, by SAM 3's names; none where a file has none."""
    head = head_of_transformers(entries)
    for name, tensor in entries.items():
        for pattern, replacement in INTERACTIVE:
            if found := re.match(pattern, name):
                head[replacement + name[found.end() :]] = tensor
                break
    return head


def predicts_iou_itself(names: Collection[str]) -> bool:
    """Tell whether the head of a file was trained to predict the IoU itself, and not its logit: SAM 3.1's was."""
    return any(name.startswith("tracker.model.interactive_sam_mask_decoder.") for name in names)


def saved_name(name: str) -> str:
    """Return by which name this project's own files have a tensor of the model."""
    for here, there in SAVED:
        if name.startswith(here):
            return there + name.removeprefix(here)
    return name


def may_be_absent(name: str) -> bool:
    """Tell whether a file may lack this tensor of the model: nothing reads it, or it can be computed."""
    return bool(UNREAD.match(name) or ROTARY.match(name))
