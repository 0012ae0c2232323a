"""What a labelling job asks for, read and checked before a model is loaded: prompts, images, exemplars, weights."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from autolabel.config import LabelConfig
from autolabel.errors import BadInput, RejectedImage
from autolabel.images.decode import probe_size
from autolabel.inputs import fetch_image
from autolabel.inputs.listing import Listing, list_images
from autolabel.inputs.locations import ImageLocation
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.prompts import exemplars
from autolabel.prompts.categories import named_in, prompt_entries, read_categories
from autolabel.prompts.concepts import ImageExemplars
from autolabel.prompts.ontology import Ontology
from autolabel.sam3 import checkpoint, download
from autolabel.sam3.architecture import ARCHITECTURES
from autolabel.sam3.text import count_tokens
from autolabel.storage import open_storage
from autolabel.storage.uris import absolute_uri, resolve_uri
from autolabel.wording import counted, first_few

PROBES = 8  # images that are tried first

log = logging.getLogger("autolabel")


def with_full_checkpoint(config: LabelConfig) -> LabelConfig:
    """Make a relative path absolute: actors run in other directories than the command."""
    if config.model.checkpoint is None:
        return config
    return replace(config, model=replace(config.model, checkpoint=absolute_uri(config.model.checkpoint)))


def read_request(
    config: LabelConfig, *, list_input: bool
) -> tuple[Ontology, Listing | None, Mapping[str, ImageExemplars]]:
    """Return the prompts, the images of the input, and the exemplars by image URI; the last two only with `list_input`.

    Raises:
        BadInput: every problem of all three together, each with its place.
    """
    problems: list[str] = []
    concepts = named = listing = None
    boxes: Mapping[str, ImageExemplars] = {}
    with gathered(problems):
        entries, place = prompt_entries(config.prompts, config.input.storage_options)
        named = named_in(entries)
        max_tokens = ARCHITECTURES[config.model.architecture].max_tokens
        concepts = read_categories(entries, place=place, count_tokens=count_tokens, max_tokens=max_tokens)
    if list_input:
        with gathered(problems):
            listing = list_images(config.input, exemplar_column=config.exemplars.column)
        if listing and named:  # exemplars are checked beside faulty prompts too
            with gathered(problems):
                boxes = read_exemplars(config, concepts or named, listing)
    if problems or concepts is None:
        raise BadInput(problems)
    if listing:
        if listing.duplicates:
            n_duplicates = counted(len(listing.duplicates), "duplicate")
            log.warning("left out, %s: %s", n_duplicates, first_few(listing.duplicates, 5))
        log.info("%s in %s", counted(len(listing.images), "image"), config.input.uri)
    return concepts, listing, boxes


@contextmanager
def gathered(problems: list[str]) -> Iterator[None]:
    """Go on after bad input, to find the rest of it."""
    try:
        yield
    except BadInput as error:
        problems.extend(error.problems)


def read_exemplars(config: LabelConfig, concepts: Ontology, listing: Listing) -> Mapping[str, ImageExemplars]:
    """Return the exemplars of the images that have some.

    Raises:
        BadInput: every problem of every box.
    """
    options = config.input.storage_options

    def probe(uri: str) -> tuple[int, int]:
        data = fetch_image(ImageLocation(uri), options)
        return probe_size(data, apply_exif=config.image.apply_exif, max_pixels=config.image.max_pixels)

    if config.exemplars.uri is not None:
        uris = {image.uri for image in listing.images}

        def find_image(file_name: str) -> str | None:
            uri = resolve_uri(file_name, listing.root)
            return uri if uri in uris else None

        uri = absolute_uri(config.exemplars.uri)
        try:
            document = open_storage(uri, options).read(uri)
        except FileNotFoundError as error:
            raise BadInput(f"exemplars.uri: {config.exemplars.uri} does not exist") from error
        return exemplars.read_coco(
            document,
            place=config.exemplars.uri,
            ontology=concepts,
            config=config.exemplars,
            find_image=find_image,
            probe=probe,
        )

    def read_cell(uri: str) -> ImageExemplars | BadInput:
        try:
            return exemplars.read_cell(
                listing.cells[uri],
                place=f"{config.exemplars.column} of {uri}",
                ontology=concepts,
                config=config.exemplars,
                size_hw=listing.sizes_hw.get(uri),
                probe=partial(probe, uri),
            )
        except BadInput as error:
            return error

    # sizes that the manifest does not state are read from the images
    cells = dict(zip(listing.cells, in_threads(read_cell, listing.cells, IO_THREADS), strict=True))
    problems = [problem for cell in cells.values() if isinstance(cell, BadInput) for problem in cell.problems]
    if problems:
        raise BadInput(problems)
    return {uri: cell for uri, cell in cells.items() if isinstance(cell, ImageExemplars) and cell.exemplars}


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
    checkpoint.check(found.path, ARCHITECTURES[config.model.architecture])
    return CheckedWeights(sha256=found.sha256, known_tokens=checkpoint.known_tokens(found.path))


def exemplars_sha256(config: LabelConfig) -> str | None:
    """Return what the exemplars were read from: changing that file changes the labels."""
    uri = config.exemplars.uri or (config.input.uri if config.exemplars.column else None)
    if uri is None:
        return None
    return hashlib.sha256(open_storage(uri, config.input.storage_options).read(absolute_uri(uri))).hexdigest()


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
