"""The categories of given objects: as their file has them, with the limits that prompts add."""

from collections.abc import Mapping, Sequence
from typing import Any

from autolabel.errors import BadInput, did_you_mean, quoted_value
from autolabel.prompts.categories import read_names
from autolabel.prompts.ontology import Ontology, normalized

LIMITS = ("threshold", "max_instances", "supercategory")  # that prompts may add


def categories_of_objects(
    found: Sequence[Mapping[str, Any]], *, place: str, prompts: Sequence[Any], prompts_place: str
) -> Ontology:
    """Return the categories of objects.

    Args:
        found: the file's, with `name`, and perhaps `id` and `supercategory`.
        place: of the file, for problems.
        prompts: mappings of the name of one of them and of limits.
        prompts_place: of the prompts, for problems.

    Raises:
        BadInput: a category is faulty, or the prompts are of others, or ask for phrases.
    """
    known = {normalized(entry["name"]): entry for entry in found if isinstance(entry.get("name"), str)}
    problems: list[str] = []
    limits: dict[str, Mapping[str, Any]] = {}
    for index, entry in enumerate(prompts):
        where = f"{prompts_place}[{index}]"
        if not isinstance(entry, Mapping):
            problems.append(
                f"{where}: {quoted_value(entry)} asks for a concept, and this job masks given objects: prompts may "
                "only set limits of their categories, {name: ..., threshold: ...}"
            )
            continue
        name = normalized(str(entry.get("name")))
        if name not in known:
            problems.append(f"{where}: {place} has no category {name!r}{did_you_mean(name, known)}")
        allowed = ("name", *LIMITS, *(() if "id" in known.get(name, ()) else ("id",)))
        problems += [
            f"{where}: {field} is not for given objects, only {', '.join(allowed)}"
            for field in entry
            if field not in allowed
        ]
        limits[name] = {field: entry[field] for field in allowed if field in entry}
    if problems:
        raise BadInput(problems)
    entries = [{**entry, **limits.get(normalized(str(entry.get("name"))), {})} for entry in found]
    return read_names(entries, place=f"{place} categories")
