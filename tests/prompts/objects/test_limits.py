"""Categories of given objects, with the limits that prompts add to them."""

from typing import Any

import pytest

from autolabel.errors import BadInput
from autolabel.prompts.objects.limits import with_limits
from autolabel.prompts.ontology import Category

FOUND = [{"id": 7, "name": "car"}, {"id": 9, "name": "traffic light", "supercategory": "street"}]


def categories(*prompts: Any, found: Any = FOUND) -> tuple[Category, ...]:
    return with_limits(found, place="boxes.json", prompts=prompts, prompts_place="prompts").categories


def problems_of(*prompts: Any, found: Any = FOUND) -> list[str]:
    with pytest.raises(BadInput) as caught:
        categories(*prompts, found=found)
    return list(caught.value.problems)


def test_without_prompts_categories_are_those_of_the_file_and_ask_for_no_phrase() -> None:
    assert categories() == (
        Category(id=7, name="car", phrases=()),
        Category(id=9, name="traffic light", phrases=(), supercategory="street"),
    )


def test_prompts_add_limits() -> None:
    found = categories(
        {"name": " traffic  light", "id": 9, "threshold": 0.4, "supercategory": "sign"},
        {"name": "car", "max_instances": 3},
    )
    assert found == (
        Category(id=7, name="car", phrases=(), max_instances=3),
        Category(id=9, name="traffic light", phrases=(), threshold=0.4, supercategory="sign"),
    )


def test_names_without_ids_get_some_and_prompts_may_give_them() -> None:
    names = [{"name": "car"}, {"name": "tree"}]
    assert [category.id for category in categories(found=names)] == [1, 2]
    found = categories({"name": "car", "id": 30}, found=names)
    assert [(category.id, category.name) for category in found] == [(1, "tree"), (30, "car")]


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        pytest.param(
            "car",
            "prompts[0]: 'car' asks for a concept, and this job masks given objects: prompts may only set limits of "
            "their categories, {name: ..., threshold: ...}",
            id="phrase",
        ),
        pytest.param(
            {"name": "cars"},
            "prompts[0]: boxes.json has no category 'cars' (did you mean 'car'?)",
            id="another category",
        ),
        pytest.param(
            {"name": "car", "phrases": ["red car"]},
            "prompts[0]: phrases is not for given objects, only name, threshold, max_instances, supercategory, id",
            id="phrases",
        ),
        pytest.param({"name": "car", "id": 9}, "prompts[0]: 'car' has the id 7 in boxes.json, not 9", id="another id"),
        pytest.param(
            {"name": "car", "threshold": 2},
            "boxes.json categories[0] 'car': threshold is 2, not a number of at least 0 and below 1",
            id="faulty limit",
        ),
    ],
)
def test_a_problem_is_told_with_its_place(prompt: Any, problem: str) -> None:
    assert problems_of(prompt) == [problem]


def test_problems_are_told_together() -> None:
    assert len(problems_of("car", {"name": "x", "phrases": "y"}, {"name": "car", "id": 1})) == 4


def test_categories_of_one_name_are_refused() -> None:
    (problem,) = problems_of(found=[{"id": 1, "name": "car"}, {"id": 2, "name": "car "}])
    assert problem == "boxes.json categories[1] 'car': name 'car' is already that of boxes.json categories[0] 'car'"


def test_a_category_without_a_name_is_refused() -> None:
    assert problems_of(found=[{"id": 1}]) == ["boxes.json categories[0]: name is missing"]
