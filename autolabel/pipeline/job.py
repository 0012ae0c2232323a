"""`autolabel label`: everything is checked, the plan is sealed, the missing units are labelled, the result is told."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import takewhile

from autolabel import plan
from autolabel.config import ClusterConfig, LabelConfig
from autolabel.errors import JobFailed, Refused
from autolabel.labels.summary import Summary, closing_text
from autolabel.labels.units import LABELS_FOLDER, done_units, read_summary
from autolabel.output import lease, run_record
from autolabel.output.settings import label_settings
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.pipeline import actors
from autolabel.pipeline.actors import load_job_engine
from autolabel.pipeline.cluster import ray_connection
from autolabel.pipeline.heartbeat import Heartbeat, Pulse
from autolabel.pipeline.messages import LabelJob
from autolabel.pipeline.progress import Progress
from autolabel.pipeline.ray_log import without_harmless_lines
from autolabel.pipeline.request import (
    Request,
    check_weights,
    check_within_reach,
    read_request,
    with_full_checkpoint,
)
from autolabel.pipeline.visual_prompts import exemplars_sha256, objects_sha256
from autolabel.pipeline.watch import watch
from autolabel.plan import Plan
from autolabel.sam3.engine import Engine
from autolabel.sam3.text import unknown_words
from autolabel.storage import Storage, check_output, open_storage
from autolabel.storage.uris import absolute_uri, join

log = logging.getLogger("autolabel")


def label(config: LabelConfig, *, load: Callable[[LabelJob], Engine] = load_job_engine) -> str:
    """Run the job to its end, from wherever an earlier run left it, and return the text to close with.

    `load` makes the model in each actor; benchmarks pass one that costs nothing.

    Raises:
        BadInput, Refused, StorageError, JobFailed: see autolabel.errors.
    """
    config = with_full_checkpoint(config)
    check_output(config.output.uri)
    output_uri = absolute_uri(config.output.uri)
    output = open_storage(output_uri, config.output.storage_options)

    sealed = sealed_plan(output, output_uri)
    if sealed is None:
        refuse_labels_without_plan(output, output_uri)
    request = read_request(config, list_input=sealed is None)
    weights = check_weights(config)
    phrases = phrases_asked(config, request)
    settings = label_settings(
        config,
        request.ontology,
        input_uri=absolute_uri(config.input.uri),
        weights=weights.sha256 or f"seed {config.model.seed}",
        exemplars_sha256=exemplars_sha256(config),
        objects_sha256=objects_sha256(config),
    )
    if request.listing:
        check_within_reach(request.listing.images, config.input.storage_options)
    contents = (
        plan.encode(
            request.listing,
            unit_size=config.output.unit_size,
            exemplars=request.exemplars,
            objects=request.objects,
        )
        if request.listing
        else None
    )
    record = run_record.create_or_match(output, output_uri, settings, unknown_words(phrases, weights.known_tokens))
    if note := record.note_on_words():
        log.warning("%s", note)
    job = LabelJob.of(config, output_uri=output_uri, record=record, checkpoint_sha256=weights.sha256)
    with lease.acquired(output, output_uri) as held:
        if contents is not None:
            plan.seal(output, output_uri, contents)
        elif sealed and sealed.unit_size != config.output.unit_size:
            log.warning("output.unit_size: the plan is sealed with %d", sealed.unit_size)
        summary = label_missing(job, Plan(output, output_uri), output, held, config.cluster, load)
    place = f"labels in {join(output_uri, LABELS_FOLDER)}"
    return "\n".join([closing_text(summary, request.ontology), *([note] if note else []), place])


def phrases_asked(config: LabelConfig, request: Request) -> list[str]:
    """Return the phrases of the categories that are asked by text, and not by exemplars alone."""
    by_boxes = {exemplar.category_id for image in request.exemplars.values() for exemplar in image.exemplars}
    alone = set() if config.exemplars.use_text else by_boxes
    return [
        phrase for category in request.ontology.categories if category.id not in alone for phrase in category.phrases
    ]


def sealed_plan(output: Storage, output_uri: str) -> Plan | None:
    """Return the plan of an earlier run, if it came that far."""
    try:
        return Plan(output, output_uri)
    except FileNotFoundError:
        return None


def refuse_labels_without_plan(output: Storage, output_uri: str) -> None:
    """Raise Refused where a new plan would make another plan's labels its own."""
    if done_units(output, output_uri) and sealed_plan(output, output_uri) is None:  # not sealed meanwhile either
        place = join(output_uri, LABELS_FOLDER)
        raise Refused(f"{place} holds labels, but the plan that says of what is gone; use a new output.uri")


