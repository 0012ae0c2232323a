"""Which categories share objects by nature, such as "circle" and "striped shape": learned from the output itself.

Two categories that are both true of an object are as sure there as elsewhere, and are found together again and again.
Two that exclude each other meet where the model is torn between them: it is less sure of both, or they hardly ever do.
Which of two categories the model takes for the other wherever it sees one of them, no output tells.
"""

from dataclasses import dataclass

import numpy as np

from autolabel.labels.columns import Floats, Ints

LESS_SURE = 0.2  # where the product of two scores is lower by this share than elsewhere, the two exclude each other
COMMON_SHARE = 0.02  # of the labels of the rarer category: two that share objects less often do not by nature
PRIOR = 5  # pairs of labels that say "they exclude each other", before any was seen


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlaps:
    """Labels by category, and pairs of labels on one object by pair of categories. Those of two sets of images add up.

    A pair of categories is one number, `pair_number`.
    """

    n_labels: Ints  # (C,)
    score_sum: Floats  # (C,)
    pair: Ints  # (P,) ascending
    n_shared: Ints  # (P,)
    product_sum: Floats  # (P,) of the two scores

    @staticmethod
    def nothing(n_categories: int) -> "Overlaps":
        none = np.zeros(0, np.int64)
        return Overlaps(
            n_labels=np.zeros(n_categories, np.int64),
            score_sum=np.zeros(n_categories),
            pair=none,
            n_shared=none,
            product_sum=np.zeros(0),
        )

    @staticmethod
    def of(category: Ints, score: Floats, pair: Ints, product: Floats, n_categories: int) -> "Overlaps":
        """Count N labels, and K pairs of them, the same pair of categories any number of times."""
        pairs, number = np.unique(pair, return_inverse=True)
        return Overlaps(
            n_labels=np.bincount(category, minlength=n_categories),
            score_sum=np.bincount(category, score, n_categories).astype(np.float64),
            pair=pairs,
            n_shared=np.bincount(number, minlength=len(pairs)),
            product_sum=np.bincount(number, product, len(pairs)).astype(np.float64),
        )

    def __add__(self, other: "Overlaps") -> "Overlaps":
        pairs, number = np.unique(np.concatenate([self.pair, other.pair]), return_inverse=True)
        n_shared = np.bincount(number, np.concatenate([self.n_shared, other.n_shared]), len(pairs))
        product = np.concatenate([self.product_sum, other.product_sum])
        return Overlaps(
            n_labels=self.n_labels + other.n_labels,
            score_sum=self.score_sum + other.score_sum,
            pair=pairs,
            n_shared=n_shared.astype(np.int64),
            product_sum=np.bincount(number, product, len(pairs)).astype(np.float64),
        )

    def unusual(self, pair: Ints) -> Floats:
        """Return (K,) from 0, these categories share objects by nature, to 1, they exclude each other."""
        first, second = np.divmod(self.pair, len(self.n_labels))
        n_rarer = np.minimum(self.n_labels[first], self.n_labels[second])
        elsewhere = np.prod([self.score_sum[side] / self.n_labels[side] for side in (first, second)], axis=0)
        seen = self.product_sum + PRIOR * (1 - LESS_SURE) * elsewhere
        less_sure = 1 - seen / ((self.n_shared + PRIOR) * elsewhere)
        common = (self.n_shared / (COMMON_SHARE * n_rarer)).clip(max=1)
        unusual: Floats = 1 - common * (1 - (less_sure / LESS_SURE).clip(0, 1))
        return unusual[np.searchsorted(self.pair, pair)]


def pair_number(first: Ints, second: Ints, n_categories: int) -> Ints:
    """Return the number of each pair of categories, whichever of the two is named first."""
    number: Ints = np.minimum(first, second) * n_categories + np.maximum(first, second)
    return number
