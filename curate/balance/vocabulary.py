"""Builds a list of concepts as MetaCLIP's was: WordNet's synsets, a corpus' words and pairs of words, and one's own.

Xu et al. 2023 take WordNet's 86,654 synsets, 251,465 words that occur 100 times in English Wikipedia, 100,646 pairs of
words with a pointwise mutual information of at least 30, and 61,235 titles of much-read pages. Their list is not free,
so here is its recipe for any corpus:

    synsets   the first lemma of each synset in lower case, `_` as a space: 86,571 in WordNet 3.0
    words     that occur `min_count` times, the most frequent first
    pairs     of neighbours that occur `min_pair_count` times, with p(xy) / (p(x) p(y)) >= `min_pmi`, the highest first
    more      lines of files, such as titles of pages
    numbers   0 to 99

The paper does not say in which unit PMI is 30. As log2 no two words that occur 100 times reach it in a corpus of less
than 1e11 words, so it is read as the ratio itself (4.9 bits): neighbours 30 times as often as by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.balance.corpus import read_texts
from curate.balance.metadata import clean_entries
from curate.balance.ngrams import PairCounts, WordCounts, count_pairs, count_words
from curate.config import require_range
from curate.errors import ConfigError

__all__ = ["Vocabulary", "build_entries", "likely_pairs", "synset_names"]

PARTS = ("noun", "verb", "adj", "adv")


@dataclass(frozen=True)
class Vocabulary:
    """What a list is built from. `corpus`: text files or Parquet files with `column`; `wordnet`: the folder with
    WordNet's `data.*`, or none; `more`: files of lines. Raises ValueError for a bound out of range."""

    corpus: tuple[Path, ...] = ()
    wordnet: Path | None = None
    more: tuple[Path, ...] = ()
    column: str = "caption"
    min_count: int = 100
    min_pair_count: int = 100
    min_pmi: float = 30.0

    def __post_init__(self) -> None:
        require_range("min_count", self.min_count, 1)
        require_range("min_pair_count", self.min_pair_count, 1)
        require_range("min_pmi", self.min_pmi, 0)
        if not (self.corpus or self.wordnet or self.more):
            raise ValueError("needs a corpus, a folder of WordNet, or files of lines")


def build_entries(settings: Vocabulary) -> tuple[tuple[str, ...], Mapping[str, int]]:
    """The cleaned list, and how many entries each source gave, in the order above. Reads the corpus twice.

    Raises SourceError for a corpus and ConfigError for a WordNet that cannot be read.
    """
    sources: dict[str, Callable[[], Iterable[str]]] = {}
    if settings.wordnet:
        folder = settings.wordnet
        sources["synsets"] = lambda: synset_names(folder)
    if settings.corpus:
        words = count_words(read_texts(settings.corpus, settings.column), settings.min_count)
        pairs = count_pairs(read_texts(settings.corpus, settings.column), words, settings.min_pair_count)
        sources["words"] = lambda: words.words.to_pylist()
        sources["pairs"] = lambda: likely_pairs(words, pairs, settings.min_pmi)
    sources["more"] = lambda: _lines(settings.more)
    sources["numbers"] = lambda: map(str, range(100))
    return _cleaned(sources)


def _cleaned(sources: Mapping[str, Callable[[], Iterable[str]]]) -> tuple[tuple[str, ...], Mapping[str, int]]:
    entries: dict[str, None] = {}
    counts = {}
    for name, source in sources.items():
        before = len(entries)
        entries.update(dict.fromkeys(clean_entries(source())))
        counts[name] = len(entries) - before
    return tuple(entries), counts


def likely_pairs(words: WordCounts, pairs: PairCounts, least: float) -> list[str]:
    """Pairs whose p(xy) / (p(x) p(y)) is at least so much, the highest first, then in alphabetical order."""
    chance = words.counts[pairs.first].astype(np.float64) * words.counts[pairs.second]
    ratio = pairs.counts * float(words.total) / chance
    chosen = np.flatnonzero(ratio >= least)
    first, second = (words.words.take(pa.array(side[chosen])).to_pylist() for side in (pairs.first, pairs.second))
    named = zip((-ratio[chosen]).tolist(), first, second, strict=True)
    return [f"{one} {other}" for _, one, other in sorted(named)]


def synset_names(folder: Path) -> tuple[str, ...]:
    """The first lemma of each synset in WordNet's `data.*`, each once, sorted. Raises ConfigError."""
    return tuple(sorted({name for part in PARTS for name in _first_lemmas(folder / f"data.{part}")}))


def _first_lemmas(path: Path) -> Iterator[str]:
    """`offset file type words lemma ...`, behind a licence in lines that are indented; an adjective may have a mark of
    its position, as in `galore(ip)`."""
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.startswith(" "):
                    continue
                fields = line.split(maxsplit=5)
                if len(fields) < 6 or not fields[0].isdigit():
                    raise ConfigError(f"{path}, line {number} is no line of WordNet's data: {line[:60]!r}")
                yield fields[4].partition("(")[0].replace("_", " ").lower()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a file of WordNet: {error}") from None


def _lines(paths: Sequence[Path]) -> Iterator[str]:
    for block in read_texts(paths):
        for line in block.to_pylist():
            yield line.strip()
