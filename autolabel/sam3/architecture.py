"""SAM3's image model at any size, from Meta's own modules, on any device.

Meta's builder knows one size and needs a GPU. Its modules do not, so they are put together here from the sizes of an
`Architecture`: FULL gives the model of Meta's checkpoint, without its interactive predictor, and TINY one for tests.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.ops import roi_align

from autolabel.sam3.seeding import seed_weights
from autolabel.sam3.text import tokenizer
from autolabel.sam3.upstream import (
    MLP,
    DotProductScoring,
    MultiheadAttentionWrapper,
    PixelDecoder,
    PositionEmbeddingSine,
    Sam3DualViTDetNeck,
    Sam3Image,
    SAM3VLBackbone,
    SequenceGeometryEncoder,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoderFusion,
    TransformerEncoderLayer,
    TransformerWrapper,
    UniversalSegmentationHead,
    VETextEncoder,
    ViT,
    box_cxcywh_to_xyxy,
)

__all__ = ["ARCHITECTURES", "FULL", "TINY", "Architecture", "build", "build_empty", "place", "seed_weights"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Every size of a SAM3 image model. Lengths ending in _px are pixels; `window` and `context` are tokens.

    `resolution` must be a multiple of `patch_px`, `vit_width / vit_heads` a multiple of 4 and `width` one of 8.
    """

    resolution: int  # side of the square input, pixels
    patch_px: int
    pretrained_px: int  # side of the image whose position embedding is tiled over the input
    vit_width: int
    vit_depth: int
    vit_heads: int
    vit_mlp_ratio: float
    vit_global_blocks: tuple[int, ...]  # the other blocks attend within windows
    window: int
    drop_path: float
    width: int  # of everything after the ViT
    heads: int
    ffn_width: int
    dropout: float
    encoder_layers: int
    decoder_layers: int
    geometry_layers: int
    queries: int
    scoring_width: int
    text_width: int
    text_heads: int
    text_layers: int
    context: int

    @property
    def max_tokens(self) -> int:
        """Return the length of the longest phrase that is read to its end, in tokens."""
        return self.context - 2  # start and end

    @property
    def feature_side(self) -> int:
        """Return the side of the square grid of image features."""
        return self.resolution // self.patch_px


FULL = Architecture(
    resolution=1008,
    patch_px=14,
    pretrained_px=336,
    vit_width=1024,
    vit_depth=32,
    vit_heads=16,
    vit_mlp_ratio=4.625,
    vit_global_blocks=(7, 15, 23, 31),
    window=24,
    drop_path=0.1,
    width=256,
    heads=8,
    ffn_width=2048,
    dropout=0.1,
    encoder_layers=6,
    decoder_layers=6,
    geometry_layers=3,
    queries=200,
    scoring_width=2048,
    text_width=1024,
    text_heads=16,
    text_layers=24,
    context=32,
)

TINY = Architecture(
    resolution=192,
    patch_px=12,
    pretrained_px=192,
    vit_width=128,
    vit_depth=4,
    vit_heads=4,
    vit_mlp_ratio=3.0,
    vit_global_blocks=(1, 3),
    window=8,
    drop_path=0.0,
    width=64,
    heads=8,
    ffn_width=256,
    dropout=0.0,
    encoder_layers=2,
    decoder_layers=3,
    geometry_layers=1,
    queries=36,  # starts on a grid of 6 x 6
    scoring_width=128,
    text_width=64,
    text_heads=4,
    text_layers=1,
    context=16,
)

ARCHITECTURES = {"full": FULL, "tiny": TINY}


def build(architecture: Architecture, *, device: torch.device | str = "cpu") -> Sam3Image:
    """Build a model in eval mode whose weights mean nothing yet, some not even initialised: see `seed_weights`."""
    return place(_assemble(architecture), architecture, device=device)


def build_empty(architecture: Architecture) -> Sam3Image:
    """Build a model on the meta device: names, shapes and dtypes without memory, in seconds even at full size.

    To use it, `load_state_dict(..., strict=True, assign=True)` and then `place` it.
    """
    with torch.device("meta"), _ConcreteLinspace():
        return _assemble(architecture)


def place(model: Sam3Image, architecture: Architecture, *, device: torch.device | str) -> Sam3Image:
    """Move a model to a device in eval mode, with the constants that its state dict does not hold.

    Call it instead of `.to()`, which leaves Meta's caches of positions and coordinates behind.
    """
    text = model.backbone.language_backbone.encoder
    text.attn_mask = text.build_causal_mask()
    for module in model.modules():
        if isinstance(module, PositionEmbeddingSine):
            module.cache.clear()
    decoder, side = model.transformer.decoder, architecture.feature_side
    decoder.coord_cache.clear()
    decoder.compilable_cord_cache = decoder._get_coords(side, side, device)
    decoder.compilable_stored_size = (side, side)
    return model.to(device).eval()


