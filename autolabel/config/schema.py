"""The settings of each command, as frozen dataclasses made of sections.

`conf/` holds the values people choose between; these classes are the schema they are checked against.
Importing this module imports neither torch nor ray.
"""

from dataclasses import dataclass, field
from typing import Any

from autolabel.config.sections import (
    BatchConfig,
    ClusterConfig,
    EverythingConfig,
    ExemplarsConfig,
    ImageConfig,
    InputConfig,
    ModelConfig,
    NewOutputConfig,
    NmsConfig,
    ObjectsConfig,
    OutputConfig,
    PromptsConfig,
    TilesConfig,
    key,
)

SAME = "same"  # in a refinement: as the labels were made


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Settings of `autolabel label`."""

    input: InputConfig = field(default_factory=InputConfig)
    output: NewOutputConfig = field(default_factory=NewOutputConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    exemplars: ExemplarsConfig = field(default_factory=ExemplarsConfig)
    objects: ObjectsConfig = field(default_factory=ObjectsConfig)
    everything: EverythingConfig = field(default_factory=EverythingConfig)
    tiles: TilesConfig = field(default_factory=TilesConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    threshold: float | None = key(
        None,
        "Keep instances with a score above this: the sigmoid of the logit times presence, of a given object the "
        "predicted IoU; null: 0.5, and 0 for given objects and everything.",
    )
    keep_threshold: float = key(
        0.2, "Store what has a score above this beside them, for `autolabel refine`; 1 stores nothing below threshold."
    )
    nms: NmsConfig = field(default_factory=NmsConfig)
    min_area: int = key(1, "Drop masks of fewer pixels.")
    max_area: int | None = key(None, "Drop masks of more pixels.")
    max_instances: int | None = key(None, "Keep at most this many instances of an image, the best by score.")
    max_rejected_share: float = key(
        0.9, "End the job where more of a unit's images are missing, forbidden or changed; 1 labels on in any case."
    )
    retry: list[str] = key(
        list, "Label images again that were rejected for one of these: missing, forbidden, changed, ..."
    )
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)

    @property
    def has_concepts(self) -> bool:
        """Whether the job looks for concepts, as it does where it asks for nothing else."""
        return not (self.objects.given or self.everything.asked)


@dataclass(frozen=True, kw_only=True)
class StatusConfig:
    """Settings of `autolabel status`."""

    output: OutputConfig = field(default_factory=OutputConfig)


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """Settings of `autolabel verify`."""

    output: OutputConfig = field(default_factory=OutputConfig)


@dataclass(frozen=True, kw_only=True)
class RefinedNmsConfig:
    within: int | float | str | None = key("same", "As label's nms.within; same: as it was.")
    across: int | float | str | None = key("same", "As label's nms.across; same: as it was.")
    metric: str = key("same", "As label's nms.metric: iou or ios; same: as it was.")


@dataclass(frozen=True, kw_only=True)
class RefinedConfig(OutputConfig):
    uri: str = key("", "Folder or prefix of the new labels; those at output.uri stay as they are.", example="refined")


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Settings of `autolabel refine`."""

    output: OutputConfig = field(default_factory=OutputConfig)
    refined: RefinedConfig = field(default_factory=RefinedConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    threshold: int | float | str = key("same", "As label's; no lower than what is stored; same: as it was.")
    nms: RefinedNmsConfig = field(default_factory=RefinedNmsConfig)
    min_area: int | str = key("same", "As label's min_area; same: as it was.")
    max_area: int | str | None = key("same", "As label's max_area; same: as it was.")
    max_instances: int | str | None = key("same", "As label's max_instances; same: as it was.")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of `autolabel export`."""

    output: OutputConfig = field(default_factory=OutputConfig)
    format: str = key(
        "coco",
        "What to write: coco, coco-polygons, yolo, label-studio, cvat, huggingface, panoptic, semantic, sa1b or "
        "instances.",
    )
    splits: dict[str, float] = key(
        dict, "Shares of the images in a format's splits; without any, {train: 0.8, val: 0.1, test: 0.1}."
    )


@dataclass(frozen=True, kw_only=True)
class GroundTruthConfig:
    uri: str = key(
        "",
        "COCO file of masks, as run lengths or polygons; with LVIS's lists where it knows only a part.",
        example="ground_truth.json",
    )
    storage_options: dict[str, Any] = key(dict, "Passed to the fsspec driver of the ground truth.")


@dataclass(frozen=True, kw_only=True)
class EvaluatedConfig(OutputConfig):
    uri: str = key("", "Folder or prefix of the labels to measure; this or results.uri.")


@dataclass(frozen=True, kw_only=True)
class ResultsConfig:
    uri: str | None = key(None, "COCO results file to evaluate instead of output.uri, with the ground truth's ids.")
    threshold: float = key(0.5, "Scores of results.uri above this are taken for labels.")
    storage_options: dict[str, Any] = key(dict, "Passed to the fsspec driver of the results.")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    uri: str | None = key(
        None, "Folder for evaluation.json, prompts.yaml and the plots; null: evaluation in output.uri."
    )
    storage_options: dict[str, Any] = key(dict, "Passed to the fsspec driver of evaluation.uri.")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Settings of `autolabel evaluate`."""

    ground_truth: GroundTruthConfig = field(default_factory=GroundTruthConfig)
    output: EvaluatedConfig = field(default_factory=EvaluatedConfig)
    results: ResultsConfig = field(default_factory=ResultsConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    storage_options: dict[str, Any] = key(dict, "Passed to the fsspec driver of the images, as they were for `label`.")


@dataclass(frozen=True, kw_only=True)
class ReportPlaceConfig:
    uri: str | None = key(None, "Folder or prefix of the report; null is `report` in the output.")
    storage_options: dict[str, Any] = key(dict, "Passed to the fsspec driver of report.uri; the output's for null.")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Settings of `autolabel report`."""

    output: OutputConfig = field(default_factory=OutputConfig)
    input: ImagesConfig = field(default_factory=ImagesConfig)
    report: ReportPlaceConfig = field(default_factory=ReportPlaceConfig)
    thumbnails: int = key(
        300, "Images of the gallery at most: some of every category and status, and the most doubtful."
    )


@dataclass(frozen=True, kw_only=True)
class ScenesConfig(OutputConfig):
    uri: str = key("", "Folder or prefix for the images and their ground_truth.json.", example="scenes")


@dataclass(frozen=True, kw_only=True)
class DemoScenesConfig:
    """Settings of `autolabel demo-scenes`."""

    output: ScenesConfig = field(default_factory=ScenesConfig)
    count: int = key(200, "How many scenes to draw.")
    seed: int = key(7, "Which series of scenes; 1 is what the demo model was trained on, 2 what it was validated on.")


COMMANDS: dict[str, type] = {
    "label": LabelConfig,
    "status": StatusConfig,
    "verify": VerifyConfig,
    "refine": RefineConfig,
    "export": ExportConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
    "demo-scenes": DemoScenesConfig,
}
