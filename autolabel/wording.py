"""How messages say what they count and name: one image, two images; the first few of many."""

from collections.abc import Sequence


def counted(n: int, noun: str, nouns: str = "") -> str:
    """Return `1 image` or `2 images`; `nouns` is a plural that is not one by an s."""
    return f"{n} {noun}" if n == 1 else f"{n} {nouns or f'{noun}s'}"


def first_few(names: Sequence[str], n_shown: int) -> str:
    """Return names separated by commas, with `...` for those that are left out."""
    return ", ".join([*names[:n_shown], *(["..."] if len(names) > n_shown else [])])
