"""SAM3's forward pass without anything that its answer does not need; Meta's `forward_grounding` is the reference.

What depends on the image alone is computed once per image and not once per (image, concept) pair: the first
self-attention of the fusion encoder, and the geometry token of a prompt without boxes. Only the last decoder layer is
scored. Masks are made of the pairs that have a query to keep, and of the queries to keep; the finer feature maps,
which masks alone need, of the images that have such a pair. The fourth level of the neck and the semantic head, which
nobody reads, are left out. The results differ from the reference by the order of additions.

The model's parts may be narrower than float32 (see `precision`); each stage takes what comes in the type it works in.

Shapes: B images, P pairs, Q queries, T tokens, C channels, s x s image features; sequences are batch first here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import conv_transpose2d, interpolate, relu

from autolabel.sam3.upstream import (
    Prompt,
    Sam3Image,
    box_cxcywh_to_xyxy,
    gen_sineembed_for_position,
    inverse_sigmoid,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageFeatures:
    """What is known of B images before anything is asked."""

    trunk: torch.Tensor  # (B, V, s, s) the ViT's
    coarse: torch.Tensor  # (B, s*s, C)
    attended: torch.Tensor  # (B, s*s, C) after the fusion encoder's first self-attention
    positions: torch.Tensor  # (1, s*s, C)
    no_boxes: torch.Tensor  # (B, C) the geometry token of a prompt without boxes


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """P pairs as the transformer takes them."""

    images: Sequence[int]  # P indices
    tokens: torch.Tensor  # (P, T, C)
    padding: torch.Tensor  # (P, T) bool, True where there is no token


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What the last decoder layer says of P pairs."""

    presence: torch.Tensor  # (P,) probability
    scores: torch.Tensor  # (P, Q) probability, presence included
    boxes_xyxy: torch.Tensor  # (P, Q, 4) fractions of the image
    queries: torch.Tensor  # (P, Q, C)
    memory: torch.Tensor  # (P, s*s, C) image features that know the prompt


