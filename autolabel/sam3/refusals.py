"""Why a file of weights does not fit, where its names tell: what it is instead, and what to do."""

from collections.abc import Collection, Set

from autolabel.sam3.layouts import DETECTORS

MASKS = ("segmentation_head.", "mask_decoder.")  # Meta's name, transformers' name
TEXT = ("backbone.language_backbone.", "text_encoder.", "text_projection.")
TRUNK = ("backbone.vision_backbone.trunk.", "vision_encoder.backbone.")
HEAD = ("interactive.",)  # the head for points and boxes, by the model's names
OLDER = ("image_encoder.", "memory_encoder.", "shared_image_embedding.")  # no name of SAM3's begins so

ADAPTER = (
    "holds a LoRA adapter, which is only the difference to a model: merge it into the model that it was trained on and "
    "save the result (PEFT: merge_and_unload; SAM3_LoRA: merge_lora_weights.py)"
)
OLDER_SAM = (
    "these are weights of SAM 1 or SAM 2, which know no concepts; take SAM 3's, model=sam3 or model=sam3.1, or a "
    "model fine-tuned from them"
)
NO_DETECTOR = (
    "holds a tracker without the detector that finds concepts; take the whole file that it is a part of, such as "
    "sam3.pt"
)
NO_HEAD = (
    "has no head for points and boxes: it holds a detector alone, as sam3.train, Sam3Model.save_pretrained and most "
    "fine-tuning write it, which finds concepts; for the masks of given points and boxes, take a whole file of SAM 3, "
    "model=sam3 or model=sam3.1"
)
NO_MASKS = (
    "has no segmentation head: the model was trained without masks (enable_segmentation: False) and makes none; train "
    "it with masks"
)
OTHER_TEXT = (
    "has another text encoder than SAM 3, as SAM3-LiteText and EfficientSAM3 do: another architecture, which cannot be "
    "run here; take SAM 3's weights, model=sam3 or model=sam3.1, or a model fine-tuned from them"
)
OTHER_TRUNK = (
    "has another image backbone than SAM 3, as EfficientSAM3 does: another architecture, which cannot be run here; "
    "take SAM 3's weights, model=sam3 or model=sam3.1, or a model fine-tuned from them"
)


def cause(names: Collection[str], *, found: Set[str], needed: Set[str]) -> str | None:
    """Say what a file is instead of a SAM3, and what to do; None where the names do not tell.

    Args:
        names: all of the file's, what training has put before them taken off.
        found: those of the parts asked for, without prefix.
        needed: those that a file of its layout cannot lack.
    """
    if any("lora_" in name for name in names):
        return ADAPTER
    if any(name.startswith(OLDER) for name in names) and not any(name.startswith(DETECTORS) for name in names):
        return OLDER_SAM
    if names and found <= _below(HEAD, found):
        return NO_DETECTOR
    missing = needed - found
    if missing and missing == _below(HEAD, needed):
        return NO_HEAD
    if missing and missing == _below(MASKS, needed):
        return NO_MASKS
    if missing <= _below(TEXT + TRUNK, needed):
        for part, other in ((TEXT, OTHER_TEXT), (TRUNK, OTHER_TRUNK)):
            if 2 * len(_below(part, missing)) > len(_below(part, needed)):
                return other
    return None


def _below(beginnings: tuple[str, ...], names: Set[str]) -> Set[str]:
    return {name for name in names if name.startswith(beginnings)}
