"""The labels of one image: what was asked of it, what was found, or why it could not be looked at."""

from dataclasses import dataclass
from enum import StrEnum

from autolabel.errors import RejectCode
from autolabel.masks.rle import Rle


class Status(StrEnum):
    """The three states an image can end in; there is no fourth."""

    LABELLED = "labelled"  # at least one instance
    EMPTY = "empty"  # looked at, nothing found
    REJECTED = "rejected"  # could not be read: see reject_code


@dataclass(frozen=True, kw_only=True)
class PromptResult:
    """Result of one prompt of the job on one image; `phrase` is None where exemplars alone prompted."""

    prompt_id: int
    category_id: int
    phrase: str | None
    presence: float
    best_score: float
    n_instances: int = 0


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One object of one category.

    `prompt_id` and `phrase` are of the prompt that found it, `phrase` None where no text did. `object_id` names the
    given object that this is the mask of, `track_id` the track that it is part of; None where there is none. `score` is
    the predicted IoU of a given object, and of what a grid of points found; of the latter, `point_xy` is the point, in
    pixels, and `stability` the IoU of the masks at two cut-offs.
    """

    category_id: int
    prompt_id: int
    phrase: str | None
    score: float
    presence: float
    rle: Rle
    area_px: int
    bbox_xywh: tuple[float, float, float, float]
    object_id: str | None = None
    track_id: int | None = None
    point_xy: tuple[float, float] | None = None
    stability: float | None = None


@dataclass(frozen=True, kw_only=True)
class ImageLabels:
    """One row: an input image and what was found in it.

    `size_hw` is of the decoded image, None if it could not be decoded; boxes and masks are in its pixels. `candidates`
    are what the model found besides: scores from `keep_threshold` to the threshold, and what NMS, limits of area or of
    number took away. `autolabel refine` decides again between the two.
    """

    image_id: int
    uri: str
    size_hw: tuple[int, int] | None = None
    orientation: int | None = None
    sha256: str | None = None
    reject_code: RejectCode | None = None
    reject_detail: str | None = None
    prompts: tuple[PromptResult, ...] = ()
    instances: tuple[Instance, ...] = ()
    candidates: tuple[Instance, ...] = ()

    @property
    def status(self) -> Status:
        if self.reject_code is not None:
            return Status.REJECTED
        return Status.LABELLED if self.instances else Status.EMPTY
