"""Any prompts and exemplars are read or explained."""

import json
from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from autolabel import plan
from autolabel.config import ExemplarsConfig
from autolabel.errors import BadInput
from autolabel.inputs.listing import Listing
from autolabel.inputs.locations import ImageLocation
from autolabel.prompts import exemplars
from autolabel.prompts.categories import parse_prompt_file, read_categories
from autolabel.prompts.concepts import ImageExemplars
from tests.support.fuzzing import ANYTHING, TEXT, WORDS, explained, fuzz, little_memory, mostly, record_of
from tests.support.rows import ONTOLOGY

CATEGORIES = record_of(
    name=WORDS,
    id=st.integers(1, 99),
    supercategory=WORDS,
    phrases=st.lists(WORDS, min_size=1, max_size=3, unique=True),
    threshold=st.floats(0, 0.99),
    max_instances=st.integers(1, 9),
)
YAML_PIECES = ["- ", "a: ", "&x ", "*x", "<<: ", "!!int ", "!!python/object:os.system ", "? ", "[", "]", "{", "}", ","]
YAML_PIECES += [
    '"',
    "'",
    "|\n",
    "\n",
    "  ",
    "name",
    "2001-99-99",
    "1_000",
    "0b2",
    "0x",
    "1:60",
    "=",
    "#",
    "%",
    "\0",
    "\t",
]


def count_tokens(phrases: Any) -> list[int]:
    return [len(phrase.split()) for phrase in phrases]


def read_prompts(text: str) -> None:
    """Read a prompt file as a job does."""
    entries = parse_prompt_file(text, "prompts.yaml")
    ontology = read_categories(entries, place="prompts.yaml", count_tokens=count_tokens, max_tokens=5)
    assert len({category.id for category in ontology.categories}) == len(entries)
    json.dumps(ontology.to_list()).encode()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("[" * 200_000, "nested deeper", id="deeper than the C stack"),
        pytest.param("- " * 200_000, "nested deeper", id="a list in a list in a list"),
        pytest.param(
            "a0: &a0 {k: 1, l: 2}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60)),
            "merge keys",
            id="2^60 merged fields",
        ),
        pytest.param("- 2001-99-99", "not YAML", id="no date"),
        pytest.param("- " + "9" * 5000, "not YAML", id="no number that Python reads"),
        pytest.param("- !!bool maybe", "not YAML", id="no boolean"),
        pytest.param("- !!python/object/apply:os.system [exit]", "not YAML", id="code"),
    ],
)
def test_a_prompt_file_made_to_harm(text: str, told: str) -> None:
    with little_memory(), pytest.raises(BadInput, match=told):
        read_prompts(text)


def test_any_prompt_file_is_read_or_explained() -> None:
    outcomes: Counter[bool] = Counter()

    @fuzz(400, 5000)
    @given(
        st.one_of(
            st.lists(CATEGORIES, max_size=4).map(lambda entries: yaml.safe_dump(entries, allow_unicode=True)),
            st.lists(mostly(WORDS, TEXT), min_size=1, max_size=4, unique=True).map(json.dumps),
            st.lists(st.sampled_from(YAML_PIECES) | st.text(max_size=3), max_size=20).map("".join),
        )
    )
    def check(text: str) -> None:
        with explained(outcomes):
            read_prompts(text)

    with little_memory():
        check()
    assert min(outcomes[True], outcomes[False]) > 20, outcomes


BOXES = st.lists(st.floats(-5, 40) | st.integers(-5, 40), min_size=4, max_size=4) | ANYTHING
NAMES = st.sampled_from(["car", "person", "x"])
IMAGES = record_of(id=st.integers(1, 3), file_name=st.sampled_from(["a", "b"]), width=st.just(40), height=st.just(30))
ANNOTATIONS = record_of(
    image_id=st.integers(1, 3), category_id=st.integers(1, 3), bbox=BOXES, negative=st.booleans(), iscrowd=st.just(0)
)
COCO = record_of(
    images=st.lists(IMAGES, max_size=3),
    annotations=st.lists(ANNOTATIONS, max_size=3),
    categories=st.lists(record_of(id=st.integers(1, 3), name=NAMES), max_size=3),
)
CELLS = st.lists(record_of(category=NAMES, bbox=BOXES, negative=st.booleans()), max_size=3) | ANYTHING
EXEMPLAR_SETTINGS = st.builds(
    ExemplarsConfig,
    box_format=st.sampled_from(["xywh", "xyxy", "cxcywh"]),
    normalized=st.booleans(),
    use_text=st.booleans(),
)


def plan_of(found: dict[str, ImageExemplars]) -> bytes:
    """What exemplars come to; it must take whatever was read."""
    images = [ImageLocation(uri) for uri in found]
    return plan.encode(Listing(root="r", images=images), unit_size=2, exemplars=found)


def test_any_exemplars_are_read_or_explained() -> None:
    outcomes: Counter[bool] = Counter()

    def probe(uri: str = "") -> tuple[int, int]:
        return 30, 40

    @fuzz(500, 5000)
    @given(
        st.one_of(COCO.map(json.dumps).map(str.encode), st.binary(max_size=50)),
        CELLS,
        st.none() | st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1)),
        EXEMPLAR_SETTINGS,
    )
    @example(b"[" * 200_000, "[" * 200_000, None, ExemplarsConfig())
    def check(document: bytes, cell: Any, size_hw: tuple[int, int] | None, config: ExemplarsConfig) -> None:
        with explained(outcomes):
            plan_of(
                exemplars.read_coco(
                    document, place="e.json", ontology=ONTOLOGY, config=config, find_image={"a": "a"}.get, probe=probe
                )
            )
        with explained(outcomes):
            read = exemplars.read_cell(
                cell, place="row 1", ontology=ONTOLOGY, config=config, size_hw=size_hw, probe=probe
            )
            plan_of({"a": read})

    with little_memory():
        check()
    assert min(outcomes[True], outcomes[False]) > 20, outcomes
