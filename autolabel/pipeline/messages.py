"""What travels between the driver and its labelling actors."""

from dataclasses import dataclass

from autolabel.config import LabelConfig
from autolabel.labels.summary import Summary
from autolabel.output.run_record import RunRecord
from autolabel.pipeline.timing import StageSeconds


@dataclass(frozen=True, kw_only=True)
class LabelJob:
    """All that a labelling actor is told."""

    config: LabelConfig
    output_uri: str
    record: RunRecord
    checkpoint_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class UnitReport:
    """What became of a unit, who did it, and where its seconds went.

    `stages` are nothing for a unit whose file was there already; `waited_s` is the wait for images.
    """

    unit: int
    worker: str
    summary: Summary
    seconds: float
    stages: StageSeconds
    waited_s: float
