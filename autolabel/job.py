"""`autolabel label`: everything is checked, the plan is sealed, the missing units are labelled, the result is told."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

from autolabel import exemplars, labels, lease, ontology, pipeline, plan, run_record
from autolabel.concepts import ImageExemplars
from autolabel.config import LabelConfig
from autolabel.errors import BadInput, JobFailed, Refused, RejectCode, RejectedImage
from autolabel.images import probe_size
from autolabel.labeler import LabelJob, load_engine
from autolabel.labels import Summary
from autolabel.ontology import Ontology
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.plan import Plan
from autolabel.progress import Progress, closing_text
from autolabel.prompts import prompt_entries
from autolabel.sam3 import checkpoint
from autolabel.sam3.architecture import ARCHITECTURES
from autolabel.sam3.engine import Engine
from autolabel.sam3.text import count_tokens
from autolabel.sources import Listing, absolute, full_uri, list_images
from autolabel.storage import Storage, check_output, join, open_storage
from autolabel.tally import Tally

log = logging.getLogger("autolabel")


def label(config: LabelConfig, *, load: Callable[[LabelJob], Engine] = load_engine) -> str:
    """Run the job to its end, from wherever an earlier run left it; the text to close with.

    `load` makes the model in each actor; benchmarks pass one that costs nothing.

    Raises:
        BadInput, Refused, StorageError, JobFailed: see autolabel.errors.
    """
    config = with_full_checkpoint(config)
    check_output(config.output.uri)
    output_uri = full_uri(config.output.uri)
    output = open_storage(output_uri, config.output.storage_options)

    sealed = sealed_plan(output, output_uri)
    if sealed is None:
        refuse_labels_without_plan(output, output_uri)
    concepts, listing, boxes = read_request(config, list_input=sealed is None)
    weights_sha256 = check_weights(config)
    settings = run_record.label_settings(
        config,
        concepts,
        input_uri=full_uri(config.input.uri),
        weights=weights_sha256 or f"seed {config.model.seed}",
        exemplars_sha256=exemplars_sha256(config),
    )
    contents = plan.encode(listing, boxes, config.output.unit_size) if listing else None
    record = run_record.claim(output, output_uri, settings)
    job = LabelJob(
        config=config,
        output_uri=output_uri,
        record=record,
        checkpoint_sha256=weights_sha256,
    )
    with lease.held(output, output_uri) as held:
        if contents is not None:
            plan.seal(output, output_uri, contents)
        elif sealed and sealed.unit_size != config.output.unit_size:
            log.warning("output.unit_size: the plan is sealed with %d", sealed.unit_size)
        summary = label_missing(job, Plan(output, output_uri), output, held, load)
    return f"{closing_text(summary, concepts)}\nlabels in {join(output_uri, labels.FOLDER)}"


def with_full_checkpoint(config: LabelConfig) -> LabelConfig:
    """A relative path means a file of the directory that the command runs in; actors run elsewhere."""
    if config.model.checkpoint is None:
        return config
    return replace(config, model=replace(config.model, checkpoint=full_uri(config.model.checkpoint)))


def read_request(
    config: LabelConfig, *, list_input: bool
) -> tuple[Ontology, Listing | None, Mapping[str, ImageExemplars]]:
    """The prompts, the images of the input, and the exemplars by image URI; the last two only with `list_input`.

    Raises:
        BadInput: every problem of all three together, each with its place.
    """
    problems: list[str] = []
    concepts = named = listing = None
    boxes: Mapping[str, ImageExemplars] = {}
    with gathered(problems):
        entries, place = prompt_entries(config.prompts, config.input.storage_options)
        named = ontology.named_in(entries)
        max_tokens = ARCHITECTURES[config.model.architecture].max_tokens
        concepts = ontology.read_categories(entries, place=place, count_tokens=count_tokens, max_tokens=max_tokens)
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
            some = ", ".join(listing.duplicates[:5]) + (", ..." if len(listing.duplicates) > 5 else "")
            log.warning("%d duplicates are labelled once: %s", len(listing.duplicates), some)
        log.info("%d images in %s", len(listing.images), config.input.uri)
    return concepts, listing, boxes


@contextmanager
def gathered(problems: list[str]) -> Iterator[None]:
    """Go on after bad input, to find the rest of it."""
    try:
        yield
    except BadInput as error:
        problems.extend(error.problems)


def read_exemplars(config: LabelConfig, concepts: Ontology, listing: Listing) -> Mapping[str, ImageExemplars]:
    """The exemplars of the images that have some.

    Raises:
        BadInput: every problem of every box.
    """
    options = config.input.storage_options

    def probe(uri: str) -> tuple[int, int]:
        try:
            data = open_storage(uri, options).read(uri)
        except FileNotFoundError as error:
            raise RejectedImage(RejectCode.MISSING, "not there") from error
        return probe_size(data, apply_exif=config.image.apply_exif, max_pixels=config.image.max_pixels)

    if config.exemplars.uri is not None:
        uris = {image.uri for image in listing.images}

        def find_image(file_name: str) -> str | None:
            uri = absolute(file_name, listing.root)
            return uri if uri in uris else None

        uri = full_uri(config.exemplars.uri)
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


def sealed_plan(output: Storage, output_uri: str) -> Plan | None:
    """The plan of an earlier run, if it came that far."""
    try:
        return Plan(output, output_uri)
    except FileNotFoundError:
        return None


def refuse_labels_without_plan(output: Storage, output_uri: str) -> None:
    """Raises Refused where a new plan would make another plan's labels its own."""
    if labels.done_units(output, output_uri) and sealed_plan(output, output_uri) is None:  # not sealed meanwhile either
        place = join(output_uri, labels.FOLDER)
        raise Refused(f"{place} holds labels, but the plan that says of what is gone; use a new output.uri")


