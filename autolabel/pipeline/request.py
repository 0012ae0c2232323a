"""What a labelling job asks for, read and checked before a model is loaded: prompts, images, exemplars, weights."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from autolabel.config import LabelConfig
from autolabel.errors import BadInput, RejectedImage
from autolabel.inputs import fetch_image
from autolabel.inputs.listing import Listing, list_images
from autolabel.inputs.locations import ImageLocation
from autolabel.inputs.manifests import CellColumn
from autolabel.pipeline.visual_prompts import objects_source, read_exemplars, read_objects
from autolabel.prompts.categories import named_in, prompt_entries, read_categories
from autolabel.prompts.concepts import ImageExemplars
from autolabel.prompts.objects.limits import with_limits
from autolabel.prompts.objects.source import GivenObjects
from autolabel.prompts.ontology import EVERYTHING, Ontology
from autolabel.sam3 import checkpoint, download
from autolabel.sam3.architecture import ARCHITECTURES, DETECTOR_ALONE, INTERACTIVE_ALONE
from autolabel.sam3.text import count_tokens
from autolabel.storage.uris import absolute_uri
from autolabel.wording import counted, first_few

PROBES = 8  # images that are tried first

log = logging.getLogger("autolabel")


def with_full_checkpoint(config: LabelConfig) -> LabelConfig:
    """Make a relative path absolute: actors run in other directories than the command."""
    if config.model.checkpoint is None:
        return config
    return replace(config, model=replace(config.model, checkpoint=absolute_uri(config.model.checkpoint)))


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a job asks for; its images, and what is on them, only where the input was listed."""

    ontology: Ontology
    listing: Listing | None
    exemplars: Mapping[str, ImageExemplars]  # by image URI
    objects: GivenObjects | None


def read_request(config: LabelConfig, *, list_input: bool) -> Request:
    """Return what a job asks for.

    Raises:
        BadInput: every problem of prompts, images, exemplars and objects together, each with its place.
    """
    problems: list[str] = []
    ontology = named = listing = objects = None
    exemplars: Mapping[str, ImageExemplars] = {}
    if list_input or config.objects.column is not None:  # whose categories are in the manifest
        with gathered(problems):
            listing = list_images(config.input, cells=cell_column(config))
    with gathered(problems):
        entries, place = prompt_entries(config.prompts, config.input.storage_options)
        named = named_in(entries)
        ontology = read_ontology(config, entries, place, listing)
    if listing and list_input:
        if config.objects.given and ontology:
            with gathered(problems):
                objects = read_objects(config, ontology, listing)
        elif named:  # exemplars are checked beside faulty prompts too
            with gathered(problems):
                exemplars = read_exemplars(config, ontology or named, listing)
    if problems or ontology is None:
        raise BadInput(problems)
    if not list_input:
        listing = None
    if listing:
        if listing.duplicates:
            n_duplicates = counted(len(listing.duplicates), "duplicate")
            log.warning("left out, %s: %s", n_duplicates, first_few(listing.duplicates, 5))
        log.info("%s in %s", counted(len(listing.images), "image"), config.input.uri)
    if objects:
        log.info("%s", counted(len(objects.table), "given object"))
    return Request(ontology=ontology, listing=listing, exemplars=exemplars, objects=objects)


def cell_column(config: LabelConfig) -> CellColumn | None:
    """Return the manifest's column that is read beside the URIs."""
    for key, name in (("exemplars.column", config.exemplars.column), ("objects.column", config.objects.column)):
        if name is not None:
            return CellColumn(key=key, name=name)
    return None


def read_ontology(config: LabelConfig, entries: Sequence[Any], place: str, listing: Listing | None) -> Ontology:
    """Return the categories of a job, from where its kind has them.

    Raises:
        BadInput: every problem of them.
    """
    if config.everything.asked:
        return EVERYTHING
    if config.objects.given:
        source = objects_source(config, listing)
        return with_limits(source.categories(), place=source.place, prompts=entries, prompts_place=place)
    max_tokens = ARCHITECTURES[config.model.architecture].max_tokens
    return read_categories(entries, place=place, count_tokens=count_tokens, max_tokens=max_tokens)


@contextmanager
def gathered(problems: list[str]) -> Iterator[None]:
    """Go on after bad input, to find the rest of it."""
    try:
        yield
    except BadInput as error:
        problems.extend(error.problems)


@dataclass(frozen=True, kw_only=True)
class CheckedWeights:
    """The checkpoint of a job; None and every token for weights by a seed."""

    sha256: str | None
    known_tokens: frozenset[int] | None  # None: every token


def check_weights(config: LabelConfig) -> CheckedWeights:
    """Fetch the checkpoint and compare it with the architecture before anything is started.

    Raises:
        CheckpointError: it cannot be had, or is not this model's.
    """
    if config.model.checkpoint is None:
        return CheckedWeights(sha256=None, known_tokens=None)
    options, sha256 = config.model.storage_options, config.model.sha256
    found = download.fetch(config.model.checkpoint, storage_options=options, sha256=sha256)
    parts = DETECTOR_ALONE if config.has_concepts else INTERACTIVE_ALONE
    checkpoint.check(found.path, ARCHITECTURES[config.model.architecture], parts=parts)
    return CheckedWeights(sha256=found.sha256, known_tokens=checkpoint.known_tokens(found.path))


def check_within_reach(images: Sequence[ImageLocation], storage_options: dict[str, Any]) -> None:
    """Try a few images before anything is written.

    Raises:
        BadInput: none of them is there, may be read, and is what was listed: the input cannot be right.
    """
    tried = images[:: -(-len(images) // PROBES)]

    def problem_of(image: ImageLocation) -> RejectedImage | None:
        try:
            fetch_image(image, storage_options)
        except RejectedImage as error:
            return error
        return None

    pool = ThreadPoolExecutor(PROBES, thread_name_prefix="probe")
    try:
        probes = {pool.submit(problem_of, image): image for image in tried}
        problems = {}
        for probe in as_completed(probes):
            problems[probes[probe]] = probe.result()
            if problems[probes[probe]] is None:  # one is enough: others may lie on a web server that does not answer
                return
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    examples = [f"  {image.uri}: {problems[image]}" for image in tried[:3]]
    raise BadInput("\n".join([f"input.uri: none of {len(tried)} images that were tried can be read:", *examples]))
