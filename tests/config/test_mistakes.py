"""What a person mistypes is told in this project's own words, all of it at once, with what to type instead."""

import pytest

from autolabel.config.compose import compose_config
from autolabel.errors import BadInput

URIS = ["input.uri=photos", "output.uri=labels"]
HYDRAS_WORDS = ("hydra", "override", "append to your config", "omegaconf", "object_type", "config search path")


def problems(command: str, *typed: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        compose_config(command, list(typed))
    assert not [word for word in HYDRAS_WORDS if word in str(caught.value).lower()]
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("inptu.uri=x", "inptu.uri: there is no such key; did you mean input.uri=x?"),
        ("input.url=x", "input.url: there is no such key; did you mean input.uri=x?"),
        ("+input.url=x", "input.url: there is no such key; did you mean input.uri=x?"),
        ("++input.url=x", "input.url: there is no such key; did you mean input.uri=x?"),
        ("+model=sam3", "+model: type it without the +: model=sam3"),
        ("~threshold", "~threshold: a key cannot be taken away; where it is left out, it has its default"),
        ("url=x", "url: there is no such key; did you mean input.uri=x?"),
        ("checkpoint=a.pt", "checkpoint: there is no such key; did you mean model.checkpoint=a.pt?"),
        ("prompt=[red car]", "prompt: there is no such key; did you mean 'prompts=[red car]'?"),
        ("output=x", "output: this is a group of keys; did you mean output.uri=x?"),
        ("input={uri: a, url: b}", "input.url: there is no such key; did you mean input.uri=b?"),
        ("format=yolo", "format: a key of `autolabel export`, and none of `autolabel label`"),
        ("nothing.like.it=1", "nothing.like.it: there is no such key; `autolabel label --help` has them all"),
        ("threshold=high", "threshold: high is neither a number nor null"),
        ("threshold=0,5", "threshold: 0,5 is neither a number nor null"),
        ("output.unit_size=2.5", "output.unit_size: 2.5 is not a whole number"),
        ("cluster.max_actors=many", "cluster.max_actors: many is neither a whole number nor null"),
        ("image.apply_exif=maybe", "image.apply_exif: maybe is not true or false"),
        ("input.suffixes=jpg", "input.suffixes: jpg is not a list, such as [a, b]"),
        ("input.uri=null", "input.uri: None is not text"),
        ("input.uri=photos, old", "input.uri: needs quotes of its own: \"input.uri='photos, old'\""),
        ("nms={within: most}", "nms.within: most is neither a number nor null"),
        ("model=sam", "model: 'sam' is none of demo, sam3, sam3.1 (did you mean 'sam3'?)"),
        (
            "model=my/sam.pt",
            "model: 'my/sam.pt' is none of demo, sam3, sam3.1; weights of your own: model=sam3.1 "
            "model.checkpoint=my/sam.pt",
        ),
        ("cluster=k8s", "cluster: 'k8s' is none of gpu, local, ray"),
        (
            "prompts=person",
            "prompts: 'person' is none of demo, none, street, and no FILE.yaml; a list of phrases is typed "
            "'prompts=[person]'",
        ),
        (
            "prompts=person,red car",
            "prompts: 'person,red car' is none of demo, none, street, and no FILE.yaml; a list of phrases is typed "
            "'prompts=[person,red car]'",
        ),
        ("prompts=p.txt", "prompts: a file of prompts is YAML, p.yaml, with `- person` on a line for each"),
        (
            "prompts=[person, 'red car]",
            "prompts: [person, 'red car] has a quote or a bracket without its other half; quote every phrase of the "
            'list, or none: \'prompts=["person", "red car"]\'',
        ),
    ],
)
def test_a_mistake_is_told_with_what_to_type(typed: str, told: str) -> None:
    assert problems("label", *URIS, typed) == [told]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            ["photos", "out"],
            "'photos', 'out': a setting is typed key=value; did you mean input.uri=photos output.uri=out?",
        ),
        (
            ["photos", "sam3"],
            "'photos', 'sam3': a setting is typed key=value; did you mean input.uri=photos model=sam3?",
        ),
        (["--model", "sam3"], "--model: settings are typed without dashes: model=sam3"),
        (["--model=sam3"], "--model: settings are typed without dashes: model=sam3"),
        (["--unit-size", "16"], "--unit-size: settings are typed without dashes: output.unit_size=16"),
        (["--verbose"], "--verbose: there is no such option; settings are typed key=value"),
        (["prompts=[a,", "red", "car]"], "prompts: the shell takes a list apart at its spaces: 'prompts=[a, red car]'"),
    ],
)
def test_words_and_options_are_told_with_the_settings_they_mean(typed: list[str], told: str) -> None:
    assert problems("label", *typed) == [told]


def test_the_words_of_a_command_mean_what_it_requires() -> None:
    assert problems("refine", "a", "b") == [
        "'a', 'b': a setting is typed key=value; did you mean output.uri=a refined.uri=b?"
    ]
    assert problems("export", "output.uri=a", "b") == ["'b': a setting is typed key=value"]


def test_all_mistakes_are_told_at_once_and_what_else_is_wrong_with_the_rest() -> None:
    typed = ["inptu.uri=x", "output.uri=y", "model=sam", "threshold=high", "keep_threshold=2", "--fast"]
    assert problems("label", *typed) == [
        "inptu.uri: there is no such key; did you mean input.uri=x?",
        "model: 'sam' is none of demo, sam3, sam3.1 (did you mean 'sam3'?)",
        "threshold: high is neither a number nor null",
        "--fast: there is no such option; settings are typed key=value",
        "keep_threshold: 2.0 is not between 0 and 1",  # and not: input.uri is required
    ]


def test_no_secret_is_repeated() -> None:
    typed = ["output.storage_options=hush", "output.storage_options.key=[hush", "input.storage_option.secret=hush"]
    typed += ["input.url=s3://me:hush@host/x"]
    told = problems("label", *URIS, *typed)
    assert len(told) == 4
    assert "hush" not in str(told)


def test_what_hydra_takes_is_taken() -> None:
    typed = ["++threshold=0.3", "nms={within: null, across: 0.5}"]
    typed += [
        "input.storage_options.client_kwargs.region_name=eu",
        "hydra.verbose=false",
        "input.image_root=${input.uri}",
    ]
    settings = compose_config("label", [*URIS, *typed])
    assert (settings.threshold, settings.nms.within, settings.nms.across) == (0.3, None, 0.5)
    assert settings.input.storage_options == {"client_kwargs": {"region_name": "eu"}}
    assert settings.input.image_root == "photos"