class Forward:
    """The stages of one forward pass, each a function of the ones before."""

    def __init__(self, model: Sam3Image) -> None:
        self._model = model
        convs = model.segmentation_head.pixel_decoder.conv_layers[:2]
        self._enlarging = [_enlarging(conv.weight.float()).to(conv.weight.dtype) for conv in convs]

    def images(self, pixels: torch.Tensor) -> ImageFeatures:
        """Normalised pixels (B, 3, R, R)."""
        neck = self._model.backbone.vision_backbone
        trunk = neck.trunk(pixels.to(neck.convs[2].conv_1x1.weight.dtype))[-1]
        coarse = neck.convs[2](trunk)
        positions = _sequence(neck.position_encoding(coarse[:1]).to(coarse.dtype))
        coarse = _sequence(coarse)
        layer = self._model.transformer.encoder.layers[0]
        nothing = Prompt(
            box_embeddings=torch.zeros(0, len(coarse), 4, device=coarse.device),
            box_mask=torch.zeros(len(coarse), 0, dtype=torch.bool, device=coarse.device),
        )
        geometry, _ = self._geometry(nothing, coarse, positions)
        return ImageFeatures(
            trunk=trunk,
            coarse=coarse,
            attended=self_attended(layer, coarse, positions),
            positions=positions,
            no_boxes=geometry[:, 0],
        )

    def boxes(self, features: ImageFeatures, image: torch.Tensor, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """Geometry tokens (P, N + 1, C) of prompts of up to N boxes, and their padding (P, N + 1)."""
        return self._geometry(prompt, features.coarse[image], features.positions)

    def find(self, features: ImageFeatures, asked: Asked) -> Found:
        """Every query of every pair."""
        memory = features.attended[torch.tensor(asked.images, device=asked.tokens.device)]
        encoder = self._model.transformer.encoder
        memory = fused(encoder, memory, features.positions, asked.tokens.to(memory.dtype), asked.padding)
        return self._decode(memory, features.positions, asked)

    def masks(
        self,
        features: ImageFeatures,
        asked: Asked,
        found: Found,
        *,
        pairs: Sequence[int],
        queries: tuple[torch.Tensor, torch.Tensor],
        n_kept: Sequence[int],
    ) -> torch.Tensor:
        """Mask logits (K, 4s, 4s) float32 of K queries.

        Args:
            pairs: those with something to keep.
            queries: pair and query of each (K,), in the order of `pairs`.
            n_kept: how many queries each of `pairs` keeps, K in all; known to the host, so that nothing waits.
        """
        head = self._model.segmentation_head
        hits = torch.tensor(pairs, device=asked.tokens.device)
        memory = found.memory[hits].transpose(0, 1)
        tokens = asked.tokens[hits].transpose(0, 1).to(memory.dtype)
        attended, _ = head.cross_attend_prompt(
            query=head.cross_attn_norm(memory), key=tokens, value=tokens, key_padding_mask=asked.padding[hits]
        )
        side = features.trunk.shape[-1]
        fused = (memory + attended).permute(1, 2, 0).unflatten(-1, (side, side))
        pixels = self._decoded_pixels(features.trunk, [asked.images[pair] for pair in pairs], fused)
        # The 1 x 1 convolution behind the pixel decoder is linear: it is applied to the few queries, not to all pixels.
        last = head.instance_seg_head
        embedded = head.mask_predictor.mask_embed(found.queries[queries])
        weights, offsets = (embedded @ last.weight[:, :, 0, 0]).to(pixels.dtype), embedded @ last.bias
        logits = [
            weights_of_pair @ pixels_of_pair.flatten(1)
            for weights_of_pair, pixels_of_pair in zip(weights.split(list(n_kept)), pixels, strict=True)
        ]
        with_offsets: torch.Tensor = torch.cat(logits).float() + offsets[:, None]
        return with_offsets.view(-1, *pixels.shape[-2:])

    def _geometry(
        self, prompt: Prompt, coarse: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        side = int(coarse.shape[1] ** 0.5)
        tokens, padding = self._model.geometry_encoder(
            geo_prompt=prompt,
            img_feats=[coarse.float().transpose(0, 1)],
            img_sizes=[(side, side)],
            img_pos_embeds=[positions.float().expand(len(coarse), -1, -1).transpose(0, 1)],
        )
        return tokens.transpose(0, 1), padding

    def _decode(self, memory: torch.Tensor, positions: torch.Tensor, asked: Asked) -> Found:
        """The decoder, whose first query is the presence token; sequence first, as its layers are."""
        decoder, n_pairs = self._model.transformer.decoder, len(memory)
        values = memory.float().transpose(0, 1)
        keys, tokens = values + positions.float().transpose(0, 1), asked.tokens.transpose(0, 1)
        hidden = torch.cat([decoder.presence_token.weight, decoder.query_embed.weight])[:, None]
        hidden = hidden.expand(-1, n_pairs, -1)
        boxes = decoder.reference_points.weight.sigmoid()[:, None].expand(-1, n_pairs, -1)
        for layer in decoder.layers:
            place = decoder.ref_point_head(gen_sineembed_for_position(boxes, decoder.d_model))
            place = torch.cat([torch.zeros_like(place[:1]), place])
            asking = hidden + place
            attended, _ = layer.self_attn(asking, asking, hidden, need_weights=False)
            hidden = layer.norm2(hidden + attended)
            attended, _ = layer.ca_text(
                hidden + place, tokens, tokens, key_padding_mask=asked.padding, need_weights=False
            )
            hidden = layer.catext_norm(hidden + attended)
            bias = self._position_bias(boxes).flatten(0, 1)
            attended, _ = layer.cross_attn(query=hidden + place, key=keys, value=values, attn_mask=bias)
            hidden = layer.norm1(hidden + attended)
            hidden = layer.norm3(hidden + layer.linear2(layer.activation(layer.linear1(hidden))))
            queries = decoder.norm(hidden[1:])
            boxes = (decoder.bbox_embed(queries) + inverse_sigmoid(boxes)).sigmoid()
        presence = decoder.presence_token_head(decoder.presence_token_out_norm(hidden[0])).sigmoid()
        queries = queries.transpose(0, 1)
        logits = self._model.dot_prod_scoring(queries[None], tokens, asked.padding)[0].squeeze(-1)
        return Found(
            presence=presence.squeeze(-1),
            scores=logits.sigmoid() * presence,
            boxes_xyxy=box_cxcywh_to_xyxy(boxes.transpose(0, 1)),
            queries=queries,
            memory=memory,
        )

    def _position_bias(self, boxes: torch.Tensor) -> torch.Tensor:
        """What the decoder adds to its attention: (P, heads, 1 + Q, s*s), of boxes (Q, P, 4) cxcywh.

        As `TransformerDecoder._get_rpb_matrix`, with the presence token's row of zeros; written once, and without the
        comparisons of sizes that wait for a GPU.
        """
        decoder = self._model.transformer.decoder
        corners = box_cxcywh_to_xyxy(boxes).transpose(0, 1)  # (P, Q, 4)
        rows, columns = decoder.compilable_cord_cache
        along_y = decoder.boxRPB_embed_y(_log_distances(rows, corners[..., 1::2])).permute(0, 3, 1, 2)
        along_x = decoder.boxRPB_embed_x(_log_distances(columns, corners[..., 0::2])).permute(0, 3, 1, 2)
        n_pairs, n_heads, n_queries, height = along_y.shape
        bias: torch.Tensor = along_y.new_zeros(n_pairs, n_heads, 1 + n_queries, height, along_x.shape[-1])
        torch.add(along_y[..., :, None], along_x[..., None, :], out=bias[:, :, 1:])
        return bias.flatten(-2)

    def _decoded_pixels(self, trunk: torch.Tensor, image_of: Sequence[int], fused: torch.Tensor) -> torch.Tensor:
        """The pixel decoder: fused maps (S, C, s, s) and the images they are of, to (S, C, 4s, 4s).

        It convolves the sum of a finer map and of its own coarser result, enlarged. Convolution is linear, so where
        images have several pairs that of the finer map is done once per image, and enlarging and convolving in one
        transposed convolution, which has 4/9 of the multiplications.
        """
        convs, decoder = self._model.backbone.vision_backbone.convs, self._model.segmentation_head.pixel_decoder
        images = sorted(set(image_of))
        seen = trunk[torch.tensor(images, device=trunk.device)]
        image = torch.tensor([images.index(one) for one in image_of], device=trunk.device)
        pixels = fused
        for finer, conv, norm, enlarging in zip(
            (convs[1], convs[0]), decoder.conv_layers, decoder.norms, self._enlarging, strict=False
        ):
            if len(image_of) < 2 * len(images):
                convolved = conv(finer(seen)[image] + interpolate(pixels, scale_factor=2, mode="nearest"))
            else:
                convolved = conv(finer(seen))[image] + conv_transpose2d(pixels, enlarging, stride=2, padding=1)
            pixels = relu(norm(convolved))
        return pixels


def _enlarging(kernel: torch.Tensor) -> torch.Tensor:
    """The transposed convolution (4 x 4, stride 2, padding 1) that is doubling by repetition, then this one (3 x 3).

    Cell i becomes cells 2i and 2i + 1, so it reaches cell o of the result by kernel[2i - o + 1] + kernel[2i - o + 2].
    """
    doubled = kernel.new_tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])  # (4, 3): which taps meet in which
    return torch.einsum("ta,oiab,sb->iots", doubled, kernel, doubled)