def label_missing(
    job: LabelJob,
    sealed: Plan,
    output: Storage,
    held: lease.Lease,
    cluster: ClusterConfig,
    load: Callable[[LabelJob], Engine],
) -> Summary:
    """Label the units that have no file yet, and return the counts of the whole output.

    Raises:
        JobFailed: the pipeline ended, and units are still missing.
    """
    every = set(range(sealed.n_units))
    done = done_units(output, job.output_uri) & every
    if done:
        log.info("%d of %d units are labelled already", len(done), sealed.n_units)
    again = units_to_retry(job, output, sorted(done)) if job.retry else set[int]()
    todo, done = (every - done) | again, done - again
    with summing(output, job.output_uri, sorted(done)) as of_earlier_runs:
        progress = Progress(n_images=sealed.n_images, n_done_before=sum(map(sealed.n_images_of, done)), say=held.say)
        pulse = Pulse()
        while todo:
            with without_harmless_lines(), ray_connection(cluster):
                reported, pulse = run_pipeline(job, sorted(todo), held, cluster, load, progress, pulse.bad_nodes)
            there = done_units(output, job.output_uri)  # what is done is told by files, not by reports
            left = {unit for unit in todo if unit not in there or (unit in again and unit not in reported)}
            if len(left) == len(todo):
                break
            todo = left  # which actors that were parked gave back
        if todo:
            said = f"; the last process that died said: {pulse.last_words}" if pulse.last_words else ""
            place = join(job.output_uri, LABELS_FOLDER)
            missing = f"{len(todo)} of {sealed.n_units} units are still missing"
            raise JobFailed(f"{place}: {missing}{said}; the same command goes on from here")
        summary = of_earlier_runs()
        summary.add(progress.summary)
    return summary


def units_to_retry(job: LabelJob, output: Storage, units: Sequence[int]) -> set[int]:
    """Return the units with images that were rejected for a reason that is tried again."""
    summaries = in_threads(partial(read_summary, output, job.output_uri), units, IO_THREADS)
    again = {
        unit
        for unit, summary in zip(units, summaries, strict=True)
        if any(summary.rejected_by[code] for code in job.retry)
    }
    log.info("retry: %d units hold images that were rejected as %s", len(again), ", ".join(sorted(job.retry)))
    return again


def run_pipeline(
    job: LabelJob,
    units: Sequence[int],
    held: lease.Lease,
    cluster: ClusterConfig,
    load: Callable[[LabelJob], Engine],
    progress: Progress,
    bad_nodes: frozenset[str],
) -> tuple[set[int], Pulse]:
    """Label units on the connected cluster, without nodes that are known as bad.

    Returns:
        The units that were reported done, and the last pulse, with all nodes that are bad.
    """
    heartbeat, reported = Heartbeat(), set[int]()
    reports = actors.label_units(job, units, heartbeat, cluster, load=load, bad_nodes=bad_nodes)
    watched = watch(heartbeat, cluster.stall_timeout_s)
    with progress.showing(heartbeat.in_hand), watched, closing(reports):
        for report in reports:
            held.check()
            progress.add(report.summary)
            reported.add(report.unit)
    pulse = heartbeat.pulse()
    return reported, replace(pulse, bad_nodes=pulse.bad_nodes | bad_nodes)


@contextmanager
def summing(output: Storage, output_uri: str, units: Sequence[int]) -> Iterator[Callable[[], Summary]]:
    """Add up the counts of units beside the block, which gets a function that waits for the sum.

    A large output has many footers: GPUs must not wait for them.
    """
    stopped = threading.Event()

    def total() -> Summary:
        summary = Summary()
        wanted = takewhile(lambda _: not stopped.is_set(), units)
        for earlier in in_threads(partial(read_summary, output, output_uri), wanted, IO_THREADS):
            summary.add(earlier)
        return summary

    with ThreadPoolExecutor(1, thread_name_prefix="footers") as pool:
        future = pool.submit(total)
        try:
            yield future.result
        finally:
            stopped.set()
