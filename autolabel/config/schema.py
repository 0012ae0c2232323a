"""Every setting as a frozen dataclass: one place for its type, its default and the sentence that explains it.

`conf/` holds the values people choose between; these classes are the schema they are checked against.
Importing this module imports neither torch nor ray.
"""

from dataclasses import dataclass, field
from typing import Any

SAME = "same"  # in a refinement: as the labels were made


def key(default: Any, sentence: str, *, example: str | None = None) -> Any:
    """Return a dataclass field with its default and the sentence that `--help` prints.

    A key with an example of its values is required.
    """
    metadata = {"help": sentence, "example": example}
    if isinstance(default, type) or (callable(default) and not isinstance(default, str)):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    uri: str = key(
        "",
        "Folder, prefix or glob on any fsspec URL, a manifest (.parquet, .csv, .jsonl), or a COCO .json.",
        example="photos",
    )
    uri_column: str = key("uri", "The manifest's column with the path or URL of each image.")
    image_root: str | None = key(
        None, "What a manifest's or a COCO file's relative paths start from; its own folder by default."
    )
    suffixes: list[str] = key(
        lambda: ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif"],
        "File name endings that a folder or prefix is searched for.",
    )
    storage_options: dict[str, Any] = key(dict, "Passed to the fsspec driver, such as {endpoint_url: ...} for MinIO.")


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    apply_exif: bool = key(True, "Turn images upright by their EXIF orientation; every box and mask is in that frame.")
    max_pixels: int = key(200_000_000, "Larger images are rejected (too_many_pixels) before they are decoded.")


@dataclass(frozen=True, kw_only=True)
class PromptsConfig:
    categories: list[Any] = key(
        list, "Phrases, or mappings of name, id, supercategory, phrases, threshold, max_instances."
    )
    uri: str | None = key(None, "A YAML file with `categories:` to read instead.")


@dataclass(frozen=True, kw_only=True)
class ExemplarsConfig:
    uri: str | None = key(
        None, 'A COCO file: each annotation is an exemplar box of its image, "negative": true a negative one.'
    )
    column: str | None = key(None, "The manifest's column of exemplars: a list of {category, bbox, negative}.")
    use_text: bool = key(True, "Prompt with text and exemplars together; false prompts with the exemplars alone.")
    box_format: str = key("xywh", "How a box is written: xywh, xyxy or cxcywh.")
    normalized: bool = key(False, "Boxes are fractions of the image's width and height instead of pixels.")


@dataclass(frozen=True, kw_only=True)
class ObjectsConfig:
    uri: str | None = key(
        None,
        "Mask given objects instead of looking for concepts: a COCO file, an object for each annotation's bbox or "
        "points; or the data.yaml, or its folder, of a YOLO data set.",
    )
    column: str | None = key(None, "The manifest's column of objects: a list of {id, category, bbox, points}.")
    box_format: str = key("xywh", "How a box is written: xywh, xyxy or cxcywh.")
    normalized: bool = key(False, "Boxes and points are fractions of the image's width and height instead of pixels.")
    use_masks: bool = key(False, "Refine the segmentation that an object has instead of starting from box and points.")

    @property
    def given(self) -> bool:
        return self.uri is not None or self.column is not None


@dataclass(frozen=True, kw_only=True)
class EverythingConfig:
    points_per_side: int | None = key(
        None, "Mask everything there is instead of looking for concepts: whatever a grid of so many points lies on."
    )
    iou: float = key(0.8, "Keep masks whose predicted IoU is above this.")
    stability: float = key(0.95, "Keep masks that change no more than this with the cut-off (IoU of two of them).")
    nms: float = key(0.7, "Overlap (IoU) above which the weaker of two masks is dropped.")
    crop_layers: int = key(0, "Look again at 2 x 2 crops, at 4 x 4 too, and so on: finds what is small.")

    @property
    def asked(self) -> bool:
        return self.points_per_side is not None


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    architecture: str = key("tiny", "Which SAM3 to build: full (Meta's sizes) or tiny (the demo's).")
    checkpoint: str | None = key(
        None, "Path, fsspec URL, hf://owner/repo[@revision] or pkg://package/file of the weights; null: seeded ones."
    )
    sha256: str | None = key(None, "Refuse a checkpoint with another sha256.")
    seed: int | None = key(None, "Random weights by this seed, for tests and demos; only without a checkpoint.")
    precision: str = key("float32", "What most of the model works in: float32, or bfloat16 as Meta runs it on GPUs.")
    compile: bool | None = key(
        None,
        "Compile the model with torch.compile: minutes at a machine's first start, less time per image; null does so "
        "on GPUs, where there is a C compiler.",
    )
    storage_options: dict[str, Any] = key(dict, "Passed to the fsspec driver of the checkpoint.")


@dataclass(frozen=True, kw_only=True)
class NmsConfig:
    within: float | None = key(
        0.7, "Overlap above which the weaker of two masks of one category is dropped; null keeps both."
    )
    across: float | None = key(None, "The same between masks of different categories; null keeps both.")
    metric: str = key("iou", "Overlap is iou (intersection over union) or ios (intersection over the smaller mask).")


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    uri: str = key("", "Folder or prefix of the output: local, s3://, gs:// or az://.", example="labels")
    storage_options: dict[str, Any] = key(dict, "Passed to the fsspec driver, such as {endpoint_url: ...} for MinIO.")


@dataclass(frozen=True, kw_only=True)
class NewOutputConfig(OutputConfig):
    unit_size: int = key(256, "Images of one work unit, which is one Parquet file; sealed with the plan.")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    address: str | None = key(None, "Ray cluster to join; null finds one (RAY_ADDRESS, ray start) or starts one here.")
    min_actors: int = key(1, "Labelling actors to start with.")
    max_actors: int | None = key(None, "Labelling actors at most; null means one per GPU, or one without GPUs.")
    gpus_per_actor: float | None = key(None, "GPUs of an actor; null means 1 where the cluster has GPUs, else 0.")
    cpus_per_actor: float | None = key(
        None,
        "CPUs of an actor, which decodes on all of them; null means a GPU's share of its node's, 16 at most, and "
        "without GPUs all that can be had; one CPU stays free for Ray Data.",
    )
    start_timeout_s: float = key(600.0, "End the job if no labelling actor has started by then.")
    stall_timeout_s: float = key(1800.0, "End the job if for so long no image has left the model, nor a unit ended.")


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    images: int | None = key(None, "Images of one forward pass; null: 16 on a GPU, 4 on a CPU.")
    memory_mb: int | None = key(
        None, "Megabytes that the model may use beside its weights; null: most of what a GPU has free, 200 on a CPU."
    )
    load_threads: int | None = key(
        None, "Threads of an actor that fetch ahead of the model; null: two for each of its CPUs, 16 at least."
    )
    prefetch_mb: int = key(256, "Megabytes of images that an actor holds ahead of the model, per unit in hand.")


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Settings of `autolabel label`."""

    input: InputConfig = field(default_factory=InputConfig)
    output: NewOutputConfig = field(default_factory=NewOutputConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    exemplars: ExemplarsConfig = field(default_factory=ExemplarsConfig)
    objects: ObjectsConfig = field(default_factory=ObjectsConfig)
    everything: EverythingConfig = field(default_factory=EverythingConfig)
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
