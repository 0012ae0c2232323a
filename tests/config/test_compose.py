"""Settings: every YAML composes, every key is explained, everything wrong is told at once."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from autolabel.config import COMMANDS, LabelConfig
from autolabel.config.compose import compose_config, conf_dir, register_schemas
from autolabel.config.keys import keys_of
from autolabel.errors import BadInput

CONF = conf_dir()
URIS = ["input.uri=photos", "output.uri=labels"]
CAR = {"name": "car", "phrases": ["car", "van"]}
GROUP_FILES = sorted(path for path in CONF.glob("*/*.yaml"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str) -> None:
    evaluate = ["ground_truth.uri=truth.json", "output.uri=labels"]
    required = {"label": URIS, "refine": ["output.uri=labels", "refined.uri=refined"], "evaluate": evaluate}
    uris = required.get(command, ["output.uri=labels"])
    assert isinstance(compose_config(command, uris), COMMANDS[command])
    assert (CONF / f"{command}.yaml").is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_hydra_makes_no_folder_and_leaves_logging_alone(command: str) -> None:
    register_schemas()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = compose(command, return_hydra_config=True).hydra
    assert (hydra.output_subdir, hydra.run.dir) == (None, ".")
    assert (hydra.job_logging.root, hydra.hydra_logging.root) == (None, None)


@pytest.mark.parametrize("path", GROUP_FILES, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_every_choice_of_every_group_composes(path: Path) -> None:
    assert isinstance(compose_config("label", [*URIS, f"{path.parent.name}={path.stem}"]), LabelConfig)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_has_a_sentence(command: str) -> None:
    keys = list(keys_of(COMMANDS[command]))
    assert all(key.sentence.endswith(".") and len(key.sentence.split()) > 3 for key in keys)
    assert "output.uri" in {key.name for key in keys}


@pytest.mark.parametrize(
    ("override", "categories", "uri"),
    [
        ("prompts=[person, red car]", ["person", "red car"], None),
        ("prompts=[person,red car]", ["person", "red car"], None),
        ("prompts=['a, b']", ["a, b"], None),
        (
            "prompts=[été, 猫, 🚗, person's hat, car & van, what?, red car (old), a=b, back\\slash, end\\]",
            ["été", "猫", "🚗", "person's hat", "car & van", "what?", "red car (old)", "a=b", "back\\slash", "end\\"],
            None,
        ),
        (
            "prompts=[{name: car, phrases: [car, van]}, sign]",
            [CAR, "sign"],
            None,
        ),
        ("prompts='a=b c/STREET.YAML'", [], "a=b c/STREET.YAML"),
        ("prompts=my/street.yaml", [], "my/street.yaml"),
        ("prompts=none", [], None),
    ],
)
def test_prompts_are_phrases_a_file_or_a_choice(override: str, categories: list[str], uri: str | None) -> None:
    prompts = compose_config("label", [*URIS, override]).prompts
    assert (prompts.categories, prompts.uri) == (categories, uri)


def test_a_choice_of_prompts_is_read_from_conf() -> None:
    assert [c["name"] for c in compose_config("label", [*URIS, "prompts=street"]).prompts.categories][:2] == [
        "person",
        "bicycle",
    ]


def test_storage_options_take_any_key() -> None:
    overrides = ["input.storage_options.endpoint_url=http://minio:9000", "output.storage_options={anon: true}"]
    settings = compose_config("label", [*URIS, *overrides])
    assert settings.input.storage_options == {"endpoint_url": "http://minio:9000"}
    assert settings.output.storage_options == {"anon": True}


def test_all_problems_are_told_at_once() -> None:
    overrides = ["threshold=1.5", "nms.metric=giou", "nms.within=nan", "batch.images=0", "exemplars.box_format=xy"]
    overrides += ["model.checkpoint=x.pt", "model.seed=1", "model.precision=int8", "batch.memory_mb=0"]
    overrides += ["cluster.min_actors=3", "cluster.max_actors=2", "max_area=5", "min_area=9"]
    with pytest.raises(BadInput) as caught:
        compose_config("label", overrides)
    keys = [problem.split(":")[0] for problem in caught.value.problems]
    assert sorted(keys) == [
        "batch.images",
        "batch.memory_mb",
        "cluster.max_actors",
        "exemplars.box_format",
        "input.uri",
        "max_area",
        "model",
        "model.precision",
        "nms.metric",
        "nms.within",
        "output.uri",
        "threshold",
    ]


def test_settings_are_frozen() -> None:
    settings = compose_config("label", URIS)
    with pytest.raises(AttributeError):
        settings.threshold = 0.1
    with pytest.raises(AttributeError):
        settings.nms.within = 0.1


def test_importing_the_settings_imports_neither_torch_nor_ray() -> None:
    import subprocess
    import sys

    heavy = {"torch", "ray", "sam3", "cv2", "matplotlib", "jinja2"}
    code = f"import sys, autolabel.cli.commands; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
