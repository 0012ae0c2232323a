"""`autolabel.Labels`: an output as its users see it, in a notebook or a script.

Lazy throughout: an output of ten million images opens at once, iteration holds one unit, `labels[image_id]` reads one.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from autolabel.config import OutputConfig
from autolabel.errors import BadInput, did_you_mean
from autolabel.labels.schema import SCHEMA
from autolabel.labels.types import Status
from autolabel.labels.units import done_units, read_unit
from autolabel.output.job_output import open_output
from autolabel.output.run_record import RunRecord
from autolabel.prompts.ontology import Category
from autolabel.reader.filters import Filter
from autolabel.reader.image import ImageSource, LabelledImage, labelled_image
from autolabel.reader.tables import IMAGES, INSTANCES, OF_AN_IMAGE, OF_AN_INSTANCE, instances_table, leaves, one_batch
from autolabel.storage import Storage, open_storage
from autolabel.storage.uris import absolute_uri, scheme_of

if TYPE_CHECKING:
    import pandas as pd


class Labels:
    """The labels of an output, finished or not: of an unfinished one, the units that are done.

    >>> labels = Labels("s3://bucket/labels")
    >>> for image in labels.filter(category="car", min_score=0.8):
    ...     image.draw().save(f"{image.image_id}.png")

    Args:
        storage_options: for the fsspec driver of the output.
        input_storage_options: for that of the images; by default those of the output, if they lie on the same scheme.

    Raises:
        BadInput: no job was ever started at `uri`, or it was stopped before its plan was sealed.
    """

    def __init__(
        self,
        uri: str,
        *,
        storage_options: dict[str, Any] | None = None,
        input_storage_options: dict[str, Any] | None = None,
    ) -> None:
        self.uri = absolute_uri(uri)
        options = storage_options or {}
        self._output = open_output(OutputConfig(uri=self.uri, storage_options=options))
        if input_storage_options is None:
            storage_of = storage_by_scheme(lambda scheme: options if scheme == scheme_of(self.uri) else {})
        else:
            storage_of = storage_by_scheme(lambda scheme: input_storage_options)
        self._source = ImageSource(record=self.run, storage_of=storage_of)
        self._selection = Filter()

    @property
    def run(self) -> RunRecord:
        """What was asked: prompts, model, thresholds."""
        return self._output.record

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.run.ontology.categories

    @property
    def n_planned(self) -> int:
        """Images that the job was given, labelled by now or not."""
        return self._output.plan.n_images

    def __len__(self) -> int:
        """Images whose rows are there, by a listing of the output.

        Raises:
            TypeError: of a selection, which is as long as what it finds.
        """
        if self._selection != Filter():
            raise TypeError("how much a filter lets through is not known before it is read: sum(1 for _ in labels)")
        return sum(self._output.plan.n_images_of(unit) for unit in self._units())

    def __repr__(self) -> str:
        names = ", ".join(category.name for category in self.categories)
        chosen = "" if self._selection == Filter() else f", {self._selection}"
        return f"<Labels {self.uri!r}: {self.n_planned} images planned, of {names}{chosen}>"

    def filter(
        self,
        *,
        status: str | None = None,
        category: str | Collection[str] | None = None,
        min_score: float | None = None,
    ) -> "Labels":
        """The images of this status, and of their instances and candidates those of one of these categories and of at
        least this score; images that have none of those go.

        Raises:
            BadInput: there is no such status or category, or the score is not between 0 and 1; all problems at once.
        """
        names = [] if category is None else [category] if isinstance(category, str) else list(category)
        by_name = self.run.ontology.by_name
        problems = [f"no category {name!r}{did_you_mean(name, by_name)}" for name in names if name not in by_name]
        if status is not None and status not in set(Status):
            problems.append(f"no status {status!r}: it is one of {', '.join(Status)}")
        if min_score is not None and not 0 <= min_score <= 1:  # NaN is not
            problems.append(f"min_score {min_score} is not between 0 and 1")
        if problems:
            raise BadInput(problems)
        chosen = Filter(
            statuses=None if status is None else frozenset([status]),
            category_ids=None if category is None else frozenset(by_name[name].id for name in names),
            min_score=min_score,
        )
        labels = copy(self)
        labels._selection = self._selection & chosen
        return labels

    def __iter__(self) -> Iterator[LabelledImage]:
        """Image by image in the order of their ids, a unit in memory at a time."""
        for table in self._tables(SCHEMA.names):
            for row in table.to_pylist():
                yield labelled_image(row, self._source)

    def __getitem__(self, image_id: int) -> LabelledImage:
        """An image by its id.

        Raises:
            KeyError: the plan has no such image, its labels are not there yet, or the filter leaves it out.
        """
        if not 1 <= image_id <= self.n_planned:
            raise KeyError(f"no image {image_id}: ids are 1 to {self.n_planned}")
        unit = (image_id - 1) // self._output.plan.unit_size
        try:
            table = self._selection.of(read_unit(self._output.storage, self._output.uri, unit))
        except FileNotFoundError as error:
            raise KeyError(f"image {image_id} is not labelled yet") from error
        rows = table.filter(pc.equal(table["image_id"], image_id)).to_pylist()
        if not rows:
            raise KeyError(f"image {image_id} is not among those that the filter lets through")
        return labelled_image(rows[0], self._source)

    def images(self) -> pa.RecordBatchReader:
        """A row for each image, IMAGES, without what was found: for DuckDB, Polars, pandas; to be read once."""
        tables = self._tables(OF_AN_IMAGE)
        return pa.RecordBatchReader.from_batches(IMAGES, (one_batch(table.select(OF_AN_IMAGE)) for table in tables))

    def instances(self) -> pa.RecordBatchReader:
        """A row for each label, INSTANCES, without its mask: for DuckDB, Polars, pandas; to be read once."""
        return self._flat("instances")

    def candidates(self) -> pa.RecordBatchReader:
        """As `instances`: what the model found besides, in the same images."""
        return self._flat("candidates")

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each label, without its mask; all of them in memory."""
        return self.instances().read_pandas()

    def _flat(self, name: str) -> pa.RecordBatchReader:
        tables = self._tables(["image_id", "uri", *leaves(name, OF_AN_INSTANCE)])
        return pa.RecordBatchReader.from_batches(
            INSTANCES, (instances_table(table, name, self.categories) for table in tables)
        )

    def _units(self) -> list[int]:
        """Those that are done by now, in order."""
        return sorted(done_units(self._output.storage, self._output.uri))

    def _tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The selected rows, a unit each; more columns than these where the selection needs them."""
        needed = self._selection.columns(columns)
        for unit in self._units():
            yield self._selection.of(read_unit(self._output.storage, self._output.uri, unit, needed))


def storage_by_scheme(options_of: Callable[[str], dict[str, Any]]) -> Callable[[str], Storage]:
    """From the URI of an image to its storage, opened once for each scheme."""
    opened: dict[str, Storage] = {}

    def storage_of(uri: str) -> Storage:
        scheme = scheme_of(uri)
        if scheme not in opened:
            opened[scheme] = open_storage(uri, options_of(scheme))
        return opened[scheme]

    return storage_of
