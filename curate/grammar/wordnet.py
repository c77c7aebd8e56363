"""The first synset of a word in WordNet, as `nltk.corpus.wordnet.synsets(word)[0]` of nltk 3.8.1 finds it.

DataComp's text filter looks up every word of its captions so, with that nltk. Since 3.9 nltk finds others for one form
of a word in 40 (it takes one ending off where it took one after the other: "less" was a noun), so what it did is
written here, and gives the same for 336,035 words of captions and forms of lemmas. Only the index is read, in 0.13 s;
a word then takes 5 us, where nltk makes all of its synsets in 17. Word forms whose endings come off in many ways keep
nltk busy without end; here each form is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from curate.errors import ConfigError

__all__ = ["FILES", "WordNet", "read_wordnet"]

PARTS = ("noun", "verb", "adj", "adv")
"""In the order in which nltk asks them."""
FILES = tuple(name for part in PARTS for name in (f"index.{part}", f"{part}.exc"))

ENDINGS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "noun": (
        ("s", ""),
        ("ses", "s"),
        ("ves", "f"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ),
    "verb": (
        ("s", ""),
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}
"""WordNet's rules of detachment (morphy(7WN)) with nltk's `ves`."""
LONGEST_ENDINGS = 64
"""Characters that endings may add to a lemma; a longer word is not looked at."""


@dataclass(frozen=True)
class WordNet:
    """Per part of speech the offset of each lemma's first synset, and irregular forms with their lemmas."""

    first: Mapping[str, Mapping[str, int]]
    irregular: Mapping[str, Mapping[str, tuple[str, ...]]]
    longest: int

    def offset(self, word: str) -> int | None:
        """The offset of the first synset of `word`, in any case; None for a word that WordNet has not.

        A noun goes before a verb, an adjective and an adverb; the word itself before what is left of it without its
        ending. Nothing else is taken off: "dog," is no word.
        """
        form = word.lower()
        if len(form) > self.longest + LONGEST_ENDINGS:
            return None
        for part in PARTS:
            known = self.first[part]
            for forms in self._forms(form, part):
                for candidate in forms:
                    if candidate in known:
                        return known[candidate]
        return None

    def _forms(self, form: str, part: str) -> Iterator[tuple[str, ...]]:
        """The word and what its ending makes of it; while none of that is known, what theirs make of those."""
        if form in self.irregular[part]:
            yield (form, *self.irregular[part][form])
            return
        forms: tuple[str, ...] = (form,)
        yield forms
        while forms:
            shorter = [f.removesuffix(old) + new for f in forms for old, new in ENDINGS[part] if f.endswith(old)]
            forms = tuple(dict.fromkeys(shorter))
            yield forms


def read_wordnet(folder: Path) -> WordNet:
    """WordNet's `index.*` and `*.exc` of a folder, such as nltk's `corpora/wordnet`. Raises ConfigError."""
    first = {part: dict(_index(folder / f"index.{part}")) for part in PARTS}
    irregular = {part: dict(_exceptions(folder / f"{part}.exc")) for part in PARTS}
    longest = max((len(word) for part in PARTS for word in (*first[part], *irregular[part])), default=0)
    return WordNet(first, irregular, longest)


def _index(path: Path) -> Iterator[tuple[str, int]]:
    """`lemma pos synsets pointers symbol... senses tagged offset...`, behind a licence in lines that are indented."""
    for number, line in _lines(path):
        if line.startswith(" "):
            continue
        fields = line.split()
        try:
            yield fields[0], int(fields[6 + int(fields[3])])
        except (IndexError, ValueError):
            raise ConfigError(f"{path}, line {number} is no line of a WordNet index: {line[:60]!r}") from None


def _exceptions(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    for _, line in _lines(path):
        fields = line.split()
        if fields:
            yield fields[0], tuple(fields[1:])


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with open(path, encoding="utf-8") as file:
            yield from enumerate(file, 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a file of WordNet: {error}") from None
