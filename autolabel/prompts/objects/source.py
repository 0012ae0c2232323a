"""What a reader of given objects works with: the images of the input, and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from autolabel.prompts.objects.table import ObjectTable
from autolabel.storage.uris import resolve_uri


@dataclass(frozen=True, kw_only=True)
class InputImages:
    """The images of an input, as far as readers of objects ask."""

    root: str  # what relative file names start from
    uris: Sequence[str]
    probe: Callable[[str], tuple[int, int]]  # the size (h, w) of one; raises RejectedImage

    @cached_property
    def index_of(self) -> dict[str, int]:
        """By URI."""
        return {uri: index for index, uri in enumerate(self.uris)}

    def find(self, file_name: str) -> str | None:
        """Return the URI of the image of this name, or None."""
        uri = resolve_uri(file_name, self.root)
        return uri if uri in self.index_of else None


@dataclass(frozen=True, kw_only=True)
class GivenObjects:
    """The objects of a job, and by index the sizes of the images that they were drawn on, where those are known."""

    table: ObjectTable
    sizes_hw: Mapping[int, tuple[int, int]] = field(default_factory=dict)