class _ConcreteLinspace(TorchFunctionMode):
    """The ViT reads the values of one `torch.linspace` while it is built, and a meta tensor has none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        return func(*args, **(kwargs | {"device": "cpu"} if func is torch.linspace else kwargs))


class _GeometryEncoder(SequenceGeometryEncoder):  # type: ignore[misc]  # untyped
    """Meta's encoder of boxes, without the copy that needs CUDA, and waits for it."""

    def _encode_boxes(
        self, boxes: torch.Tensor, boxes_mask: torch.Tensor, boxes_labels: torch.Tensor, img_feats: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode boxes (N, P, 4) cxcywh as fractions, labels (N, P), features (P, C, s, s) to (N, P, C) and a mask."""
        n_boxes, n_pairs = boxes.shape[:2]
        side = img_feats.shape[-1]  # SAM3's maps are square
        boxes_xyxy = box_cxcywh_to_xyxy(boxes) * side
        pooled = roi_align(img_feats, boxes_xyxy.float().transpose(0, 1).unbind(0), self.roi_size)
        pooled = self.boxes_pool_project(pooled).view(n_pairs, n_boxes, self.d_model).transpose(0, 1)
        position = self.pos_enc.encode_boxes(*(side.flatten() for side in boxes.unbind(-1)))
        position = self.boxes_pos_enc_project(position.view(n_boxes, n_pairs, position.shape[-1]))
        embedded = self.boxes_direct_project(boxes) + pooled + position
        return self.label_embed(boxes_labels.long()) + embedded, boxes_mask


def _assemble(a: Architecture) -> Sam3Image:
    """Build what `sam3.model_builder.build_sam3_image_model` does, with sizes for numbers and nothing precomputed."""
    vit = ViT(
        img_size=a.resolution,
        pretrain_img_size=a.pretrained_px,
        patch_size=a.patch_px,
        embed_dim=a.vit_width,
        depth=a.vit_depth,
        num_heads=a.vit_heads,
        mlp_ratio=a.vit_mlp_ratio,
        norm_layer="LayerNorm",
        drop_path_rate=a.drop_path,
        tile_abs_pos=True,
        global_att_blocks=a.vit_global_blocks,
        rel_pos_blocks=(),
        use_rope=True,
        use_interp_rope=True,
        window_size=a.window,
        retain_cls_token=False,
        ln_pre=True,
        bias_patch_embed=False,
    )
    neck = Sam3DualViTDetNeck(position_encoding=_positions(a), d_model=a.width, trunk=vit)
    text = VETextEncoder(
        tokenizer=tokenizer(),
        d_model=a.width,
        width=a.text_width,
        heads=a.text_heads,
        layers=a.text_layers,
        context_length=a.context,
    )
    scoring = DotProductScoring(
        d_model=a.width,
        d_proj=a.width,
        prompt_mlp=MLP(
            input_dim=a.width,
            hidden_dim=a.scoring_width,
            output_dim=a.width,
            num_layers=2,
            dropout=a.dropout,
            residual=True,
            out_norm=nn.LayerNorm(a.width),
        ),
    )
    return Sam3Image(
        backbone=SAM3VLBackbone(visual=neck, text=text, scalp=1),
        transformer=TransformerWrapper(encoder=_encoder(a), decoder=_decoder(a), d_model=a.width),
        input_geometry_encoder=_geometry_encoder(a),
        segmentation_head=_segmentation_head(a),
        dot_prod_scoring=scoring,
        use_instance_query=False,
    )


def _encoder(a: Architecture) -> TransformerEncoderFusion:
    layer = TransformerEncoderLayer(
        activation="relu",
        d_model=a.width,
        dim_feedforward=a.ffn_width,
        dropout=a.dropout,
        pos_enc_at_attn=True,
        pos_enc_at_cross_attn_keys=False,
        pos_enc_at_cross_attn_queries=False,
        pre_norm=True,
        self_attention=_attention(a, batch_first=True),
        cross_attention=_attention(a, batch_first=True),
    )
    return TransformerEncoderFusion(
        layer=layer,
        num_layers=a.encoder_layers,
        d_model=a.width,
        num_feature_levels=1,
        frozen=False,
        use_act_checkpoint=True,
        add_pooled_text_to_img_feat=False,
        pool_text_with_mask=True,
    )


def _decoder(a: Architecture) -> TransformerDecoder:
    layer = TransformerDecoderLayer(
        activation="relu",
        d_model=a.width,
        dim_feedforward=a.ffn_width,
        dropout=a.dropout,
        cross_attention=_attention(a),
        n_heads=a.heads,
        use_text_cross_attention=True,
    )
    return TransformerDecoder(
        layer=layer,
        num_layers=a.decoder_layers,
        num_queries=a.queries,
        return_intermediate=True,
        box_refine=True,
        dac=True,
        boxRPB="log",
        d_model=a.width,
        frozen=False,
        interaction_layer=None,
        use_act_checkpoint=True,
        presence_token=True,
    )


def _geometry_encoder(a: Architecture) -> SequenceGeometryEncoder:
    layer = TransformerEncoderLayer(
        activation="relu",
        d_model=a.width,
        dim_feedforward=a.ffn_width,
        dropout=a.dropout,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        pre_norm=True,
        self_attention=_attention(a),
        cross_attention=_attention(a),
    )
    return _GeometryEncoder(
        pos_enc=_positions(a),
        encode_boxes_as_points=False,
        points_direct_project=True,
        points_pool=True,
        points_pos_enc=True,
        boxes_direct_project=True,
        boxes_pool=True,
        boxes_pos_enc=True,
        d_model=a.width,
        num_layers=a.geometry_layers,
        layer=layer,
        use_act_ckpt=True,
    )


def _segmentation_head(a: Architecture) -> UniversalSegmentationHead:
    return UniversalSegmentationHead(
        hidden_dim=a.width,
        upsampling_stages=3,
        cross_attend_prompt=MultiheadAttentionWrapper(num_heads=a.heads, dropout=0, embed_dim=a.width),
        pixel_decoder=PixelDecoder(num_upsampling_stages=3, hidden_dim=a.width),
    )


def _attention(a: Architecture, *, batch_first: bool = False) -> MultiheadAttentionWrapper:
    return MultiheadAttentionWrapper(num_heads=a.heads, dropout=a.dropout, embed_dim=a.width, batch_first=batch_first)


def _positions(a: Architecture) -> PositionEmbeddingSine:
    return PositionEmbeddingSine(num_pos_feats=a.width, normalize=True, temperature=10000)
