"""Which windows of an image the model looks at, and how what it saw becomes instances of the image."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from autolabel.images.windows import Window, crops, tiles, whole
from autolabel.labels.types import Instance
from autolabel.output.settings import LabelSettings, TileSettings
from autolabel.selection.seams import Seen, joined, large, unique_in_crops


class Looks(ABC):
    """A way to look at images."""

    @abstractmethod
    def windows(self, size_hw: tuple[int, int]) -> list[Window]:
        """Return the windows of an image of this size."""

    @abstractmethod
    def instances(self, windows: Sequence[Window], seen: Seen) -> list[Instance]:
        """Return the instances of an image of what each of its windows showed, all in the image's pixels."""


@dataclass(frozen=True)
class AtOnce(Looks):
    """One look at the whole."""

    def windows(self, size_hw: tuple[int, int]) -> list[Window]:
        return [whole(size_hw)]

    def instances(self, windows: Sequence[Window], seen: Seen) -> list[Instance]:
        (instances,) = seen
        return list(instances)


@dataclass(frozen=True)
class InTiles(Looks):
    """Tiles of large images, with the whole for what is larger than their overlap, if asked for."""

    settings: TileSettings

    def windows(self, size_hw: tuple[int, int]) -> list[Window]:
        wanted = self.settings
        if max(size_hw) <= wanted.over_px:
            return [whole(size_hw)]
        cut = tiles(size_hw, size_px=wanted.size_px, overlap_px=wanted.overlap_px)
        return [whole(size_hw), *cut] if wanted.whole and len(cut) > 1 else cut

    def instances(self, windows: Sequence[Window], seen: Seen) -> list[Instance]:
        if self.settings.whole and len(windows) > 1:
            seen = [large(seen[0], self.settings.overlap_px), *seen[1:]]
        return joined(windows, seen)


@dataclass(frozen=True)
class InCrops(Looks):
    """The whole, and ever smaller crops of it; of two masks of more IoU than `nms`, the smaller crop's stays."""

    n_layers: int
    nms: float

    def windows(self, size_hw: tuple[int, int]) -> list[Window]:
        return crops(size_hw, self.n_layers)

    def instances(self, windows: Sequence[Window], seen: Seen) -> list[Instance]:
        return unique_in_crops(windows, seen, self.nms)


def looks_of(settings: LabelSettings) -> Looks:
    """Return how a job looks at images."""
    if settings.tiles:
        return InTiles(settings.tiles)
    if settings.everything and settings.everything.crop_layers:
        return InCrops(settings.everything.crop_layers, settings.everything.nms)
    return AtOnce()
