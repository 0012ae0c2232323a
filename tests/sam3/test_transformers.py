"""The engine against transformers' own model on the same weights, where transformers is installed.

`pip install transformers`, 5.23 or newer. The two differ on purpose in three ways, which the test takes away: a prompt
of text alone has no geometry token in transformers (here it gets one of a padded box), the norms of its image encoder
have another epsilon, and it clamps the presence logit to 10, which no prompt here reaches.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autolabel.sam3.architecture import TINY, Architecture
from autolabel.sam3.checkpoint import check, load
from autolabel.sam3.engine import Engine, Pair
from autolabel.sam3.preprocess import normalize, resize
from autolabel.sam3.text import VISUAL, tokenizer
from tests.sam3.pairs import ALL_PAIRS
from tests.sam3.scenes import scene

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed"),
    pytest.mark.filterwarnings("ignore"),  # transformers' own
]
SMALL = replace(TINY, scoring_width=TINY.ffn_width)  # transformers has one number for both
PADDING = -10  # the label of a box that is none
IMAGES = [scene(index, size_hw) for index, size_hw in enumerate([(120, 200), (333, 97)])]


def config(a: Architecture) -> Any:
    """An architecture as transformers describes it."""
    from transformers import CLIPTextConfig, Sam3Config, Sam3ViTConfig
    from transformers.models.sam3 import configuration_sam3 as theirs

    side = a.feature_side
    vit = Sam3ViTConfig(
        hidden_size=a.vit_width,
        intermediate_size=int(a.vit_width * a.vit_mlp_ratio),
        num_hidden_layers=a.vit_depth,
        num_attention_heads=a.vit_heads,
        image_size=a.resolution,
        patch_size=a.patch_px,
        window_size=a.window,
        global_attn_indexes=list(a.vit_global_blocks),
        pretrain_image_size=a.pretrained_px,
        layer_norm_eps=1e-5,  # Meta's
    )
    transformer = {"hidden_size": a.width, "num_attention_heads": a.heads, "intermediate_size": a.ffn_width}
    return Sam3Config(
        vision_config=theirs.Sam3VisionConfig(
            backbone_config=vit,
            fpn_hidden_size=a.width,
            backbone_feature_sizes=[[4 * side] * 2, [2 * side] * 2, [side] * 2],
        ),
        text_config=CLIPTextConfig(
            vocab_size=49408,
            hidden_size=a.text_width,
            intermediate_size=4 * a.text_width,
            projection_dim=512,
            num_hidden_layers=a.text_layers,
            num_attention_heads=a.text_heads,
            max_position_embeddings=a.context,
            hidden_act="gelu",
        ),
        geometry_encoder_config=theirs.Sam3GeometryEncoderConfig(num_layers=a.geometry_layers, **transformer),
        detr_encoder_config=theirs.Sam3DETREncoderConfig(num_layers=a.encoder_layers, **transformer),
        detr_decoder_config=theirs.Sam3DETRDecoderConfig(
            num_layers=a.decoder_layers, num_queries=a.queries, **transformer
        ),
        mask_decoder_config=theirs.Sam3MaskDecoderConfig(hidden_size=a.width, num_attention_heads=a.heads),
    )


@torch.no_grad()
def scrambled(model: Any, seed: int) -> Any:
    """Weights under which images, prompts and queries differ."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 1:
            values = values * 0.1 + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        elif not name.endswith(("token_embedding.weight", "query_embed.weight", "label_embed.weight")):
            values /= parameter[0].numel() ** 0.5
        parameter.copy_(values)
    return model.eval()


@torch.inference_mode()
def by_transformers(model: Any, pixels: torch.Tensor, pair: Pair) -> dict[str, torch.Tensor]:
    """Presence, scores, boxes and mask logits of every query."""
    tokens = torch.as_tensor(tokenizer()([pair.text or VISUAL], context_length=TINY.context))
    boxes = torch.tensor([pair.boxes_cxcywh or ((0.0, 0.0, 0.0, 0.0),)])
    labels = torch.tensor([[int(one) for one in pair.positive] or [PADDING]])
    out = model(
        pixel_values=normalize(pixels[pair.image])[None],
        input_ids=tokens,
        attention_mask=(tokens != 0).long(),
        input_boxes=boxes,
        input_boxes_labels=labels,
    )
    presence = out.presence_logits.sigmoid().flatten()
    return {
        "presence": presence,
        "scores": out.pred_logits[0].sigmoid() * presence,
        "boxes": out.pred_boxes[0],
        "masks": out.pred_masks[0],
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_file_of_transformers_is_the_same_model(seed: int, tmp_path: Path) -> None:
    from transformers import Sam3Model

    theirs = scrambled(Sam3Model(config(SMALL)), seed)
    theirs.save_pretrained(tmp_path)
    check(tmp_path / "model.safetensors", SMALL)
    ours = load(tmp_path / "model.safetensors", SMALL, device="cpu")
    pixels = torch.stack([resize(rgb, TINY.resolution) for rgb in IMAGES])
    pairs = [
        Pair(image=p.image, text=p.text, boxes_cxcywh=p.boxes_cxcywh, positive=p.positive, threshold=-1.0)
        for p in ALL_PAIRS
        if p.image < len(IMAGES)
    ]
    results = Engine(ours, SMALL, device=torch.device("cpu"), memory_mb=200).segment(pixels, pairs)
    assert len({round(result.best_score, 4) for result in results}) == len(pairs)
    for pair, result in zip(pairs, results, strict=True):
        expected = by_transformers(theirs, pixels, pair)
        assert result.presence == pytest.approx(expected["presence"].item(), abs=2e-5)
        np.testing.assert_allclose(result.scores, expected["scores"], atol=5e-5)
        np.testing.assert_allclose(result.boxes_xyxy, expected["boxes"], atol=2e-5)
        scale = expected["masks"].abs().max()
        assert (result.mask_logits - expected["masks"]).abs().max() < 5e-5 * scale
