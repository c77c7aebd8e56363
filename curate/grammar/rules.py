"""Counts verbs, nouns and relations of English captions by rules of position, for a whole batch at once.

Words get bits by themselves (`words.py`); each rule is then a few numpy operations over all words of the batch and
their nearest neighbours. There is no search and no model, so time is linear in the text: 6.5 us a caption of 10 words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from curate.grammar.tally import Tally
from curate.grammar.words import VERB, Bit, bits_of

__all__ = ["tally_by_rules"]

Bits = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

TOKEN = re.compile(
    r"""(?:https?:|www\.)\S+ | (?:[A-Z]\.)+(?!\w) | (?:Mr|Mrs|Ms|Dr|St|Jr|Sr|No|vs|Prof|Gen|Col|Lt|Sgt)\.
      | [wW]/[oO]?(?!\w) | [^\W_]+(?:['’.\-&/][^\W_]+)* | [^\w\s#*~^<>=%$€£@…] | \n""",
    re.VERBOSE,
)
BREAK = "|"
"""Stands before every caption and behind the last: nothing reaches over it."""

TITLE_SHARE = 0.6
"""Of the longer words of a caption; with more capitals a capital says nothing."""
NOMINAL = Bit.NOUN | Bit.PRONOUN | Bit.NUMBER | Bit.OTHER
NEW_PHRASE = Bit.DETERMINER | Bit.PRONOUN | Bit.QUOTE | Bit.NUMBER
ATTRIBUTE = Bit.DETERMINER | Bit.ADJECTIVE
WITHOUT_OBJECT = Bit.PREPOSITION | Bit.TO
END = Bit.BREAK | Bit.COMMA | Bit.AND | Bit.CLAUSE


def tally_by_rules(captions: Sequence[str]) -> Tally:
    """Count what these captions hold. Any text will do; what is no English is mostly taken for nouns."""
    tokens = [TOKEN.findall(caption) for caption in captions]
    edge = bits_of(BREAK)
    bits = [edge]
    for words in tokens:
        bits.extend(map(bits_of, words))
        bits.append(edge)
    starts = np.cumsum([1, *(len(words) + 1 for words in tokens)])
    found = Words(np.array(bits, np.int32), starts)
    return Tally(*(found.per_caption(flags) for flags in (found.nouns(), found.verbs, found.relations())))


class Words:
    """All words of a batch, one behind the other, with a break between captions; `captions` says where
    each begins, and where the last one ends.

    `before` and `after` are the bits of the nearest neighbours that are no adverbs.
    """

    def __init__(self, bits: Bits, captions: Places) -> None:
        self.captions = captions
        title = self._in_title(bits)
        self.bits = self._without_names(bits, ~title)
        self.prose = ~title | ~_has(bits, Bit.CAPITAL)
        self.prev, _ = _neighbours(_has(self.bits, Bit.ADVERB | Bit.QUOTE))
        _, self.next = _neighbours(_has(self.bits, Bit.ADVERB))
        self.before, self.after = self.bits[self.prev], self.bits[self.next]
        self.noun_before = _has(self.before, Bit.NOUN | Bit.PRONOUN | Bit.OTHER) & ~_has(self.before, Bit.DETERMINER)
        self.name_after = _has(self.after, Bit.CAPITAL) & ~_has(self.bits, Bit.CAPITAL)
        self.starts = _has(self.before, Bit.BREAK)
        self.phrase_after = _has(self.after, NEW_PHRASE)
        self.loose_after = _has(self.after, WITHOUT_OBJECT)
        self.adverb_after = _has(np.append(self.bits[1:], self.bits[-1]), Bit.ADVERB)
        self.end_after = _has(self.after, END)
        self.article_earlier = self._earlier(self._is(Bit.DETERMINER | Bit.NUMBER))
        self.subject = self.article_earlier | _has(self.before, Bit.CAPITAL | Bit.PRONOUN | Bit.PLURAL)
        found = self._ing() | self._past() | self._form_s() | self._base() | self._main_helper()
        self.verbs = found | self._joined(self._earlier(found))

    def per_caption(self, flags: Flags) -> npt.NDArray[np.int32]:
        """How many words of each caption have a flag."""
        return np.add.reduceat(flags.astype(np.int32), self.captions[:-1], dtype=np.int32)

    def nouns(self) -> Flags:
        """Nouns and names, but not those that stand for an adjective."""
        return _has(self.bits, Bit.NOUN) & ~_has(self.bits, Bit.ADJECTIVE) & ~self.verbs

    def relations(self) -> Flags:
        """Prepositions and verbs that tie what stands before them in their clause to what stands behind them."""
        thing = self._is(NOMINAL) & ~self.verbs & ~self._is(Bit.CLAUSE)
        before_thing = np.append(thing[1:], False)
        attribute = self._is(ATTRIBUTE | Bit.ADVERB | Bit.QUOTE | Bit.PARTICIPLE | Bit.ING) & ~self.verbs
        attribute &= ~thing | self._is(Bit.DETERMINER) | (self._is(Bit.ADJECTIVE) & before_thing)
        _, head = _neighbours(attribute)
        object_, place = (thing & ~self._is(Bit.ADJECTIVE))[head], thing[head]
        ties = ((self.verbs | self._is(Bit.BE)) & object_) | (self._is(Bit.PREPOSITION) & place)
        return ties & self._earlier(thing)

    def _in_title(self, bits: Bits) -> Flags:
        """Words of captions in title case or capitals, where a capital says nothing."""
        long = _has(bits, Bit.LONG)
        share = self.per_caption(long & _has(bits, Bit.CAPITAL)) > TITLE_SHARE * self.per_caption(long)
        return np.concatenate([[False], np.repeat(share, np.diff(self.captions))])

    def _without_names(self, bits: Bits, prose: Flags) -> Bits:
        """In prose a capital within a sentence makes a name of what may be a verb."""
        within = np.concatenate([[False], ~_has(bits[:-1], Bit.BREAK | Bit.QUOTE)])
        name = within & prose & _has(bits, Bit.CAPITAL) & _has(bits, VERB)
        name &= ~(_has(bits, Bit.ING) & _has(bits, Bit.KNOWN))
        return np.where(name, np.int32(Bit.NOUN | Bit.CAPITAL), bits)

    def _earlier(self, flags: Flags) -> Flags:
        """Whether one of `flags` stands before a word in its clause."""
        so_far = np.cumsum(flags)
        at_break = np.maximum.accumulate(np.where(_has(self.bits, Bit.BREAK), so_far, 0))
        return np.concatenate([[False], so_far[:-1] > at_break[:-1]])

    def _is(self, mask: int) -> Flags:
        return _has(self.bits, mask)

    def _ing(self) -> Flags:
        """Dogs running on, is running, running a race, without running; no running shoes, no painting of."""
        known, opens = self._is(Bit.KNOWN), self.phrase_after | (self.loose_after & (self._is(Bit.KNOWN) | self.prose))
        after_noun = opens | (known & self.prose & self.subject & (self.end_after | self.adverb_after))
        after_noun |= self._is(Bit.BARE_OBJECT) & _has(self.after, Bit.NOUN | Bit.ADJECTIVE | Bit.OTHER)
        after_noun |= known & self.name_after
        at_start = _has(self.after, Bit.DETERMINER | Bit.PRONOUN | Bit.PREPOSITION)
        after_preposition = _has(self.after, Bit.DETERMINER | Bit.PRONOUN | Bit.TO) | (
            self.loose_after & known & self.prose
        )
        after_preposition |= _has(self.before, Bit.BEFORE) & ~_has(self.after, Bit.NOUN)
        found = (self.noun_before | _has(self.before, Bit.NUMBER)) & after_noun
        found |= self.starts & at_start
        found |= _has(self.before, Bit.COMMA) & (opens | self._is(Bit.BARE_OBJECT)) & self._earlier(self._is(Bit.NOUN))
        found |= _has(self.before, Bit.PREPOSITION | Bit.BEFORE) & after_preposition
        found &= ~self._is(Bit.NOUN_FIRST)
        found |= self._is(Bit.NOUN_FIRST) & self.noun_before & _has(self.after, Bit.DETERMINER | Bit.PRONOUN)
        return self._is(Bit.ING) & (found | _has(self.before, Bit.BE))

    def _past(self) -> Flags:
        """Was painted, has painted, walls painted in, she painted, painted by; no painted walls."""
        noun_too = self._is(Bit.NOUN)
        after_noun = (self.phrase_after | self.loose_after) & (~noun_too | (self.prose & ~self.loose_after))
        after_noun |= self.name_after & ~noun_too
        after_noun |= self._is(Bit.KNOWN) & self.prose & self.subject & self.end_after & ~noun_too
        after_noun |= ~self._is(Bit.PARTICIPLE | Bit.NOUN) & self.prose
        at_start = self._is(Bit.PARTICIPLE) & ~noun_too & self.loose_after
        after_comma = at_start | (~noun_too & (_has(self.after, Bit.QUOTE | Bit.DETERMINER) | self.name_after))
        found = (self.noun_before & after_noun) | (self.starts & at_start)
        found |= _has(self.before, Bit.NUMBER) & at_start
        found |= _has(self.before, Bit.COMMA) & after_comma
        found |= _has(self.before, Bit.PRONOUN | Bit.CLAUSE) & ~noun_too
        found |= _has(self.before, Bit.BE | Bit.HAVE)
        return self._is(Bit.PAST | Bit.PARTICIPLE) & found

    def _form_s(self) -> Flags:
        """A dog runs through, it runs, a dog runs a race; no dog runs."""
        noun_too, mostly = self._is(Bit.NOUN), self._is(Bit.MOSTLY_VERB)
        one_before = self.noun_before & ~_has(self.before, Bit.PLURAL)
        found = _has(self.before, Bit.PRONOUN | Bit.CLAUSE) & (~_has(self.before, Bit.DETERMINER) | ~noun_too)
        found |= (self.noun_before | _has(self.before, Bit.NUMBER)) & ~noun_too & (self.prose | ~self.end_after)
        found |= _has(self.before, Bit.COMMA) & ~noun_too & self.prose & self._earlier(self._is(Bit.NOUN))
        found |= self.starts & ~noun_too & ~self.end_after & (~self.loose_after | ~self._is(Bit.CAPITAL))
        found |= ~noun_too & _has(self.after, Bit.DETERMINER) & ~_has(self.before, ATTRIBUTE)
        found |= self.noun_before & noun_too & _has(self.after, Bit.DETERMINER | Bit.PRONOUN | Bit.QUOTE)
        in_prose = self.loose_after | self.adverb_after | _has(self.after, Bit.NUMBER)
        in_prose |= one_before & _has(self.after, Bit.NOUN | Bit.ADJECTIVE)
        in_prose |= one_before & self.end_after & self.article_earlier
        in_prose &= mostly | (self.name_after & one_before)
        found |= self.noun_before & noun_too & self.prose & self.subject & in_prose
        found |= self.starts & mostly & _has(self.after, Bit.DETERMINER) & ~self._is(Bit.CAPITAL)
        return self._is(Bit.FORM_S) & found

    def _base(self) -> Flags:
        """To run, can run, they run, dogs run in, trust your, buy; no dog run."""
        noun_too, mostly = self._is(Bit.NOUN), self._is(Bit.MOSTLY_VERB)
        opens = self.phrase_after | self.loose_after | self.adverb_after
        found = _has(self.before, Bit.TO | Bit.HELPER) & (~noun_too | mostly | ~self.end_after)
        found |= _has(self.before, Bit.PRONOUN) & ~_has(self.before, Bit.DETERMINER | Bit.NUMBER)
        found |= _has(self.before, Bit.CLAUSE) & (self.prose | ~noun_too)
        imperative = ~noun_too | _has(self.after, Bit.DETERMINER | Bit.PRONOUN)
        found |= self.starts & imperative
        named = _has(self.before, Bit.CAPITAL) & ~self._is(Bit.CAPITAL)
        several = _has(self.before, Bit.PLURAL) | _has(self.before[self.prev], Bit.AND)
        several |= named & mostly & self._earlier(self._is(Bit.AND))
        with_object = _has(self.after, Bit.NOUN | Bit.ADJECTIVE) & (~noun_too | mostly)
        found |= self.noun_before & several & self.prose & (opens | with_object)
        found |= self.noun_before & (several | named) & ~noun_too & (opens | (named & with_object))
        found |= self.noun_before & self.prose & mostly & self.loose_after & self._earlier(self._is(Bit.PLURAL))
        found &= ~self._is(Bit.ADJECTIVE) | _has(self.before, Bit.TO | Bit.HELPER)
        return self._is(Bit.BASE) & found

    def _main_helper(self) -> Flags:
        """Has a beard, things to do; not has been, do not."""
        owns = self._is(Bit.HAVE) & _has(self.after, NOMINAL | ATTRIBUTE) & ~_has(self.after, Bit.PARTICIPLE | Bit.BE)
        return owns | (self._is(Bit.HELPER) & _has(self.before, Bit.TO))

    def _joined(self, after_verb: Flags) -> Flags:
        """Behind a comma or "and", once there was a verb."""
        noun_too, opens = self._is(Bit.NOUN), self.phrase_after | self.loose_after
        ing = opens | self.adverb_after | self.end_after | (self._is(Bit.KNOWN) & self.prose)
        ing &= self._is(Bit.ING) & ~self._is(Bit.NOUN_FIRST)
        past = self._is(Bit.PARTICIPLE | Bit.PAST) & ~noun_too & (self.loose_after | _has(self.after, Bit.QUOTE))
        finite = self._is(Bit.FORM_S | Bit.BASE) & self.prose & (~noun_too | (self._is(Bit.MOSTLY_VERB) & opens))
        return _has(self.before, Bit.COMMA | Bit.AND) & after_verb & (ing | past | finite)


def _has(bits: Bits, mask: int) -> Flags:
    found: Flags = (bits & np.int32(mask)) != 0
    return found


def _neighbours(passed: Flags) -> tuple[Places, Places]:
    """For each place the nearest one before and behind it that is not `passed` over."""
    place, last = np.arange(len(passed)), len(passed) - 1
    back = np.maximum.accumulate(np.where(passed, 0, place))
    ahead = np.minimum.accumulate(np.where(passed, last, place)[::-1])[::-1]
    return np.concatenate([[0], back[:-1]]), np.append(ahead[1:], last)
