"""Run lengths of many masks at once, as arrays: no Python object for each mask."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def run_lengths_of(counts: Sequence[str]) -> tuple[Ints, Ints]:
    """Return the run lengths of all masks, one after another, and whose each is; as `rle.run_lengths` of each."""
    text = "".join(counts)
    groups = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - ord("0")
    mask_ends = np.cumsum([len(of_mask) for of_mask in counts])
    ends = np.flatnonzero((groups & 32) == 0)
    if not text.isascii() or ((groups < 0) | (groups > 63)).any() or not np.isin(mask_ends - 1, ends).all():
        raise ValueError("counts hold other characters than pycocotools writes, or end within a number")
    n_groups = np.diff(ends, prepend=-1)
    if n_groups.max() > 7:
        raise ValueError("counts hold a number of more than 32 bits")
    numbers = np.add.reduceat((groups & 31) << 5 * index_in_group(n_groups), ends - n_groups + 1)
    numbers -= np.where(groups[ends] & 16, 1 << 5 * n_groups, 0)  # two's complement
    n_numbers = np.diff(np.searchsorted(ends, mask_ends), prepend=0)
    mask, nth = np.repeat(np.arange(len(counts)), n_numbers), index_in_group(n_numbers)
    for parity in (0, 1):  # from the third on, a number is the difference to the one two before it
        chosen = np.flatnonzero((nth > 0) & (nth % 2 == parity))
        first = np.arange(len(chosen)) - (nth[chosen] - 1) // 2  # of those chosen, in the same mask
        sums = np.cumsum(numbers[chosen])
        numbers[chosen] = sums - (sums - numbers[chosen])[first]
    return numbers, mask


def index_in_group(lengths: Ints) -> Ints:
    """Return 0, 1, 2, ... anew for each length."""
    n: Ints = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return n
