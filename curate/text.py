"""The one definition of "word", "character" and "letter" that filters share.

Two word rules stand side by side because DataComp uses both and they disagree in both directions: its basic filter
counts `len(text.split())`, its caption filter `len(fasttext.tokenize(text))`. In "dog\\n" they count 1 and 2 (fastText
gives every newline a token of its own), in "dog<NBSP>cat" 2 and 1 (fastText splits at ASCII space only).

What Python's strings do in C is used as it is: `split` counts 2.4 M captions a second and core, RE2 inside Arrow
1.1 M. For letters, where Python would loop over characters, RE2 does 0.7 M, in time linear in whatever the text is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["WordRule", "count_words", "letter_ratio", "repeated_ratio"]

WordRule: TypeAlias = Literal["whitespace", "fasttext"]

SPACE = r"\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
"""The 29 characters at which `str.split` splits, for an RE2 class."""


def count_words(text: str, rule: WordRule) -> int:
    """Words of a text: `whitespace` is `len(text.split())`, `fasttext` is `len(fasttext.tokenize(text))`.

    fastText reads bytes: ASCII white space and NUL separate, and each newline is a token `</s>`.
    """
    if rule == "whitespace":
        return len(text.split())
    return len(text.replace("\0", " ").encode("utf-8", "surrogatepass").split()) + text.count("\n")


def letter_ratio(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Share of letters among the code points that are not white space, float32 in 0 to 1; null for null and for blank.

    Letters are Unicode's categories L and M: a vowel sign of Thai or Hindi belongs to its script, it is no symbol.
    """
    inked = pc.replace_substring_regex(texts, pattern=f"[{SPACE}]+", replacement="")
    letters = pc.utf8_length(pc.replace_substring_regex(inked, pattern=r"[^\pL\pM]+", replacement=""))
    total = pc.utf8_length(inked)
    ratio = pc.divide(letters.cast(pa.float32()), total.cast(pa.float32()))
    return pc.if_else(pc.greater(total, 0), ratio, pa.scalar(None, pa.float32()))


def repeated_ratio(items: Sequence[Any], size: int) -> float:
    """Share of the n-grams of length `size` that occur more than once, 0 to 1; 0 where there are fewer than two.

    `items` are the characters (a str) or the words (a tuple) of one text. This is the word repetition ratio of ROOTS
    and OBELICS (Laurençon et al. 2022, 2023), used for characters as well: occurrences of repeated n-grams over all.
    """
    total = len(items) - size + 1
    if total < 2:
        return 0.0
    counts = Counter([items[i : i + size] for i in range(total)])
    return sum([n for n in counts.values() if n > 1]) / total
