"""From the model's low-resolution mask logits to masks of the image's own size."""

import torch
from torch.nn.functional import interpolate

from autolabel.rle import Rle, encode

CHUNK_PX = 1 << 25  # pixels upsampled at a time: 128 MiB of float32


def logits_to_rles(mask_logits: torch.Tensor, size_hw: tuple[int, int]) -> list[Rle]:
    """Masks at an image's own size: logits (K, h, w) upsampled to `size_hw` (bilinear, align_corners=False), > 0.

    Always in float32, whatever type the logits have. Holds `CHUNK_PX` pixels at a time, or one mask if that is more.
    """
    height, width = size_hw
    at_once = max(1, CHUNK_PX // (height * width))
    rles = []
    for chunk in torch.split(mask_logits, at_once):
        upsampled = interpolate(chunk[:, None].float(), (height, width), mode="bilinear", align_corners=False)
        rles += [encode(mask) for mask in (upsampled[:, 0] > 0).numpy(force=True)]
    return rles
