"""Counts over images: what a unit states of itself, and what a job ends with."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from autolabel.labels.types import ImageLabels, Status
from autolabel.prompts.ontology import Ontology
from autolabel.wording import counted, first_few

SHOWN_CATEGORIES = 20  # at the end of a job
SHOWN_NAMES = 8


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Counts over some images: of each status, of instances by category, of rejections by code."""

    images: Counter[str] = field(default_factory=Counter)
    instances_of: Counter[int] = field(default_factory=Counter)
    images_with: Counter[int] = field(default_factory=Counter)
    rejected_by: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, rows: Sequence[ImageLabels]) -> "Summary":
        return cls(
            images=Counter(str(row.status) for row in rows),
            instances_of=Counter(instance.category_id for row in rows for instance in row.instances),
            images_with=Counter(category for row in rows for category in {i.category_id for i in row.instances}),
            rejected_by=Counter(str(row.reject_code) for row in rows if row.reject_code is not None),
        )

    def add(self, other: "Summary") -> None:
        self.images.update(other.images)
        self.instances_of.update(other.instances_of)
        self.images_with.update(other.images_with)
        self.rejected_by.update(other.rejected_by)

    @property
    def n_images(self) -> int:
        return self.images.total()

    @property
    def n_readable(self) -> int:
        return self.n_images - self.images[Status.REJECTED]

    @property
    def n_instances(self) -> int:
        return self.instances_of.total()

    def to_json(self) -> bytes:
        return orjson.dumps(
            {
                "images": self.images,
                "instances_of": {str(k): n for k, n in self.instances_of.items()},
                "images_with": {str(k): n for k, n in self.images_with.items()},
                "rejected_by": self.rejected_by,
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> "Summary":
        counts = orjson.loads(data)
        return cls(
            images=Counter(counts["images"]),
            instances_of=Counter({int(k): n for k, n in counts["instances_of"].items()}),
            images_with=Counter({int(k): n for k, n in counts["images_with"].items()}),
            rejected_by=Counter(counts["rejected_by"]),
        )


def closing_text(summary: Summary, ontology: Ontology) -> str:
    """Return the table at the end of a job: by category, then by reject code.

    Of many categories, those with the most instances have a line each, and the others are counted.
    """
    counts = ", ".join(f"{summary.images[status]} {status}" for status in Status)
    lines = [f"{counted(summary.n_images, 'image')}: {counts}; {counted(summary.n_instances, 'instance')}"]
    shown = ontology.categories
    if len(shown) > SHOWN_CATEGORIES:
        found = [category for category in shown if summary.instances_of[category.id]]
        shown = tuple(sorted(found, key=lambda category: -summary.instances_of[category.id])[:SHOWN_CATEGORIES])
    width = max((len(category.name) for category in shown), default=0)
    for category in shown:
        n, on = summary.instances_of[category.id], summary.images_with[category.id]
        lines.append(f"  {category.name:<{width}}  {counted(n, 'instance')} on {counted(on, 'image')}")
    others = [category for category in ontology.categories if category not in shown]
    if n_others := sum(summary.instances_of[category.id] for category in others):
        n_found = sum(summary.instances_of[category.id] > 0 for category in others)
        more = counted(n_found, "more category", "more categories")
        lines.append(f"  and of {more}, {counted(n_others, 'instance')}")
    if missing := [category.name for category in others if not summary.instances_of[category.id]]:
        n_missing = counted(len(missing), "category", "categories")
        lines.append(f"  nothing of {n_missing}: {first_few(missing, SHOWN_NAMES)}")
    for code, n in summary.rejected_by.most_common():
        lines.append(f"  rejected, {code}: {n}")
    return "\n".join(lines)
