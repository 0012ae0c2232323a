"""Curves as pictures: precision over recall, and F1 over the threshold. SVG, so that a browser's fonts write names.

Categories have the colours of the report, and the order of the ontology.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autolabel.evaluation.curves import RIGHT_IOU, CategoryCurve, Quality
from autolabel.masks.drawing import color_of

MOST_CATEGORIES = 10  # of one picture: those with the most objects
LONGEST_NAME = 30
COLORS_APART = 8  # of so many first categories; lines of more are told apart by their dashes, too
DASHES = ("-", "--", ":")

Place = Callable[[Quality], tuple[float, float] | None]


def precision_recall_svg(curves: Sequence[CategoryCurve], name_of: Mapping[int, str]) -> bytes:
    """Return precision over recall of each category; the threshold in force as a ring, that of the best F1 as a dot."""
    figure, axes = _drawing(curves, title="Precision over recall", x="recall", y="precision")
    _draw(axes, curves, name_of, recall_and_precision, drawstyle="default")
    return _svg(figure)


def f1_svg(curves: Sequence[CategoryCurve], name_of: Mapping[int, str]) -> bytes:
    """Return F1 over the threshold of each category; the threshold in force as a ring, that of the best F1 as a dot."""
    figure, axes = _drawing(curves, title="F1 over the threshold", x="threshold", y="F1")
    _draw(axes, curves, name_of, threshold_and_f1, drawstyle="steps-mid")  # F1 changes at scores alone
    return _svg(figure)


def recall_and_precision(quality: Quality) -> tuple[float, float] | None:
    return None if quality.recall is None or quality.precision is None else (quality.recall, quality.precision)


def threshold_and_f1(quality: Quality) -> tuple[float, float] | None:
    return None if quality.f1 is None else (quality.threshold, quality.f1)


def _drawn(curves: Sequence[CategoryCurve]) -> list[CategoryCurve]:
    """Return the categories with the most objects, in their order."""
    with_objects = [(place, curve) for place, curve in enumerate(curves) if curve.n_objects]
    most = sorted(with_objects, key=lambda pair: -pair[1].n_objects)[:MOST_CATEGORIES]
    return [curve for _, curve in sorted(most, key=lambda pair: pair[0])]


def through_threshold_in_force(curve: CategoryCurve) -> list[Quality]:
    """Return the points of a curve with the one in force among them, unless it is of other labels than they are."""
    points, here = list(curve.points), curve.in_force
    place = next((n for n, point in enumerate(points) if point.threshold < here.threshold), len(points))
    before, after = points[place - 1 : place], points[place : place + 1]
    fits = all(one.tp <= here.tp and one.fp <= here.fp for one in before)
    fits &= all(here.tp <= one.tp and here.fp <= one.fp for one in after)
    return [*points[:place], here, *points[place:]] if fits else points


def _drawing(curves: Sequence[CategoryCurve], *, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    n_drawn, n = len(_drawn(curves)), sum(curve.n_objects > 0 for curve in curves)
    which = f"\nthe {n_drawn} categories with the most objects of {n}" if n_drawn < n else ""
    axes.set_title(f"{title} at mask IoU {RIGHT_IOU}{which}", fontsize=11, loc="left")
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw(
    axes: Axes,
    curves: Sequence[CategoryCurve],
    name_of: Mapping[int, str],
    place: Place,
    *,
    drawstyle: Literal["default", "steps-mid"],
) -> None:
    place_of = {category_id: number for number, category_id in enumerate(name_of)}
    for number, curve in enumerate(_drawn(curves)):
        color = tuple(channel / 255 for channel in color_of(place_of[curve.category_id]))
        along = [at for point in through_threshold_in_force(curve) if (at := place(point))]
        marker = "." if len(along) == 1 else ""  # a line of one point is none
        label = _plain(name_of[curve.category_id])
        dashes = DASHES[number % len(DASHES)] if len(name_of) > COLORS_APART else "-"
        xs, ys = [x for x, _ in along], [y for _, y in along]
        axes.plot(xs, ys, dashes, marker=marker, color=color, label=label, drawstyle=drawstyle)
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
