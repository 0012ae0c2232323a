"""First weights for training a small SAM3 from scratch: what Meta's modules leave to a checkpoint.

Some of their tensors are not initialised at all. The others are set so that a small model need not spend thousands of
steps on finding out where its queries look: queries start on a grid, and each attention head of the decoder looks at
its own zone of the query's box.
"""

import math

import torch
from torch import nn

from autolabel.demo.vocabulary import known_token_ids
from autolabel.sam3.architecture import Architecture
from autolabel.sam3.upstream import Sam3Image

START_BOX = 0.25  # width and height of every query's first box, as a share of the image
PRESENCE_BIAS = 0.8  # most prompts of the training mix are about something in the image

COARSE_SCALE = 0.3  # of the interactive head's coarse features: a norm of 6 beside 5.7 of their positions, not 21
SHARP = 3.0  # of its first projections to queries and keys

# Zones of the decoder's heads. The bias of an attention head is an MLP of a cell's distances to the low and the high
# edge of the query's box along an axis. Four hidden units become relu(low - x), relu(x - low), relu(high - x) and
# relu(x - high), and a zone is the penalties on them: within the box, at its low edge, at its high edge.
INSIDE, LOW, HIGH = (1.0, 0.0, 0.0, 1.0), (1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0)
ZONES = (  # along x, along y, and how sharply; the last head is left free
    (INSIDE, INSIDE, 12.0),
    (LOW, INSIDE, 12.0),
    (HIGH, INSIDE, 12.0),
    (INSIDE, LOW, 12.0),
    (INSIDE, HIGH, 12.0),
    (INSIDE, INSIDE, 5.0),
    (INSIDE, INSIDE, 24.0),
)
LOG_SCALE = 8 / 3  # the decoder passes sign(d) log2(8 |d| + 1) / 3 for a distance d


@torch.no_grad()
def initialise(model: Sam3Image, architecture: Architecture, seed: int) -> None:
    """Overwrite a new model's weights where they matter; the others keep what torch's global seed gave them."""
    _initialise_text(model, seed)
    _initialise_image_encoder(model, architecture)
    decoder = model.transformer.decoder
    side = math.isqrt(architecture.queries)
    if side * side != architecture.queries:
        raise ValueError(f"{architecture.queries} queries do not fill a square grid")
    centre = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    boxes = torch.stack([x, y, torch.full_like(x, START_BOX), torch.full_like(x, START_BOX)], dim=-1).flatten(0, 1)
    decoder.reference_points.weight.copy_(boxes.logit())
    decoder.query_embed.weight.mul_(0.5)
    half_cell = 0.5 / architecture.feature_side  # distances are to a cell's edge, zones are about its centre
    for axis, mlp in enumerate((decoder.boxRPB_embed_x, decoder.boxRPB_embed_y)):
        distances, penalties = mlp.layers
        distances.weight[:4] = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
        distances.bias[:4] = torch.tensor([-1.0, 1.0, -1.0, 1.0]) * half_cell * LOG_SCALE
        penalties.weight.mul_(0.1)
        for head, zone in enumerate(ZONES[: architecture.heads - 1]):
            penalties.weight[head, :4] = -zone[2] * torch.tensor(zone[axis])
    nn.init.constant_(decoder.presence_token_head.layers[-1].bias, PRESENCE_BIAS)


@torch.no_grad()
def initialise_interactive(model: Sam3Image) -> None:
    """Overwrite the weights of the head for points and boxes, on a model whose detector is trained.

    The neck begins as the detector's, its coarse level scaled down to the size of the position encoding beside it.
    Cross-attention begins with the same projection for queries and keys, so that a point looks at its own place.
    """
    head = model.interactive
    for own, detectors in zip(head.sam2_convs, model.backbone.vision_backbone.convs, strict=False):
        own.load_state_dict(detectors.state_dict())
    for parameter in head.sam2_convs[2].conv_3x3.parameters():
        parameter.mul_(COARSE_SCALE)
    nn.init.trunc_normal_(head.no_mem_embed, std=0.02)
    positions = head.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    positions.copy_(positions.half())  # which is how the file has it
    transformer = head.sam_mask_decoder.transformer
    across = [each for x in transformer.layers for each in (x.cross_attn_token_to_image, x.cross_attn_image_to_token)]
    for attention in [*across, transformer.final_attn_token_to_image]:
        attention.q_proj.weight.mul_(SHARP)
        attention.k_proj.weight.copy_(attention.q_proj.weight)


def _initialise_text(model: Sam3Image, seed: int) -> None:
    """Random token rows, distinct for known words and one and the same for all others."""
    text = model.backbone.language_backbone.encoder
    text.positional_embedding.normal_(0, 0.1)
    text.text_projection.normal_(0, 0.02)
    table = text.token_embedding.weight
    known = torch.tensor(known_token_ids())
    rows = torch.randn(len(known) + 1, table.shape[1], generator=torch.Generator().manual_seed(seed)) * 0.5
    table[:] = rows[-1]
    table[known] = rows[:-1]


def _initialise_image_encoder(model: Sam3Image, architecture: Architecture) -> None:
    vit = model.backbone.vision_backbone.trunk
    for module in vit.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)  # Meta's 0.02 is meant for a width of 1024
    side = architecture.pretrained_px // architecture.patch_px
    vit.pos_embed[0, 1:] = 0.3 * _sine_positions(side, architecture.vit_width)


def _sine_positions(side: int, width: int) -> torch.Tensor:
    """(side * side, width) sines and cosines of rows and columns."""
    frequency = 100.0 ** (-torch.arange(width // 4) / (width // 4))
    angle = torch.arange(side)[:, None] * frequency
    along = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows, columns = along[:, None].expand(-1, side, -1), along[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, width)