def _sequence(maps: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) to (B, h*w, C)."""
    return maps.flatten(2).transpose(1, 2)


def self_attended(layer: Any, memory: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The first third of a fusion encoder layer."""
    normed = layer.norm1(memory)
    asking = normed + positions
    attended: torch.Tensor = layer.self_attn(asking, asking, value=normed)[0]
    return memory + attended


def fused(
    encoder: Any, memory: torch.Tensor, positions: torch.Tensor, tokens: torch.Tensor, padding: torch.Tensor
) -> torch.Tensor:
    """The fusion encoder after its first self-attention: memory (P, s*s, C) that has read tokens (P, T, C)."""
    for index, layer in enumerate(encoder.layers):
        if index > 0:
            memory = self_attended(layer, memory, positions)
        normed = layer.norm2(memory)
        attended, _ = layer.cross_attn_image(query=normed, key=tokens, value=tokens, key_padding_mask=padding)
        memory = memory + attended
        memory = memory + layer.linear2(layer.activation(layer.linear1(layer.norm3(memory))))
    return memory


def _log_distances(places: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Signed distances (P, Q, n, 2) of n places to the two edges (P, Q, 2) of boxes, on Meta's logarithmic scale."""
    distances = (places[:, None] - edges[:, :, None]) * 8
    return distances.sign() * torch.log2(distances.abs() + 1) / 3
