"""The shipped checkpoint: what it is, and what it finds through the whole job on scenes that it never saw."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from autolabel.config import DemoScenesConfig, LabelConfig
from autolabel.config.compose import compose_config
from autolabel.demo.phrases import PHRASES
from autolabel.demo.quality import UNSEEN, QualityCheck
from autolabel.demo.training.prompts import FOREIGN
from autolabel.sam3 import checkpoint, download
from autolabel.sam3.architecture import TINY
from autolabel.sam3.checkpoint import TOKEN_IDS, known_tokens, load
from autolabel.sam3.text import tokenizer, unknown_words

SEED = 23  # neither trained on (1) nor validated on (2) nor what the model card measures (11)
FOLDER = Path(checkpoint.__file__).parents[1] / "demo"
WEIGHTS = FOLDER / "demo.safetensors"


@pytest.fixture(scope="module")
def config() -> LabelConfig:
    found: LabelConfig = compose_config("label", ["input.uri=in", "output.uri=out"])
    return found


class TestFile:
    def test_is_what_a_job_loads_by_default(self, config: LabelConfig) -> None:
        assert config.model.architecture == "tiny"
        assert config.model.checkpoint is not None
        assert download.fetch(config.model.checkpoint, storage_options={}).path == WEIGHTS

    def test_is_small_and_says_how_it_was_made(self) -> None:
        assert WEIGHTS.stat().st_size <= 8_000_000
        with safe_open(WEIGHTS, "pt") as file:
            metadata = file.metadata()
        assert metadata["command"].startswith("python jobs/train_demo.py")
        assert metadata["seed"] == "1"
        done, _, planned = metadata["step"].partition(" of ")
        assert done == planned, "a checkpoint from the middle of its training"
        card = (FOLDER / "MODEL_CARD.md").read_text()
        assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() in card
        assert metadata["command"] in card

    def test_knows_the_words_of_the_scenes_and_no_other(self) -> None:
        with safe_open(WEIGHTS, "pt") as file:
            known = set(file.get_tensor(TOKEN_IDS).tolist())
        clip = tokenizer()
        for phrase in PHRASES:
            assert set(clip.encode(phrase.text)) <= known
        for text in UNSEEN:
            assert not set(clip.encode(text)) <= known, text
        assert not {word for text in UNSEEN for word in text.split()} & set(FOREIGN)

    def test_tells_by_its_own_table_which_words_it_does_not_know(self) -> None:
        known = known_tokens(WEIGHTS)
        assert unknown_words(["person", "red car", "a Person", "striped circles"], known) == ("person", "car", "Person")
        assert unknown_words([phrase.text for phrase in PHRASES], known) == ()
        assert unknown_words(["person"], None) == ()

    def test_loads_in_under_two_seconds(self) -> None:
        times = []
        for _ in range(3):
            started = time.monotonic()
            load(WEIGHTS, TINY, device="cpu")
            times.append(time.monotonic() - started)
        assert min(times) < 2


def test_the_seed_of_the_help_is_not_trained_on() -> None:
    assert DemoScenesConfig().seed not in (1, 2)


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory, cluster: None) -> QualityCheck:
    return QualityCheck(tmp_path_factory.mktemp("quality"), count=40, seed=SEED)


class TestQuality:
    """With a margin below what jobs/benchmark.py demo measures on 200 scenes, since these are fewer."""

    def test_text(self, check: QualityCheck) -> None:
        figures = check.text(PHRASES[:35:2])
        assert figures["AP50"] > 0.80, figures
        assert figures["AP"] > 0.62, figures
        assert figures["absent fired"] <= 0.03, figures

    def test_exemplar(self, check: QualityCheck) -> None:
        figures = check.exemplar()
        assert figures["prompts"] == 40
        assert figures["AP50"] > 0.87, figures

    def test_negative_exemplar(self, check: QualityCheck) -> None:
        figures = check.negative()
        assert figures["prompts"] > 20
        assert figures["AP50"] > 0.80, figures

    def test_synonyms_label_an_object_once(self, check: QualityCheck) -> None:
        figures = check.synonyms()
        assert figures["labelled"] > 0.78, figures
        assert figures["labelled twice"] <= 0.02, figures


@pytest.mark.slow
def test_twelve_images_a_second_on_one_core(tmp_path: Path) -> None:
    """With six prompts, from files to Parquet; alone on the machine."""
    script = Path(__file__).parents[2] / "jobs" / "benchmarks" / "demo.py"
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    assert figures["images_per_s"] >= 12
    assert figures["load_s"] < 2
