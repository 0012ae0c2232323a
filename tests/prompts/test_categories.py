"""Categories and phrases: what is read, and that every problem is told, with its place."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest

from autolabel.errors import BadInput
from autolabel.prompts.categories import named_in, parse_prompt_file, read_categories
from autolabel.prompts.ontology import Category, Ontology

FARMER = "\U0001f468\u200d\U0001f33e"  # joined by a format character, which is none to refuse


def words(phrases: Sequence[str]) -> list[int]:
    return [len(phrase.split()) for phrase in phrases]


def read(entries: Any, max_tokens: int = 10) -> Ontology:
    return read_categories(entries, place="prompts.categories", count_tokens=words, max_tokens=max_tokens)


def problems_of(entries: Any, max_tokens: int = 10) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read(entries, max_tokens)
    return list(caught.value.problems)


def read_yaml(text: str) -> Ontology:
    return read(parse_prompt_file(text, "prompts.yaml"))


@pytest.mark.parametrize(
    ("case", "entry", "expected"),
    [
        ("string", "car", Category(id=1, name="car", phrases=("car",))),
        ("whitespace", "\t red \n  car ", Category(id=1, name="red car", phrases=("red car",))),
        ("no-break space", "red\u00a0car", Category(id=1, name="red car", phrases=("red car",))),
        ("emoji", FARMER, Category(id=1, name=FARMER, phrases=(FARMER,))),
        ("name alone", {"name": "car"}, Category(id=1, name="car", phrases=("car",))),
        ("one phrase", {"name": "car", "phrases": " a  car "}, Category(id=1, name="car", phrases=("a car",))),
        ("phrases", {"name": "car", "phrases": ["auto", "van"]}, Category(id=1, name="car", phrases=("auto", "van"))),
        (
            "everything",
            {"name": "car", "id": 7, "supercategory": "vehicle", "phrases": ["a"], "threshold": 0, "max_instances": 1},
            Category(id=7, name="car", phrases=("a",), supercategory="vehicle", threshold=0.0, max_instances=1),
        ),
        (
            "nulls are absent",
            {"name": "car", "id": None, "supercategory": None, "threshold": None, "max_instances": None},
            Category(id=1, name="car", phrases=("car",)),
        ),
    ],
)  # fmt: skip
def test_entry(case: str, entry: Any, expected: Category) -> None:
    assert read([entry]).categories == (expected,)


@pytest.mark.parametrize(
    ("case", "ids", "expected"),
    [
        ("none given", [None, None, None], [1, 2, 3]),
        ("some given", [2, None, None, 1], [2, 3, 4, 1]),
        ("given later", [None, None, 1], [2, 3, 1]),
        ("gap", [None, 5, None], [1, 5, 2]),
    ],
)
def test_missing_ids_are_counted_around_those_given(case: str, ids: list[int | None], expected: list[int]) -> None:
    ontology = read([{"name": f"n{index}", "id": number} for index, number in enumerate(ids)])
    assert [ontology.by_name[f"n{index}"].id for index in range(len(ids))] == expected
    assert [category.id for category in ontology.categories] == sorted(expected)


@pytest.mark.parametrize(
    ("case", "entries", "expected"),
    [
        ("none", [], ["prompts.categories: no categories; give at least one phrase"]),
        ("empty phrase", [""], ["prompts.categories[0]: phrase is blank"]),
        ("blank phrase", ["car", " \t\n"], ["prompts.categories[1]: phrase is blank"]),
        ("invisible phrase", ["\u200b\u2060"], ["prompts.categories[0]: phrase is blank"]),
        ("blank name", [{"name": " "}], ["prompts.categories[0]: name is blank"]),
        ("null", [None], ["prompts.categories[0]: phrase is empty"]),
        ("no name", [{"phrases": ["a"]}], ["prompts.categories[0]: name is missing"]),
        (
            "blank phrase of a name",
            [{"name": "red car", "phrases": " "}],
            ["prompts.categories[0] 'red car': phrase is blank"],
        ),
        (
            "blank among phrases",
            [{"name": "car", "phrases": ["a", ""]}],
            ["prompts.categories[0] 'car': phrases[1] is blank"],
        ),
        (
            "no phrases",
            [{"name": "car", "phrases": []}],
            ["prompts.categories[0] 'car': phrases is an empty list"],
        ),
        (
            "null phrases",
            [{"name": "car", "phrases": None}],
            ["prompts.categories[0] 'car': phrase is empty"],
        ),
        (
            "phrases of another type",
            [{"name": "car", "phrases": {"a": 1}}],
            ["prompts.categories[0] 'car': phrase is not text, {'a': 1}"],
        ),
        (
            "duplicate name",
            [{"name": "car", "phrases": "a"}, {"name": " car", "phrases": "b"}],
            ["prompts.categories[1] 'car': name 'car' is already that of prompts.categories[0] 'car'"],
        ),
        (
            "duplicate phrase across categories",
            ["red car", {"name": "car", "phrases": ["Red  CAR"]}],
            ["prompts.categories[1] 'car': phrase 'Red CAR' is already that of prompts.categories[0] 'red car'"],
        ),
        (
            "duplicate phrase in another composition",
            ["caf\u00e9", {"name": "b", "phrases": "cafe\u0301"}],
            ["prompts.categories[1] 'b': phrase 'cafe\u0301' is already that of prompts.categories[0] 'caf\u00e9'"],
        ),
        (
            "duplicate phrase in a category",
            [{"name": "car", "phrases": ["auto", " AUTO "]}],
            ["prompts.categories[0] 'car': phrase 'AUTO' is given twice"],
        ),
        (
            "duplicate id",
            [{"name": "a", "id": 3}, {"name": "b", "id": 3}],
            ["prompts.categories[1] 'b': id 3 is already that of prompts.categories[0] 'a'"],
        ),
        ("control character", ["a\x00b"], ["prompts.categories[0]: phrase 'a\\x00b' has control characters"]),
        ("lone surrogate", ["a\ud800"], ["prompts.categories[0]: phrase 'a\\ud800' has control characters"]),
        (
            "over the token limit",
            ["one two", {"name": "n", "phrases": ["a", "one two three"]}],
            ["prompts.categories[1] 'n': phrase 'one two three' has 3 tokens, the limit is 2"],
        ),
        (
            "unknown field",
            [{"name": "car", "treshold": 0.5}],
            ["prompts.categories[0] 'car': unknown field 'treshold' (did you mean 'threshold'?)"],
        ),
        ("strange field", [{"name": "car", 3: 4}], ["prompts.categories[0] 'car': unknown field 3"]),
        ("a list as entry", [["a"]], ["prompts.categories[0]: phrase is not text, ['a']"]),
        (
            "supercategory of another type",
            [{"name": "car", "supercategory": 3}],
            ["prompts.categories[0] 'car': supercategory is a number, 3; put it in quotes if it is meant as text"],
        ),
    ],
)
def test_problem(case: str, entries: Any, expected: list[str]) -> None:
    assert problems_of(entries, max_tokens=2) == expected


WRONG_NUMBERS: dict[str, list[Any]] = {
    "id": [0, -1, True, 1.0, "1", 2**31, []],
    "max_instances": [0, -1, True, 1.5, "1"],
    "threshold": [-0.1, 1, 1.0, 1.5, float("nan"), float("inf"), True, "0.5", []],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in WRONG_NUMBERS for value in WRONG_NUMBERS[field]]
)
def test_number_out_of_range_or_of_another_type(field: str, value: Any) -> None:
    (problem,) = problems_of([{"name": "car", field: value}])
    assert problem.startswith(f"prompts.categories[0] 'car': {field} is {value!r}, not a")


def test_all_problems_are_told_together_and_in_order() -> None:
    problems = problems_of(["car", "", {"name": "x", "id": 0, "threshold": 2}, "CAR", "a b c d"], max_tokens=3)
    assert [problem.split(":")[0] for problem in problems] == [
        "prompts.categories[1]",
        "prompts.categories[2] 'x'",
        "prompts.categories[2] 'x'",
        "prompts.categories[3] 'CAR'",
        "prompts.categories[4] 'a b c d'",
    ]


@pytest.mark.parametrize(
    ("case", "text", "message"),
    [
        ("no", "- no", "phrase is a boolean"),
        ("on", "- on", "phrase is a boolean"),
        ("number", "- 7", "phrase is a number, 7; put it in quotes"),
        ("float", "- 1.5", "phrase is a number, 1.5; put it in quotes"),
        ("date", "- 2020-01-01", "phrase is a date, datetime.date(2020, 1, 1); put it in quotes"),
        ("nothing", "- ", "phrase is empty"),
        ("number as a phrase", "- {name: seven, phrases: [7]}", "'seven': phrases[0] is a number, 7; put it in quotes"),
    ],
)
def test_yaml_reads_bare_words_as_other_types(case: str, text: str, message: str) -> None:
    with pytest.raises(BadInput, match="quotes|empty") as caught:
        read_yaml(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("case", "text"),
    [("list", "- car\n- {name: van, id: 9}"), ("categories", "categories:\n  - car\n  - name: van\n    id: 9\n")],
)
def test_prompt_file(case: str, text: str) -> None:
    assert [(category.id, category.name) for category in read_yaml(text).categories] == [(1, "car"), (9, "van")]


@pytest.mark.parametrize(
    ("case", "text", "message"),
    [
        ("empty", "", "prompts.yaml: expected a list of categories, not None"),
        ("text", "car", "prompts.yaml: expected a list of categories, not 'car'"),
        ("text below", "categories: car", "prompts.yaml categories: expected a list of categories, not 'car'"),
        ("other key", "categorys: [car]", "prompts.yaml: unknown field 'categorys' (did you mean 'categories'?)"),
        ("broken", "- [car", "line 1, column 3"),
        ("key twice", "- {name: a, name: b}", "'name' is given twice"),
        ("list twice", "categories: [a]\ncategories: [b]", "'categories' is given twice"),
        ("code", "- !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_prompt_file_that_is_none(case: str, text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_prompt_file(text, "prompts.yaml")
    assert str(caught.value).startswith("prompts.yaml")
    assert message in str(caught.value)


def test_alias_bomb_is_quoted_short() -> None:
    fields = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)), "name: *a39"]
    text = "categories:\n  - {" + ", ".join(fields) + "}"
    problems = problems_of(parse_prompt_file(text, "p"))
    assert max(len(problem) for problem in problems) < 300


def test_ontology_survives_json() -> None:
    ontology = read(["car", {"name": "van", "phrases": ["a", "b"], "threshold": 0.25, "supercategory": "v"}])
    text = json.dumps(ontology.to_list())
    assert Ontology.from_list(json.loads(text)) == ontology
    assert json.dumps(Ontology.from_list(json.loads(text)).to_list()) == text
    assert list(ontology.to_list()[0]) == ["id", "name", "phrases", "supercategory", "threshold", "max_instances"]


def test_order_of_entries_with_ids_does_not_matter() -> None:
    entries = [{"name": "a", "id": 2}, {"name": "b", "id": 1}]
    assert read(entries) == read(entries[::-1])


def test_lookups() -> None:
    ontology = read(["car", {"name": "van", "id": 5}])
    assert ontology.by_id[5].name == "van"
    assert ontology.by_name["car"].id == 1
    assert set(ontology.by_id) == {1, 5}


def test_ten_thousand_categories_are_fast() -> None:
    text = "\n".join(f"- {{name: thing {n}, phrases: [thing {n}, object {n}], threshold: 0.5}}" for n in range(10_000))
    start = time.perf_counter()
    assert len(read_yaml(text).categories) == 10_000
    assert len(problems_of(["same"] * 10_000)) == 2 * 9_999
    assert time.perf_counter() - start < 10


def test_import_brings_neither_torch_nor_ray() -> None:
    script = "import sys, autolabel.prompts.categories, autolabel.prompts.exemplars\n"
    script += "print({'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_names_are_known_even_of_faulty_entries() -> None:
    named = named_in([" car ", {"name": "van", "id": -1}, {"phrases": "x"}, 7, {"name": "car"}, None])
    assert list(named.by_name) == ["car", "van"]
