"""What `autolabel evaluate` wrote about an output, if it did, as far as the page shows it."""

from dataclasses import dataclass
from typing import Any

import orjson

from autolabel.errors import BadInput
from autolabel.storage import Storage, join

NAME = "evaluation/evaluation.json"
HEADLINE = ("AP", "AP50", "AP75", "AR")  # of `coco`
PER_CATEGORY = ("precision", "recall", "f1")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Numbers by name, and a row of numbers by category; None where a number is undefined."""

    headline: dict[str, float | None]
    categories: list[tuple[str, dict[str, float | None]]]

    @property
    def columns(self) -> list[str]:
        """Names of the numbers of categories."""
        return list(dict.fromkeys(name for _, numbers in self.categories for name in numbers))


def read_evaluation(storage: Storage, output_uri: str) -> Evaluation | None:
    """The evaluation beside the labels, or None where there is none.

    Raises:
        BadInput: the file is not JSON of this kind.
    """
    uri = join(output_uri, NAME)
    try:
        found = orjson.loads(storage.read(uri))
        return Evaluation(headline=headline(found), categories=categories(found))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadInput(f"{uri} was not written by autolabel: {error!r}") from error


def headline(found: dict[str, Any]) -> dict[str, float | None]:
    return {name: found["coco"][name] for name in HEADLINE if name in found["coco"]}


def categories(found: dict[str, Any]) -> list[tuple[str, dict[str, float | None]]]:
    rows = found.get("categories", [])
    return [(row["name"], {name: row[name] for name in PER_CATEGORY if name in row}) for row in rows]
