"""One work unit, from its images in the plan to its file in the output. Knows nothing of Ray.

Two units may be in hand at once, so that the next one's images are there when the model is done with this one's.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

from autolabel.errors import JobFailed, RejectCode
from autolabel.images.isolation import DecoderProcess
from autolabel.labels.summary import Summary
from autolabel.labels.types import ImageLabels
from autolabel.labels.units import (
    StoredUnit,
    file_metadata,
    read_stored,
    read_summary,
    replace_unit,
    unit_uri,
    write_unit,
)
from autolabel.pipeline.heartbeat import InHand
from autolabel.pipeline.messages import LabelJob, UnitReport
from autolabel.pipeline.stream import LabelStream, Stopwatch
from autolabel.pipeline.timing import StageSeconds, timed
from autolabel.plan import Plan
from autolabel.sam3.engine import Engine
from autolabel.storage import open_storage

OUT_OF_REACH = frozenset({RejectCode.MISSING, RejectCode.FORBIDDEN, RejectCode.CHANGED})
TOO_FEW_TO_TELL = 16  # images of a unit: all of fewer may be gone without anything being wrong with the job


class UnitLabeler:
    """Holds the model and its threads; `label_unit` may be called from several threads at once."""

    def __init__(self, job: LabelJob, engine: Engine) -> None:
        self._job = job
        self._stream = LabelStream(job, engine)
        self._decoding = ThreadPoolExecutor(job.sizes.decode_threads, thread_name_prefix="decode")
        self._output = open_storage(job.output_uri, job.output_options)
        self._plan = Plan(self._output, job.output_uri)
        self._metadata = file_metadata(job.record.fingerprint, job.record.settings.ontology)

    def label_unit(
        self,
        unit: int,
        *,
        on_finished: Callable[[InHand], object] = lambda finished: None,
        isolate_decoding: bool = False,
    ) -> UnitReport:
        """Label the images of a unit and create its file.

        A unit whose file is there already is left alone, but for the images that the job labels again.

        Args:
            on_finished: is told of images as they are finished.
            isolate_decoding: decode in a process of its own: an earlier attempt at this unit ended its process.

        Raises:
            JobFailed: so many images are out of reach that something is wrong with the job; nothing is written.
        """
        watch = Stopwatch()
        decoders: AbstractContextManager[Executor] = (
            DecoderProcess() if isolate_decoding else nullcontext(self._decoding)
        )
        with decoders as opened:
            summary = self._done_already(unit, watch, opened, on_finished)
            if summary is None:
                rows = list(self._stream.labels_of(self._plan.images_of(unit), watch, opened, on_finished))
                summary = self._write(unit, rows, None, watch)
        return UnitReport(
            unit=unit,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            summary=summary,
            seconds=time.monotonic() - watch.started,
            stages=watch.stages,
            waited_s=watch.waited_s,
        )

    def _done_already(
        self, unit: int, watch: Stopwatch, decoders: Executor, on_finished: Callable[[InHand], object]
    ) -> Summary | None:
        """Return the counts of a unit whose file is there, after labelling again what the job labels again."""
        uri = unit_uri(self._job.output_uri, unit)
        try:
            self._output.stat(uri)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not self._job.retry:  # a lost answer: an earlier attempt of this run has done it
            return read_summary(self._output, self._job.output_uri, unit)
        stored = read_stored(self._output, self._job.output_uri, unit)
        again = {image.image_id for image in stored.images if image.reject_code in self._job.retry}
        if not again:
            return Summary.of(stored.images)
        planned = [image for image in self._plan.images_of(unit) if image.image_id in again]
        fresh = {image.image_id: image for image in self._stream.labels_of(planned, watch, decoders, on_finished)}
        return self._write(unit, [fresh.get(image.image_id, image) for image in stored.images], stored, watch)

    def _write(self, unit: int, rows: Sequence[ImageLabels], stored: StoredUnit | None, watch: Stopwatch) -> Summary:
        """Create a unit's file, or put a new one in the place of the one that is stored."""
        self._refuse_out_of_reach(unit, rows)
        self._plan.check_exists()
        place = self._output, self._job.output_uri, unit, rows, self._metadata
        if stored is None:
            _, write_s = timed(write_unit, *place)
        else:
            _, write_s = timed(replace_unit, *place, stored.etag)
        watch.stages += StageSeconds(write=write_s)
        return Summary.of(rows)

    def _refuse_out_of_reach(self, unit: int, rows: Sequence[ImageLabels]) -> None:
        """Raise JobFailed where a larger share of a unit is out of reach than the job allows."""
        codes = Counter(row.reject_code for row in rows if row.reject_code in OUT_OF_REACH)
        if len(rows) < TOO_FEW_TO_TELL or codes.total() <= self._job.max_rejected_share * len(rows):
            return
        first = next(row for row in rows if row.reject_code in OUT_OF_REACH)
        counts = ", ".join(f"{n} {code}" for code, n in codes.most_common())
        raise JobFailed(
            f"unit {unit}: {counts} of {len(rows)} images, such as {first.uri} ({first.reject_detail}); nothing is "
            "written of them. If that is how it is, max_rejected_share=1 labels on"
        )
