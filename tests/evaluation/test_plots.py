"""Plots of curves: what is drawn is what the curves say, in the colours and the order of the report."""

from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autolabel.evaluation import plots
from autolabel.evaluation.curves import CategoryCurve, Quality
from autolabel.masks.drawing import color_of


def quality(threshold: float, tp: int, fp: int, n_objects: int = 10) -> Quality:
    return Quality(threshold=threshold, tp=tp, fp=fp, fn=n_objects - tp)


def curve(category_id: int, in_force: Quality, n_objects: int = 10) -> CategoryCurve:
    points = (quality(0.9, 2, 0), quality(0.7, 5, 1), quality(0.4, 8, 2), quality(0.3, 8, 9))
    return CategoryCurve(category_id=category_id, n_objects=n_objects, in_force=in_force, points=points, best=points[2])


@pytest.mark.parametrize("threshold", [0.35, 0.45, 0.55])
def test_the_ring_of_the_threshold_in_force_is_on_its_curve(threshold: float) -> None:
    """F1 changes at scores alone, so its curve has steps; drawn with slopes, it passes beside most thresholds."""
    one = curve(1, quality(threshold, 8, 2))
    axes = axes_of([one], {1: "a"}, plots.threshold_and_f1, "steps-mid")
    line, *_, ring = [drawn for drawn in axes.lines if len(np.asarray(drawn.get_xdata()))]
    assert ring.get_markerfacecolor() == "none"
    x, y = (float(np.asarray(data)[0]) for data in (ring.get_xdata(), ring.get_ydata()))
    assert x == threshold
    assert y == pytest.approx(0.8)
    vertices = np.asarray(line.get_path().vertices)[::-1]
    assert np.interp(x, vertices[:, 0], vertices[:, 1]) == pytest.approx(y)
    steps = np.diff(vertices, axis=0)
    assert (np.abs(steps).min(axis=1) < 1e-12).all(), "a slope"


def test_a_threshold_in_force_over_other_labels_changes_no_curve() -> None:
    one = curve(1, quality(0.5, 3, 3))
    assert plots.through_threshold_in_force(one) == list(one.points)
    fitting = curve(1, quality(0.5, 6, 1))
    assert [point.threshold for point in plots.through_threshold_in_force(fitting)] == [0.9, 0.7, 0.5, 0.4, 0.3]


def test_colours_and_order_are_those_of_the_report() -> None:
    names = {7: "first", 3: "second", 5: "third"}
    curves = [curve(7, quality(0.5, 8, 2), 4), curve(3, quality(0.5, 8, 2), 0), curve(5, quality(0.5, 8, 2), 30)]
    axes = axes_of(curves, names, plots.threshold_and_f1, "steps-mid")
    lines = {str(line.get_label()): line for line in axes.lines if line.get_label() in names.values()}
    assert list(lines) == ["first", "third"], "in the ontology's order, and none without an object"
    for place in (0, 2):
        assert lines[list(names.values())[place]].get_color() == tuple(channel / 255 for channel in color_of(place))


def test_of_many_categories_those_with_the_most_objects_are_drawn_and_that_is_said() -> None:
    names = {id: f"name {id}" for id in range(30)}
    curves = [curve(id, quality(0.5, 8, 2), n_objects=id % 7 + 1) for id in range(30)]
    drawn = plots._drawn(curves)
    assert len(drawn) == plots.MOST_CATEGORIES
    assert min(one.n_objects for one in drawn) >= 5
    ids = [one.category_id for one in drawn]
    assert ids == sorted(ids)
    svg = ElementTree.fromstring(plots.f1_svg(curves, names))
    texts = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "the 10 categories with the most objects of 30" in texts
    axes = axes_of(curves, names, plots.threshold_and_f1, "steps-mid")
    styles = {line.get_linestyle() for line in axes.lines if str(line.get_label()).startswith("name")}
    assert len(styles) == 3, "more than eight colours alone cannot be told apart"


def axes_of(curves: list[CategoryCurve], names: dict[int, str], place: plots.Place, drawstyle: str) -> Axes:
    axes = Figure().add_subplot()
    plots._draw(axes, curves, names, place, drawstyle=drawstyle)  # type: ignore[arg-type]
    return axes
