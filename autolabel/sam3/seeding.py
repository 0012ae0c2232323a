"""Random weights under which SAM3 behaves like a detector of something: for tests, demos and benchmarks.

What Meta's modules leave after construction is no such model: some tensors are uninitialised, the box head is zero,
and nothing tells one image, prompt or query from another.
"""

import math
import re

import torch

from autolabel.sam3.upstream import Sam3Image

EMBEDDING = re.compile(
    r"(token_embedding|query_embed|presence_token|label_embed|cls_embed"
    r"|point_embeddings\.\d|not_a_point_embed|no_mask_embed|iou_token|mask_tokens|obj_score_token)\.weight$"
)
NORM = re.compile(r"(norm\w*|norms\.\d+|ln_\w+)\.weight$")

# Factors on the standard deviation that keeps a layer's output as large as its input, found by trying. They make the
# text count beside the image, and the queries look at different places and differ in score.
GAINS = {
    r"language_backbone\.resizer\.weight": 2.0,
    r"decoder\.layers\.\d+\.ca_text\.in_proj_weight": 2.0,
    r"decoder\.layers\.\d+\.ca_text\.out_proj\.weight": 2.5,
    r"decoder\.layers\.\d+\.cross_attn\.in_proj_weight": 1.5,
    r"decoder\.layers\.\d+\.cross_attn\.out_proj\.weight": 0.7,
    r"decoder\.layers\.\d+\.self_attn\.out_proj\.weight": 0.4,
    r"decoder\.boxRPB_embed_[xy]\.layers\.1\.weight": 6.0,
    r"decoder\.layers\.\d+\.linear2\.weight": 2.0,
    r"decoder\.bbox_embed\.layers\.2\.weight": 0.5,
    r"decoder\.presence_token_head\.layers\.2\.weight": 8.0,
    r"dot_prod_scoring\.hs_proj\.weight": 5.0,
    r"mask_predictor\.mask_embed\.layers\.2\.weight": 2.0,
    r"output_hypernetworks_mlps\.\d\.layers\.2\.weight": 1.5,
}
PRESENT = 2.5  # bias of the presence logit: more concepts present than absent
SMALL_BOXES = torch.tensor([0.0, 0.0, -1.5, -1.5])  # bias of the reference points' logits: a fifth of the image


@torch.no_grad()
def seed_weights(model: Sam3Image, seed: int) -> None:
    """Overwrite every parameter with values that depend on the seed, the names and the shapes alone.

    The same on any device, and neither reading nor moving torch's global random state. The random frequencies of the
    interactive head's positions, which are no parameter, are overwritten, too.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(_scaled(name, values))
    for name, buffer in model.named_buffers():
        if name.endswith("positional_encoding_gaussian_matrix"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator))


def _scaled(name: str, values: torch.Tensor) -> torch.Tensor:
    """Scale standard normal values as the parameter of this name wants them."""
    if name.endswith("decoder.reference_points.weight"):
        return values + SMALL_BOXES
    if name.endswith("decoder.presence_token_head.layers.2.bias"):
        return values * 0.1 + PRESENT
    if values.ndim == 1:
        return values * 0.1 + (1.0 if NORM.search(name) else 0.0)
    if EMBEDDING.search(name):
        return values
    if name.endswith(("pos_embed", "positional_embedding")):
        return values * 0.3
    gain = next((gain for pattern, gain in GAINS.items() if re.search(pattern, name)), 1.0)
    if name.endswith("decoder.presence_token_head.layers.2.weight"):
        values = values - values.mean()  # its inputs are all positive; without this, their mean decides every presence
    return values * (gain / math.sqrt(values[0].numel()))
