"""Metrics of labelling actors for Prometheus, by the exporter that Ray runs on every node.

`k8s/monitoring/grafana.json` is a dashboard of them.

Shares follow from rates: an actor's model was busy for rate(autolabel_stage_seconds_total{stage="segment"}), and waited
for images for rate(autolabel_wait_seconds_total). A stage's rate over that of autolabel_images_total is its seconds for
an image.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from ray.util.metrics import Counter, Gauge, Histogram

from autolabel.pipeline.messages import UnitReport

SECONDS = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]


class Metrics:
    """Counts of one actor since it began. Ray adds `_total` to the names of counters."""

    def __init__(self) -> None:
        self._images = Counter("autolabel_images", "Images by the status that they ended in.", ("status",))
        self._instances = Counter("autolabel_instances", "Labels written.")
        self._rejected = Counter("autolabel_rejected", "Rejected images by reason.", ("code",))
        self._stage_s = Counter(
            "autolabel_stage_seconds",
            "Seconds of threads by stage, summed over images: more than have passed where several were at work.",
            ("stage",),
        )
        self._wait_s = Counter("autolabel_wait_seconds", "Seconds in which the model waited for images.")
        self._unit_s = Histogram("autolabel_unit_seconds", "Seconds from a unit's first image to its file.", SECONDS)
        self._in_hand = Gauge("autolabel_units_in_hand", "Units begun and not done.")
        self._units: set[int] = set()

    @contextmanager
    def in_hand(self, unit: int) -> Iterator[None]:
        """Mark the block as at work on a unit."""
        self._units.add(unit)
        self._in_hand.set(len(self._units))
        try:
            yield
        finally:
            self._units.discard(unit)
            self._in_hand.set(len(self._units))

    def add(self, report: UnitReport) -> None:
        """Count a unit that is done."""
        for status, n in report.summary.images.items():
            self._images.inc(n, {"status": status})
        for code, n in report.summary.rejected_by.items():
            self._rejected.inc(n, {"code": code})
        for stage, seconds in asdict(report.stages).items():
            if seconds > 0:
                self._stage_s.inc(seconds, {"stage": stage})
        for counter, amount in ((self._instances, report.summary.n_instances), (self._wait_s, report.waited_s)):
            if amount > 0:
                counter.inc(amount)
        self._unit_s.observe(report.seconds)
