"""Phrases as SAM3 reads them: CLIP's byte-pair tokens, and their encodings kept for the life of an engine."""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from autolabel.sam3.device import on_device
from autolabel.sam3.upstream import Sam3Image, SimpleTokenizer

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
VISUAL = "visual"  # what SAM3 was trained to read where boxes alone prompt


def vocabulary_path() -> Path:
    """Find CLIP's byte-pair merges, which the sam3 wheel lacks, in the open_clip package, which is not imported.

    Raises:
        FileNotFoundError: open_clip_torch is not installed, or ships the file no more.
    """
    package = find_spec("open_clip")
    for folder in (package.submodule_search_locations or []) if package else []:
        if (path := Path(folder) / VOCABULARY).is_file():
            return path
    raise FileNotFoundError(f"{VOCABULARY} not found: it comes with the package open_clip_torch; install it")


@cache
def tokenizer() -> SimpleTokenizer:
    """Return the tokenizer of every SAM3; one for the process, since reading the merges takes a fifth of a second."""
    return SimpleTokenizer(bpe_path=vocabulary_path())


def count_tokens(phrases: Sequence[str]) -> list[int]:
    """Count the tokens of each phrase, without the two that mark its start and its end.

    Compare with `Architecture.max_tokens`: SAM3 itself cuts a longer phrase without a word.
    """
    return [len(tokenizer().encode(phrase)) for phrase in phrases]


def unknown_words(phrases: Iterable[str], known_tokens: frozenset[int] | None) -> tuple[str, ...]:
    """Return the words of phrases, each once, with a token that a model does not tell apart; None: it does all."""
    if known_tokens is None:
        return ()
    words = dict.fromkeys(word for phrase in phrases for word in phrase.split())
    return tuple(word for word in words if not known_tokens.issuperset(tokenizer().encode(word)))


class TextCache:
    """Encodes every phrase once.

    Phrases are encoded one by one, so that an encoding depends on nothing but the phrase.
    """

    def __init__(self, model: Sam3Image, *, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._encoded: dict[str, torch.Tensor] = {}

    def encode(self, phrases: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode phrases of up to T tokens: (len(phrases), T, width), and their padding (len(phrases), T)."""
        encoded = [self._encode(phrase) for phrase in phrases]
        tokens = pad_sequence(encoded, batch_first=True)
        lengths = torch.tensor([len(each) for each in encoded])
        padding = torch.arange(tokens.shape[1])[None] >= lengths[:, None]
        return tokens, on_device(padding, self._device)

    def _encode(self, phrase: str) -> torch.Tensor:
        """Encode one phrase to (T, width): start, words and end, without the padding that Meta's encoder adds."""
        if phrase not in self._encoded:
            out = self._model.backbone.forward_text([phrase], device=self._device)
            n_tokens = int((~out["language_mask"][0]).sum())
            self._encoded[phrase] = out["language_features"][:n_tokens, 0].float().clone()
        return self._encoded[phrase]
