"""From what the model found to the labels of an image, or to why it has none."""

from collections.abc import Sequence

from autolabel.labels.types import ImageLabels
from autolabel.pipeline.load import ImageInfo, Rejection
from autolabel.plan import PlannedImage
from autolabel.segmentation.questions import AnswerT, Question, Questions
from autolabel.selection import Rules, apply_rules


def labels_from_answers(
    image: PlannedImage,
    info: ImageInfo,
    questions: Questions[Question, AnswerT],
    asked: Sequence[Question],
    answers: Sequence[AnswerT],
    rules: Rules,
) -> ImageLabels:
    """Return the labels of an image: masks at its own size, overlaps resolved, limits applied."""
    found = questions.found(info.size_hw, asked, answers)
    image_labels = ImageLabels(
        image_id=image.image_id,
        uri=image.uri,
        size_hw=info.size_hw,
        orientation=info.orientation,
        sha256=info.sha256,
        prompts=found.prompts,
    )
    return apply_rules(image_labels, found.instances, rules)


def labels_of_rejected(image: PlannedImage, rejection: Rejection) -> ImageLabels:
    """Return the row of an image that will not be labelled."""
    return ImageLabels(
        image_id=image.image_id,
        uri=image.uri,
        sha256=rejection.sha256,
        reject_code=rejection.code,
        reject_detail=rejection.detail,
    )
