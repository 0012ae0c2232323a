"""One work unit, from its images in the plan to its file in the output. Knows nothing of Ray.

While the model runs, threads fetch and decode the images ahead of it and turn the masks behind it into RLE. Two units
may be in hand at once, so that the next one's images are there when the model is done with this one's.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch

from autolabel.errors import RejectCode
from autolabel.images.isolation import DecoderProcess
from autolabel.inputs import fetch_image
from autolabel.labels.summary import Summary
from autolabel.labels.types import ImageLabels
from autolabel.labels.units import file_metadata, read_summary, unit_uri, write_unit
from autolabel.pipeline.finish import labels_from_results, labels_of_rejected
from autolabel.pipeline.load import ModelInput, Rejection, load_image, prefetch
from autolabel.pipeline.messages import LabelJob, UnitReport
from autolabel.pipeline.timing import StageSeconds, timed
from autolabel.plan import Plan, PlannedImage
from autolabel.prompts.concepts import concepts
from autolabel.sam3.architecture import ARCHITECTURES
from autolabel.sam3.engine import Engine
from autolabel.segmentation.batch import NO_ROOM, pair, segment_batch
from autolabel.storage import open_storage

BATCHES_BEHIND = 4  # of which mask logits are kept until they are RLE
UNKNOWN_SIZE_BYTES = 4_000_000  # what an image is taken to weigh where neither listing nor manifest says

PendingLabels = Future[tuple[ImageLabels, float]]  # a row, and the seconds that it took


@dataclass
class Stopwatch:
    """Seconds of one unit, by what they were spent on."""

    started: float = field(default_factory=time.monotonic)
    stages: StageSeconds = StageSeconds()
    waited_s: float = 0.0


class UnitLabeler:
    """Holds the model and its threads; `label_unit` may be called from several threads at once."""

    def __init__(self, job: LabelJob, engine: Engine) -> None:
        self._job, self._settings = job, job.record.settings
        self._architecture = ARCHITECTURES[job.model.architecture]
        self._engine = engine
        self._output = open_storage(job.output_uri, job.output_options)
        self._plan = Plan(self._output, job.output_uri)
        self._loading = ThreadPoolExecutor(job.batch.load_threads, thread_name_prefix="load")
        self._decoding = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")
        self._model = ThreadPoolExecutor(1, thread_name_prefix="model")  # one at a time, and always the same
        self._finishing = ThreadPoolExecutor(2, thread_name_prefix="finish")
        self._backlog = threading.Semaphore(BATCHES_BEHIND * job.batch.images)
        self._metadata = file_metadata(job.record.fingerprint, self._settings.ontology)

    def label_unit(
        self,
        unit: int,
        *,
        on_segmented: Callable[[int], object] = lambda n_images: None,
        isolate_decoding: bool = False,
    ) -> UnitReport:
        """Label the images of a unit and create its file; a unit whose file is there already is left alone.

        `on_segmented` is told of images as they leave the model. `isolate_decoding` decodes in a process of its own: an
        earlier attempt at this unit ended its process.
        """
        watch = Stopwatch()
        try:
            self._output.stat(unit_uri(self._job.output_uri, unit))
        except (FileNotFoundError, NotADirectoryError):
            with DecoderProcess() if isolate_decoding else nullcontext(self._decoding) as decoders:
                rows = list(self._label(self._plan.images_of(unit), watch, on_segmented, decoders))
            self._plan.check_exists()
            _, write_s = timed(write_unit, self._output, self._job.output_uri, unit, rows, self._metadata)
            watch.stages += StageSeconds(write=write_s)
            summary = Summary.of(rows)
        else:  # a lost answer: an earlier attempt of this run has done it
            summary = read_summary(self._output, self._job.output_uri, unit)
        seconds = time.monotonic() - watch.started
        return UnitReport(
            unit=unit,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            summary=summary,
            seconds=seconds,
            stages=watch.stages,
            waited_s=watch.waited_s,
        )

    def _label(
        self,
        planned: Sequence[PlannedImage],
        watch: Stopwatch,
        on_segmented: Callable[[int], object],
        decoders: Executor,
    ) -> Iterator[ImageLabels]:
        """Give rows in plan order."""
        rows: dict[int, PendingLabels | ImageLabels] = {}
        batch: list[tuple[PlannedImage, ModelInput]] = []
        for image, loaded in self._loaded(planned, watch, decoders):
            if isinstance(loaded, Rejection):
                rows[image.image_id] = labels_of_rejected(image, loaded)
                on_segmented(1)
                continue
            batch.append((image, loaded))
            if len(batch) == self._job.batch.images:
                rows.update(self._segment(batch, watch))
                on_segmented(len(batch))
                batch = []
        if batch:
            rows.update(self._segment(batch, watch))
            on_segmented(len(batch))
        for image in planned:
            row = rows[image.image_id]
            if isinstance(row, Future):
                row, finish_s = row.result()
                watch.stages += StageSeconds(finish=finish_s)
            yield row

    def _loaded(
        self, planned: Sequence[PlannedImage], watch: Stopwatch, decoders: Executor
    ) -> Iterator[tuple[PlannedImage, ModelInput | Rejection]]:
        """Give the images in order, fetched and decoded ahead within the budget in bytes."""
        side_px = self._architecture.resolution
        ready = prefetch(
            planned,
            lambda image: load_image(
                image,
                fetch=partial(fetch_image, storage_options=self._job.input_options),
                settings=self._settings.image,
                decoders=decoders,
                side_px=side_px,
            ),
            pool=self._loading,
            cost_bytes=lambda image: (image.size_bytes or UNKNOWN_SIZE_BYTES) + 3 * side_px**2,
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

    def _segment(
        self, batch: Sequence[tuple[PlannedImage, ModelInput]], watch: Stopwatch
    ) -> dict[int, PendingLabels | ImageLabels]:
        """Pass a batch through the model; its masks are finished by threads."""
        settings = self._settings
        asked = [
            concepts(settings.prompts, image.exemplars, use_text=settings.exemplars.use_text) for image, _ in batch
        ]
        pairs = [
            [pair(index, concept, settings.keep_threshold_of[concept.category_id]) for concept in of_image]
            for index, of_image in enumerate(asked)
        ]
        pixels = torch.stack([loaded.pixels for _, loaded in batch])
        found_in, segment_s = self._model.submit(timed, segment_batch, self._engine, pixels, pairs).result()
        watch.stages += StageSeconds(segment=segment_s)
        rows: dict[int, PendingLabels | ImageLabels] = {}
        for (image, loaded), of_image, results in zip(batch, asked, found_in, strict=True):
            if results is None:
                no_room = Rejection(code=RejectCode.OUT_OF_MEMORY, detail=NO_ROOM, sha256=loaded.info.sha256)
                rows[image.image_id] = labels_of_rejected(image, no_room)
                continue
            self._backlog.acquire()  # the model waits here when the threads behind it fall back
            found = list(zip(of_image, results, strict=True))
            row = self._finishing.submit(timed, labels_from_results, image, loaded.info, found, settings.rules)
            row.add_done_callback(lambda _: self._backlog.release())
            rows[image.image_id] = row
        return rows
