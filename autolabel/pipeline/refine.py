"""`autolabel refine`: a new labelled set from what another one holds, by other thresholds and limits; no model.

A labelled output keeps every instance down to its `keep_threshold`. Which of them are labels is decided again here,
by the same functions, so that the new set is what `autolabel label` would have written with these limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from autolabel import plan
from autolabel.config import SAME, OutputConfig, RefineConfig
from autolabel.errors import BadInput
from autolabel.labels.summary import Summary, closing_text
from autolabel.labels.types import ImageLabels
from autolabel.labels.units import (
    LABELS_FOLDER,
    done_units,
    file_metadata,
    read_columns,
    read_summary,
    unit_uri,
    write_unit,
)
from autolabel.output import lease, run_record
from autolabel.output.job_output import JobOutput, finished_output
from autolabel.output.passes import in_processes, over_units
from autolabel.output.run_record import RunRecord
from autolabel.output.settings import LabelSettings, RefinedFrom
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.plan import PLAN_NAME
from autolabel.prompts.categories import prompt_entries, read_categories
from autolabel.prompts.objects.limits import with_limits
from autolabel.prompts.ontology import Category, Ontology
from autolabel.selection.rules import apply_rules
from autolabel.storage import check_output, open_storage
from autolabel.storage.uris import absolute_uri, join


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """All that a process that refines units is told."""

    refined: OutputConfig
    record: RunRecord  # of the new set


def refine(config: RefineConfig) -> str:
    """Write the labelled set at `refined.uri`, from wherever an earlier run left it, and return the text to close with.

    Raises:
        BadInput: the settings ask for what is not stored, or the labels at `output.uri` are not finished.
        Refused: see run_record.claim and lease.held.
    """
    source = finished_output(config.output)
    settings = refined_settings(source, config)
    refined = OutputConfig(uri=absolute_uri(config.refined.uri), storage_options=config.refined.storage_options)
    check_output(refined.uri)
    storage = open_storage(refined.uri, refined.storage_options)
    record = run_record.create_or_match(storage, refined.uri, settings, source.record.unknown_words)
    work = Refinement(refined=refined, record=record)
    summary = Summary()
    with lease.acquired(storage, refined.uri) as held:
        plan.seal(storage, refined.uri, source.storage.read(join(source.uri, PLAN_NAME)))
        done = done_units(storage, refined.uri)
        missing = [unit for unit in range(source.plan.n_units) if unit not in done]
        earlier = in_threads(partial(read_summary, storage, refined.uri), sorted(done), IO_THREADS)
        parts = in_processes(partial(refine_unit, work), missing, source, config.output)
        for part in over_units(chain(earlier, parts), source.plan.n_units):
            held.check()
            summary.add(part)
    return f"{closing_text(summary, record.settings.ontology)}\nlabels in {join(refined.uri, LABELS_FOLDER)}"


def refined_settings(source: JobOutput, config: RefineConfig) -> LabelSettings:
    """Return what the new set is asked for: the settings of `source`, but for what decides.

    Raises:
        BadInput: the categories are others, or a threshold is below what is stored; all problems at once.
    """
    given = source.record.settings
    chosen = {name: getattr(config, name) for name in ("threshold", "min_area", "max_area", "max_instances")}
    settings = replace(
        given,
        ontology=refined_categories(given.ontology, config, has_concepts=given.has_concepts),
        nms=replace(given.nms, **{name: value for name, value in vars(config.nms).items() if value != SAME}),
        refined_from=RefinedFrom(uri=absolute_uri(source.uri), fingerprint=source.record.fingerprint),
        **{name: value for name, value in chosen.items() if value != SAME},
    )
    asked_for = settings.rules.threshold_of
    problems = [
        f"threshold of {settings.ontology.by_id[number].name!r}: {asked_for[number]} is below {stored}, down to which "
        f"{source.uri} holds instances"
        for number, stored in given.keep_threshold_of.items()
        if asked_for[number] < stored
    ]
    if problems:
        raise BadInput(problems)
    return settings


def refined_categories(there: Ontology, config: RefineConfig, *, has_concepts: bool) -> Ontology:
    """Return the categories of `there` with the thresholds and limits that the prompts give them.

    Raises:
        BadInput: the prompts are others: that takes the model.
    """
    entries, place = prompt_entries(config.prompts, config.output.storage_options)
    if not entries:
        return there
    if not has_concepts:
        known = [{"id": c.id, "name": c.name, "supercategory": c.supercategory} for c in there.categories]
        return with_limits(known, place=config.output.uri, prompts=entries, prompts_place=place)
    # The tokens of phrases were counted when they were asked for first.
    given = read_categories(entries, place=place, count_tokens=lambda phrases: [0] * len(phrases), max_tokens=0)
    problems = [f"{place}: {name!r} is not in {config.output.uri}" for name in given.by_name.keys() - there.by_name]
    problems += [f"{place}: {name!r} is missing" for name in there.by_name.keys() - given.by_name]
    for name in sorted(given.by_name.keys() & there.by_name):
        new, old = asked_of_model(given.by_name[name]), asked_of_model(there.by_name[name])
        if new != old:
            problems.append(f"{place}: {name!r} has id and phrases {new}, in {config.output.uri} {old}")
    if problems:
        raise BadInput(sorted(problems))
    return given


def asked_of_model(category: Category) -> tuple[int, Sequence[str]]:
    """Return what of a category only `autolabel label` can change."""
    return category.id, category.phrases


def refine_unit(work: Refinement, source: JobOutput, unit: int) -> Summary:
    """Create a unit's file, and return its counts.

    Raises:
        BadInput: the rows that there are cannot be read.
    """
    columns = read_columns(source.storage, source.uri, unit)
    try:
        rows = [refined_labels(image, work.record.settings) for image in columns.images()]
    except (LookupError, ValueError) as error:
        place = unit_uri(source.uri, unit)
        raise BadInput(f"{place}: rows that contradict themselves, {error!r}; `autolabel verify` says more") from error
    storage = open_storage(work.refined.uri, work.refined.storage_options)
    metadata = file_metadata(work.record.fingerprint, work.record.settings.ontology)
    write_unit(storage, work.refined.uri, unit, rows, metadata)
    return Summary.of(rows)


def refined_labels(image: ImageLabels, settings: LabelSettings) -> ImageLabels:
    """Return the labels of an image as the limits of `settings` make them."""
    order = {prompt.prompt_id: index for index, prompt in enumerate(image.prompts)}
    instances = sorted(  # as the model gave them, but for instances of one prompt with the same score
        (*image.instances, *image.candidates), key=lambda instance: order[instance.prompt_id]
    )
    stored = [one for one in instances if one.score > settings.keep_threshold_of[one.category_id]]
    return apply_rules(image, stored, settings.rules)
