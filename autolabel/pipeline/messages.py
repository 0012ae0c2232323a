"""What travels between the driver and its labelling actors."""

from dataclasses import dataclass
from typing import Any

from autolabel.config import BatchConfig, LabelConfig, ModelConfig
from autolabel.errors import RejectCode
from autolabel.labels.summary import Summary
from autolabel.output.run_record import RunRecord
from autolabel.pipeline.sizes import Sizes, sizes_of
from autolabel.pipeline.timing import StageSeconds


@dataclass(frozen=True, kw_only=True)
class LabelJob:
    """All that a labelling actor is told: what the job asks for is in `record` alone, the rest is how to do it."""

    output_uri: str
    record: RunRecord
    model: ModelConfig
    batch: BatchConfig
    checkpoint_sha256: str | None
    input_options: dict[str, Any]
    output_options: dict[str, Any]
    max_rejected_share: float
    retry: frozenset[RejectCode]  # images that were rejected for one of these are labelled again
    n_gpus: float = 0.0  # of each actor
    n_cpus: float | None = None  # the same; None: nobody has counted, as outside of Ray

    @property
    def sizes(self) -> Sizes:
        """Return what an actor takes on at a time."""
        return sizes_of(self.batch, n_cpus=self.n_cpus, n_gpus=self.n_gpus)

    @staticmethod
    def of(config: LabelConfig, *, output_uri: str, record: RunRecord, checkpoint_sha256: str | None) -> "LabelJob":
        return LabelJob(
            output_uri=output_uri,
            record=record,
            model=config.model,
            batch=config.batch,
            checkpoint_sha256=checkpoint_sha256,
            input_options=config.input.storage_options,
            output_options=config.output.storage_options,
            max_rejected_share=config.max_rejected_share,
            retry=frozenset(map(RejectCode, config.retry)),
        )


@dataclass(frozen=True, kw_only=True)
class UnitReport:
    """Report of what became of a unit, who did it, and where its seconds went.

    `stages` are nothing for a unit whose file was there already; `waited_s` is the wait for images.
    """

    unit: int
    worker: str
    summary: Summary
    seconds: float
    stages: StageSeconds
    waited_s: float
