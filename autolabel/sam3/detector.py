"""SAM3's detector, which answers concepts, put together from Meta's own modules at the sizes of an architecture.

What `sam3.model_builder.build_sam3_image_model` does, with sizes for numbers and nothing precomputed.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn
from torchvision.ops import roi_align

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

if TYPE_CHECKING:
    from autolabel.sam3.architecture import Architecture


def detector(a: "Architecture", vit: ViT) -> Sam3Image:
    """Build the image model on a ViT of this architecture."""
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


def _encoder(a: "Architecture") -> TransformerEncoderFusion:
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


def _decoder(a: "Architecture") -> TransformerDecoder:
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


def _geometry_encoder(a: "Architecture") -> SequenceGeometryEncoder:
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


def _segmentation_head(a: "Architecture") -> UniversalSegmentationHead:
    return UniversalSegmentationHead(
        hidden_dim=a.width,
        upsampling_stages=3,
        cross_attend_prompt=MultiheadAttentionWrapper(num_heads=a.heads, dropout=0, embed_dim=a.width),
        pixel_decoder=PixelDecoder(num_upsampling_stages=3, hidden_dim=a.width),
    )


def _attention(a: "Architecture", *, batch_first: bool = False) -> MultiheadAttentionWrapper:
    return MultiheadAttentionWrapper(num_heads=a.heads, dropout=a.dropout, embed_dim=a.width, batch_first=batch_first)


def _positions(a: "Architecture") -> PositionEmbeddingSine:
    return PositionEmbeddingSine(num_pos_feats=a.width, normalize=True, temperature=10000)


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
