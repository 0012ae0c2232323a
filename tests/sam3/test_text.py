"""Phrases: counted untruncated, encoded once."""

import importlib.machinery
import sys

import pytest
import torch

from autolabel.sam3 import text
from autolabel.sam3.architecture import FULL, TINY
from autolabel.sam3.text import TextCache, count_tokens, tokenizer, vocabulary_path
from autolabel.sam3.upstream import Sam3Image


def test_the_vocabulary_is_found_without_importing_open_clip() -> None:
    assert vocabulary_path().name == "bpe_simple_vocab_16e6.txt.gz"
    assert "open_clip" not in sys.modules


@pytest.mark.parametrize("spec", [None, importlib.machinery.ModuleSpec("open_clip", None)])
def test_a_missing_vocabulary_names_the_package(
    spec: importlib.machinery.ModuleSpec | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "find_spec", lambda _: spec)
    with pytest.raises(FileNotFoundError, match="open_clip_torch"):
        vocabulary_path()


@pytest.mark.parametrize(
    ("phrase", "n_tokens"),
    [
        ("cat", 1),
        ("red car", 2),
        ("  Red   CAR ", 2),
        ("", 0),
        ("traffic-light", 3),
        ("2024", 4),  # digit by digit
        ("word " * 100, 100),  # far past any context
    ],
)
def test_tokens_are_counted_without_start_and_end(phrase: str, n_tokens: int) -> None:
    assert count_tokens([phrase]) == [n_tokens]


def test_counts_agree_with_what_the_model_reads() -> None:
    phrases = ["ein Hund", "naïve café", "🚦 traffic light", "x" * 60]
    read = [int((row != 0).sum()) - 2 for row in tokenizer()(phrases, context_length=77)]
    assert count_tokens(phrases) == read


def test_a_phrase_of_max_tokens_is_read_to_its_end_and_a_longer_one_is_not() -> None:
    for architecture in (TINY, FULL):
        fits = " ".join(["word"] * architecture.max_tokens)
        rows = tokenizer()([fits, fits + " word", fits + " cat"], context_length=architecture.context)
        assert int((rows[0] != 0).sum()) == architecture.context
        assert torch.equal(rows[1], rows[2])  # silently cut
        assert count_tokens([fits, fits + " word"]) == [architecture.max_tokens, architecture.max_tokens + 1]


def test_each_phrase_is_encoded_once_and_alike_in_any_company(tiny: Sam3Image, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    forward_text = tiny.backbone.forward_text

    def counted(captions: list[str], *, device: torch.device) -> dict[str, torch.Tensor]:
        asked.extend(captions)
        encoded: dict[str, torch.Tensor] = forward_text(captions, device=device)
        return encoded

    monkeypatch.setattr(tiny.backbone, "forward_text", counted)
    cache = TextCache(tiny, device=torch.device("cpu"))
    tokens, padding = cache.encode(["red car", "dog", "red car"])
    again, _ = cache.encode(["dog"])
    assert asked == ["red car", "dog"]
    assert tokens.shape == (3, 4, TINY.width)
    assert (~padding).sum(dim=1).tolist() == [4, 3, 4]
    assert torch.equal(tokens[1:2, :3], again)
    assert torch.equal(tokens[0], tokens[2])
    assert not tokens[1, 3].any()
