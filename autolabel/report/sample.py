"""Which images the gallery shows: a bounded number, some of every category and status, the same on every run.

Chance is a hash of the image's id. Of each stratum (the images with a category, the empty ones, the rejected ones, all)
those with the least hashes are kept, so that a sample of ten million images costs no more memory than itself.
"""

import math
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

import numpy as np
import numpy.typing as npt

from autolabel.labels.columns import Ints, UnitColumns, index_of
from autolabel.labels.types import Status
from autolabel.output.run_record import RunRecord

TOP_SHARE = 1 / 3  # of the gallery: the head of the review queue
REJECTED_SHARE = 1 / 20
PENDING = 200_000  # images that are held before those with the greatest hashes are dropped


@dataclass(frozen=True, kw_only=True, eq=False)
class Strata:
    """Images of several strata: stratum `s` below the number of categories is that category's; then see `extra`."""

    stratum: Ints
    image_id: Ints


def extra(n_categories: int) -> tuple[int, int, int]:
    """Return numbers of the strata of the empty images, of the rejected ones, and of all."""
    return n_categories, n_categories + 1, n_categories + 2


def strata_of(unit: UnitColumns, record: RunRecord) -> Strata:
    """Return every image of a unit in each of its strata."""
    ids = [category.id for category in record.settings.ontology.categories]
    empty, rejected, every = extra(len(ids))
    pairs = np.stack([unit.instances.row, index_of(ids, unit.instances.category_id)], axis=1)
    row, place = np.unique(pairs, axis=0).T
    others = {
        empty: np.flatnonzero(unit.status == Status.EMPTY),
        rejected: np.flatnonzero(unit.status == Status.REJECTED),
        every: np.arange(len(unit)),
    }
    return Strata(
        stratum=np.concatenate([place, *(np.full(len(rows), stratum) for stratum, rows in others.items())]),
        image_id=unit.image_id[np.concatenate([row, *others.values()])],
    )


class Sampler:
    """Collects strata, unit by unit, and chooses `n_images` of them in the end."""

    def __init__(self, n_images: int, n_categories: int) -> None:
        self._n_images, self._n_categories = n_images, n_categories
        self._kept = Strata(stratum=np.zeros(0, np.int64), image_id=np.zeros(0, np.int64))
        self._pending: list[Strata] = []
        _, rejected, every = extra(n_categories)
        self._limits = np.full(n_categories + 3, math.ceil(n_images / (n_categories + 1)))
        self._limits[rejected], self._limits[every] = math.ceil(n_images * REJECTED_SHARE), n_images

    def add(self, strata: Strata) -> None:
        self._pending.append(self._least(strata))
        if sum(len(part.stratum) for part in self._pending) > PENDING:
            self._merge()

    def choose(self, doubtful: Ints) -> list[int]:
        """Return at most `n_images` ids: first of `doubtful`, the head of the queue, then of the strata by turns."""
        self._merge()
        *strata, every = (self._kept.image_id[self._kept.stratum == s].tolist() for s in range(self._n_categories + 3))
        by_turns = (image for turn in zip_longest(*strata) for image in turn if image is not None)
        head = doubtful[: int(self._n_images * TOP_SHARE)].tolist()
        return list(islice(dict.fromkeys(chain(head, by_turns, every)), self._n_images))

    def _merge(self) -> None:
        parts = [self._kept, *self._pending]
        self._kept = self._least(
            Strata(
                stratum=np.concatenate([part.stratum for part in parts]),
                image_id=np.concatenate([part.image_id for part in parts]),
            )
        )
        self._pending.clear()

    def _least(self, strata: Strata) -> Strata:
        """Return of each stratum as many as its limit says, by ascending hash."""
        order = np.lexsort((chance(strata.image_id), strata.stratum))
        stratum = strata.stratum[order]
        turn = np.arange(len(order)) - np.searchsorted(stratum, stratum)
        kept = turn < self._limits[stratum]
        return Strata(stratum=stratum[kept], image_id=strata.image_id[order][kept])


def chance(image_id: Ints) -> npt.NDArray[np.uint64]:
    """Return a number that looks random, the same for an id everywhere: SplitMix64 (Steele, Lea and Flood, 2014)."""
    z = image_id.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
