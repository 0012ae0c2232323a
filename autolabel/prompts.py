"""The categories of a job as its settings give them: a list, or a file on any storage."""

from collections.abc import Mapping
from typing import Any

from autolabel import ontology
from autolabel.config import PromptsConfig
from autolabel.errors import BadInput
from autolabel.sources import full_uri
from autolabel.storage import open_storage


def prompt_entries(prompts: PromptsConfig, storage_options: Mapping[str, Any]) -> tuple[list[Any], str]:
    """The entries as they are written, and where; `ontology.read_categories` checks them.

    Raises:
        BadInput: the file is not there, or holds no list.
    """
    place = prompts.uri
    if place is None:
        return prompts.categories, "prompts"
    try:
        text = open_storage(place, dict(storage_options)).read(full_uri(place)).decode()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise BadInput(f"prompts.uri: {place}: {error}") from error
    return ontology.parse_prompt_file(text, place), place
