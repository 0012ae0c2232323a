"""Phrases as SAM3 reads them: CLIP's byte-pair tokens, and their encodings kept for the life of an engine."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from autolabel.sam3.upstream import Sam3Image, SimpleTokenizer

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
VISUAL = "visual"  # what SAM3 was trained to read where boxes alone prompt


def vocabulary_path() -> Path:
    """CLIP's byte-pair merges, which the sam3 wheel lacks, in the open_clip package, which is not imported.

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
    """The tokenizer of every SAM3; one for the process, since reading the merges takes a fifth of a second."""
    return SimpleTokenizer(bpe_path=vocabulary_path())


def count_tokens(phrases: Sequence[str]) -> list[int]:
    """Tokens of each phrase, without the two that mark its start and its end.

    Compare with `Architecture.max_tokens`: SAM3 itself cuts a longer phrase without a word.
    """
    return [len(tokenizer().encode(phrase)) for phrase in phrases]


class TextCache:
    """Encodes every phrase once.

    Phrases are encoded one by one, so that an encoding depends on nothing but the phrase.
    """

    def __init__(self, model: Sam3Image, *, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._encoded: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def encode(self, phrases: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (context, len(phrases), width) and padding mask (len(phrases), context), True where padded."""
        found = [self._encode(phrase) for phrase in phrases]
        return torch.cat([features for features, _ in found], dim=1), torch.cat([mask for _, mask in found])

    def _encode(self, phrase: str) -> tuple[torch.Tensor, torch.Tensor]:
        if phrase not in self._encoded:
            out = self._model.backbone.forward_text([phrase], device=self._device)
            self._encoded[phrase] = out["language_features"], out["language_mask"]
        return self._encoded[phrase]
