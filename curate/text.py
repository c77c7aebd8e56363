"""The one definition of "word", "character" and "letter" that filters share.

Two word rules stand side by side because DataComp uses both and they disagree in both directions: its basic filter
counts `len(text.split())`, its caption filter `len(fasttext.tokenize(text))`. In "dog\\n" they count 1 and 2 (fastText
gives every newline a token of its own), in "dog<NBSP>cat" 2 and 1 (fastText splits at ASCII space only).

What Python's strings do in C is used as it is: `split` counts 2.4 M captions a second and core, RE2 inside Arrow
1.1 M. For letters, where Python would loop over characters, RE2 does 0.7 M, in time linear in whatever the text is.

Paragraphs and documents have a third rule, that of ROOTS and OBELICS: what stands between white space, in lower case,
without the special characters around it. On paragraphs of 390 characters RE2 finds their words in 12 us each (Python's
`re` in 34), and n-grams are counted by sorting their hashes for a whole batch at once, 7 us (a Counter of strings: 88),
in 60 bytes a character however the text is made.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Batch, Scorer

__all__ = [
    "SPACE",
    "SPECIAL",
    "CountWords",
    "ListedWords",
    "WordRule",
    "common_ngram_ratio",
    "count_words",
    "letter_ratio",
    "read_words",
    "repeated_ngram_ratio",
    "repeated_ratio",
    "word_ratio",
    "words_of",
]

WordRule: TypeAlias = Literal["whitespace", "fasttext"]
Texts: TypeAlias = "pa.Array | pa.ChunkedArray"

SPACE = r"\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
"""The 29 characters at which `str.split` splits, for an RE2 class."""

SPECIAL = r"\pP\pS\pN\pZ\p{Cc}\p{Cf}\x{fe0e}\x{fe0f}\x{20e3}"
"""Special characters for an RE2 class: punctuation, symbols with all emoji, numbers, white space, controls and what
joins emoji. OBELICS' set of 4,934 in terms of Unicode; it has some 20 letters more that were in the data by accident
(`Г`, `士`, `ン`), and lacks most symbols beyond Latin-1 that are no emoji."""

NGRAM_CHARS = 4 << 20
"""Characters whose n-grams are counted at once; a longer text is counted alone."""


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


def words_of(texts: Texts) -> pa.ListArray:
    """The words of each text by the rule of ROOTS and OBELICS, list<string>; null for null.

    Lower case, separated by white space, without special characters at either end: "42" and "--" are no words, "3rd"
    is "rd". OBELICS splits at space, tab and newline, after it has made most other spaces one.
    """
    clean = pc.utf8_lower(texts)
    clean = pc.replace_substring_regex(clean, pattern=f"[{SPECIAL}]*[{SPACE}][{SPECIAL}]*", replacement=" ")
    clean = pc.replace_substring_regex(clean, pattern=f"^[{SPECIAL}]+|[{SPECIAL}]+$", replacement="")
    if isinstance(clean, pa.ChunkedArray):
        clean = clean.combine_chunks()
    nothing = pa.scalar([], pa.list_(pa.string()))
    return pc.if_else(pc.equal(clean, ""), nothing, pc.split_pattern(clean, " "))


def word_ratio(texts: Texts, listed: frozenset[str]) -> pa.Array:
    """Share of words that are in `listed`, float64 in 0 to 1; 0 for a text without words, null for null."""
    lists = words_of(texts)
    flat = lists.flatten().dictionary_encode()
    known = np.array([word in listed for word in flat.dictionary.to_pylist()], dtype=bool)
    ends = np.concatenate([[0], np.cumsum(_lengths(lists))])
    hits = np.concatenate([[0], np.cumsum(known[np.asarray(flat.indices)])])[ends]
    return _ratio(np.diff(hits), np.diff(ends), texts)


def common_ngram_ratio(texts: Texts, size: int) -> pa.Array:
    """Share of the most frequent character n-grams, float64 in 0 to 1; 0 for a text shorter than `size`, null for null.

    ROOTS' and OBELICS' character repetition ratio: of N distinct n-grams, the floor(sqrt(N)) most frequent, but none
    that occurs once, over all occurrences. Letter case and spaces count. The square root is there because a long text
    repeats some n-grams whatever it says.
    """
    flat = pc.fill_null(texts, "")
    lengths = np.asarray(pc.utf8_length(flat)).astype(np.int64)
    characters = np.frombuffer("".join(flat.to_pylist()).encode("utf-32-le"), np.uint32)
    top = np.zeros(len(lengths), dtype=np.int64)
    for start, owner, counts in _ngrams(characters, lengths, size):
        distinct = np.bincount(owner)
        owner, counts = owner[counts > 1], counts[counts > 1]
        order = np.lexsort((-counts, owner))
        owner, counts = owner[order], counts[order]
        rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
        taken = rank < np.sqrt(distinct).astype(np.int64)[owner]
        np.add.at(top, start + owner[taken], counts[taken])
    return _ratio(top, np.maximum(lengths - size + 1, 0), texts)


def repeated_ngram_ratio(texts: Texts, size: int) -> pa.Array:
    """Share of word n-grams that occur more than once, float64 in 0 to 1; 0 below `size` words, null for null.

    As `repeated_ratio`, of `words_of`: the word repetition ratio of ROOTS and OBELICS.
    """
    lists = words_of(texts)
    lengths = _lengths(lists)
    codes = np.asarray(lists.flatten().dictionary_encode().indices)
    repeated = np.zeros(len(lengths), dtype=np.int64)
    for start, owner, counts in _ngrams(codes, lengths, size):
        np.add.at(repeated, start + owner[counts > 1], counts[counts > 1])
    return _ratio(repeated, np.maximum(lengths - size + 1, 0), texts)


@lru_cache(maxsize=8)
def read_words(path: Path, min_count: int = 1) -> frozenset[str]:
    """Words of a list file in lower case, read once per process. Raises ValueError for what is no such list.

    Either JSON, a list of words or an object of words and counts, or text: a word a line, its count behind it if it has
    one, `#` in front of a remark. A word with a count is taken from `min_count` on.
    """
    try:
        content = path.read_text("utf-8")
        counts = _json_words(content) if path.suffix == ".json" else _lines_of_words(content)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no list of words: {error}") from None
    words = frozenset(word.lower() for word, count in counts.items() if count is None or count >= min_count)
    if not words:
        raise ValueError(f"{path} has no words with a count of at least {min_count}")
    return words


@dataclass(frozen=True)
class ListedWords(Scorer):
    """Share of a text's words that are in a list, 0 to 1; null for no text. A subclass names itself and its column.

    `file` is as for `read_words`. Raises ValueError for what is no such list.
    """

    file: Path
    min_count: int = 1

    reads: ClassVar[tuple[str, ...]] = ("text",)

    def __post_init__(self) -> None:
        read_words(self.file, self.min_count)

    def identity(self) -> Any:
        words = "\n".join(sorted(read_words(self.file, self.min_count)))
        digest = hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()
        return {"scorer": self.name, "version": self.version, "words": digest}

    def score(self, batch: Batch) -> dict[str, pa.Array]:
        (column,) = self.writes
        return {column: word_ratio(batch.columns["text"], read_words(self.file, self.min_count))}


@dataclass(frozen=True)
class CountWords(Scorer):
    """Words of a text as `words_of` has them, and their mean length in characters; null for no text.

    The mean is null for a text without words. The scorer of every filter that needs one of these.
    """

    name: ClassVar[str] = "text_words"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[dict[str, pa.DataType]] = {"text_words": pa.int32(), "text_mean_word_chars": pa.float64()}

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version}

    def score(self, batch: Batch) -> dict[str, pa.Array]:
        lists = words_of(batch.columns["text"])
        lengths = _lengths(lists)
        characters = np.concatenate([[0], np.cumsum(np.asarray(pc.utf8_length(lists.flatten())))])
        sums = np.diff(characters[np.concatenate([[0], np.cumsum(lengths)])])
        mean = pa.array(sums / np.maximum(lengths, 1), mask=lengths == 0)
        return {"text_words": pc.list_value_length(lists), "text_mean_word_chars": mean}


def _ngrams(
    items: npt.NDArray[Any], lengths: npt.NDArray[np.int64], size: int
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Distinct n-grams of texts that lie one behind the other in `items`, a few texts at a time.

    Yields the number of the first of these texts, and per n-gram its text (counted from there, ascending) and how
    often it has it. N-grams are told apart by 64 bits, of which the text's number takes some: with 2,048 texts two
    n-grams of a page of a megabyte are taken for one with a chance of 1 in 20,000.
    """
    ends = np.concatenate([[0], np.cumsum(lengths)])
    start = 0
    while start < len(lengths):
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + NGRAM_CHARS, side="right")) - 1)
        own = items[ends[start] : ends[stop]].astype(np.uint64)
        if len(own) >= size:
            yield start, *_counted(own, lengths[start:stop], size)
        start = stop


