"""The page itself: one HTML file with its style, its script and its data inside, and nothing from anywhere else.

Text from outside, such as names of files, reaches it in two ways: escaped by Jinja2, and as JSON from which the script
makes text nodes. A Content-Security-Policy lets no other script run.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.resources import files
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined

from autolabel.labels.types import Status
from autolabel.masks.drawing import color_of
from autolabel.output.job_output import JobOutput
from autolabel.output.settings import LabelSettings
from autolabel.report.evaluation import Evaluation
from autolabel.report.gallery import Card
from autolabel.report.given_objects import GivenObjects
from autolabel.report.runtimes import Work
from autolabel.report.statistics import AREA_EDGES, COUNT_EDGES, REJECT_CODES, SCORE_EDGES, STATUSES, Statistics

REASONS = {
    "low_score": "labels that may be false, by their scores",
    "missed_candidate": "objects just below the threshold",
    "categories_disagree": "two categories on one object",
    "synonyms_disagree": "phrases of a category disagree",
    "nested": "one label inside another of its category",
    "fragmented": "masks in pieces",
    "present_without_instance": "said to be there, not found",
}

REASONS_OF_MASKS = {"low_score": "masks that may be wrong, by their predicted IoU"}  # of objects and everything


def render(
    output: JobOutput,
    statistics: Statistics,
    cards: Sequence[Card],
    objects: GivenObjects,
    *,
    n_units_done: int,
    works: Sequence[Work],
    pace: float | None,
    evaluation: Evaluation | None,
) -> str:
    """Return the HTML of a report. `pace` is in images a second, where a run has said it."""
    environment = Environment(
        loader=PackageLoader("autolabel.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"grouped": grouped, "duration": duration, "moment": moment}
    style, script = (text_of(name) for name in ("report.css", "report.js"))
    categories = category_rows(output, statistics)
    return environment.get_template("index.html").render(
        style=style,
        script=script,
        policy=policy(style, script),
        data=inline_json(page_data(output.record.settings, statistics, cards, categories)),
        title=title(output),
        output=output,
        record=output.record,
        settings=output.record.settings,
        n_units_done=n_units_done,
        n_images=int(statistics.images.sum()),
        looked_at=looked_at(statistics),
        shares=shares(statistics),
        n_instances=int(statistics.instances.sum()),
        categories=sorted(categories, key=lambda row: -row["instances"]),
        rejected=rejected_rows(statistics, cards),
        works=works,
        throughput=throughput(statistics, works),
        pace=pace,
        color_of_name={row["name"]: row["color"] for row in categories},
        overlap_limit=overlap_limit,
        evaluation=evaluation,
        n_cards=len(cards),
        objects=objects,
        object_rows=object_rows(output, objects),
    )


def title(output: JobOutput) -> str:
    """Return what the page is about: the input by its last two folders, since the last alone is often `images`."""
    _, _, path = output.plan.input_root.rpartition("://")
    return f"Labels of {'/'.join(path.strip('/').split('/')[-2:]) or output.plan.input_root}"


def overlap_limit(limit: float | None) -> str:
    """Return how far two labels may overlap."""
    return "however they overlap" if limit is None else f"up to {limit}"


def category_rows(output: JobOutput, statistics: Statistics) -> list[dict[str, Any]]:
    """Return a row of the table for each category, in the ontology's order."""
    rules = output.record.settings.rules
    return [
        {
            "place": place,
            "name": category.name,
            "color": "#{:02x}{:02x}{:02x}".format(*color_of(place)),
            "phrases": category.phrases,
            "threshold": rules.threshold_of[category.id],
            "images": int(statistics.images_with[place]),
            "instances": int(statistics.instances[place]),
            "mean_score": statistics.score_sum[place] / n if (n := statistics.instances[place]) else None,
        }
        for place, category in enumerate(output.record.settings.ontology.categories)
    ]


def object_rows(output: JobOutput, objects: GivenObjects) -> list[dict[str, Any]]:
    """Return a row of the table for each object that is shown."""
    by_id = output.record.settings.ontology.by_id
    return [
        {**asdict(row), "category": by_id[row.category_id].name, "image": output.file_name(row.uri)}
        for row in objects.lowest
    ]


def shares(statistics: Statistics) -> list[dict[str, Any]]:
    """Return the parts of a bar of length 1000, one for each status."""
    total = max(1, int(statistics.images.sum()))
    ends = statistics.images.cumsum() / total * 1000
    return [
        {"status": status, "n": n, "percent": 100 * n / total, "x": end - 1000 * n / total, "width": 1000 * n / total}
        for status, n, end in zip(STATUSES, statistics.images.tolist(), ends.tolist(), strict=True)
    ]


def looked_at(statistics: Statistics) -> int:
    """Return images that could be read."""
    return int(statistics.images.sum() - statistics.images[STATUSES.index(Status.REJECTED)])


def throughput(statistics: Statistics, works: Sequence[Work]) -> str:
    """Return images a second over all runs, from their starts to their ends, the start of the model included."""
    seconds, images = sum(work.seconds for work in works), int(statistics.images.sum())
    if seconds <= 0:
        return "not known: no time of a run is recorded"
    bound = "" if all(work.ended for work in works) else "at most "
    return f"{bound}{images / seconds:.3g} images/s over {duration(seconds)}, the start of the model included"


def rejected_rows(statistics: Statistics, cards: Sequence[Card]) -> list[dict[str, Any]]:
    """Return reasons by descending number, each with the rejected images of the gallery as examples."""
    rejected = [card for card in cards if card.status == Status.REJECTED]
    rows = [
        {
            "code": code,
            "n": int(n),
            "examples": [card.name for card in rejected if (card.problem or "").startswith(f"{code}:")],
        }
        for code, n in zip(REJECT_CODES, statistics.rejected, strict=True)
        if n
    ]
    return sorted(rows, key=lambda row: -row["n"])


def page_data(
    settings: LabelSettings, statistics: Statistics, cards: Sequence[Card], categories: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return what the script draws charts and gallery from."""
    return {
        "categories": [{name: row[name] for name in ("name", "color", "threshold", "instances")} for row in categories],
        "edges": {"score": SCORE_EDGES.tolist(), "area": AREA_EDGES.tolist(), "count": COUNT_EDGES.tolist()},
        "scores": statistics.scores.tolist(),
        "candidateScores": statistics.candidate_scores.tolist(),
        "areas": statistics.areas.tolist(),
        "counts": statistics.counts.tolist(),
        "countsOfAll": statistics.counts_of_all.tolist(),
        "reasons": REASONS if settings.has_concepts else REASONS | REASONS_OF_MASKS,
        "cards": [asdict(card) for card in cards],
    }


def inline_json(data: Any) -> str:
    """Return JSON that can stand in a script element, whatever text is in it."""
    text = orjson.dumps(data).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy that lets this style, this script and the images beside the page in."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    style_hash, script_hash = hashes
    return (
        f"default-src 'none'; img-src 'self' file:; style-src 'sha256-{style_hash}'; "
        f"script-src 'sha256-{script_hash}'; base-uri 'none'; form-action 'none'"
    )


def text_of(name: str) -> str:
    return files("autolabel.report").joinpath("templates", name).read_text(encoding="utf-8")


def grouped(number: int) -> str:
    """Return 1,234,567 with thin spaces."""
    return f"{number:,}".replace(",", "\u2009")


def duration(seconds: float) -> str:
    """Return `2 h 5 min`, `3 min 10 s`, `41 s`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def moment(iso: str) -> str:
    """Return `2026-11-21 12:09 UTC`."""
    return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M UTC")
