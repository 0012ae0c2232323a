"""The one place where Meta's `sam3` package is imported.

Its import warns four times about its own code, and on an Ampere or newer GPU it turns on TF32 for the whole process.
The first is hidden here, exactly those messages and no other; the second is undone, since the precision of a result
is for the engine to decide, not for an import.
"""

import warnings

import torch

_tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
    warnings.filterwarnings("ignore", message="CUDA is not available or torch_xla is imported", category=UserWarning)

    from sam3.model.box_ops import box_cxcywh_to_xyxy
    from sam3.model.data_misc import FindStage
    from sam3.model.decoder import TransformerDecoder, TransformerDecoderLayer
    from sam3.model.encoder import TransformerEncoderFusion, TransformerEncoderLayer
    from sam3.model.geometry_encoders import Prompt, SequenceGeometryEncoder
    from sam3.model.maskformer_segmentation import PixelDecoder, UniversalSegmentationHead
    from sam3.model.model_misc import (
        MLP,
        DotProductScoring,
        MultiheadAttentionWrapper,
        TransformerWrapper,
        gen_sineembed_for_position,
        inverse_sigmoid,
    )
    from sam3.model.necks import Sam3DualViTDetNeck
    from sam3.model.position_encoding import PositionEmbeddingSine
    from sam3.model.sam3_image import Sam3Image
    from sam3.model.text_encoder_ve import VETextEncoder
    from sam3.model.tokenizer_ve import SimpleTokenizer
    from sam3.model.vitdet import ViT
    from sam3.model.vl_combiner import SAM3VLBackbone
    from sam3.sam.mask_decoder import MaskDecoder
    from sam3.sam.prompt_encoder import PromptEncoder
    from sam3.sam.transformer import TwoWayTransformer

torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = _tf32

__all__ = [
    "MLP",
    "DotProductScoring",
    "MaskDecoder",
    "MultiheadAttentionWrapper",
    "PixelDecoder",
    "PositionEmbeddingSine",
    "Prompt",
    "PromptEncoder",
    "SAM3VLBackbone",
    "Sam3DualViTDetNeck",
    "Sam3Image",
    "SequenceGeometryEncoder",
    "SimpleTokenizer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoderFusion",
    "TransformerEncoderLayer",
    "TransformerWrapper",
    "TwoWayTransformer",
    "UniversalSegmentationHead",
    "VETextEncoder",
    "ViT",
    "box_cxcywh_to_xyxy",
    "find_stage",
    "gen_sineembed_for_position",
    "inverse_sigmoid",
]


def find_stage(image_ids: torch.Tensor, text_ids: torch.Tensor) -> FindStage:
    """Say which image and which text each of P pairs has; boxes are passed apart, to `forward_grounding`."""
    return FindStage(
        img_ids=image_ids,
        text_ids=text_ids,
        input_boxes=None,
        input_boxes_mask=None,
        input_boxes_label=None,
        input_points=None,
        input_points_mask=None,
    )
