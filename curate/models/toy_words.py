"""The vocabulary of the toy models: the 41 words in which toy captions are written, one number each.

Whole words and no byte pairs, because this vocabulary is closed: 44 rows of 96 numbers, and a text is as long as it
has words. Any other word is `<unk>`, so a caption in German is a row of them, which the toy models have learned to
match with no picture. The same `<unk>` hides words while the matcher is trained to guess them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

__all__ = ["CONTEXT_LENGTH", "PADDING", "START", "UNKNOWN", "VOCABULARY", "tokenize", "trimmed"]

PADDING = 0
UNKNOWN = 1
START = 2
_WORDS = (
    "a an two three "
    "red blue green yellow orange purple "
    "circle circles square squares triangle triangles star stars "
    "above below left right top bottom under underneath "
    "there is are sit sits picture image showing the to of on at and with"
)
VOCABULARY = ("<pad>", "<unk>", "<start>", *_WORDS.split())
"""The word of each number. The shipped weights depend on the order: after a change all three are trained anew."""

CONTEXT_LENGTH = 24
"""Numbers in a text: the start and 23 words; the longest toy caption has 15."""

MAX_CHARS = 2_048
_WORD = re.compile(r"[^\W_]+")
_NUMBERS = {word: number for number, word in enumerate(VOCABULARY)}


def tokenize(texts: Sequence[str]) -> Any:
    """int64 tensor (n, CONTEXT_LENGTH): START, then a number per word; PADDING behind. Longer texts are cut.

    A word is a run of letters and digits of any script; case does not count. Of a text 2,048 characters are read.
    """
    import torch

    tokens = torch.full((len(texts), CONTEXT_LENGTH), PADDING, dtype=torch.int64)
    for row, text in enumerate(texts):
        words = islice(_WORD.finditer(text[:MAX_CHARS].lower()), CONTEXT_LENGTH - 1)
        numbers = [START, *(_NUMBERS.get(word.group(), UNKNOWN) for word in words)]
        tokens[row, : len(numbers)] = torch.tensor(numbers)
    return tokens


def trimmed(tokens: Any) -> Any:
    """The same tokens, (n, length), without the columns that are padding in every row."""
    return tokens[:, : int((tokens != PADDING).sum(dim=1).max())] if len(tokens) else tokens
