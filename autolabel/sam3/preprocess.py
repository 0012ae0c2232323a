"""The one way an image becomes SAM3's input, bit for bit what Meta's `Sam3Processor.set_image` computes on a CPU.

In two steps, so that what waits for the model is a quarter of the size: threads `resize` to uint8, and the model's
device makes floats of it with `normalize`. Aspect ratio is not kept: every image becomes a square.
"""

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional


def resize(rgb: npt.NDArray[np.uint8], resolution: int) -> torch.Tensor:
    """Resize RGB pixels (h, w, 3) to uint8 (3, resolution, resolution), bilinear with antialiasing, as a copy.

    The image is resized as it lies in memory, channels last: the same bits as after a copy to channels first, several
    times faster.
    """
    channels_first = torch.from_numpy(rgb).permute(2, 0, 1)
    resized: torch.Tensor = functional.resize(channels_first, [resolution, resolution])
    return resized.clone(memory_format=torch.contiguous_format)


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """Turn uint8 pixels of any shape into float32 in [-1, 1], on the same device."""
    return pixels.float().mul_(2 / 255).sub_(1)
