"""From what the model found to the labels of an image, or to why it has none."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from autolabel.images.windows import Window
from autolabel.labels.types import ImageLabels, Instance, PromptResult
from autolabel.masks.rle import placed
from autolabel.pipeline.load import ModelInput, Rejection
from autolabel.pipeline.looks import Looks
from autolabel.plan import PlannedImage
from autolabel.segmentation.questions import AnswerT, Found, Question, Questions
from autolabel.selection.rules import Rules, apply_rules

PendingLabels = Future[tuple[ImageLabels, float]]  # the labels of an image, and the seconds that finishing them took


class ImageInHand:
    """An image on its way through the model: its windows are finished one by one, in any order, by several threads."""

    def __init__(self, image: PlannedImage, loaded: ModelInput, looks: Looks, rules: Rules) -> None:
        self.image, self.info, self.windows = image, loaded.info, loaded.windows
        self.row: PendingLabels = Future()
        self._looks, self._rules = looks, rules
        self._lock = threading.Lock()
        self._found: dict[int, Found] = {}
        self._seconds = 0.0

    def finish_window(
        self,
        number: int,
        questions: Questions[Question, AnswerT],
        asked: Sequence[Question],
        answers: Sequence[AnswerT],
    ) -> None:
        """Take the answers about a window; with the last one's, the row is there."""
        began = time.monotonic()
        try:
            window, size_hw = self.windows[number], self.info.size_hw
            found = in_image(questions.found(window.size_hw, asked, answers), window, size_hw)
            with self._lock:
                self._found[number] = found
                complete = len(self._found) == len(self.windows)
                self._seconds += time.monotonic() - began
            if complete:
                began = time.monotonic()
                labels = self._labels()
                self._tell(labels, self._seconds + time.monotonic() - began)
        except BaseException as error:
            with self._lock:
                if not self.row.done():
                    self.row.set_exception(error)
            raise

    def reject(self, rejection: Rejection) -> None:
        """Give the image up: one of its windows cannot be looked at."""
        self._tell(labels_of_rejected(self.image, rejection), 0.0)

    def _tell(self, labels: ImageLabels, seconds: float) -> None:
        with self._lock:
            if not self.row.done():
                self.row.set_result((labels, seconds))

    def _labels(self) -> ImageLabels:
        """Return the labels: masks at the image's own size, overlaps resolved, limits applied."""
        found = [self._found[number] for number in range(len(self.windows))]
        labels = ImageLabels(
            image_id=self.image.image_id,
            uri=self.image.uri,
            size_hw=self.info.size_hw,
            orientation=self.info.orientation,
            sha256=self.info.sha256,
            prompts=best_results([result for one in found for result in one.prompts]),
        )
        instances = self._looks.instances(self.windows, [one.instances for one in found])
        return apply_rules(labels, instances, self._rules)


def in_image(found: Found, window: Window, size_hw: tuple[int, int]) -> Found:
    """Return what was found in a window in the pixels of its image."""
    if window.size_hw == size_hw:
        return found
    return replace(found, instances=[moved(instance, window, size_hw) for instance in found.instances])


def moved(instance: Instance, window: Window, size_hw: tuple[int, int]) -> Instance:
    left, top, width, height = instance.bbox_xywh
    point = instance.point_xy
    return replace(
        instance,
        rle=placed(instance.rle, (window.left, window.top), size_hw),
        bbox_xywh=(left + window.left, top + window.top, width, height),
        point_xy=None if point is None else (point[0] + window.left, point[1] + window.top),
    )


def best_results(results: Sequence[PromptResult]) -> tuple[PromptResult, ...]:
    """Return one result for each prompt: the best of what its windows gave."""
    best: dict[int, PromptResult] = {}
    for one in results:
        other = best.setdefault(one.prompt_id, one)
        best[one.prompt_id] = replace(
            one, presence=max(one.presence, other.presence), best_score=max(one.best_score, other.best_score)
        )
    return tuple(best.values())


def labels_of_rejected(image: PlannedImage, rejection: Rejection) -> ImageLabels:
    """Return the row of an image that will not be labelled."""
    return ImageLabels(
        image_id=image.image_id,
        uri=image.uri,
        sha256=rejection.sha256,
        reject_code=rejection.code,
        reject_detail=rejection.detail,
    )
