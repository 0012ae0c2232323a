"""What an evaluation says: as JSON for programs, and as a table for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autolabel.evaluation.coco_metrics import CocoMetrics
from autolabel.evaluation.comparison import Comparison
from autolabel.evaluation.concept_metrics import IOU_THRESHOLDS, ConceptMetrics
from autolabel.evaluation.curves import RIGHT_IOU, CategoryCurve, Quality
from autolabel.evaluation.matching import CategoryMatch
from autolabel.evaluation.object_metrics import ObjectMetrics
from autolabel.prompts.ontology import Ontology
from autolabel.wording import counted

LONGEST_NAME, MOST_NAMES = 32, 10  # of the table, and of a sentence beside it
UNDEFINED = "undefined"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that was measured. Images by file name, as the ground truth has them."""

    ground_truth_uri: str
    evaluated_uri: str
    ontology: Ontology
    comparison: Comparison
    match: CategoryMatch
    images_missing: tuple[str, ...]
    images_ambiguous: tuple[str, ...]
    images_rejected: tuple[str, ...]
    coco: CocoMetrics
    ap_of: Mapping[int, float | None]
    concepts: ConceptMetrics
    curves: Sequence[CategoryCurve]
    objects: ObjectMetrics | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; None is undefined."""
        comparison = self.comparison
        return {
            "ground_truth": {
                "uri": self.ground_truth_uri,
                "n_images": len(comparison.images),
                "images_missing": self.images_missing,
                "images_ambiguous": self.images_ambiguous,
                "images_rejected": self.images_rejected,
                "categories_only_in_ground_truth": self.match.only_in_truth,
                "categories_only_in_output": self.match.only_in_ontology,
                "n_pairs": len(comparison.images) * len(comparison.category_ids),
                "n_pairs_partial": comparison.n_partial_pairs,
                "n_pairs_unknown": comparison.n_unknown_pairs,
                "n_labels_unknown": comparison.n_labels_unknown,
            },
            "evaluated": self.evaluated_uri,
            "coco": asdict(self.coco),
            "sam3": sam3_values(self.concepts),
            **({"objects": asdict(self.objects)} if self.objects else {}),
            "right_iou": RIGHT_IOU,
            "categories": [self._category(curve) for curve in self.curves],
        }

    def _category(self, curve: CategoryCurve) -> dict[str, Any]:
        points = [quality_values(point) for point in curve.points]
        return {
            "id": curve.category_id,
            "name": self.ontology.by_id[curve.category_id].name,
            "n_objects": curve.n_objects,
            "AP": self.ap_of[curve.category_id],
            "in_force": quality_values(curve.in_force),
            "best_F1": None if curve.best is None else quality_values(curve.best),
            "curve": {name: [point[name] for point in points] for name in ("threshold", "precision", "recall", "F1")},
        }

    def to_text(self) -> str:
        """Return the table, below the figures of all categories, above what the ground truth left open."""
        coco, concepts = self.coco, self.concepts
        head = [
            ("COCO", {name: getattr(coco, name) for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")}),
            ("boundary", {name.removeprefix("boundary_"): value for name, value in _boundary(coco).items()}),
            ("SAM3", {"cgF1": concepts.cg_f1, "IL_MCC": concepts.il_mcc, "pmF1": concepts.pm_f1}),
        ]
        figures = [
            f"{title:10}"
            + "  ".join(f"{name} {number(value, 1 if name == 'cgF1' else 3)}" for name, value in row.items())
            for title, row in head
        ]
        if self.objects:
            figures.append(object_figures(self.objects))
        return "\n".join([*figures, "", *self._table(), "", *self._notes()]).rstrip()

    def _table(self) -> Iterator[str]:
        names = {curve.category_id: clipped(self.ontology.by_id[curve.category_id].name) for curve in self.curves}
        width = max(map(len, [*names.values(), "category"]))
        head = ("objects", "TP", "FP", "FN", "P", "R", "F1", "threshold", "best F1", "at")
        widths = (8, 6, 6, 7, 10, 10, 10, 10, 10, 10)
        yield "category".ljust(width) + "".join(title.rjust(room) for title, room in zip(head, widths, strict=True))
        for curve in self.curves:
            now, best = curve.in_force, curve.best
            counts = (curve.n_objects, now.tp, now.fp, now.fn)
            cells = [
                *map(str, counts),
                *map(number, (now.precision, now.recall, now.f1)),
                f"{now.threshold:g}",
                number(best.f1) if best else "-",
                f"{best.threshold:g}" if best else "-",
            ]
            yield names[curve.category_id].ljust(width) + "".join(
                cell.rjust(room) for cell, room in zip(cells, widths, strict=True)
            )

    def _notes(self) -> Iterator[str]:
        comparison, concepts = self.comparison, self.concepts
        n_pairs = len(comparison.images) * len(comparison.category_ids)
        images = counted(len(comparison.images), "image")
        categories = counted(len(comparison.category_ids), "category", "categories")
        yield f"On {images} and {categories}; a true positive has a mask IoU of {RIGHT_IOU} or more."
        unchanged = [self.ontology.by_id[curve.category_id].name for curve in self.curves if not curve.best]
        for names, what in (
            (self.images_missing, "images that are not in the output, left out"),
            (self.images_ambiguous, "images whose name is that of several, left out"),
            (self.images_rejected, "images that could not be read when they were labelled, so nothing was found"),
            (self.match.only_in_truth, "categories of the ground truth alone, left out"),
            (self.match.only_in_ontology, "categories of the output alone, left out"),
            (unchanged, "categories that keep their threshold, since no label would be right"),
        ):
            if names:
                yield f"{what}: {len(names)} ({listed(names)})"
        if n_unknown := comparison.n_unknown_pairs:
            labels = f"with {comparison.n_labels_unknown} labels on them"
            yield f"pairs of an image and a category that are not known, left out: {n_unknown} of {n_pairs}, {labels}"
        if n_partial := comparison.n_partial_pairs:
            yield (
                f"pairs that are not known exhaustively, so nothing is false beside their objects: "
                f"{n_partial} of {n_pairs}"
            )
        if concepts.il_mcc is None:
            kind = "without" if concepts.il_tp + concepts.il_fn else "with"
            yield f"IL_MCC and cgF1 are {UNDEFINED}: no image is known to be {kind} one of the categories"


def object_figures(objects: ObjectMetrics) -> str:
    """Return the line about given objects."""
    figures = {
        "mean IoU": objects.mean_iou,
        "above 0.5": objects.share_above_50,
        "above 0.75": objects.share_above_75,
    }
    told = "  ".join(f"{name} {number(value)}" for name, value in figures.items())
    rest = f"; {objects.n_without_annotation} others have none" if objects.n_without_annotation else ""
    return f"{'objects':10}{told}  of {counted(objects.n, 'given object')} with an annotation of its id{rest}"


def sam3_values(concepts: ConceptMetrics) -> dict[str, Any]:
    return {
        "cgF1": concepts.cg_f1,
        "IL_MCC": concepts.il_mcc,
        "pmF1": concepts.pm_f1,
        "pairs": {
            "IL_TP": concepts.il_tp,
            "IL_FN": concepts.il_fn,
            "IL_FP": concepts.il_fp,
            "IL_TN": concepts.il_tn,
        },
        "objects": {
            "iou": [round(float(iou), 2) for iou in IOU_THRESHOLDS],
            "TP": concepts.tp.tolist(),
            "FP": concepts.fp.tolist(),
            "FN": concepts.fn.tolist(),
        },
    }


def quality_values(quality: Quality) -> dict[str, Any]:
    return {
        "threshold": quality.threshold,
        "TP": quality.tp,
        "FP": quality.fp,
        "FN": quality.fn,
        "precision": quality.precision,
        "recall": quality.recall,
        "F1": quality.f1,
    }


def number(value: float | None, digits: int = 3) -> str:
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def clipped(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(map(repr, names[:MOST_NAMES])) + more


def _boundary(coco: CocoMetrics) -> dict[str, float | None]:
    return {name: value for name, value in asdict(coco).items() if name.startswith("boundary_")}
