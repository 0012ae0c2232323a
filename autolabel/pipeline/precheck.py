"""What is wrong with a labelling job at first sight: paths that lead nowhere, weights out of reach, and prompts.

Everything is checked again, and in full, when the job is started. But that imports torch and Ray, five seconds of a
core, and what is wrong with a path should be told before: this module imports neither.
"""

import os
from collections.abc import Iterator

from autolabel.config import LabelConfig, OutputConfig
from autolabel.errors import BadInput, StorageError
from autolabel.inputs.listing import missing_input
from autolabel.plan import PLAN_NAME
from autolabel.prompts.categories import prompt_entries, read_categories
from autolabel.sam3.download import check_reachable
from autolabel.storage import check_output, open_storage
from autolabel.storage.uris import join, path_of, scheme_of


def check_at_first_sight(config: LabelConfig) -> None:
    """Look at what is on this machine, and last whether it can reach the hub that the weights are to come from.

    Raises:
        BadInput: with all that is seen to be wrong.
    """
    check_output(config.output.uri)
    problems = list(missing_files(config))
    if scheme_of(config.prompts.uri or "") == "file" and config.has_concepts:
        try:
            entries, place = prompt_entries(config.prompts, config.input.storage_options)
            # Tokens are counted later, by what comes with torch.
            read_categories(entries, place=place, count_tokens=lambda phrases: [0] * len(phrases), max_tokens=0)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    check_reachable(config.model.checkpoint or "")


def missing_files(config: LabelConfig) -> Iterator[str]:
    """Yield a problem for each local file or folder that should be there, and for an output that cannot be a folder."""
    if (problem := missing_input(config.input)) and not has_plan(config.output):
        yield problem
    for name, uri in (
        ("exemplars.uri", config.exemplars.uri),
        ("objects.uri", config.objects.uri),
        ("model.checkpoint", config.model.checkpoint),
    ):
        if uri and scheme_of(uri) == "file" and not os.path.exists(path_of(uri)):
            yield f"{name}: {uri} does not exist"
    output = config.output.uri
    if scheme_of(output) == "file" and os.path.exists(path_of(output)) and not os.path.isdir(path_of(output)):
        yield f"output.uri: {output} is a file, and not a folder"


def has_plan(config: OutputConfig) -> bool:
    """Tell whether a job that is gone on with has its list of images already, and needs no manifest any more."""
    storage = open_storage(config.uri, config.storage_options).retrying_for(0)
    try:
        storage.stat(join(config.uri, PLAN_NAME))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (StorageError, OSError):  # which the job finds out, and waits for
        return True
    return True
