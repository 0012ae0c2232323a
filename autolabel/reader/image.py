"""One image of an output, as its reader hands it out: what was found in it, its masks, its pixels, and both in one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from autolabel.errors import BadInput, RejectCode, RejectedImage
from autolabel.labels.types import ImageLabels, Instance, Status
from autolabel.masks import rle
from autolabel.output.job_output import JobOutput
from autolabel.output.pixels import read_labelled_pixels
from autolabel.prompts.ontology import Ontology

SHOWN_SIDE_PX = 960  # of a picture in a notebook


@dataclass(frozen=True, kw_only=True, repr=False)
class LabelledInstance(Instance):
    """One object, with the name of its category."""

    category: str

    def mask(self) -> npt.NDArray[np.bool_]:
        """Return its pixels, (h, w) of the decoded image.

        Raises:
            ValueError: the stored counts are damaged.
        """
        return rle.decode(self.rle)

    def __repr__(self) -> str:
        return f"<LabelledInstance {self.category!r} {self.score:.2f}, {self.area_px} pixels in {self.bbox_xywh}>"


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """The output that an image is of, and the storage options to read its file with, by its URI."""

    output: JobOutput
    options_of: Callable[[str], dict[str, Any]]

    @property
    def ontology(self) -> Ontology:
        return self.output.record.settings.ontology


@dataclass(frozen=True, kw_only=True, repr=False)
class LabelledImage(ImageLabels):
    """A row of the labels, that a notebook shows as its picture; instances and candidates are each best first."""

    instances: tuple[LabelledInstance, ...]
    candidates: tuple[LabelledInstance, ...]
    source: ImageSource = field(compare=False)

    def image(self) -> Image.Image:
        """Return the picture as it was labelled: boxes and masks are in its pixels.

        Raises:
            FileNotFoundError: it is no longer there.
            BadInput: it cannot be decoded, or is not the file that was labelled.
        """
        options = self.source.options_of(self.uri)
        try:
            return Image.fromarray(read_labelled_pixels(self.source.output, self, options))
        except RejectedImage as error:
            if error.code is RejectCode.MISSING:
                raise FileNotFoundError(f"{self.uri} is {error.detail}") from error
            raise BadInput(f"{self.uri}: {error}") from error

    def draw(
        self, instances: Sequence[LabelledInstance] | None = None, *, max_side_px: int | None = None
    ) -> Image.Image:
        """Return the picture with masks, names and scores: of the labels, or of other instances of this image.

        Raises:
            FileNotFoundError, BadInput: as `image`.
        """
        from autolabel.masks.drawing import DrawnInstance, color_of, draw

        color_by_id = {category.id: color_of(n) for n, category in enumerate(self.source.ontology.categories)}
        drawn = [
            DrawnInstance(mask=i.rle, label=f"{i.category} {i.score:.2f}", color_rgb=color_by_id[i.category_id])
            for i in (self.instances if instances is None else instances)
        ]
        return Image.fromarray(draw(np.asarray(self.image()), drawn, max_side_px=max_side_px))

    def __repr__(self) -> str:
        if self.status == Status.REJECTED:
            found = f"{self.reject_code}: {self.reject_detail}"
        else:
            height, width = self.size_hw or (0, 0)
            counts = Counter(instance.category for instance in self.instances)
            found = ", ".join([f"{width} x {height} pixels", *(f"{n} {name}" for name, n in counts.items())])
        return f"<LabelledImage {self.image_id} {self.uri!r} {self.status}: {found}>"

    def _repr_jpeg_(self) -> bytes | None:
        """Return what a notebook shows; of a rejected image, its text alone."""
        if self.status == Status.REJECTED:
            return None
        buffer = BytesIO()
        self.draw(max_side_px=SHOWN_SIDE_PX).save(buffer, "JPEG", quality=90, subsampling=0)
        return buffer.getvalue()


def labelled_image(image: ImageLabels, source: ImageSource) -> LabelledImage:
    """Return the labels of an image with what it takes to show them."""

    def named(instances: Sequence[Instance]) -> tuple[LabelledInstance, ...]:
        by_id = source.ontology.by_id
        return tuple(LabelledInstance(**vars(one), category=by_id[one.category_id].name) for one in instances)

    chosen = {"instances": named(image.instances), "candidates": named(image.candidates)}
    return LabelledImage(**{**vars(image), **chosen}, source=source)
