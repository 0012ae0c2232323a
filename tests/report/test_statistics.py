"""What the report counts, against counting row by row in plain Python."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from autolabel.labels.units import read_columns
from autolabel.report.statistics import (
    AREA_EDGES,
    COUNT_EDGES,
    REJECT_CODES,
    SCORE_EDGES,
    STATUSES,
    Statistics,
    histograms,
    statistics_of,
)
from tests.report.reported import Reported
from tests.support.jobs import rows_of


def test_counts_are_those_of_the_rows(reported: Reported) -> None:
    output = reported.output
    counted = Statistics.nothing(3)
    for unit in range(output.plan.n_units):
        counted += statistics_of(read_columns(output.storage, output.uri, unit), output.record)
    rows = list(rows_of(Path(output.uri)))
    ids = [category.id for category in output.record.settings.ontology.categories]
    assert dict(zip(STATUSES, counted.images, strict=True)) == {
        status: Counter(row["status"] for row in rows)[status] for status in STATUSES
    }
    assert dict(zip(REJECT_CODES, counted.rejected, strict=True))["truncated"] == 1
    assert counted.rejected.sum() == 1
    looked_at = [row for row in rows if row["status"] != "rejected"]
    for place, category_id in enumerate(ids):
        own = [[i for i in row["instances"] if i["category_id"] == category_id] for row in rows]
        scores = [i["score"] for instances in own for i in instances]
        assert counted.instances[place] == len(scores)
        assert counted.images_with[place] == sum(map(bool, own))
        assert counted.score_sum[place] == pytest.approx(sum(scores))
        assert counted.scores[place].tolist() == binned(scores, SCORE_EDGES)
        candidates = [i["score"] for row in rows for i in row["candidates"] if i["category_id"] == category_id]
        assert counted.candidate_scores[place].tolist() == binned(candidates, SCORE_EDGES)
        shares = [
            i["area"] / (row["width"] * row["height"]) for row, found in zip(rows, own, strict=True) for i in found
        ]
        assert counted.areas[place].tolist() == binned(shares, AREA_EDGES)
        numbers = [len(instances) for instances in own if instances]
        assert counted.counts[place].tolist() == binned(numbers, np.append(COUNT_EDGES, np.inf))
    totals = [len(row["instances"]) for row in looked_at]
    assert counted.counts_of_all.tolist() == [
        totals.count(0),
        *binned([n for n in totals if n], np.append(COUNT_EDGES, np.inf)),
    ]


def binned(values: Sequence[float], edges: np.ndarray) -> list[int]:
    places = Counter(min(max(bisect_right(edges.tolist(), value) - 1, 0), len(edges) - 2) for value in values)
    return [places[place] for place in range(len(edges) - 1)]


def test_what_lies_outside_counts_at_the_ends() -> None:
    table = histograms(np.array([0, 0, 1, 1]), np.array([-1.0, 0.5, 1.0, 7.0]), np.array([0, 0.5, 1]), 3)
    assert table.tolist() == [[1, 1], [0, 2], [0, 0]]
