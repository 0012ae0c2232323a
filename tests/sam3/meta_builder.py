"""Meta's own builders, made to run without a GPU and without memory. Independent of `autolabel.sam3.architecture`."""

import logging
import warnings
from typing import Any

import torch
from sam3 import model_builder
from torch.overrides import TorchFunctionMode

from autolabel.sam3.text import vocabulary_path


class CudaIsMeta(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("device") == "cuda":
            kwargs["device"] = "meta"
        if func is torch.linspace:
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


def image_state() -> dict[str, torch.Tensor]:
    """The state dict of Meta's full-size image model, on the meta device."""
    with torch.device("meta"), CudaIsMeta():
        model = model_builder.build_sam3_image_model(bpe_path=str(vocabulary_path()), device="cpu", load_from_HF=False)
    return dict(model.state_dict())


def released_state() -> dict[str, torch.Tensor]:
    """The state dict of Meta's video model, whose names are those of the released sam3.pt, on the meta device."""
    logging.disable(logging.INFO)
    with torch.device("meta"), CudaIsMeta(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)  # of CUDA that is not there
        model = model_builder.build_sam3_video_model(bpe_path=str(vocabulary_path()), device="meta", load_from_HF=False)
    logging.disable(logging.NOTSET)
    model.tracker.bf16_context.__exit__(None, None, None)  # entered when it was built, never left
    return dict(model.state_dict())
