"""The tokens that the demo model tells apart. CLIP has 49,408 of them, and scenes need a few dozen words."""

from functools import cache

from autolabel.demo.phrases import WORDS
from autolabel.sam3.text import VISUAL, tokenizer


@cache
def known_token_ids() -> tuple[int, ...]:
    """Return CLIP's ids, ascending, of the scenes' words and of SAM3's own: start, end, and `VISUAL`."""
    clip = tokenizer()
    ids = {token for word in (*WORDS, VISUAL) for token in clip.encode(word)}
    return tuple(sorted(ids | {clip.sot_token_id, clip.eot_token_id}))