def _counted(
    items: npt.NDArray[np.uint64], lengths: npt.NDArray[np.int64], size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    free = np.uint64(64 - max(len(lengths) - 1, 1).bit_length())
    owner = np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths)
    total = len(items) - size + 1
    hashes = np.zeros(total, dtype=np.uint64)
    for place in range(size):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes += items[place : place + total]
    hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    whole = owner[:total] == owner[size - 1 :]
    keys = np.sort(((owner[:total] << free) | (hashes >> (np.uint64(64) - free)))[whole])
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    return (keys[first] >> free).astype(np.int64), np.diff(np.append(first, len(keys)))


def _lengths(lists: pa.ListArray) -> npt.NDArray[np.int64]:
    """Entries of each list, 0 for null."""
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64], texts: Texts) -> pa.Array:
    """Quotients in double precision, so that 1/10 is not above 0.1; null where the text is."""
    return pa.array(part / np.maximum(whole, 1), mask=np.asarray(texts.is_null()))


def _json_words(content: str) -> dict[str, float | None]:
    found = json.loads(content)
    counts = found if isinstance(found, dict) else dict.fromkeys(found if isinstance(found, list) else ())
    if not all(isinstance(word, str) and isinstance(count, int | float | None) for word, count in counts.items()):
        raise ValueError("needs a JSON list of words, or an object of words and counts")
    return counts


def _lines_of_words(content: str) -> dict[str, float | None]:
    counts: dict[str, float | None] = {}
    for line in content.splitlines():
        fields = line.split("#", 1)[0].split()
        if len(fields) > 2:
            raise ValueError(f"{line[:60]!r} is not a word, or a word and its count")
        if fields:
            counts[fields[0]] = float(fields[1]) if len(fields) == 2 else None
    return counts
