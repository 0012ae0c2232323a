"""`autolabel.Labels`: an output as its users see it, in a notebook or a script.

Lazy throughout: an output of ten million images opens at once, iteration holds one unit, `labels[image_id]` reads one.
"""

from collections.abc import Callable, Collection, Iterator
from copy import copy
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autolabel.config import OutputConfig
from autolabel.errors import BadInput, did_you_mean
from autolabel.labels.columns import InstanceColumns, UnitColumns
from autolabel.labels.flat import instances_table
from autolabel.labels.types import Status
from autolabel.labels.units import done_units, read_columns
from autolabel.output.job_output import open_output
from autolabel.output.run_record import RunRecord
from autolabel.prompts.ontology import Category
from autolabel.reader.filters import Filter
from autolabel.reader.image import ImageSource, LabelledImage, labelled_image
from autolabel.reader.tables import IMAGES, INSTANCES, image_batches
from autolabel.storage.uris import absolute_uri, resolve_uri, scheme_of
from autolabel.wording import first_few

if TYPE_CHECKING:
    import pandas as pd

SHOWN_CATEGORIES = 10  # in a message


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

        def options_of(image_uri: str) -> dict[str, Any]:
            if input_storage_options is not None:
                return input_storage_options
            return options if scheme_of(image_uri) == scheme_of(self.uri) else {}

        self._source = ImageSource(output=self._output, options_of=options_of)
        self._filter = Filter()

    @property
    def run(self) -> RunRecord:
        """Return what was asked: prompts, model, thresholds."""
        return self._output.record

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.run.settings.ontology.categories

    @property
    def n_planned(self) -> int:
        """Return how many images the job was given, labelled by now or not."""
        return self._output.plan.n_images

    def __len__(self) -> int:
        """Return images whose rows are there, by a listing of the output.

        Raises:
            TypeError: of a selection, which is as long as what it finds.
        """
        if self._filter != Filter():
            raise TypeError("how much a filter lets through is not known before it is read: sum(1 for _ in labels)")
        return sum(self._output.plan.n_images_of(unit) for unit in self._units())

    def __repr__(self) -> str:
        names = ", ".join(category.name for category in self.categories)
        chosen = "" if self._filter == Filter() else f", {self._filter}"
        return f"<Labels {self.uri!r}: {self.n_planned} images planned, of {names}{chosen}>"

    def filter(
        self,
        *,
        status: str | None = None,
        category: str | Collection[str] | None = None,
        min_score: float | None = None,
    ) -> "Labels":
        """Choose the images of this status, and of their instances and candidates those of these categories and scores.

        Images that have none of those instances go.

        Raises:
            BadInput: there is no such status or category, or the score is not between 0 and 1; all problems at once.
        """
        names = [] if category is None else [category] if isinstance(category, str) else list(category)
        by_name = self.run.settings.ontology.by_name
        known = first_few(list(by_name), SHOWN_CATEGORIES)
        problems = [
            f"no category {name!r}{did_you_mean(name, by_name)}: there are {known}"
            for name in names
            if name not in by_name
        ]
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
        labels._filter = self._filter & chosen
        return labels

    def __iter__(self) -> Iterator[LabelledImage]:
        """Give image by image in the order of their ids, a unit in memory at a time."""
        for unit in self._chosen_units():
            for image in unit.images():
                yield labelled_image(image, self._source)

    @overload
    def __getitem__(self, image: int | str) -> LabelledImage: ...

    @overload
    def __getitem__(self, image: slice) -> list[LabelledImage]: ...

    def __getitem__(self, image: int | str | slice) -> LabelledImage | list[LabelledImage]:
        """Return an image by its id, by its URI, or by its path below the input; or the images of a slice of ids.

        `labels[1:3]` is the images 1 and 2: ids begin at 1. It leaves out what iteration leaves out.

        Raises:
            KeyError: the plan has no such image, its labels are not there yet, or the filter leaves it out.
            TypeError: it is neither an integer, nor text, nor a slice of integers from 1 on.
        """
        match image:
            case slice():
                return list(self._of_ids(ids_of(image, self.n_planned)))
            case str():
                return self._of_id(self._id_of(image))
            case int() | np.integer() if not isinstance(image, bool):
                return self._of_id(int(image))
        raise TypeError(f"an image is chosen by its id, its URI or its path below the input, not by {image!r}")

    def _of_id(self, image_id: int) -> LabelledImage:
        if not 1 <= image_id <= self.n_planned:
            raise KeyError(f"no image {image_id}: ids are 1 to {self.n_planned}")
        try:
            unit = self._chosen(self._output.plan.unit_of(image_id))
        except FileNotFoundError as error:
            raise KeyError(f"image {image_id} is not labelled yet") from error
        chosen = unit.select(unit.image_id == image_id)
        if not len(chosen):
            raise KeyError(f"image {image_id} is not among those that the filter lets through")
        return labelled_image(next(chosen.images()), self._source)

    def _of_ids(self, image_ids: range) -> Iterator[LabelledImage]:
        done = set(self._units())
        for unit, ids in groupby(image_ids, self._output.plan.unit_of):
            if unit in done:
                chosen = self._chosen(unit)
                chosen = chosen.select(np.isin(chosen.image_id, list(ids)))
                yield from (labelled_image(image, self._source) for image in chosen.images())

    def _id_of(self, name: str) -> int:
        uris, root = self._output.plan.uris, self._output.plan.input_root
        index = pc.index(uris, resolve_uri(name, root)).as_py()
        if index < 0:
            similar = pc.index(pc.ends_with(uris, f"/{name.rpartition('/')[2]}"), True).as_py()
            meant = "" if similar < 0 else f" (did you mean {self._output.file_name(uris[similar].as_py())!r}?)"
            raise KeyError(f"no image {name!r} below {root}{meant}")
        return int(index) + 1

    def images(self) -> pa.RecordBatchReader:
        """Return a row for each image, IMAGES, without what was found: for DuckDB, Polars, pandas; to be read once."""
        return pa.RecordBatchReader.from_batches(IMAGES, chain.from_iterable(map(image_batches, self._chosen_units())))

    def instances(self) -> pa.RecordBatchReader:
        """Return a row for each label, INSTANCES, without its mask: for DuckDB, Polars, pandas; to be read once."""
        return self._flat(lambda unit: unit.instances)

    def candidates(self) -> pa.RecordBatchReader:
        """Return, as `instances`, what the model found besides in the same images."""
        return self._flat(lambda unit: unit.candidates)

    def to_pandas(self) -> "pd.DataFrame":
        """Return a row for each label, without its mask; all of them in memory."""
        return self.instances().read_pandas()

    def _flat(self, chosen: Callable[[UnitColumns], InstanceColumns]) -> pa.RecordBatchReader:
        tables = (instances_table(unit, chosen(unit), self.run.settings.ontology) for unit in self._chosen_units())
        batches = chain.from_iterable(table.select(INSTANCES.names).to_batches() for table in tables)
        return pa.RecordBatchReader.from_batches(INSTANCES, batches)

    def _units(self) -> list[int]:
        """Return those that are done by now, in order."""
        return sorted(done_units(self._output.storage, self._output.uri))

    def _chosen_units(self) -> Iterator[UnitColumns]:
        return map(self._chosen, self._units())

    def _chosen(self, unit: int) -> UnitColumns:
        return self._filter.of(read_columns(self._output.storage, self._output.uri, unit))


def ids_of(chosen: slice, n_images: int) -> range:
    """Return the ids of a slice, as Python's slices count: from the first to the one before the last.

    Raises:
        TypeError: they are not integers from 1 on.
    """
    defaults = {"start": 1, "stop": n_images + 1, "step": 1}
    given = {name: getattr(chosen, name) for name in defaults if getattr(chosen, name) is not None}
    if not all(isinstance(number, int) and number >= 1 for number in given.values()):
        raise TypeError(f"{chosen}: ids are 1 to {n_images}; list(labels) is what counts from 0, and from the end")
    first, end, step = (defaults | given).values()
    return range(first, min(end, n_images + 1), step)
