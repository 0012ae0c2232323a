"""The prompts file that an evaluation writes is read as any other."""

import pytest

from autolabel.evaluation.curves import CategoryCurve, Quality
from autolabel.evaluation.prompts_yaml import prompts_yaml
from autolabel.prompts.categories import parse_prompt_file, read_categories
from autolabel.prompts.ontology import Category, Ontology

NAMES = [
    "no",
    "on",
    "1",
    "3.5",
    "null",
    "~",
    "a: b",
    "- x",
    "# y",
    "it's",
    '"quoted"',
    "été",
    "猫",
    "🚗",
    "a\\b",
    "{x}",
]


def quality(threshold: float) -> Quality:
    return Quality(threshold=threshold, tp=1, fp=0, fn=0)


def curve(category_id: int, best: float | None) -> CategoryCurve:
    return CategoryCurve(
        category_id=category_id,
        n_objects=1,
        in_force=quality(0.5),
        points=(),
        best=None if best is None else quality(best),
    )


def read_back(text: str) -> Ontology:
    entries = parse_prompt_file(text, "prompts.yaml")
    return read_categories(entries, place="prompts.yaml", count_tokens=lambda all: [1] * len(all), max_tokens=32)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_comes_back(name: str) -> None:
    whole = Category(
        id=7, name=name, phrases=(f"{name} one", "other"), supercategory=name, threshold=0.6, max_instances=3
    )
    plain = Category(id=9, name="plain", phrases=("plain",))
    text = prompts_yaml(
        Ontology(categories=(whole, plain)), {7: 0.6, 9: 0.5}, {7: curve(7, 0.123456789), 9: curve(9, 0.25)}
    )
    back = read_back(text)
    assert back.by_id[7] == Category(**{**vars(whole), "threshold": 0.123456789})
    assert back.by_id[9] == Category(**{**vars(plain), "threshold": 0.25})


def test_without_a_better_threshold_the_one_in_force_stays_and_it_is_said() -> None:
    ontology = Ontology(categories=tuple(Category(id=id, name=f"c{id}", phrases=(f"c{id}",)) for id in (1, 2, 3)))
    text = prompts_yaml(ontology, {1: 0.4, 2: 0.7, 3: 1.0}, {1: curve(1, None)})
    assert [category.threshold for category in read_back(text).categories] == [0.4, 0.7, None]
    assert text.count("the threshold stays as it was") == 3
    assert text.count("no object in the ground truth") == 2


def test_categories_of_given_objects_have_no_phrases() -> None:
    car = Category(id=3, name="car", phrases=(), supercategory="vehicle")
    text = prompts_yaml(Ontology(categories=(car,)), {3: 0.0}, {3: curve(3, 0.25)})
    assert parse_prompt_file(text, "prompts.yaml") == [
        {"name": "car", "id": 3, "supercategory": "vehicle", "threshold": 0.25}
    ]
