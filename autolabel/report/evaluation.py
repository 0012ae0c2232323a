"""What `autolabel evaluate` wrote about an output, if it did, as far as the page shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from autolabel.errors import BadInput
from autolabel.storage import Storage
from autolabel.storage.uris import join

NAME = "evaluation/evaluation.json"
OF_COCO = ("AP", "AP50", "AP75", "AR", "boundary_AP")
OF_SAM3 = ("cgF1", "IL_MCC", "pmF1")  # the first of 100, as its authors write it
OF_OBJECTS = ("mean_iou",)
IN_FORCE = ("precision", "recall", "F1")  # at the threshold in force
MAX_CURVES = 10  # more cannot be told apart


@dataclass(frozen=True, kw_only=True)
class CategoryQuality:
    """A category's numbers by name, and its curve as (recall, precision); None is undefined."""

    name: str
    n_objects: int
    numbers: Mapping[str, float | None]
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Numbers by name; None is undefined."""

    headline: Mapping[str, float | None]
    categories: tuple[CategoryQuality, ...]

    @property
    def columns(self) -> list[str]:
        """Names of the numbers of categories."""
        return list(dict.fromkeys(name for one in self.categories for name in one.numbers))

    @property
    def n_curves(self) -> int:
        return sum(bool(one.curve) for one in self.categories)

    @property
    def curves(self) -> list[CategoryQuality]:
        """Return those of the categories with the most objects, in their order."""
        with_curve = [(place, one) for place, one in enumerate(self.categories) if one.curve]
        most = sorted(with_curve, key=lambda pair: -pair[1].n_objects)[:MAX_CURVES]
        return [one for _, one in sorted(most, key=lambda pair: pair[0])]


def read_evaluation(storage: Storage, output_uri: str) -> Evaluation | None:
    """Return the evaluation beside the labels, or None where there is none. What it does not tell is left out.

    Raises:
        BadInput: the file is not JSON of this kind.
    """
    uri = join(output_uri, NAME)
    try:
        found = orjson.loads(storage.read(uri))
        return Evaluation(
            headline=chosen(found.get("coco", {}), OF_COCO)
            | chosen(found.get("sam3", {}), OF_SAM3)
            | chosen(found.get("objects", {}), OF_OBJECTS),
            categories=tuple(category(entry) for entry in found.get("categories", ())),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadInput(f"{uri} was not written by autolabel: {error!r}") from error


def category(entry: Mapping[str, Any]) -> CategoryQuality:
    best, curve = entry.get("best_F1") or {}, entry.get("curve") or {}
    numbers = chosen(entry, ("AP",)) | chosen(entry.get("in_force") or {}, IN_FORCE)
    numbers |= {"best F1": number(best["F1"]), "at threshold": number(best["threshold"])} if best else {}
    points = zip(curve.get("recall", ()), curve.get("precision", ()), strict=True)
    return CategoryQuality(
        name=str(entry["name"]),
        n_objects=int(entry.get("n_objects", 0)),
        numbers=numbers,
        curve=tuple((float(r), float(p)) for r, p in points if r is not None and p is not None),
    )


def chosen(numbers: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float | None]:
    return {name.replace("_", " "): number(numbers[name]) for name in names if name in numbers}


def number(value: Any) -> float | None:
    return None if value is None else float(value)
