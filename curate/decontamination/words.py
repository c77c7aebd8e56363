"""What of a caption or question is compared with those of evaluations: all of it, and its runs of words.

Texts are in the form of `curate.dedup.exact.plain_caption`, and where a script is written without spaces each of its
signs is a word: 13 Chinese characters are a sentence, as 13 English words are. A run of `words` words that an
evaluation has too makes a text contaminated: 13 in GPT-3 (Brown et al. 2020, appendix C), which ignored the runs that
more than ten of its texts share; here none is ignored. 8 finds more, and more by chance. Texts of fewer words are
compared as a whole, and those below `min_words` not at all: "a dog on a lawn" is no sign of anything.

A run is the digest of its words' digests, for all texts of a batch at once: 140,000 captions of ten words a second and
core, most of it their normal form; 100,000 Chinese characters take 45 ms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.digest import Digests, digest_strings, join_digests
from curate.dedup.exact import plain_caption

__all__ = ["Rows", "plain_words", "run_digests", "whole_digests"]

Rows = npt.NDArray[np.int64]
UNSPACED = "".join(
    rf"\p{{{script}}}" for script in ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
)


def plain_words(texts: pa.Array | pa.ChunkedArray) -> pa.ListArray:
    """The words of each text, large_list<large_string>; none for null and for a text without any."""
    plain = plain_caption(pc.fill_null(texts.cast(pa.large_string()), ""))
    apart = pc.replace_substring_regex(plain, pattern=f"([{UNSPACED}])", replacement=r" \1 ")
    spaced = pc.utf8_trim(pc.replace_substring_regex(apart, pattern=" +", replacement=" "), " ")
    spaced = spaced.combine_chunks() if isinstance(spaced, pa.ChunkedArray) else spaced
    nothing = pa.scalar([], pa.list_(pa.large_string()))
    return pc.if_else(pc.equal(spaced, ""), nothing, pc.split_pattern(spaced, " "))


def whole_digests(words: pa.ListArray, min_words: int) -> tuple[Rows, Digests]:
    """The texts of at least `min_words` words: their rows int64 (n,), and the digests of all their words."""
    rows = np.flatnonzero(_lengths(words) >= max(1, min_words))
    return rows, digest_strings(pc.binary_join(words.take(pa.array(rows)), pa.scalar(" ", pa.large_string())))


def run_digests(words: pa.ListArray, length: int) -> tuple[Rows, Digests]:
    """Every run of `length` words: the row it is in, int64 (n,), and its digest; as often as it stands there."""
    flat = words.flatten().dictionary_encode()
    own = digest_strings(flat.dictionary)[np.asarray(flat.indices)] if len(flat) else np.empty((0, 2), np.uint64)
    lengths = _lengths(words)
    row = np.repeat(np.arange(len(lengths)), lengths)
    ahead = np.cumsum(lengths)[row] - np.arange(len(row))
    starts = np.flatnonzero(ahead >= length)
    found = own[starts]
    for place in range(1, length):
        found = join_digests(found, own[starts + place])
    return row[starts], found


def _lengths(words: pa.ListArray) -> Rows:
    return np.asarray(pc.list_value_length(words)).astype(np.int64)
