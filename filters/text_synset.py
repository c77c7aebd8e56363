"""Drops captions without a word of some synsets of WordNet, such as the classes of ImageNet: DataComp's text filter.

A word is what stands between white space, punctuation included ("dog," is none), and only its first synset counts.
DataComp compares bare offsets, so a word that is no noun is taken where its offset is that of a listed noun; so does
this. It goes with the language filter. 100,000 captions of 10 words a second and core, 600,000 once words are known;
DataComp's own way, which looks each word up in nltk and its offset in a list of 21,000, takes 1.2 ms a caption.

WordNet 3.0 is a folder of nltk's data (`corpora/wordnet`) and of Debian (`/usr/share/wordnet`); 3.1 has other offsets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError
from curate.filter import Batch, Filter, Scorer, Verdict, verdict
from curate.grammar.wordnet import FILES, read_wordnet
from curate.source.model_file import config_digest

CACHED_WORDS = 1 << 18
LONG_CHARS = 64
"""A longer word is looked up each time, so that the words remembered are bounded in bytes too."""
SYNSET = re.compile(r"n?(\d{1,8})")
OPTION = "[filters.text_synset]"

Find: TypeAlias = Callable[[str], "str | None"]
"""From a word to the synset on the list that it names first."""


@dataclass(frozen=True)
class FindSynset(Scorer):
    """The synset of the first word that names a listed one, as `n02084071`; null where there is none, or no caption."""

    wordnet: str
    synsets: str

    name: ClassVar[str] = "text_synset"
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {"caption_synset": pa.string()}

    def identity(self) -> Any:
        files = [config_digest(str(Path(self.wordnet) / name), f"{OPTION} wordnet") for name in FILES]
        files.append(config_digest(self.synsets, f"{OPTION} synsets"))
        return {"scorer": self.name, "version": self.version, "files": files}

    def require(self) -> None:
        finder(self.wordnet, self.synsets)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        find = finder(self.wordnet, self.synsets)
        captions = batch.columns["caption"].to_pylist()
        found = [
            None if caption is None else next(filter(None, map(find, caption.split())), None) for caption in captions
        ]
        return {"caption_synset": pa.array(found, pa.string())}


@dataclass(frozen=True)
class TextSynset(Filter):
    """Keeps captions with a word whose first synset is on the list. No caption has none.

    `wordnet` is a folder with WordNet's files. `synsets` is a file with one a line, as `n02084071` or 2084071; more on
    a line, such as its words, is passed over.
    """

    wordnet: str = field(metadata={"runtime": True})
    synsets: str = field(metadata={"runtime": True})

    reads: ClassVar[tuple[str, ...]] = ("caption_synset",)
    reasons: ClassVar[Mapping[str, str]] = {
        "no_listed_synset": "the caption names nothing on the list, or there is none"
    }

    def __post_init__(self) -> None:
        for name, value in (("wordnet", self.wordnet), ("synsets", self.synsets)):
            if not value:
                raise ValueError(f"{name} = {value!r} must be a path")

    def scorer(self) -> Scorer:
        return FindSynset(self.wordnet, self.synsets)

    def judge(self, columns: pa.Table) -> Verdict:
        return verdict(len(columns), ("no_listed_synset", pc.is_null(columns["caption_synset"])))


@lru_cache(maxsize=2)
def finder(wordnet: str, synsets: str) -> Find:
    """Looks words up, and remembers the shorter ones, also those that it did not find. Raises ConfigError."""
    words, listed = read_wordnet(Path(wordnet)), read_synsets(Path(synsets))

    def look_up(word: str) -> str | None:
        offset = words.offset(word)
        return f"n{offset:08d}" if offset in listed else None

    remembered = lru_cache(maxsize=CACHED_WORDS)(look_up)
    return lambda word: remembered(word) if len(word) <= LONG_CHARS else look_up(word)


def read_synsets(path: Path) -> frozenset[int]:
    """Offsets of a list file. Raises ConfigError."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{OPTION} synsets = {str(path)!r} cannot be read: {error}") from None
    offsets = set()
    for number, line in enumerate(lines, 1):
        first = line.split(maxsplit=1)[:1]
        found = SYNSET.fullmatch(first[0]) if first else None
        if first and not found:
            raise ConfigError(f"{OPTION} synsets, line {number}: {first[0][:40]!r} is no synset, such as n02084071")
        if found:
            offsets.add(int(found[1]))
    if not offsets:
        raise ConfigError(f"{OPTION} synsets = {str(path)!r} is empty; name one synset a line, such as n02084071")
    return frozenset(offsets)
