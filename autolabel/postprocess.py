"""What becomes of the model's instances: area limits, NMS by mask overlap, caps. Pure functions.

Instances are taken in order of descending score; equal scores keep the order they came in (categories and phrases as
they were asked, then the model's queries), so that the result is the same on every run.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autolabel.rle import Rle, pairwise_overlap


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One object of one category. `phrase` is the one that found it, None where exemplars alone did."""

    category_id: int
    phrase: str | None
    score: float
    presence: float
    rle: Rle
    area_px: int
    bbox_xywh: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which instances are kept. Overlaps are of full-resolution masks, in the metric `iou` or `ios`."""

    nms_within: float | None = None
    nms_across: float | None = None
    metric: str = "iou"
    min_area_px: int = 1
    max_area_px: int | None = None
    max_instances: int | None = None
    max_instances_of: Mapping[int, int] = field(default_factory=dict)


def select(instances: Sequence[Instance], rules: Rules) -> list[Instance]:
    """The instances that stay, best first."""
    fitting = [i for i in instances if rules.min_area_px <= i.area_px <= (rules.max_area_px or i.area_px)]
    ranked = sorted(fitting, key=lambda i: -i.score)
    return cap(suppress(ranked, rules), rules)


def suppress(ranked: Sequence[Instance], rules: Rules) -> list[Instance]:
    """Greedy NMS: an instance goes if it overlaps a better one that stays by more than the limit for the two."""
    kept: list[Instance] = []
    for instance in ranked:
        same = [rival for rival in kept if rival.category_id == instance.category_id]
        others = [rival for rival in kept if rival.category_id != instance.category_id]
        if not (
            overlaps(instance, same, rules.nms_within, rules.metric)
            or overlaps(instance, others, rules.nms_across, rules.metric)
        ):
            kept.append(instance)
    return kept


def overlaps(instance: Instance, rivals: Sequence[Instance], limit: float | None, metric: str) -> bool:
    """Whether any rival overlaps the instance by more than the limit; without one, no mask is looked at."""
    if limit is None or not rivals:
        return False
    overlap = pairwise_overlap([instance.rle], [rival.rle for rival in rivals], metric)
    return bool((overlap > limit).any())


def cap(ranked: Sequence[Instance], rules: Rules) -> list[Instance]:
    """At most so many of each category, then at most so many of all."""
    seen: Counter[int] = Counter()
    kept = []
    for instance in ranked:
        seen[instance.category_id] += 1
        if seen[instance.category_id] <= rules.max_instances_of.get(instance.category_id, len(ranked)):
            kept.append(instance)
    return kept[: rules.max_instances]
