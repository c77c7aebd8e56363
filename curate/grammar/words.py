"""What an English word can be, looked at alone: closed classes by list, 785 verbs by their forms, the rest by
how it ends, and a noun by default.

The answer is a set of bits, so that rules of position (`rules.py`) can run over whole batches in numpy. A word costs
2 us the first time and a look into a dictionary after that; `english.txt` has the words of the open classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path

__all__ = ["Bit", "bits_of"]

CACHED_WORDS = 1 << 17
"""Words whose bits are remembered, some 20 MB."""
LONG_CHARS = 32
"""A longer word is not remembered: it is an address or a blob, and a noun at best."""


class Bit:
    """Each is one bit of an int32. A word that can be several things has several."""

    NOUN = 1 << 0
    BASE = 1 << 1  # sit
    FORM_S = 1 << 2  # sits
    PAST = 1 << 3  # sat
    PARTICIPLE = 1 << 4  # sat, written
    ING = 1 << 5  # sitting
    ADJECTIVE = 1 << 6
    ADVERB = 1 << 7
    DETERMINER = 1 << 8
    NUMBER = 1 << 9
    PREPOSITION = 1 << 10
    PRONOUN = 1 << 11
    BE = 1 << 12
    HAVE = 1 << 13
    HELPER = 1 << 14  # do, modals
    TO = 1 << 15
    AND = 1 << 16
    CLAUSE = 1 << 17  # who, that, while
    BREAK = 1 << 18
    COMMA = 1 << 19
    QUOTE = 1 << 20
    OTHER = 1 << 21  # addresses, part numbers: things, but no nouns
    KNOWN = 1 << 22  # a form of a verb of the list
    MOSTLY_VERB = 1 << 23
    BARE_OBJECT = 1 << 24
    NOUN_FIRST = 1 << 25  # painting: a noun unless an object follows
    CAPITAL = 1 << 26
    PLURAL = 1 << 27
    LONG = 1 << 28  # counts when a caption is looked at for title case
    BEFORE = 1 << 29  # before, after, while: what follows is an event


VERB = Bit.BASE | Bit.FORM_S | Bit.PAST | Bit.PARTICIPLE | Bit.ING

CLOSED: Mapping[int, str] = {
    Bit.DETERMINER: """a an the this these those each every some any no another all several many few various both such
        its our your my their whose""",
    Bit.DETERMINER | Bit.PRONOUN: "his her",
    Bit.DETERMINER | Bit.PRONOUN | Bit.CLAUSE: "that",
    Bit.NUMBER | Bit.PRONOUN: "one",
    Bit.NUMBER: """two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen twenty thirty
        forty fifty sixty hundred thousand million half dozen""",
    Bit.PREPOSITION: """of in on at by for with without from into onto over under underneath beneath below between among
        amongst amid across along alongside against around toward towards through throughout behind beside besides
        beyond near off up down out inside outside within during about above atop aboard upon via per past opposite w/
        w/o as like""",
    Bit.PREPOSITION | Bit.BEFORE: "before after since until till",
    Bit.PRONOUN: """i you he she it we they me him them us who someone somebody something everyone everybody everything
        anyone anything nobody nothing himself herself itself themselves myself yourself yourselves ourselves
        mine yours hers ours theirs others let's lets""",
    Bit.BE: "is are was were be been being am isn't aren't wasn't weren't ain't 're 'm",
    Bit.BE | Bit.PRONOUN: "it's he's she's that's there's what's who's i'm you're we're they're here's where's",
    Bit.HAVE: "has have had hasn't haven't hadn't i've you've we've they've 've",
    Bit.ING | Bit.KNOWN | Bit.BARE_OBJECT: "having",
    Bit.HELPER: """do does did don't doesn't didn't can cannot can't could couldn't will won't would wouldn't shall
        should shouldn't may might must mustn't i'll you'll we'll they'll he'll she'll it'll i'd""",
    Bit.TO: "to",
    Bit.AND: "and or & nor plus + vs vs. versus",
    Bit.CLAUSE: "which what where why how because if although though whether than so but",
    Bit.CLAUSE | Bit.BEFORE: "when while whilst",
    Bit.ADVERB: "not n't",
}

NOUN_PLURALS = (
    "people men women children police cattle sheep deer geese mice feet teeth wolves leaves policemen firemen"
)
ENDINGS = (
    (("ous", "ful", "less", "ible", "ical", "esque", "most", "proof", "friendly"), Bit.ADJECTIVE),
    (("ive",), Bit.ADJECTIVE | Bit.NOUN),
)


def bits_of(word: str) -> int:
    """Everything that `word` can be, by itself; remembered unless it is very long."""
    return _remembered(word) if len(word) <= LONG_CHARS else Bit.OTHER


@lru_cache(maxsize=CACHED_WORDS)
def _remembered(word: str) -> int:
    found = _lexical(word.lower().replace("’", "'"))
    if found & (Bit.NOUN | VERB):
        found |= Bit.LONG if len(word) > 3 else 0
    return found | (Bit.CAPITAL if word[0].isupper() else 0)


def _lexical(word: str) -> int:
    """`word` in lower case, with plain apostrophes."""
    lexicon = _lexicon()
    if word in lexicon:
        return lexicon[word]
    if not word[0].isalpha():
        return _mark_or_number(word)
    if word.endswith(("'s", "s'")):
        return Bit.DETERMINER
    if "." in word.rstrip(".") or any(c.isdigit() for c in word):
        return Bit.OTHER
    if "-" in word:
        return _compound(word)
    return _by_ending(word)


