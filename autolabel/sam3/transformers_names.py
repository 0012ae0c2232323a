"""SAM3's image model in the names and shapes that Hugging Face's transformers saves it by (`Sam3Model`), one to one.

Beside the renaming, three rules: what Meta keeps in one tensor for queries, keys and values is three there;
`text_projection` is transposed; the position embedding lacks its first row, the class token's, which nothing reads.
The rotary tables and the projections of exemplar points are not there at all.

The head for points and boxes is the image part of the tracker in a `Sam3VideoModel`; see `head_of_transformers`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache

import torch

HEAD = "interactive."
ABSENT = re.compile(r"geometry_encoder\.points_|.*\.attn\.freqs_cis$")
POSITIONS = "backbone.vision_backbone.trunk.pos_embed"
PROJECTION = "backbone.language_backbone.encoder.text_projection"
TOGETHER = re.compile(r"(qkv\.|in_proj_)(weight|bias)$")

FUSION_LAYER = {
    "cross_attn_image": "cross_attn",
    "linear1": "mlp.fc1",
    "linear2": "mlp.fc2",
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "norm3": "layer_norm3",
}

# A name's beginning here and there, and what is called otherwise below it. The first beginning that fits counts.
RENAMED: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        r"backbone\.vision_backbone\.trunk\.blocks\.(\d+)\.",
        r"vision_encoder.backbone.layers.\1.",
        {
            "norm1": "layer_norm1",
            "norm2": "layer_norm2",
            "attn.qkv": "attention.qkv",
            "attn.proj": "attention.o_proj",
        },
    ),
    (
        r"backbone\.vision_backbone\.trunk\.",
        "vision_encoder.backbone.",
        {
            "pos_embed": "embeddings.position_embeddings",
            "patch_embed.proj": "embeddings.patch_embeddings.projection",
            "ln_pre": "layer_norm",
        },
    ),
    (
        r"backbone\.vision_backbone\.convs\.(\d+)\.",
        r"vision_encoder.neck.fpn_layers.\1.",
        {
            "dconv_2x2_0": "scale_layers.0",
            "dconv_2x2_1": "scale_layers.2",
            "dconv_2x2": "scale_layers.0",
            "conv_1x1": "proj1",
            "conv_3x3": "proj2",
        },
    ),
    (
        r"backbone\.language_backbone\.encoder\.transformer\.resblocks\.(\d+)\.",
        r"text_encoder.text_model.encoder.layers.\1.",
        {
            "ln_1": "layer_norm1",
            "ln_2": "layer_norm2",
            "attn.in_proj_weight": "self_attn.in_proj_weight",
            "attn.in_proj_bias": "self_attn.in_proj_bias",
            "attn.out_proj": "self_attn.out_proj",
            "mlp.c_fc": "mlp.fc1",
            "mlp.c_proj": "mlp.fc2",
        },
    ),
    (
        r"backbone\.language_backbone\.encoder\.",
        "text_encoder.",
        {
            "token_embedding": "text_model.embeddings.token_embedding",
            "positional_embedding": "text_model.embeddings.position_embedding.weight",
            "ln_final": "text_model.final_layer_norm",
            "text_projection": "text_projection.weight",
        },
    ),
    (r"backbone\.language_backbone\.resizer\.", "text_projection.", {}),
    (r"geometry_encoder\.encode\.(\d+)\.", r"geometry_encoder.layers.\1.", FUSION_LAYER),
    (
        r"geometry_encoder\.",
        "geometry_encoder.",
        {"img_pre_norm": "vision_layer_norm", "norm": "prompt_layer_norm", "encode_norm": "output_layer_norm"},
    ),
    (r"transformer\.encoder\.layers\.(\d+)\.", r"detr_encoder.layers.\1.", FUSION_LAYER),
    (
        r"transformer\.decoder\.layers\.(\d+)\.",
        r"detr_decoder.layers.\1.",
        {
            "ca_text": "text_cross_attn",
            "cross_attn": "vision_cross_attn",
            "linear1": "mlp.fc1",
            "linear2": "mlp.fc2",
            "norm1": "vision_cross_attn_layer_norm",
            "catext_norm": "text_cross_attn_layer_norm",
            "norm2": "self_attn_layer_norm",
            "norm3": "mlp_layer_norm",
        },
    ),
    (
        r"transformer\.decoder\.",
        "detr_decoder.",
        {
            "norm": "output_layer_norm",
            "presence_token_out_norm": "presence_layer_norm",
            "presence_token_head": "presence_head",
            "bbox_embed": "box_head",
            "boxRPB_embed_x": "box_rpb_embed_x",
            "boxRPB_embed_y": "box_rpb_embed_y",
        },
    ),
    (
        r"dot_prod_scoring\.",
        "dot_product_scoring.",
        {
            "prompt_mlp.out_norm": "text_mlp_out_norm",
            "prompt_mlp": "text_mlp",
            "prompt_proj": "text_proj",
            "hs_proj": "query_proj",
        },
    ),
    (
        r"segmentation_head\.",
        "mask_decoder.",
        {
            "mask_predictor.mask_embed": "mask_embedder",
            "instance_seg_head": "instance_projection",
            "semantic_seg_head": "semantic_projection",
            "cross_attend_prompt": "prompt_cross_attn",
            "cross_attn_norm": "prompt_cross_attn_norm",
        },
    ),
)
NUMBERED_FROM_1 = ("detr_decoder.", "dot_product_scoring.")  # the layers of their MLPs: `layers.0` is `layer1`


# The head's names there and here, below the model's part of each; a layer's numbers are kept.
HEAD_RENAMED: tuple[tuple[str, str], ...] = (
    (r"tracker_neck\.fpn_layers\.(?=[012]\.)", "sam2_convs."),
    (r"tracker_model\.no_memory_embedding$", "no_mem_embed"),
    (r"tracker_model\.(?=prompt_encoder\.|mask_decoder\.)", "sam_"),
)
HEAD_PARTS: tuple[tuple[str, str], ...] = (
    (r"^(sam2_convs\.0\.)scale_layers\.0\.", r"\1dconv_2x2_0."),
    (r"^(sam2_convs\.0\.)scale_layers\.2\.", r"\1dconv_2x2_1."),
    (r"^(sam2_convs\.1\.)scale_layers\.0\.", r"\1dconv_2x2."),
    (r"^(sam2_convs\.\d\.)proj1\.", r"\1conv_1x1."),
    (r"^(sam2_convs\.\d\.)proj2\.", r"\1conv_3x3."),
    (
        r"^(sam_prompt_encoder\.)shared_embedding\.positional_embedding$",
        r"\1pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^(sam_prompt_encoder\.)mask_embed\.conv1\.", r"\1mask_downscaling.0."),
    (r"^(sam_prompt_encoder\.)mask_embed\.layer_norm1\.", r"\1mask_downscaling.1."),
    (r"^(sam_prompt_encoder\.)mask_embed\.conv2\.", r"\1mask_downscaling.3."),
    (r"^(sam_prompt_encoder\.)mask_embed\.layer_norm2\.", r"\1mask_downscaling.4."),
    (r"^(sam_prompt_encoder\.)mask_embed\.conv3\.", r"\1mask_downscaling.6."),
    (r"^(sam_mask_decoder\.)upscale_conv1\.", r"\1output_upscaling.0."),
    (r"^(sam_mask_decoder\.)upscale_layer_norm\.", r"\1output_upscaling.1."),
    (r"^(sam_mask_decoder\.)upscale_conv2\.", r"\1output_upscaling.3."),
    (r"^(sam_mask_decoder\.transformer\.layers\.\d\.mlp\.)proj_in\.", r"\1lin1."),
    (r"^(sam_mask_decoder\.transformer\.layers\.\d\.mlp\.)proj_out\.", r"\1lin2."),
    (r"^(sam_mask_decoder\.transformer\.layers\.\d\.)layer_norm(\d)\.", r"\1norm\2."),
    (r"^(sam_mask_decoder\.transformer\.)layer_norm_final_attn\.", r"\1norm_final_attn."),
    (r"^(sam_mask_decoder\.transformer\..*attn.*\.)o_proj\.", r"\1out_proj."),
    (r"^(sam_mask_decoder\.(?:\w+_head|output_hypernetworks_mlps\.\d)\.)layers\.0\.", r"\1layers.1."),
    (r"^(sam_mask_decoder\.(?:\w+_head|output_hypernetworks_mlps\.\d)\.)proj_in\.", r"\1layers.0."),
    (r"^(sam_mask_decoder\.(?:\w+_head|output_hypernetworks_mlps\.\d)\.)proj_out\.", r"\1layers.2."),
)
POINTS = "tracker_model.prompt_encoder.point_embed.weight"  # of all kinds of points in one tensor


def head_of_transformers(entries: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Choose the head for points and boxes of all that a `Sam3VideoModel` holds, by SAM 3's names."""
    head: dict[str, torch.Tensor] = {}
    for name, tensor in entries.items():
        if name == POINTS:
            rows = {f"sam_prompt_encoder.point_embeddings.{row}.weight": tensor[row : row + 1] for row in range(4)}
            head |= rows
            continue
        for pattern, replacement in HEAD_RENAMED:
            if found := re.match(pattern, name):
                here = replacement + name[found.end() :]
                for part, renamed in HEAD_PARTS:
                    here, n_renamed = re.subn(part, renamed, here)
                    if n_renamed:
                        break
                head[here] = tensor
                break
    return head


