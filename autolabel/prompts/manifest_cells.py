"""Cells of a manifest that hold lists: as Parquet has them, or as JSON in text."""

import json
import math
from collections.abc import Sequence
from typing import Any

from autolabel.errors import BadInput, quoted_value


def entries_of_cell(cell: Any, place: str, *, of: str) -> Sequence[Any]:
    """Return the list in a cell; none where it is null or blank.

    Args:
        cell: a list, or one as JSON.
        place: of the cell, for problems.
        of: what it is a list of, for problems.

    Raises:
        BadInput: it is no list.
    """
    if isinstance(cell, str) and cell.strip():
        cell = read_json(cell, place)
    if cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip()):
        return []
    if not isinstance(cell, list | tuple):
        raise BadInput(f"{place}: expected a list of {of}, not {quoted_value(cell)}")
    return cell


def read_json(text: str | bytes, place: str) -> Any:
    """Return what JSON says; raise BadInput, by `place`, where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: of JSON, with line and column, or of its encoding
        raise BadInput(f"{place}: not JSON: {error}") from error
