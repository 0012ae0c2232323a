"""Images through the threads of a labelling process: loaded ahead of the model, finished behind it.

While the model runs, threads fetch and decode the images ahead of it and turn the masks behind it into RLE. Both ends
are bounded in bytes. Knows nothing of Ray, nor of files of labels.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from autolabel.errors import RejectCode
from autolabel.inputs import fetch_image
from autolabel.labels.types import ImageLabels, Status
from autolabel.output.settings import LabelSettings
from autolabel.pipeline.finish import ImageInHand, PendingLabels, labels_of_rejected
from autolabel.pipeline.heartbeat import InHand
from autolabel.pipeline.load import ModelInput, Rejection, load_image, prefetch
from autolabel.pipeline.looks import looks_of
from autolabel.pipeline.messages import LabelJob
from autolabel.pipeline.timing import StageSeconds, timed
from autolabel.plan import PlannedImage
from autolabel.sam3.architecture import ARCHITECTURES
from autolabel.sam3.device import stacked
from autolabel.sam3.engine import Engine
from autolabel.sam3.grid import GridSettings
from autolabel.segmentation.batch import NO_ROOM, segment_batch
from autolabel.segmentation.concepts import ConceptQuestions
from autolabel.segmentation.grid import GridQuestions
from autolabel.segmentation.objects import ObjectQuestions
from autolabel.segmentation.questions import Questions

BACKLOG_BYTES = 512_000_000  # of mask logits behind the model, until they are RLE
BATCHES_BEHIND = 4  # at most, also of images without masks
TILED_TIMES_FILE = 20  # what the windows of a photo, resized, are larger than its file
UNKNOWN_SIZE_BYTES = 4_000_000  # what an image is taken to weigh where neither listing nor manifest says


@dataclass
class Stopwatch:
    """Seconds of one unit, by what they were spent on."""

    started: float = field(default_factory=time.monotonic)
    stages: StageSeconds = StageSeconds()
    waited_s: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """One window of an image, on its way to the model. `pixels` is uint8 (3, R, R)."""

    image: ImageInHand
    number: int  # of the window
    pixels: torch.Tensor


class Backlog:
    """Bytes that may lie behind the model. One thing is always let in, however large."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._n_bytes = most_bytes, 0
        self._changed = threading.Condition()

    def acquire(self, n_bytes: int) -> None:
        """Wait until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: not self._n_bytes or self._n_bytes + n_bytes <= self._most_bytes)
            self._n_bytes += n_bytes

    def release(self, n_bytes: int) -> None:
        with self._changed:
            self._n_bytes -= n_bytes
            self._changed.notify_all()


def questions_of(settings: LabelSettings) -> Questions[Any, Any]:
    """Return the kind of question that a job asks."""
    if settings.everything:
        (prompt,) = settings.prompts
        wanted = settings.everything
        grid = GridSettings(iou=wanted.iou, stability=wanted.stability, nms=wanted.nms)
        return GridQuestions(prompt, grid, points_per_side=wanted.points_per_side)
    if settings.objects:
        return ObjectQuestions(settings.prompts, mask_side=4 * ARCHITECTURES[settings.model.architecture].feature_side)
    return ConceptQuestions(settings.prompts, settings.keep_threshold_of, use_text=settings.exemplars.use_text)


class LabelStream:
    """The model and the threads around it; two units may come through at once."""

    def __init__(self, job: LabelJob, engine: Engine) -> None:
        self._job, self._settings = job, job.record.settings
        self._architecture = ARCHITECTURES[job.model.architecture]
        self._engine = engine
        self._questions, self._looks = questions_of(self._settings), looks_of(self._settings)
        sizes = job.sizes
        self._batch_images = sizes.batch_images
        self._grows = TILED_TIMES_FILE if self._settings.tiles else 1
        self._loading = ThreadPoolExecutor(sizes.load_threads, thread_name_prefix="load")
        self._model = ThreadPoolExecutor(1, thread_name_prefix="model")  # one at a time, and always the same
        self._finishing = ThreadPoolExecutor(sizes.finish_threads, thread_name_prefix="finish")
        self._least_bytes = BACKLOG_BYTES // (BATCHES_BEHIND * sizes.batch_images)
        self._backlog = Backlog(BACKLOG_BYTES)

    def labels_of(
        self,
        images: Sequence[PlannedImage],
        watch: Stopwatch,
        decoders: Executor,
        on_finished: Callable[[InHand], object],
    ) -> Iterator[ImageLabels]:
        """Give the labels of images in their order; `on_finished` is told of each as it is finished."""
        rows: dict[int, PendingLabels | ImageLabels] = {}
        batch: list[Look] = []
        for image, loaded in self._loaded(images, watch, decoders):
            if isinstance(loaded, Rejection):
                rows[image.image_id] = labels_of_rejected(image, loaded)
                on_finished(InHand(n_images=1, n_rejected=1))
                continue
            in_hand = ImageInHand(image, loaded, self._looks, self._settings.rules)
            in_hand.row.add_done_callback(partial(tell, on_finished))
            rows[image.image_id] = in_hand.row
            for number, pixels in enumerate(loaded.pixels):
                batch.append(Look(image=in_hand, number=number, pixels=pixels))
                if len(batch) == self._batch_images:
                    self._segment(batch, watch)
                    batch = []
        if batch:
            self._segment(batch, watch)
        for image in images:
            row = rows.pop(image.image_id)
            if isinstance(row, Future):
                row, finish_s = row.result()
                watch.stages += StageSeconds(finish=finish_s)
            yield row

    def _loaded(
        self, images: Sequence[PlannedImage], watch: Stopwatch, decoders: Executor
    ) -> Iterator[tuple[PlannedImage, ModelInput | Rejection]]:
        """Give the images in order, fetched and decoded ahead within the budget in bytes."""
        side_px = self._architecture.resolution
        ready = prefetch(
            images,
            lambda image: load_image(
                image,
                fetch=partial(fetch_image, storage_options=self._job.input_options),
                settings=self._settings.image,
                windows_of=self._looks.windows,
                decoders=decoders,
                side_px=side_px,
            ),
            pool=self._loading,
            cost_bytes=lambda image: self._grows * (image.size_bytes or UNKNOWN_SIZE_BYTES) + 3 * side_px**2,
            budget_bytes=self._job.batch.prefetch_mb * 1_000_000,
        )
        while True:
            asked = time.monotonic()
            item = next(ready, None)
            watch.waited_s += time.monotonic() - asked
            if item is None:
                return
            image, (loaded, stages) = item
            watch.stages += stages
            yield image, loaded

    def _segment(self, batch: Sequence[Look], watch: Stopwatch) -> None:
        """Pass a batch through the model; its masks are finished by threads."""
        questions = self._questions
        asked = [questions.of_image(look.image.image) for look in batch]
        pixels = stacked([look.pixels for look in batch])
        answers_of, segment_s = self._model.submit(
            timed, segment_batch, questions, self._engine, pixels, asked
        ).result()
        watch.stages += StageSeconds(segment=segment_s)
        answers_of.reverse()
        for look, of_image in zip(batch, asked, strict=True):
            answers = answers_of.pop()  # and is not held here while others are waited for
            if answers is None:
                sha256 = look.image.info.sha256
                look.image.reject(Rejection(code=RejectCode.OUT_OF_MEMORY, detail=NO_ROOM, sha256=sha256))
                continue
            n_bytes = max(self._least_bytes, sum(answer.masks.nbytes for answer in answers))
            self._backlog.acquire(n_bytes)  # the model waits here when the threads behind it fall back
            finishing = self._finishing.submit(look.image.finish_window, look.number, questions, of_image, answers)
            finishing.add_done_callback(partial(self._release, n_bytes))

    def _release(self, n_bytes: int, finishing: Future[None]) -> None:
        self._backlog.release(n_bytes)


def tell(on_finished: Callable[[InHand], object], row: PendingLabels) -> None:
    """Tell of an image that is finished, unless that failed."""
    if row.exception() is None:
        labels, _ = row.result()
        rejected = labels.status == Status.REJECTED
        on_finished(InHand(n_images=1, n_instances=len(labels.instances), n_rejected=int(rejected)))
