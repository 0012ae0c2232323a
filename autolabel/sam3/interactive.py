"""SAM3's head for single objects: the mask of what points, a box or both single out, or of a mask to refine.

Meta's predictor keeps an image and takes the objects of that image, all with as many points, per call. Here are B
images and M objects of any of them, and nothing is kept; `SAM3InteractiveImagePredictor` is the reference. The results
differ from it by the order of additions, for the sake of three things:

- What the first layer makes of an image alone is computed once per image and not once per object.
- The projections of one sequence are one product (`two_way`).
- A transposed convolution of stride and size 2 gives four cells for each, as one product of matrices. The cells stay
  with the one that they come of until masks are made: the finest maps, by far the largest tensors, are never reordered.

Shapes: B images, M objects, N points, C channels, s x s cells of coarse features; sequences are batch first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from autolabel.sam3.device import Stage, Tensors, stage
from autolabel.sam3.two_way import first_projections, position_terms, two_way
from autolabel.sam3.upstream import MaskDecoder, PromptEncoder, Sam3DualViTDetNeck, TwoWayTransformer, ViT
from autolabel.sam3.vit_attention import rotate_as_fits

if TYPE_CHECKING:
    from autolabel.sam3.architecture import Architecture

NEGATIVE, POSITIVE, CORNER, OPPOSITE = 0, 1, 2, 3  # what a point says; a box is two corners
NO_POINT = -1  # in the place of a point, where others have more
LARGEST_LOGIT = 32.0  # of a mask to refine: Meta's predictor clamps what it gives


class InteractiveHead(nn.Module):
    """The weights, by the names that `layouts` gives them: Meta's modules at any size.

    Built as `Sam3TrackerBase` does; the masks that this project makes of them are those of `decoded`.
    """

    def __init__(self, a: "Architecture", vit: ViT) -> None:
        """Build the head on a ViT of this architecture."""
        super().__init__()
        # A neck of its own, whose coarsest level Meta's has for nothing. The positions are those of the prompt encoder.
        neck = Sam3DualViTDetNeck(trunk=vit, position_encoding=None, d_model=a.width, scale_factors=(4.0, 2.0, 1.0))
        self.sam2_convs = neck.convs
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, a.width))
        self.sam_prompt_encoder = PromptEncoder(
            embed_dim=a.width,
            image_embedding_size=(a.feature_side, a.feature_side),
            input_image_size=(a.resolution, a.resolution),
            mask_in_chans=16,
        )
        self.sam_mask_decoder = MaskDecoder(
            transformer=TwoWayTransformer(depth=2, embedding_dim=a.width, mlp_dim=a.ffn_width, num_heads=a.heads),
            transformer_dim=a.width,
            iou_head_hidden_dim=a.width,
            use_high_res_features=True,
            iou_prediction_use_sigmoid=True,
            dynamic_multimask_via_stability=True,
            dynamic_multimask_stability_delta=0.05,
            dynamic_multimask_stability_thresh=0.98,
            pred_obj_scores=True,
            pred_obj_scores_mlp=True,
            use_multimask_token_for_obj_ptr=True,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectFeatures:
    """What is known of B images before an object of them is asked for."""

    coarse: torch.Tensor  # (B, s*s, C)
    keys: torch.Tensor  # (B, heads, s*s, d) of the cells, for the first layer's tokens
    values: torch.Tensor
    queries: torch.Tensor  # of the cells, about the first layer's tokens
    doubled: torch.Tensor  # (B, s*s, 4, C/4) the 2s x 2s cells, by the coarse one that they lie in
    quadrupled: torch.Tensor  # (B, s*s, 4, 4, C/8) the 4s x 4s cells, by those

    def of_image(self, index: int) -> "ObjectFeatures":
        """Return those of one image, without a copy."""
        return ObjectFeatures(**{field.name: getattr(self, field.name)[index : index + 1] for field in fields(self)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Proposals:
    """Four masks of each of M objects: one for where one is asked for, then three for what may mean several things."""

    logits: torch.Tensor  # (M, 4, 4s, 4s)
    ious: torch.Tensor  # (M, 4) predicted
    present: torch.Tensor  # (M,) logit: that there is an object at all

    def best_of_three(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits (M, 4s, 4s) and the predicted IoU (M,) of the best of three by predicted IoU."""
        return self._of(1 + self.ious[:, 1:].argmax(dim=1))

    def stable_or_best(self, decoder: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return those of the one mask, or, where it is not stable, of the best of three: Meta's fallback."""
        stable = stabilities(self.logits[:, 0], decoder.dynamic_multimask_stability_delta)
        fallback = 1 + self.ious[:, 1:].argmax(dim=1)
        return self._of(torch.where(stable >= decoder.dynamic_multimask_stability_thresh, 0, fallback))

    def _of(self, pick: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.arange(len(pick), device=pick.device)
        return self.logits[rows, pick], self.ious[rows, pick]


def stabilities(logits: torch.Tensor, offset: float) -> torch.Tensor:
    """Return the area of masks (..., h, w) above `offset` over that above its negative, 1 for nothing: (...)."""
    inner, outer = ((logits > limit).flatten(-2).sum(dim=-1).float() for limit in (offset, -offset))
    return torch.where(outer > 0, inner / outer.clamp(min=1), 1.0)


class ObjectForward:
    """The stages of the head, each a function of the ones before; none waits for the device."""

    @torch.no_grad()
    def __init__(self, trunk: nn.Module, head: InteractiveHead, *, compiled: bool = False) -> None:
        """Take a ViT and a head that are on their device. Compiled stages take a while at their first shapes."""
        device = head.no_mem_embed.device
        self._trunk, self._head = trunk, head
        self._positions = positions_of(head)
        rotate_as_fits(trunk, compiled=compiled)
        steps: list[tuple[Stage, bool]] = [(self._encoded, True), (self._decoded, False)]  # any number of objects
        self._encode, self._decode = (
            stage(step, device, recorded=recorded) if compiled else step for step, recorded in steps
        )

    @property
    def decoder(self) -> Any:
        """Return Meta's module, whose thresholds `Proposals.stable_or_best` reads."""
        return self._head.sam_mask_decoder

    def images(self, pixels: torch.Tensor) -> ObjectFeatures:
        """Encode normalised pixels (B, 3, R, R)."""
        return ObjectFeatures(**self._encode(pixels))

    def objects(
        self,
        features: ObjectFeatures,
        image: torch.Tensor,
        points: torch.Tensor,
        labels: torch.Tensor,
        masks: torch.Tensor | None = None,
        *,
        padded: bool = False,
    ) -> Proposals:
        """Make the masks of M objects.

        Args:
            image: (M,) index of each object's image.
            points: (M, N, 2) x, y in pixels of the model's input; N may be 0 where there are masks.
            labels: (M, N) float: what each point says; the corners of a box come first.
            masks: logits (M, 1, 4s, 4s) to refine.
            padded: some of the labels are NO_POINT, and nothing looks at their points.
        """
        of_images = [getattr(features, field.name) for field in fields(features)]
        more = [] if masks is None else [masks]
        return Proposals(**self._decode(*of_images, image, points, labels, *more, padded=padded))

    def _encoded(self, pixels: torch.Tensor) -> Tensors:
        trunk = self._trunk(pixels)[-1]
        return image_terms(self._head, self._positions, [conv(trunk) for conv in self._head.sam2_convs])

    def _decoded(
        self,
        coarse: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        queries: torch.Tensor,
        doubled: torch.Tensor,
        quadrupled: torch.Tensor,
        image: torch.Tensor,
        points: torch.Tensor,
        labels: torch.Tensor,
        masks: torch.Tensor | None = None,
        *,
        padded: bool,
    ) -> Tensors:
        features = ObjectFeatures(
            coarse=coarse, keys=keys, values=values, queries=queries, doubled=doubled, quadrupled=quadrupled
        )
        return decoded(self._head, self._positions, features, image, points, labels, masks, padded=padded)


# What follows are functions of a head's weights, which can be trained through.


def positions_of(head: InteractiveHead) -> list[torch.Tensor]:
    """Return the `position_terms` of a head's transformer."""
    where = head.sam_prompt_encoder.get_dense_pe()[0].flatten(1).T
    return position_terms(head.sam_mask_decoder.transformer, where)


def image_terms(head: InteractiveHead, positions: list[torch.Tensor], maps: Sequence[torch.Tensor]) -> Tensors:
    """Return the `ObjectFeatures` of the neck's maps (B, C, 4s, 4s), (B, C, 2s, 2s) and (B, C, s, s)."""
    finest, finer, coarse = maps
    encoder, decoder = head.sam_prompt_encoder, head.sam_mask_decoder
    coarse = coarse.flatten(2).transpose(1, 2) + head.no_mem_embed
    unmasked = coarse + encoder.no_mask_embed.weight
    keys, values, queries = first_projections(decoder.transformer, unmasked, positions[0])
    doubled, quadrupled = decoder.conv_s1(finer), decoder.conv_s0(finest)
    doubled = doubled.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (B, C/4, s, 2, s, 2)
    quadrupled = quadrupled.unflatten(3, (-1, 2, 2)).unflatten(2, (-1, 2, 2))  # (B, C/8, s, 2, 2, s, 2, 2)
    return {
        "coarse": coarse,
        "keys": keys,
        "values": values,
        "queries": queries,
        "doubled": doubled.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2),
        "quadrupled": quadrupled.permute(0, 2, 5, 3, 6, 4, 7, 1).flatten(5, 6).flatten(3, 4).flatten(1, 2),
    }


def decoded(
    head: InteractiveHead,
    positions: list[torch.Tensor],
    features: ObjectFeatures,
    image: torch.Tensor,
    points: torch.Tensor,
    labels: torch.Tensor,
    masks: torch.Tensor | None = None,
    *,
    padded: bool = False,
) -> Tensors:
    """Return the `Proposals` of M objects: see `ObjectForward.objects`."""
    encoder, decoder = head.sam_prompt_encoder, head.sam_mask_decoder
    own = torch.cat([decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight])
    prompt = own.expand(len(image), -1, -1)
    may_look = None
    if points.shape[1]:
        prompt = torch.cat([prompt, encoder._embed_points(points, labels, pad=True)], dim=1)  # and one that is no point
    if padded:
        may_look = functional.pad(labels != NO_POINT, (len(own), 1), value=True)[:, None, None]
    coarse = _chosen(features.coarse, image)
    if masks is None:
        memory = coarse + encoder.no_mask_embed.weight
        shared = [_chosen(terms, image) for terms in (features.keys, features.values, features.queries)]
    else:
        clamped = masks.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
        memory, shared = coarse + encoder.mask_downscaling(clamped).flatten(2).transpose(1, 2), None
    tokens, memory = two_way(decoder.transformer, positions, prompt, memory, shared, may_look)

    grow, norm, activate, grow_more, activate_more = decoder.output_upscaling
    cells = _enlarged(grow, memory) + _chosen(features.doubled, image)
    cells = activate(functional.layer_norm(cells, cells.shape[-1:], norm.weight, norm.bias, norm.eps))
    cells = activate_more(_enlarged(grow_more, cells) + _chosen(features.quadrupled, image))
    makers = [make(tokens[:, 2 + k]) for k, make in enumerate(decoder.output_hypernetworks_mlps)]
    side = encoder.image_embedding_size[0]
    logits = (torch.stack(makers, dim=1) @ cells.flatten(1, 3).transpose(1, 2)).view(-1, 4, side, side, 2, 2, 2, 2)
    return {
        "logits": logits.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(-1, 4, 4 * side, 4 * side),
        "ious": decoder.iou_prediction_head(tokens[:, 1]),
        "present": decoder.pred_obj_score_head(tokens[:, 0])[:, 0],
    }


def _chosen(of_images: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Return the row of each object's image; a view where all are of one."""
    return of_images.expand(len(image), *of_images.shape[1:]) if len(of_images) == 1 else of_images[image]


def _enlarged(conv: nn.ConvTranspose2d, cells: torch.Tensor) -> torch.Tensor:
    """Make four cells of each by a transposed convolution of size and stride 2: (..., c) to (..., 4, channels)."""
    assert conv.bias is not None
    kernel = conv.weight.permute(2, 3, 1, 0).reshape(-1, conv.in_channels)
    enlarged: torch.Tensor = functional.linear(cells, kernel, conv.bias.repeat(4)).unflatten(-1, (4, -1))
    return enlarged