def to_transformers(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Turn Meta's tensor of a name into what transformers has: one, three or none; also without memory."""
    if ABSENT.match(name):
        return {}
    if name.startswith(HEAD):  # which `head_of_transformers` has renamed
        return {name: tensor}
    theirs = _renamed(name)
    if name == POSITIONS:
        return {theirs: tensor[:, 1:]}
    if name == PROJECTION:
        return {theirs: tensor.T}
    if TOGETHER.search(theirs):
        thirds = [TOGETHER.sub(rf"{which}_proj.\2", theirs) for which in "qkv"]
        return dict(zip(thirds, tensor.chunk(3), strict=True))
    return {theirs: tensor}


def from_transformers(name: str, parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Turn what `to_transformers` makes of the tensor of a name, in that order, back into it."""
    (first, *_) = parts
    if name == POSITIONS:
        return torch.cat([torch.zeros_like(first[:, :1]), first], dim=1)
    if name == PROJECTION:
        return first.T
    return first if len(parts) == 1 else torch.cat(list(parts))


@cache
def _renamed(name: str) -> str:
    for pattern, there, parts in RENAMED:
        if found := re.match(pattern, name):
            rest = name[found.end() :]
            part = next((part for part in parts if re.match(rf"{re.escape(part)}(\.|$)", rest)), "")
            beginning, rest = found.expand(there), parts.get(part, "") + rest[len(part) :]
            if beginning in NUMBERED_FROM_1:
                rest = re.sub(r"\.layers\.(\d)\.", lambda number: f".layer{int(number[1]) + 1}.", rest)
            if not beginning.startswith("text_encoder."):
                rest = rest.replace(".out_proj.", ".o_proj.")
            return beginning + rest
    raise ValueError(f"{name}: not of SAM3's image model")
