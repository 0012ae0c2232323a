"""Which images are shown: bounded, the same every time, some of everything."""

from pathlib import Path

import numpy as np

from autolabel.labels.units import read_columns
from autolabel.report.sample import Sampler, Strata, chance, extra, strata_of
from tests.report.reported import COUNT, Reported
from tests.support.jobs import rows_of


def strata(*images: tuple[int, int]) -> Strata:
    stratum, image_id = np.array(images).T
    return Strata(stratum=stratum, image_id=image_id)


def test_each_image_is_in_its_strata(reported: Reported) -> None:
    output = reported.output
    empty, rejected, every = extra(3)
    found = set()
    for unit in range(output.plan.n_units):
        part = strata_of(read_columns(output.storage, output.uri, unit), output.record)
        found |= set(zip(part.stratum.tolist(), part.image_id.tolist(), strict=True))
    expected = set()
    places = {category.id: place for place, category in enumerate(output.record.settings.ontology.categories)}
    for row in rows_of(Path(output.uri)):
        own = {places[one["category_id"]] for one in row["instances"]} | {every}
        own |= {"empty": {empty}, "rejected": {rejected}}.get(row["status"], set())
        expected |= {(stratum, row["image_id"]) for stratum in own}
    assert found == expected
    assert len({image for stratum, image in found if stratum == every}) == COUNT + 1


def test_a_rare_category_and_the_most_doubtful_are_among_a_few_of_a_million() -> None:
    n = 1_000_000
    rare, empty, rejected, every = 1, 2, 3, 4
    sampler = Sampler(30, 2)
    for start in range(0, n, 10_000):
        ids = np.arange(start, start + 10_000)
        labels = np.where(ids == 777_777, rare, np.where(ids % 10 == 0, empty, np.where(ids % 10 == 1, rejected, 0)))
        sampler.add(Strata(stratum=np.append(labels, np.full(len(ids), every)), image_id=np.append(ids, ids)))
    doubtful = np.array([123_456, 5, 999_999])
    chosen = sampler.choose(doubtful)
    assert len(chosen) == len(set(chosen)) == 30
    assert chosen[:3] == doubtful.tolist()
    assert 777_777 in chosen
    assert sum(one % 10 == 0 for one in chosen) >= 5
    assert 1 <= sum(one % 10 == 1 for one in chosen) <= 8


def test_the_sample_does_not_depend_on_the_order_of_units() -> None:
    parts = [
        strata(*((stratum, image) for stratum in (0, 3) for image in range(start, start + 9))) for start in (0, 9, 18)
    ]
    samples = []
    for order in (parts, parts[::-1]):
        sampler = Sampler(5, 1)
        for part in order:
            sampler.add(part)
        samples.append(sampler.choose(np.zeros(0, np.int64)))
    assert samples[0] == samples[1]
    assert len(samples[0]) == 5


def test_no_images_are_asked_for() -> None:
    sampler = Sampler(0, 1)
    sampler.add(strata((0, 1), (3, 1)))
    assert sampler.choose(np.array([1])) == []


def test_chance_is_spread_evenly_and_fixed() -> None:
    drawn = chance(np.arange(100_000)) / 2**64
    assert np.histogram(drawn, 10, (0, 1))[0].min() > 9_500
    assert chance(np.array([1, 2])).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]  # as published, for seed 0
