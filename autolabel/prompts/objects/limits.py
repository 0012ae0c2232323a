"""Categories that are there already, as a file of objects has them, with the limits that prompts add."""

from collections.abc import Mapping, Sequence
from typing import Any

from autolabel.errors import BadInput, did_you_mean, quoted_value
from autolabel.prompts.categories import read_names
from autolabel.prompts.ontology import Ontology, normalized

LIMITS = ("threshold", "max_instances", "supercategory", "id")  # that prompts may add, an id where there is none


def with_limits(
    found: Sequence[Mapping[str, Any]], *, place: str, prompts: Sequence[Any], prompts_place: str
) -> Ontology:
    """Return categories with the limits of prompts.

    Args:
        found: those that are there, with `name`, and perhaps `id` and `supercategory`.
        place: where, for problems.
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
        problems += [
            f"{where}: {field} is not for given objects, only name, {', '.join(LIMITS)}"
            for field in entry
            if field not in ("name", *LIMITS)
        ]
        there = known.get(name, {})
        if "id" in entry and entry["id"] != there.get("id", entry["id"]):
            problems.append(f"{where}: {name!r} has the id {there['id']} in {place}, not {quoted_value(entry['id'])}")
        limits[name] = {field: entry[field] for field in LIMITS if field in entry}
    if problems:
        raise BadInput(problems)
    entries = [{**entry, **limits.get(normalized(str(entry.get("name"))), {})} for entry in found]
    return read_names(entries, place=f"{place} categories")