def check_weights(config: LabelConfig) -> str | None:
    """Fetch the checkpoint and compare it with the architecture before anything is started; its sha256.

    Raises:
        CheckpointError: it cannot be had, or is not this model's.
    """
    if config.model.checkpoint is None:
        return None
    options, sha256 = config.model.storage_options, config.model.sha256
    found = checkpoint.fetch(config.model.checkpoint, storage_options=options, sha256=sha256)
    checkpoint.check(found.path, ARCHITECTURES[config.model.architecture])
    return found.sha256


def exemplars_sha256(config: LabelConfig) -> str | None:
    """What the exemplars were read from: changing that file changes the labels."""
    uri = config.exemplars.uri or (config.input.uri if config.exemplars.column else None)
    if uri is None:
        return None
    return hashlib.sha256(open_storage(uri, config.input.storage_options).read(full_uri(uri))).hexdigest()


def label_missing(
    job: LabelJob, sealed: Plan, output: Storage, held: lease.Lease, load: Callable[[LabelJob], Engine]
) -> Summary:
    """Label the units that have no file yet; the counts of the whole output.

    Raises:
        JobFailed: the pipeline ended, and units are still missing.
    """
    done = labels.done_units(output, job.output_uri) & set(range(sealed.n_units))
    missing = set(range(sealed.n_units)) - done
    n_done_before = sum(map(sealed.images_in, done))
    if done:
        log.info("%d of %d units are labelled already", len(done), sealed.n_units)
    summary = Summary()
    if missing:
        with pipeline.connected(job.config.cluster):
            tally = Tally()
            progress = Progress(n_images=sealed.n_images, n_done_before=n_done_before, in_hand=tally.images)
            watched = pipeline.watched(tally, job.config.cluster.stall_timeout_s)
            units = pipeline.label_units(job, sorted(missing), tally, load=load)
            with progress, watched, closing(units) as reports:
                for report in reports:
                    held.check()
                    progress.add(report.summary)
        summary.add(progress.summary)
        missing = set(range(sealed.n_units)) - labels.done_units(output, job.output_uri)  # not by reports: by files
    if missing:
        place = join(job.output_uri, labels.FOLDER)
        raise JobFailed(f"{place}: {len(missing)} units are still missing; the same command goes on from here")
    for earlier in in_threads(partial(labels.read_summary, output, job.output_uri), sorted(done), IO_THREADS):
        summary.add(earlier)
    return summary
