"""Step 7 of 7, use: the review queue, and a page that shows an output in a browser, without a server."""

from autolabel.config import ReportConfig
from autolabel.errors import BadInput
from autolabel.labels.units import done_units
from autolabel.output.job_output import open_output
from autolabel.output.status import images_per_s
from autolabel.report import gallery, page
from autolabel.report.evaluation import read_evaluation
from autolabel.report.runtimes import works
from autolabel.report.survey import survey_output
from autolabel.storage import Storage, check_output, open_storage
from autolabel.storage.uris import join

FOLDER = "report"


def report(config: ReportConfig) -> str:
    """Write `review.parquet` and the report of what is labelled so far; what was written where, as text.

    Raises:
        BadInput: there is no job at `output.uri`, nothing of it is labelled, or its files are damaged.
        StorageError: a storage keeps failing.
    """
    output = open_output(config.output)
    storage, report_uri = place_of(config, output.storage)
    units = sorted(done_units(output.storage, output.uri) & set(range(output.plan.n_units)))
    if not units:
        raise BadInput(f"output.uri: nothing of {output.uri} is labelled yet; run its job again first")
    seen = survey_output(output, config.output, units, config.thumbnails)
    names = [category.name for category in output.record.settings.ontology.categories]
    review_uri = seen.queue.write(output.storage, output.uri, names)
    cards = gallery.cards(
        output,
        seen.queue,
        seen.sampler.choose(seen.queue.image_id[seen.queue.order[: config.thumbnails]]),
        input_options=config.input.storage_options,
        write=lambda name, data: storage.overwrite(join(report_uri, name), data),
    )
    html = page.render(
        output,
        seen.statistics,
        cards,
        seen.objects,
        n_units_done=len(units),
        works=works(output.storage, output.uri),
        pace=images_per_s(output),
        evaluation=read_evaluation(output.storage, output.uri),
    )
    index_uri = join(report_uri, "index.html")
    storage.overwrite(index_uri, html.encode())  # last: what it refers to is there
    n_images = int(seen.statistics.images.sum())
    return (
        f"{review_uri}: {len(seen.queue)} images by descending doubt\n"
        f"{report_uri}: {n_images} images, {len(cards)} of them in the gallery\n"
        f"Open {index_uri} in a browser."
    )


def place_of(config: ReportConfig, output_storage: Storage) -> tuple[Storage, str]:
    """Return where the report goes."""
    if config.report.uri is None:
        return output_storage, join(config.output.uri, FOLDER)
    check_output(config.report.uri, "report.uri")
    return open_storage(config.report.uri, config.report.storage_options), config.report.uri
