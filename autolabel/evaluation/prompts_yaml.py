"""The categories again, with the thresholds of the best F1, as a prompts file to label or refine with."""

from collections.abc import Mapping
from typing import Any

import yaml

from autolabel.evaluation.curves import CategoryCurve
from autolabel.prompts.ontology import Category, Ontology


def prompts_yaml(ontology: Ontology, threshold_of: Mapping[int, float], curves: Mapping[int, CategoryCurve]) -> str:
    """Return every category under its id, with its threshold of the best F1, or else the one in force."""
    lines = ["# By autolabel evaluate: the threshold of each category's best F1.\n", "categories:\n"]
    for category in ontology.categories:
        curve = curves.get(category.id)
        best = curve.best if curve else None
        if best is None:
            why = "no label would be right" if curve and curve.n_objects else "no object in the ground truth"
            lines.append(f"# {why}; the threshold stays as it was:\n")
        item = entry(category, best.threshold if best else threshold_of[category.id])
        lines.append(yaml.safe_dump([item], allow_unicode=True, sort_keys=False, width=1000))
    return "".join(lines)


def entry(category: Category, threshold: float) -> dict[str, Any]:
    """Return a category as prompt files hold it, without what it does not say."""
    fields = {
        "name": category.name,
        "id": category.id,
        "supercategory": category.supercategory,
        "phrases": list(category.phrases) or None,  # given objects have none
        "threshold": threshold if threshold < 1 else None,  # a job's may be 1, a category's not
        "max_instances": category.max_instances,
    }
    return {name: value for name, value in fields.items() if value is not None}
