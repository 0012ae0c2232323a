"""SAM3's image model at any size, from Meta's own modules, on any device.

Meta's builder knows one size and needs a GPU. Its modules do not, so they are put together here from the sizes of an
`Architecture`: FULL gives the model of Meta's checkpoint, and TINY one for tests. Both of its parts look at the map of
one ViT, and either can do without the other.
"""

from collections.abc import Set
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from autolabel.sam3.detector import detector
from autolabel.sam3.interactive import InteractiveHead
from autolabel.sam3.seeding import seed_weights
from autolabel.sam3.upstream import PositionEmbeddingSine, Sam3Image, ViT

__all__ = [
    "ARCHITECTURES",
    "DETECTOR_ALONE",
    "FULL",
    "INTERACTIVE_ALONE",
    "TINY",
    "Architecture",
    "Part",
    "build",
    "build_empty",
    "parts_of",
    "place",
    "seed_weights",
]


class Part(Enum):
    """What a model answers: each part is built, loaded and checked where it is asked for, the ViT in any case."""

    DETECTOR = "detector"  # concepts: text encoder, fusion encoder, DETR decoder, masks
    INTERACTIVE = "interactive"  # points and boxes that single out one object


DETECTOR_ALONE = frozenset({Part.DETECTOR})
INTERACTIVE_ALONE = frozenset({Part.INTERACTIVE})


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


def build(
    architecture: Architecture, *, device: torch.device | str = "cpu", parts: Set[Part] = DETECTOR_ALONE
) -> Sam3Image:
    """Build a model in eval mode whose weights mean nothing yet, some not even initialised: see `seed_weights`.

    The head of `Part.INTERACTIVE` is the model's `interactive`. Without the detector there is nothing beside it but
    the ViT, where an image model has it: `backbone.vision_backbone.trunk`.
    """
    return place(_assemble(architecture, parts), architecture, device=device)


def build_empty(architecture: Architecture, *, parts: Set[Part] = DETECTOR_ALONE) -> Sam3Image:
    """Build a model on the meta device: names, shapes and dtypes without memory, in seconds even at full size.

    To use it, `load_state_dict(..., strict=True, assign=True)` and then `place` it.
    """
    with torch.device("meta"), _ConcreteLinspace():
        return _assemble(architecture, parts)


def parts_of(model: Sam3Image) -> frozenset[Part]:
    """Return which parts were built."""
    names = {Part.DETECTOR: "transformer", Part.INTERACTIVE: "interactive"}
    return frozenset(part for part, name in names.items() if hasattr(model, name))


def place(model: Sam3Image, architecture: Architecture, *, device: torch.device | str) -> Sam3Image:
    """Move a model to a device in eval mode, with the constants that its state dict does not hold.

    Call it instead of `.to()`, which leaves Meta's caches of positions and coordinates behind.
    """
    if Part.DETECTOR in parts_of(model):
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


def _assemble(a: Architecture, parts: Set[Part]) -> Sam3Image:
    vit = _vit(a)
    model = detector(a, vit) if Part.DETECTOR in parts else _TrunkAlone(vit)
    if Part.INTERACTIVE in parts:
        model.interactive = InteractiveHead(a, vit)
    return model


class _TrunkAlone(nn.Module):
    """A ViT by the name that it has in an image model."""

    def __init__(self, vit: ViT) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.vision_backbone = nn.Module()
        self.backbone.vision_backbone.trunk = vit


def _vit(a: Architecture) -> ViT:
    return ViT(
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


class _ConcreteLinspace(TorchFunctionMode):
    """The ViT reads the values of one `torch.linspace` while it is built, and a meta tensor has none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        return func(*args, **(kwargs | {"device": "cpu"} if func is torch.linspace else kwargs))
