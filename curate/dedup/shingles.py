"""Texts as sets of shingles, and the one rule for texts that are too short to have any.

Peers lose short texts in three ways: datatrove gives a text of fewer than n words no signature, so it is never a
duplicate; text-dedup drops such rows from the data; older versions of it put all of them into one cluster. Captions
have 5 to 12 words, so this is the usual case and not the odd one. Here:

- a text with fewer than n units is one shingle, the whole text in normal form. No other text can have that shingle but
  an equal one, for the shingles of longer texts have exactly n units. So short texts are duplicates when they are
  equal, and never else (`short = "exact"`). By words there is a second choice: such a text is cut by characters, 5 at a
  time (`"chars"`), and is then compared with other short ones, for a longer text has words and hardly any such shingle;
- an empty text, and none at all, has no shingles: no signature, a duplicate of nothing.

Default are 5 characters, not 5 words: of 9 words there are 5 shingles, and one word changed takes all of them.

A shingle takes 4 bytes, or 8 of a hash to compare sets by. Texts are worked on a megabyte at a time (with 8, fresh
memory costs half of the time again); a longer one is worked on alone, in at most 50 bytes per byte of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.config import require_range

__all__ = ["HashName", "ShingleSets", "Shingles", "normal_texts", "shingle_batches", "shingle_sets"]

Texts: TypeAlias = "pa.Array | pa.ChunkedArray"
HashName: TypeAlias = Literal["xxh32", "xxh64", "sha1"]
NormalForm: TypeAlias = Literal["none", "text", "bare"]

BATCH_BYTES = 1 << 20
MAX_TEXT_BYTES = (1 << 32) - 2
_METHODS: dict[HashName, int] = {"xxh32": 0, "xxh64": 1, "sha1": 2}
_PUNCTUATION = r"[\pP\pS\p{Cc}\p{Cf}]+"


@dataclass(frozen=True)
class Shingles:
    """How a text is cut. Raises ValueError for what cannot be.

    `kind`, `n`: a shingle is `n` characters (code points) or `n` words in a row, words joined by a space.
    `normalise`: `text` is NFKC, then lower case (character by character, as Unicode's simple mapping has it), then one
    space where there was white space and none around; `bare` makes punctuation, symbols and controls white space too,
    and keeps numbers: "Figure 1" and "Figure 2" stay two texts (`curate.text.words_of` would make one of them); `none`
    takes a text as it is, and goes with characters only.
    `short`: see the head of this module; `chars` goes with words only.
    """

    kind: Literal["chars", "words"] = "chars"
    n: int = 5
    normalise: NormalForm = "text"
    short: Literal["exact", "chars"] = "exact"

    def __post_init__(self) -> None:
        require_range("n", self.n, 1, 1_000)
        allowed = {"kind": ("chars", "words"), "normalise": get_args(NormalForm), "short": ("exact", "chars")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} = {getattr(self, name)!r} is none of {', '.join(values)}")
        if self.kind == "words" and self.normalise == "none":
            raise ValueError('kind = "words" needs white space in order; set normalise to "text" or "bare"')
        if self.kind == "chars" and self.short == "chars":
            raise ValueError('short = "chars" is for kind = "words"; leave it out, or set kind to "words"')


@dataclass(frozen=True)
class ShingleSets:
    """The shingles of text i are `hashes[offsets[i]:offsets[i + 1]]`, each once, in the order in which they come.

    `offsets` is int64 (n + 1), `hashes` uint32 or, of XXH64, uint64.
    """

    offsets: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint32] | npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Shingles of each text; 0 for an empty one, which is a duplicate of nothing."""
        return np.diff(self.offsets)


def shingle_sets(texts: Texts, settings: Shingles, hash: HashName = "xxh32") -> ShingleSets:
    """The shingles of all texts (string or large_string; a null is an empty text).

    Take `xxh32` for signatures, `sha1` for such as datasketch makes by default, `xxh64` to compare sets exactly.
    Raises ValueError for bytes that are no UTF-8.
    """
    batches = list(shingle_batches(texts, settings, hash))
    if len(batches) == 1:
        return batches[0]
    sizes = np.concatenate([np.zeros(1, np.int64), *(batch.sizes for batch in batches)])
    empty = np.empty(0, _hash_type(hash))
    return ShingleSets(np.cumsum(sizes), np.concatenate([empty, *(batch.hashes for batch in batches)]))


def shingle_batches(
    texts: Texts, settings: Shingles, hash: HashName = "xxh32", batch_bytes: int = BATCH_BYTES
) -> Iterator[ShingleSets]:
    """The same, as many texts at a time as have `batch_bytes` bytes together, and at least one."""
    for batch in _batches(texts, batch_bytes):
        yield _cut(_normal(batch, settings.normalise), settings, hash)


def normal_texts(texts: Texts, normalise: NormalForm = "text") -> pa.LargeStringArray:
    """The texts in normal form, for who wants to see or digest what is compared; "" for a null."""
    batches = [_normal(batch, normalise) for batch in _batches(texts, BATCH_BYTES)]
    return pa.concat_arrays([pa.array([], pa.large_string()), *batches])


def _batches(texts: Texts, batch_bytes: int) -> Iterator[pa.LargeStringArray]:
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        array = pc.fill_null(chunk.cast(pa.large_string()), "")
        offsets, start = _offsets(array), 0
        while start < len(array):
            stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + batch_bytes, side="right")) - 1)
            if offsets[stop] - offsets[start] > max(batch_bytes, MAX_TEXT_BYTES):
                raise ValueError("a text has more than 4 GB; cut it before it is compared")
            yield array.slice(start, stop - start)
            start = stop


