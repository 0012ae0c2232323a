"""What one item of each stage takes, by the sizes of an architecture: what bounds the chunks of an engine."""

from autolabel.sam3.architecture import Architecture

# Of an item in the largest tensor of its pass: indices of 32 bits must be enough for all of them, with room to spare.


def image_elements(a: Architecture) -> int:
    """Return the elements of the ViT's feed-forward layer."""
    return a.feature_side**2 * int(a.vit_width * a.vit_mlp_ratio)


def pair_elements(a: Architecture) -> int:
    """Return those of the fusion encoder's feed-forward layer, or of the bias of the decoder's attention."""
    return a.feature_side**2 * max(a.ffn_width, a.heads * (1 + a.queries))


def hit_elements(a: Architecture) -> int:
    """Return those of the finest map of the pixel decoder."""
    return a.width * (4 * a.feature_side) ** 2


def object_elements(a: Architecture) -> int:
    """Return those of the finest map of the interactive head."""
    return a.width // 8 * (4 * a.feature_side) ** 2


# Estimates, in float32, of what a pass holds at its height, by its largest tensors; halving corrects them.


def image_bytes(a: Architecture) -> int:
    """Return those of one image in the ViT: its widest layer, and attention over everything."""
    n_cells = a.feature_side**2
    return 4 * n_cells * int(a.vit_width * (6 + 2 * a.vit_mlp_ratio))


def pair_bytes(a: Architecture) -> int:
    """Return those of one pair in fusion encoder and decoder: the widest layer, and the bias of the attention."""
    n_cells = a.feature_side**2
    return 4 * n_cells * (8 * a.width + 2 * a.ffn_width + 3 * a.heads * (1 + a.queries))


def hit_bytes(a: Architecture) -> int:
    """Return those of one pair whose masks are made: the pixel decoder's finest map, and masks of all its queries."""
    return 4 * (4 * a.feature_side) ** 2 * (4 * a.width + a.queries)


def object_bytes(a: Architecture) -> int:
    """Return those of one object: the finest map as it is made, and its four masks."""
    return 4 * (4 * a.feature_side) ** 2 * (4 * a.width // 8 + 8)
