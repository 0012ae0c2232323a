"""SAM3's forward pass without anything that its answer does not need; Meta's `forward_grounding` is the reference.

What depends on the image alone is computed once per image and not once per (image, concept) pair: the first
self-attention of the fusion encoder, and the geometry token of a prompt without boxes. Only the last decoder layer is
scored. Masks are made of the pairs that have a query to keep, and of the queries to keep; the finer feature maps,
which masks alone need, of the images that have such a pair. The fourth level of the neck and the semantic head, which
nobody reads, are left out. The results differ from the reference by the order of additions.

The results of a stage are float32, whatever parts of the model are narrower (see `precision`). No stage waits for the
device or reads a value from it: between two of them, the engine waits for scores alone. What tensors alone decide can
be compiled (see `device`).

Shapes: B images, P pairs, Q queries, T tokens, C channels, s x s image features; sequences are batch first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import conv_transpose2d, interpolate, pad, relu

from autolabel.sam3.attention import attend
from autolabel.sam3.device import Stage, Tensors, on_device, stage
from autolabel.sam3.upstream import (
    Prompt,
    Sam3Image,
    box_cxcywh_to_xyxy,
    gen_sineembed_for_position,
    inverse_sigmoid,
)
from autolabel.sam3.vit_attention import rotate_as_fits


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageFeatures:
    """What is known of B images before anything is asked."""

    trunk: torch.Tensor  # (B, V, s, s) the ViT's
    coarse: torch.Tensor  # (B, s*s, C)
    attended: torch.Tensor  # (B, s*s, C) after the fusion encoder's first self-attention
    no_boxes: torch.Tensor  # (B, C) the geometry token of a prompt without boxes


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedPrompts:
    """P pairs as the transformer takes them."""

    images: Sequence[int]  # P indices
    tokens: torch.Tensor  # (P, T, C)
    padding: torch.Tensor  # (P, T) bool, True where there is no token


@dataclass(frozen=True, kw_only=True, eq=False)
class DecoderOutput:
    """What the last decoder layer says of P pairs."""

    presence: torch.Tensor  # (P,) probability
    scores: torch.Tensor  # (P, Q) probability, presence included
    boxes_xyxy: torch.Tensor  # (P, Q, 4) fractions of the image
    queries: torch.Tensor  # (P, Q, C)
    memory: torch.Tensor  # (P, s*s, C) image features that know the prompt


class Forward:
    """The stages of one forward pass, each a function of the ones before."""

    @torch.no_grad()
    def __init__(self, model: Sam3Image, *, compiled: bool = False) -> None:
        """Take a model that is on its device. Compiled stages take a while at their first shapes: keep shapes few."""
        self._model = model
        self._device = model.transformer.decoder.query_embed.weight.device
        self._enlarging = [_enlarging(conv.weight) for conv in model.segmentation_head.pixel_decoder.conv_layers[:2]]
        side = model.transformer.decoder.compilable_stored_size[0]
        neck = model.backbone.vision_backbone
        self._positions = _sequence(neck.position_encoding(torch.empty(1, 1, side, side, device=self._device)))
        rotate_as_fits(neck.trunk, compiled=compiled)
        steps: list[tuple[Stage, bool]] = [
            (self._encoded, True),
            (self._searched, True),
            (self._finer, False),  # few kernels, for any number of images and pairs
            (self._decoded, False),
        ]
        self._encode, self._search, self._enlarge, self._decode = (
            stage(step, self._device, recorded=recorded) if compiled else step for step, recorded in steps
        )

    def images(self, pixels: torch.Tensor) -> ImageFeatures:
        """Encode normalised pixels (B, 3, R, R)."""
        return ImageFeatures(**self._encode(pixels))

    def boxes(self, features: ImageFeatures, image: torch.Tensor, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode prompts of up to N boxes: geometry tokens (P, N + 1, C), and their padding (P, N + 1)."""
        return self._geometry(prompt, features.coarse[image])

    def find(self, features: ImageFeatures, prompts: EncodedPrompts) -> DecoderOutput:
        """Decode every query of every pair."""
        images = on_device(prompts.images, self._device)
        return DecoderOutput(**self._search(features.attended, images, prompts.tokens, prompts.padding))

    def masks(
        self,
        features: ImageFeatures,
        prompts: EncodedPrompts,
        decoded: DecoderOutput,
        *,
        pairs: Sequence[int],
        queries: tuple[torch.Tensor, torch.Tensor],
        n_kept: Sequence[int],
    ) -> torch.Tensor:
        """Make mask logits (K, 4s, 4s) of K queries.

        The pixel decoder convolves the sum of a finer map and of its own coarser result, enlarged. Convolution is
        linear, so where images have several pairs that of the finer map is done once per image, and enlarging and
        convolving in one transposed convolution, which has 4/9 of the multiplications.

        Args:
            pairs: those with something to keep.
            queries: pair and query of each (K,), in the order of `pairs`.
            n_kept: how many queries each of `pairs` keeps, K in all; known to the host, so that nothing waits.
        """
        image_of = [prompts.images[pair] for pair in pairs]
        images = sorted(set(image_of))
        shared = len(pairs) >= 2 * len(images)
        finer = self._enlarge(on_device(images, self._device), features.trunk, shared=shared)
        pixels = self._decode(
            on_device(pairs, self._device),
            on_device([images.index(image) for image in image_of], self._device),
            decoded.memory,
            prompts.tokens,
            prompts.padding,
            finer["doubled"],
            finer["quadrupled"],
            shared=shared,
        )["pixels"]
        # The 1 x 1 convolution behind the pixel decoder is linear: it is applied to the few queries, not to all pixels.
        head = self._model.segmentation_head
        last = head.instance_seg_head
        embedded = head.mask_predictor.mask_embed(decoded.queries[queries])
        weights, offsets = embedded @ last.weight[:, :, 0, 0], embedded @ last.bias
        logits = [
            weights_of_pair @ pixels_of_pair.flatten(1)
            for weights_of_pair, pixels_of_pair in zip(weights.split(list(n_kept)), pixels, strict=True)
        ]
        with_offsets: torch.Tensor = torch.cat(logits) + offsets[:, None]
        return with_offsets.view(-1, *pixels.shape[-2:])

    def _encoded(self, pixels: torch.Tensor) -> Tensors:
        neck = self._model.backbone.vision_backbone
        trunk = neck.trunk(pixels)[-1]
        coarse = _sequence(neck.convs[2](trunk))
        nothing = Prompt(
            box_embeddings=coarse.new_zeros(0, len(coarse), 4),
            box_mask=torch.zeros(len(coarse), 0, dtype=torch.bool, device=coarse.device),
        )
        geometry, _ = self._geometry(nothing, coarse)
        attended = self_attended(self._model.transformer.encoder.layers[0], coarse, self._positions)
        return {"trunk": trunk, "coarse": coarse, "attended": attended, "no_boxes": geometry[:, 0]}

    def _geometry(self, prompt: Prompt, coarse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        side = int(coarse.shape[1] ** 0.5)
        tokens, padding = self._model.geometry_encoder(
            geo_prompt=prompt,
            img_feats=[coarse.transpose(0, 1)],
            img_sizes=[(side, side)],
            img_pos_embeds=[self._positions.expand(len(coarse), -1, -1).transpose(0, 1)],
        )
        return tokens.transpose(0, 1), padding

    def _searched(
        self, attended: torch.Tensor, images: torch.Tensor, tokens: torch.Tensor, padding: torch.Tensor
    ) -> Tensors:
        """Run the rest of the fusion encoder, then the decoder, whose first query is the presence token.

        `attended` is of B images, `images` which of them each pair is of.
        """
        memory = fused(self._model.transformer.encoder, attended[images], self._positions, tokens, padding)
        decoder, n_pairs = self._model.transformer.decoder, len(memory)
        keys, present = memory + self._positions, _may_look(padding)
        hidden = torch.cat([decoder.presence_token.weight, decoder.query_embed.weight]).expand(n_pairs, -1, -1)
        boxes = decoder.reference_points.weight.sigmoid().expand(n_pairs, -1, -1)
        for layer in decoder.layers:
            place = pad(decoder.ref_point_head(gen_sineembed_for_position(boxes, decoder.d_model)), (0, 0, 1, 0))
            asking = hidden + place
            hidden = layer.norm2(hidden + attend(layer.self_attn, asking, asking, hidden))
            hidden = layer.catext_norm(hidden + attend(layer.ca_text, hidden + place, tokens, tokens, mask=present))
            bias = self._position_bias(boxes)
            hidden = layer.norm1(hidden + attend(layer.cross_attn, hidden + place, keys, memory, mask=bias))
            hidden = layer.norm3(hidden + layer.linear2(layer.activation(layer.linear1(hidden))))
            queries = decoder.norm(hidden[:, 1:])
            boxes = (decoder.bbox_embed(queries) + inverse_sigmoid(boxes)).sigmoid()
        presence = decoder.presence_token_head(decoder.presence_token_out_norm(hidden[:, 0])).sigmoid()
        logits = self._model.dot_prod_scoring(queries[None], tokens.transpose(0, 1), padding)[0].squeeze(-1)
        return {
            "presence": presence.squeeze(-1),
            "scores": logits.sigmoid() * presence,
            "boxes_xyxy": box_cxcywh_to_xyxy(boxes),
            "queries": queries,
            "memory": memory,
        }

    def _position_bias(self, boxes: torch.Tensor) -> torch.Tensor:
        """Return what the decoder adds to its attention: (P, heads, 1 + Q, s*s), of boxes (P, Q, 4) cxcywh.

        As `TransformerDecoder._get_rpb_matrix`, with the presence token's row of zeros. Its terms are contiguous, so
        that the sum, by far the largest tensor here, is written once and in the order in which attention reads it.
        """
        decoder = self._model.transformer.decoder
        corners = box_cxcywh_to_xyxy(boxes)
        rows, columns = decoder.compilable_cord_cache
        along_y = decoder.boxRPB_embed_y(_log_distances(rows, corners[..., 1::2])).permute(0, 3, 1, 2)
        along_x = decoder.boxRPB_embed_x(_log_distances(columns, corners[..., 0::2])).permute(0, 3, 1, 2)
        along_y, along_x = (pad(along.contiguous(), (0, 0, 1, 0)) for along in (along_y, along_x))
        bias: torch.Tensor = along_y[..., :, None] + along_x[..., None, :]
        return bias.flatten(-2)

    def _finer(self, images: torch.Tensor, trunk: torch.Tensor, *, shared: bool) -> Tensors:
        """Compute the neck's finer maps of some images: (n, C, 2s, 2s) and (n, C, 4s, 4s).

        `shared`: after the pixel decoder's convolutions.
        """
        convs, decoder = self._model.backbone.vision_backbone.convs, self._model.segmentation_head.pixel_decoder
        trunk = trunk[images]
        maps = {"doubled": convs[1](trunk), "quadrupled": convs[0](trunk)}
        if not shared:
            return maps
        return {name: conv(one) for (name, one), conv in zip(maps.items(), decoder.conv_layers, strict=False)}

    def _decoded(
        self,
        pairs: torch.Tensor,
        image: torch.Tensor,
        memory: torch.Tensor,
        tokens: torch.Tensor,
        padding: torch.Tensor,
        doubled: torch.Tensor,
        quadrupled: torch.Tensor,
        *,
        shared: bool,
    ) -> Tensors:
        """Run the pixel decoder for H of the pairs, each with the finer maps of one of n images: (H, C, 4s, 4s).

        What is chosen of the maps is chosen here, so that a compiler reads it where it is used.
        """
        head = self._model.segmentation_head
        memory, tokens, padding = memory[pairs], tokens[pairs], padding[pairs]
        normed = head.cross_attn_norm(memory)
        memory = memory + attend(head.cross_attend_prompt, normed, tokens, tokens, mask=_may_look(padding))
        side = doubled.shape[-1] // 2
        pixels = memory.transpose(1, 2).view(*memory.shape[::2], side, side)
        decoder = head.pixel_decoder
        for finer, conv, norm, enlarging in zip(
            (doubled, quadrupled), decoder.conv_layers, decoder.norms, self._enlarging, strict=False
        ):
            if shared:
                convolved = finer[image] + conv_transpose2d(pixels, enlarging, stride=2, padding=1)
            else:
                convolved = conv(finer[image] + interpolate(pixels, scale_factor=2, mode="nearest"))
            pixels = relu(norm(convolved))
        return {"pixels": pixels}


def _enlarging(kernel: torch.Tensor) -> torch.Tensor:
    """Return the transposed convolution (4 x 4, stride 2, padding 1) that is doubling, then this one (3 x 3).

    Cell i becomes cells 2i and 2i + 1, so it reaches cell o of the result by kernel[2i - o + 1] + kernel[2i - o + 2].
    """
    doubled = kernel.new_tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])  # (4, 3): which taps meet in which
    return torch.einsum("ta,oiab,sb->iots", doubled, kernel, doubled)


