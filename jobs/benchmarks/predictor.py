"""Meta's predictor of single objects, on the modules of a model of this project.

`SAM3InteractiveImagePredictor` needs a tracker of videos, of which it asks for the image's maps and for the modules of
the head: those are all that there is here, in Meta's own class, so that any size will do.
"""

import warnings

from torch import nn

from autolabel.sam3.architecture import Architecture
from autolabel.sam3.upstream import PositionEmbeddingSine, Sam3DualViTDetNeck, Sam3Image, SAM3VLBackbone

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="CUDA is not available or torch_xla is imported")
    warnings.filterwarnings("ignore", message="`torch.jit.script", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="`torch.jit.script", category=FutureWarning)
    from sam3.model.sam1_task_predictor import SAM3InteractiveImagePredictor
    from sam3.model.sam3_tracker_base import Sam3TrackerBase

__all__ = ["SAM3InteractiveImagePredictor", "metas_predictor"]


class _Tracker(Sam3TrackerBase):  # type: ignore[misc]  # untyped
    """A tracker without its memory."""

    def __init__(self, model: Sam3Image, a: Architecture) -> None:
        nn.Module.__init__(self)
        head = model.interactive
        positions = PositionEmbeddingSine(num_pos_feats=a.width, normalize=True)
        neck = Sam3DualViTDetNeck(
            trunk=model.backbone.vision_backbone.trunk, position_encoding=positions, d_model=a.width, add_sam2_neck=True
        )
        neck.sam2_convs = nn.ModuleList([*head.sam2_convs, neck.sam2_convs[3]])
        self.backbone = SAM3VLBackbone(visual=neck, text=None, scalp=1)
        self.sam_prompt_encoder, self.sam_mask_decoder = head.sam_prompt_encoder, head.sam_mask_decoder
        self.no_mem_embed = head.no_mem_embed
        self.image_size, self.num_feature_levels = a.resolution, 3
        self.compile_all_components = False


def metas_predictor(model: Sam3Image, a: Architecture) -> SAM3InteractiveImagePredictor:
    """Return Meta's predictor with a model's ViT and interactive head. It fills no holes: on a CPU it would not."""
    tracker = _Tracker(model, a).to(model.interactive.no_mem_embed.device).eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script", category=FutureWarning)
        predictor = SAM3InteractiveImagePredictor(tracker)
    predictor._transforms.max_hole_area = 0
    side = a.feature_side
    predictor._bb_feat_sizes = [(4 * side, 4 * side), (2 * side, 2 * side), (side, side)]
    return predictor