def _offsets(texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
    if not len(texts):
        return np.zeros(1, np.int64)
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]


def _bytes(texts: pa.LargeStringArray) -> npt.NDArray[np.uint8]:
    return np.frombuffer(texts.buffers()[2] or b"", np.uint8)


def _normal(texts: pa.LargeStringArray, normalise: NormalForm) -> pa.LargeStringArray:
    from curate.dedup.minhash_text import single_spaces

    if normalise == "none":
        return texts
    texts = _beyond_ascii(texts, normalise)
    offsets = _offsets(texts)
    out, out_offsets = np.empty(offsets[-1] - offsets[0], np.uint8), np.empty(len(offsets), np.int64)
    single_spaces(_bytes(texts), offsets, _byte_table(normalise == "bare"), out, out_offsets)
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(out_offsets), pa.py_buffer(out[: out_offsets[-1]]))


def _beyond_ascii(texts: pa.LargeStringArray, normalise: NormalForm) -> pa.LargeStringArray:
    """Texts with their characters beyond ASCII in normal form; those without any as they are."""
    try:
        other = pc.invert(pc.string_is_ascii(texts))
        if not pc.any(other).as_py():
            return texts
        found = pc.utf8_lower(pc.utf8_normalize(texts.filter(other), form="NFKC"))
        if normalise == "bare":
            found = pc.replace_substring_regex(found, pattern=_PUNCTUATION, replacement=" ")
        return pc.replace_with_mask(texts, other, found)
    except pa.ArrowInvalid as error:
        raise ValueError(f"a text has bytes that are no UTF-8 ({error}); decode it with errors='replace'") from None


def _byte_table(bare: bool) -> npt.NDArray[np.uint8]:
    """What becomes of each ASCII character: lower case, a space for white space, and for punctuation where bare."""
    table = np.arange(256, dtype=np.uint8)
    table[ord("A") : ord("Z") + 1] += 32
    table[[*range(9, 14), *range(28, 33)]] = 32
    if bare:
        spared = [byte for byte in range(128) if not chr(byte).isalnum()]
        table[spared] = 32
    return table


def _cut(texts: pa.LargeStringArray, settings: Shingles, hash: HashName) -> ShingleSets:
    from curate.dedup.minhash_text import cut

    offsets = _offsets(texts)
    out, ends = np.empty(offsets[-1] - offsets[0], _hash_type(hash)), np.empty(len(offsets), np.int64)
    odd = secrets.randbits(62) | 1
    rule = (settings.n, settings.kind == "words", settings.short == "chars", _METHODS[hash], odd)
    cut(_bytes(texts), offsets, rule, out, ends)
    return ShingleSets(ends, out[: ends[-1]].copy())


def _hash_type(hash: HashName) -> type[np.uint32] | type[np.uint64]:
    if hash not in _METHODS:
        raise ValueError(f"hash = {hash!r} is none of {', '.join(_METHODS)}")
    return np.uint64 if hash == "xxh64" else np.uint32