def _sequence(maps: torch.Tensor) -> torch.Tensor:
    """Turn (B, C, h, w) into (B, h*w, C)."""
    return maps.flatten(2).transpose(1, 2)


def self_attended(layer: Any, memory: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Compute the first third of a fusion encoder layer."""
    normed = layer.norm1(memory)
    asking = normed + positions
    return memory + attend(layer.self_attn, asking, asking, normed)


def fused(
    encoder: Any, memory: torch.Tensor, positions: torch.Tensor, tokens: torch.Tensor, padding: torch.Tensor
) -> torch.Tensor:
    """Run the fusion encoder from its first self-attention on: memory (P, s*s, C) reads tokens (P, T, C)."""
    present = _may_look(padding)
    for index, layer in enumerate(encoder.layers):
        if index > 0:
            memory = self_attended(layer, memory, positions)
        memory = memory + attend(layer.cross_attn_image, layer.norm2(memory), tokens, tokens, mask=present)
        memory = memory + layer.linear2(layer.activation(layer.linear1(layer.norm3(memory))))
    return memory


def _may_look(padding: torch.Tensor) -> torch.Tensor:
    """Make a mask for `attend` of the padding (P, T) of its keys."""
    return ~padding[:, None, None]


def _log_distances(places: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Return signed distances (P, Q, n, 2) of n places to two edges (P, Q, 2) of boxes, on Meta's log scale."""
    distances = (places[:, None] - edges[:, :, None]) * 8
    return distances.sign() * torch.log2(distances.abs() + 1) / 3