def _mark_or_number(word: str) -> int:
    if word[0].isdigit():
        return Bit.NUMBER
    if word in "\"“”‘’'«»„":
        return Bit.QUOTE
    if word == ",":
        return Bit.COMMA
    return Bit.BREAK if len(word) == 1 else Bit.OTHER


def _compound(word: str) -> int:
    """What is joined by hyphens is a noun if its last part is one, else an adjective, never a verb."""
    last = _lexical(word.rsplit("-", 1)[1])
    if last & Bit.NUMBER or word.count("-") > 2:
        return Bit.NOUN
    return Bit.NOUN if last & Bit.NOUN and not last & (Bit.ADJECTIVE | Bit.PREPOSITION) else Bit.ADJECTIVE


def _by_ending(word: str) -> int:
    if len(word) >= 5 and word.endswith("ing"):
        return Bit.ING | Bit.NOUN
    if len(word) >= 5 and word.endswith("ed") and not word.endswith("eed"):
        return Bit.PAST | Bit.PARTICIPLE | Bit.ADJECTIVE
    if len(word) >= 5 and word.endswith("ly"):
        return Bit.ADVERB
    for endings, bits in ENDINGS:
        if len(word) >= 6 and word.endswith(endings):
            return bits
    return Bit.NOUN | (Bit.PLURAL if word.endswith("s") and not word.endswith(("ss", "us", "is")) else 0)


@cache
def _lexicon() -> Mapping[str, int]:
    """All words of the lists. Later lists add to what earlier ones say, except where they take it back."""
    sections = _sections()
    found: dict[str, int] = {}
    for entry in sections["verbs"]:
        for form, bits in _verb(entry):
            found[form] = found.get(form, 0) | bits
    _set_apart(found, sections["no verb forms"])
    for word in sections["adjectives"]:
        found[word] = found.get(word, 0) & Bit.BASE | Bit.ADJECTIVE
    for word in sections["colors"]:
        found[word] = Bit.ADJECTIVE | Bit.NOUN
    for word in sections["adverbs"]:
        found[word] = Bit.ADVERB
    for word in sections["nouns too"]:
        found[word] = found.get(word, 0) | Bit.NOUN
    for word in NOUN_PLURALS.split():
        found[word] = found.get(word, 0) | Bit.NOUN | Bit.PLURAL
    for bits, words in CLOSED.items():
        found.update(dict.fromkeys(words.split(), bits))
    return found


def _set_apart(found: dict[str, int], words: Iterable[str]) -> None:
    for word in words:
        bits = found.get(word, 0)
        if word.endswith("ing") and bits & Bit.ING:
            found[word] = bits | Bit.NOUN | Bit.NOUN_FIRST
        elif word.endswith("ed") and not bits & Bit.BASE:
            found[word] = Bit.ADJECTIVE
        elif not bits & Bit.BASE:
            found[word] = Bit.NOUN


def _sections() -> Mapping[str, list[str]]:
    sections: dict[str, list[str]] = {}
    own: list[str] = []
    for line in (Path(__file__).parent / "english.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            own = sections.setdefault(line.strip("[]"), [])
        elif not line.startswith("#"):
            own.extend(line.split())
    return sections


def _verb(entry: str) -> Iterable[tuple[str, int]]:
    """The forms of one verb of the list, and what each can be."""
    forms, _, marks = entry.partition(":")
    base, past, participle = forms.split("/") if "/" in forms else (forms, _past(forms), _past(forms))
    shared = Bit.KNOWN | (Bit.BARE_OBJECT if "o" in marks else 0)
    both = (Bit.NOUN if "n" in marks or "v" in marks else 0) | (Bit.MOSTLY_VERB if "n" not in marks else 0)
    yield base, Bit.BASE | both | shared
    yield _form_s(base), Bit.FORM_S | both | shared | (Bit.PLURAL if both & Bit.NOUN else 0)
    yield past, Bit.PAST | shared | (Bit.ADJECTIVE if past.endswith("ed") else 0)
    yield participle, Bit.PARTICIPLE | shared | (Bit.ADJECTIVE if past.endswith("ed") else 0)
    yield _stem(base, "ing") + "ing", Bit.ING | shared


def _form_s(base: str) -> str:
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")


def _past(base: str) -> str:
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return _stem(base, "ed") + "ed"


LAST_STRESSED = (
    "admit",
    "permit",
    "occur",
    "prefer",
    "refer",
    "begin",
    "forget",
    "submit",
    "control",
    "patrol",
    "upset",
)
"""Verbs of two syllables that double their last consonant."""


def _stem(base: str, ending: str) -> str:
    """`run` to `runn`, `make` to `mak`, `lie` to `ly`, `see` as it is."""
    if ending == "ing" and base.endswith("ie"):
        return base[:-2] + "y"
    if base.endswith("e") and (ending == "ed" or not base.endswith(("ee", "oe", "ye"))):
        return base[:-1]
    spelled = base.replace("qu", "q")
    short = len(spelled) > 2 and spelled[-3] not in "aeiou" and spelled[-2] in "aeiou" and spelled[-1] not in "aeiouwxy"
    one_syllable = sum(letter in "aeiouy" for letter in spelled) == 1
    return base + base[-1] if short and (one_syllable or base in LAST_STRESSED) else base
