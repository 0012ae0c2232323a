"""One pass over all units: statistics, doubts and strata, by processes beside each other where it is long."""

from collections.abc import Sequence
from dataclasses import dataclass

from autolabel.config import OutputConfig
from autolabel.errors import BadInput
from autolabel.labels.units import read_columns, unit_uri
from autolabel.output.job_output import JobOutput
from autolabel.output.passes import in_processes, over_units
from autolabel.report.given_objects import GivenObjects, given_objects_of
from autolabel.report.sample import Sampler, Strata, strata_of
from autolabel.report.statistics import Statistics, statistics_of
from autolabel.review.doubts import Doubts, unit_doubts
from autolabel.review.overlaps import Overlaps
from autolabel.review.queue import ReviewQueue


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """Facts about all labelled images of an output."""

    statistics: Statistics
    queue: ReviewQueue
    sampler: Sampler
    objects: GivenObjects


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitSurvey:
    statistics: Statistics
    doubts: Doubts
    overlaps: Overlaps
    strata: Strata
    objects: GivenObjects


def survey_output(output: JobOutput, config: OutputConfig, units: Sequence[int], n_shown: int) -> Survey:
    """Read the units; memory holds their statistics and some two hundred and fifty bytes of each image.

    Raises:
        BadInput: a unit's file is damaged.
    """
    n_categories = len(output.record.settings.ontology.categories)
    statistics, sampler = Statistics.nothing(n_categories), Sampler(n_shown, n_categories)
    overlaps = Overlaps.nothing(n_categories)
    doubts: list[Doubts] = []
    objects = GivenObjects()
    for part in over_units(in_processes(survey_unit, units, output, config), len(units)):
        statistics += part.statistics
        overlaps += part.overlaps
        objects += part.objects
        doubts.append(part.doubts)
        sampler.add(part.strata)
    return Survey(statistics=statistics, queue=ReviewQueue(doubts, overlaps), sampler=sampler, objects=objects)


def survey_unit(output: JobOutput, unit: int) -> UnitSurvey:
    columns = read_columns(output.storage, output.uri, unit)
    try:
        doubts, overlaps = unit_doubts(columns, output.record)
        return UnitSurvey(
            statistics=statistics_of(columns, output.record),
            doubts=doubts,
            overlaps=overlaps,
            strata=strata_of(columns, output.record),
            objects=given_objects_of(columns),
        )
    except ValueError as error:
        raise BadInput(f"{unit_uri(output.uri, unit)}: a mask is damaged: {error}") from error
