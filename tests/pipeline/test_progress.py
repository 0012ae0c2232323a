"""What is told of a running job, and when."""

import io
import logging
import sys
import time
from collections import Counter
from functools import partial

import pytest
from tqdm import tqdm

from autolabel.labels.summary import Summary, closing_text
from autolabel.output import passes
from autolabel.output.passes import over_units
from autolabel.pipeline import progress
from autolabel.pipeline.heartbeat import InHand
from autolabel.pipeline.progress import Progress
from autolabel.prompts.ontology import Category, Ontology


def done(n_labelled: int, n_rejected: int) -> Summary:
    return Summary(
        images=Counter(labelled=n_labelled, rejected=n_rejected),
        instances_of=Counter({1: 3 * n_labelled}),
        images_with=Counter({1: n_labelled}),
        rejected_by=Counter(truncated=n_rejected),
    )


def progress_of(
    n_images: int, *, n_done_before: int = 0, said: list[tuple[int, float | None]] | None = None
) -> Progress:
    said = [] if said is None else said
    return Progress(n_images=n_images, n_done_before=n_done_before, say=lambda n, rate: said.append((n, rate)))


def test_log_lines_come_while_a_unit_is_in_hand(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.05)
    caplog.set_level(logging.INFO, "autolabel")
    told = progress_of(100, n_done_before=20)
    with told.showing(lambda: InHand(n_images=7, n_instances=11, n_rejected=1)):
        time.sleep(0.3)
        told.add(done(30, 2))
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("27 of 100 images, ")
    assert "11 instances, 1 rejected" in lines[0], "what is found in units that are not done"
    assert lines[-1].startswith("52 of 100 images, ")
    assert "90 instances, 2 rejected" in lines[-1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pass_over_units_has_a_bar_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(passes, "BAR_AFTER_S", 0.0)
    assert list(over_units(iter("abc"), 3)) == ["a", "b", "c"]
    assert capfd.readouterr().err == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(over_units(iter("abc"), 3)) == ["a", "b", "c"]
    assert "/3 [" in terminal.getvalue()


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(progress, "LOOK_EVERY_S", 0.05)
    told = progress_of(100)
    with told.showing(lambda: InHand(n_images=25, n_instances=4)):
        time.sleep(0.5)
        told.add(done(99, 1))
    assert " 25/100 " in screen.getvalue()
    assert "instances=4, rejected=0" in screen.getvalue()
    assert " 100/100 " in screen.getvalue()
    assert "instances=297, rejected=1" in screen.getvalue()


def test_the_bar_never_goes_beyond_the_end_nor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(progress, "LOOK_EVERY_S", 0.02)
    told = progress_of(10, n_done_before=5)
    with told.showing(lambda: InHand(n_images=50)):
        time.sleep(0.2)
        told.add(done(3, 0))
    assert " 10/10 " in screen.getvalue()
    assert "55/10" not in screen.getvalue()


def test_what_was_found_is_not_taken_back_while_a_unit_is_handed_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "autolabel")
    told = progress_of(100)
    with told.showing(InHand), tqdm(disable=True) as bar:
        told._show(bar, InHand(n_images=7, n_instances=11, n_rejected=1), 1.0)
        told._show(bar, InHand(), 2.0)
    lines = [record.getMessage() for record in caplog.records[:2]]
    assert len(lines) == 2
    assert all(line.startswith("7 of 100 images, ") and ", 11 instances, 1 rejected, " in line for line in lines)


def test_the_rate_of_a_slow_model_can_be_read() -> None:
    line = partial(progress_of(100).line, n_instances=0, n_rejected=0)
    assert line(2, seconds=180).startswith("2 of 100 images, 0.011 images/s")
    assert line(0, seconds=5) == "0 of 100 images; the first of this run is waited for"
    assert line(50, seconds=10).endswith("5.0 images/s, 0 instances, 0 rejected, 00:10 left")


def test_the_start_of_the_model_is_no_work_of_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_EVERY_S", 0.02)  # and lines are far fewer
    began, said = time.monotonic(), list[tuple[int, float | None]]()
    with progress_of(100, n_done_before=20, said=said).showing(
        lambda: InHand(n_images=int(100 * max(0.0, time.monotonic() - began - 1)))
    ):
        time.sleep(1.4)
    assert (20, None) in said
    _, rate = said[-2]  # the last one is said when nothing is in hand any more
    assert rate == pytest.approx(100, rel=0.3), "from the start of the job, it would be 29"


def test_an_interrupted_job_says_how_much_is_safe(caplog: pytest.LogCaptureFixture) -> None:
    told = progress_of(100, n_done_before=20)
    with pytest.raises(KeyboardInterrupt), told.showing(lambda: InHand(n_images=25)):
        told.add(done(30, 2))
        raise KeyboardInterrupt
    assert "52 of 100 images are safe" in caplog.text


def test_the_closing_table_has_every_category_and_code() -> None:
    ontology = Ontology(categories=tuple(Category(id=n, name=name, phrases=()) for n, name in ((1, "car"), (2, "bus"))))
    assert closing_text(done(4, 2), ontology).split("\n") == [
        "6 images: 4 labelled, 0 empty, 2 rejected; 12 instances",
        "  car  12 instances on 4 images",
        "  bus  0 instances on 0 images",
        "  rejected, truncated: 2",
    ]


def test_of_many_categories_what_was_found_is_shown_and_the_rest_counted() -> None:
    """300 prompts: 301 lines."""
    ontology = Ontology(categories=tuple(Category(id=n, name=f"c{n}", phrases=()) for n in range(1, 301)))
    found = {n: n - 100 for n in range(101, 151)}
    summary = Summary(
        images=Counter(labelled=1), instances_of=Counter(found), images_with=Counter(dict.fromkeys(found, 1))
    )
    lines = closing_text(summary, ontology).split("\n")
    assert lines[0] == "1 image: 1 labelled, 0 empty, 0 rejected; 1275 instances"
    assert lines[1] == "  c150  50 instances on 1 image"
    assert lines[20] == "  c131  31 instances on 1 image"
    assert lines[21:] == [
        "  and of 30 more categories, 465 instances",
        "  nothing of 250 categories: c1, c2, c3, c4, c5, c6, c7, c8, ...",
    ]
