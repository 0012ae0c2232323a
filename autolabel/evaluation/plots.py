"""Curves as pictures: precision over recall, and F1 over the threshold. SVG, so that a browser's fonts write names."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autolabel.evaluation.curves import RIGHT_IOU, CategoryCurve, Quality

MOST_CATEGORIES = 10  # of one picture: those with the most objects
LONGEST_NAME = 30

Place = Callable[[Quality], tuple[float, float] | None]


def precision_recall_svg(curves: Sequence[CategoryCurve], name_of: Mapping[int, str]) -> bytes:
    """Return precision over recall of each category; the threshold in force as a ring, that of the best F1 as a dot."""
    figure, axes = _drawing(curves, title="Precision over recall", x="recall", y="precision")
    _draw(axes, curves, name_of, recall_and_precision)
    return _svg(figure)


def f1_svg(curves: Sequence[CategoryCurve], name_of: Mapping[int, str]) -> bytes:
    """Return F1 over the threshold of each category; the threshold in force as a ring, that of the best F1 as a dot."""
    figure, axes = _drawing(curves, title="F1 over the threshold", x="threshold", y="F1")
    _draw(axes, curves, name_of, threshold_and_f1)
    return _svg(figure)


def recall_and_precision(quality: Quality) -> tuple[float, float] | None:
    return None if quality.recall is None or quality.precision is None else (quality.recall, quality.precision)


def threshold_and_f1(quality: Quality) -> tuple[float, float] | None:
    return None if quality.f1 is None else (quality.threshold, quality.f1)


def _drawn(curves: Sequence[CategoryCurve]) -> list[CategoryCurve]:
    with_objects = [curve for curve in curves if curve.n_objects]
    return sorted(with_objects, key=lambda curve: -curve.n_objects)[:MOST_CATEGORIES]


def _drawing(curves: Sequence[CategoryCurve], *, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    n_drawn, n = len(_drawn(curves)), sum(curve.n_objects > 0 for curve in curves)
    which = f": the {n_drawn} categories with the most objects of {n}" if n_drawn < n else ""
    axes.set_title(f"{title} at mask IoU {RIGHT_IOU}{which}", fontsize=11, loc="left")
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw(axes: Axes, curves: Sequence[CategoryCurve], name_of: Mapping[int, str], place: Place) -> None:
    for number, curve in enumerate(_drawn(curves)):
        color = f"C{number}"  # of matplotlib's ten
        along = [at for point in curve.points if (at := place(point))]
        style = ".-" if len(along) == 1 else "-"  # a line of one point is none
        label = _plain(name_of[curve.category_id])
        axes.plot([x for x, _ in along], [y for _, y in along], style, color=color, label=label)
        for quality, face in ((curve.best, color), (curve.in_force, "none")):
            if quality and (at := place(quality)):
                axes.plot(*at, "o", color=color, markerfacecolor=face, markersize=7 if face == "none" else 5)
    axes.plot([], [], "o", color="gray", markersize=5, label="best F1")
    axes.plot([], [], "o", color="gray", markerfacecolor="none", markersize=7, label="threshold in force")


def _svg(figure: Figure) -> bytes:
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "autolabel"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # only its width is guessed
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _plain(name: str) -> str:
    """Return a short name that matplotlib takes for text: without a formula between `$`, or a `_` that hides it."""
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    return ("\N{WORD JOINER}" if short.startswith("_") else "") + short.replace("$", r"\$")
