"""What a person sees of a running job: a bar on a terminal, a log line every few seconds elsewhere."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

from autolabel.labeler import UnitReport
from autolabel.labels import Status, Summary
from autolabel.ontology import Ontology

LOG_EVERY_S = 10.0

log = logging.getLogger("autolabel")


def shown(reports: Iterable[UnitReport], *, n_images: int, n_done_before: int) -> Iterator[UnitReport]:
    """The reports as they come, with progress told on stderr."""
    total = Summary()
    began = last_logged = time.monotonic()
    bar = tqdm(total=n_images, initial=n_done_before, unit="img", disable=not sys.stderr.isatty(), smoothing=0.1)
    with bar:
        bar.refresh()
        for report in reports:
            total.add(report.summary)
            bar.update(report.summary.n_images)
            bar.set_postfix(instances=total.n_instances, rejected=total.images[Status.REJECTED])
            now = time.monotonic()
            finished = n_done_before + total.n_images == n_images
            if bar.disable and (now - last_logged >= LOG_EVERY_S or finished):
                last_logged = now
                log.info(line(total, n_images=n_images, n_done_before=n_done_before, seconds=now - began))
            yield report


def line(total: Summary, *, n_images: int, n_done_before: int, seconds: float) -> str:
    """`512 of 10000 images, 25.1 images/s, 1830 instances, 3 rejected, 6m18s left`"""
    n_done = n_done_before + total.n_images
    rate = total.n_images / max(seconds, 1e-9)
    left = tqdm.format_interval((n_images - n_done) / rate) if rate else "?"
    return (
        f"{n_done} of {n_images} images, {rate:.1f} images/s, {total.n_instances} instances, "
        f"{total.images[Status.REJECTED]} rejected, {left} left"
    )


def closing_text(summary: Summary, ontology: Ontology) -> str:
    """The table at the end of a job: by category, then by reject code."""
    counts = ", ".join(f"{summary.images[status]} {status}" for status in Status)
    lines = [f"{summary.n_images} images: {counts}; {summary.n_instances} instances"]
    width = max(len(category.name) for category in ontology.categories)
    for category in ontology.categories:
        n, on = summary.instances_of[category.id], summary.images_with[category.id]
        lines.append(f"  {category.name:<{width}}  {n} instances on {on} images")
    for code, n in summary.rejected_by.most_common():
        lines.append(f"  rejected, {code}: {n}")
    return "\n".join(lines)
