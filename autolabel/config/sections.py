"""The sections of a job's settings: one place for a setting's type, its default and the sentence that explains it."""

from dataclasses import dataclass, field
from typing import Any


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
class TilesConfig:
    size_px: int | None = key(
        None, "Look at large images through square windows of this side, at full detail; null: at the whole only."
    )
    overlap_px: int = key(200, "What neighbouring windows share at least; an object that is larger is joined of parts.")
    over_px: int | None = key(None, "Only images with a longer side; null: than tiles.size_px.")
    whole: bool = key(False, "Look at the whole image, too, for objects larger than tiles.overlap_px.")


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
