"""Aho-Corasick over words: every entry that stands in a text, in time linear in the text, however it is made.

MetaCLIP looks for `" " + entry + " "` in a text whose punctuation is padded by spaces, so a match begins and ends at a
space. Both sides are therefore cut at single spaces, and an entry is found exactly where its words stand in a row among
the text's. The automaton's letters are words: a step a word, not a byte. Two spaces in a row have an empty word between
them, as in "a, b", so nothing differs from the plain search.

The arrays are built from the entries in every process: that takes less than reading them from a file would save
(`bench/balance.py` has both numbers). What is looked at together lies in one array, for a cache line and because numba
counts references to every array that a function is given: tuples of ten made it six times as slow.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["Automaton", "build_automaton", "find_entries"]

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int32]
Wide = npt.NDArray[np.int64]
Found = npt.NDArray[np.uint32]
Index = np.int64

SPACE = 32
NOTHING = -1
FNV_START, FNV_STEP = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
EDGE_STEP = np.uint64(0x9E3779B97F4A7C15)
HALF, FOLD = np.uint64(32), np.uint64(29)

WORD, MARK, BLANK = 0, 1, 2
_KIND = np.zeros(256, np.uint8)
_KIND[[SPACE, 9, 10, 13]] = BLANK
_KIND[[ord(mark) for mark in ",.;:?!`"]] = MARK
"""MetaCLIP's spacing rules: what becomes a space, and what gets one on both sides."""

HASH, NUMBER, START, LENGTH = 0, 1, 2, 3
STATE, BY, TO = 0, 1, 2
FAIL, ENTRY, SHORTER, LEAF, PARENT, LETTER, DEPTH = 0, 1, 2, 3, 4, 5, 6


class Automaton(NamedTuple):
    """Tables with these columns; -1 is none.

    `words`, by open addressing: hash, number, where it begins in `blob`, bytes. `edges`, by open addressing: state,
    word, next state; from state 0 by `first`, a table by word. `states`: the state of the longest suffix
    that is a beginning of an entry, the entry that ends here, the state of the next shorter one that does, and whether
    no edge leaves it. `longest`: words of the longest entry.
    """

    blob: Bytes
    words: Numbers
    edges: Numbers
    first: Numbers
    states: Numbers
    longest: int

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(array.nbytes for array in (self.blob, self.words, self.edges, self.first, self.states))


def build_automaton(blob: Bytes, offsets: Wide) -> Automaton:
    """From entries in UTF-8, entry i at blob[offsets[i]:offsets[i + 1]]; all different."""
    most = int((blob == SPACE).sum()) + len(offsets)
    size = 1 << max(4, (2 * most - 1).bit_length())
    words, edges = np.full((size, 4), NOTHING, np.int32), np.full((size, 3), NOTHING, np.int32)
    first, states = np.zeros(most, np.int32), np.zeros((most, 7), np.int32)
    states[:, ENTRY], states[:, LEAF] = NOTHING, 1
    tables = Automaton(blob, words, edges, first, states, 0)
    known, made = _insert(offsets, tables)
    states = states[:made]
    longest = int(states[:, DEPTH].max())
    _link(np.argsort(states[:, DEPTH], kind="stable"), tables)
    return tables._replace(first=first[:known].copy(), states=states[:, :PARENT].copy(), longest=longest)


@numba.njit(cache=True, nogil=True)
def _scan(text: Bytes, start: int, end: int, mark: bool) -> tuple[int, np.uint64]:
    """Where the word that begins at `start` ends, and its hash. A `mark` is a word of one byte."""
    if mark:
        return start + 1, (FNV_START ^ np.uint64(text[start])) * FNV_STEP
    place, hashed = start, FNV_START
    while place < end and _KIND[text[place]] == WORD:
        hashed = (hashed ^ np.uint64(text[place])) * FNV_STEP
        place += 1
    return place, hashed


@numba.njit(cache=True, nogil=True)
def _scan_entry(text: Bytes, start: int, end: int) -> tuple[int, np.uint64]:
    """The same in an entry, which only spaces cut."""
    place, hashed = start, FNV_START
    while place < end and text[place] != SPACE:
        hashed = (hashed ^ np.uint64(text[place])) * FNV_STEP
        place += 1
    return place, hashed


@numba.njit(cache=True, nogil=True)
def _same(one: Bytes, at: int, other: Bytes, start: int, end: int) -> bool:
    for i in range(end - start):  # noqa: SIM110 - numba compiles no all()
        if one[at + i] != other[start + i]:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _slot(words: Numbers, blob: Bytes, text: Bytes, start: int, end: int, hashed: np.uint64) -> Index:
    """The slot of a word: where it is, or the free one where it belongs."""
    mask = len(words) - 1
    place, own = np.int64((hashed ^ (hashed >> FOLD)) & np.uint64(mask)), np.int32(hashed >> HALF)
    while words[place, NUMBER] != NOTHING:
        known = words[place, HASH] == own and words[place, LENGTH] == end - start
        if known and _same(blob, words[place, START], text, start, end):
            break
        place = (place + 1) & mask
    return place


@numba.njit(cache=True, nogil=True)
def _edge(edges: Numbers, state: Index, word: Index) -> Index:
    """The slot of an edge: where it is, or the free one where it belongs."""
    mixed = (np.uint64(state) << HALF | np.uint64(word)) * EDGE_STEP
    mask = len(edges) - 1
    place = np.int64((mixed ^ (mixed >> HALF)) & np.uint64(mask))
    while edges[place, TO] != NOTHING and (edges[place, STATE] != state or edges[place, BY] != word):
        place = (place + 1) & mask
    return place


@numba.njit(cache=True, nogil=True)
def _step(edges: Numbers, first: Numbers, states: Numbers, state: Index, word: Index) -> Index:
    """The state after one more word."""
    while state != 0:
        if states[state, LEAF] == 0:
            place = _edge(edges, state, word)
            if edges[place, TO] != NOTHING:
                return np.int64(edges[place, TO])
        state = np.int64(states[state, FAIL])
    return np.int64(first[word])


@numba.njit(cache=True, nogil=True)
def _insert(offsets: Wide, tables: Automaton) -> tuple[int, int]:
    """Put all entries into the tree; how many words and states there are then."""
    blob, words, _, _, states, _ = tables
    known, made = 0, 1
    for number in range(len(offsets) - 1):
        state, start, end = np.int64(0), offsets[number], offsets[number + 1]
        while start <= end:
            stop, hashed = _scan_entry(blob, start, end)
            slot = _slot(words, blob, blob, start, stop, hashed)
            if words[slot, NUMBER] == NOTHING:
                words[slot, HASH], words[slot, NUMBER] = np.int32(hashed >> HALF), known
                words[slot, START], words[slot, LENGTH] = start, stop - start
                known += 1
            state = _child(tables, state, words[slot, NUMBER], made)
            made = max(made, state + 1)
            start = stop + 1
        states[state, ENTRY] = number
    return known, made


@numba.njit(cache=True, nogil=True)
def _child(tables: Automaton, state: Index, word: Index, new: int) -> Index:
    """The state behind an edge; it is called `new` if it was not there."""
    _, _, edges, first, states, _ = tables
    slot = _edge(edges, state, word)
    if edges[slot, TO] == NOTHING:
        edges[slot, STATE], edges[slot, BY], edges[slot, TO] = state, word, new
        states[state, LEAF] = 0
        states[new, PARENT], states[new, LETTER], states[new, DEPTH] = state, word, states[state, DEPTH] + 1
        if state == 0:
            first[word] = new
    return np.int64(edges[slot, TO])


@numba.njit(cache=True, nogil=True)
def _link(order: Wide, tables: Automaton) -> None:
    """Fill in FAIL and SHORTER, for states in the order of their depth."""
    _, _, edges, first, states, _ = tables
    for state in order:
        if states[state, DEPTH] > 1:
            before = np.int64(states[states[state, PARENT], FAIL])
            states[state, FAIL] = _step(edges, first, states, before, np.int64(states[state, LETTER]))
        back = states[state, FAIL]
        states[state, SHORTER] = back if states[back, ENTRY] != NOTHING else states[back, SHORTER]


@numba.njit(cache=True, nogil=True)
def _collect(states: Numbers, state: Index, seen: Numbers, row: int, found: Found, count: int) -> int:
    """Add the entries that end in this state, if the row has them not yet; how many there are then.

    Behind a state that was seen, all shorter ones were.
    """
    ending = state if states[state, ENTRY] != NOTHING else np.int64(states[state, SHORTER])
    while ending != 0 and seen[ending] != row:
        seen[ending] = row
        found[count] = states[ending, ENTRY]
        count += 1
        ending = np.int64(states[ending, SHORTER])
    return count


@numba.njit(cache=True, nogil=True)
def _with_room(found: Found, count: int, more: int) -> Found:
    if count + more <= len(found):
        return found
    grown = np.empty(2 * len(found) + more, np.uint32)
    grown[:count] = found[:count]
    return grown


@numba.njit(cache=True, nogil=True)
def find_entries(automaton: Automaton, texts: Bytes, offsets: Wide) -> tuple[Wide, Found]:
    """Numbers of the entries in each text, ascending, each once: int64 offsets (n + 1,), and uint32.

    Text i is texts[offsets[i]:offsets[i + 1]], UTF-8, as it is: the padding is done on the way.
    """
    blob, words, edges, first, states, longest = automaton
    ends, count = np.zeros(len(offsets), np.int64), 0
    found, seen = np.empty(4 * len(offsets) + longest, np.uint32), np.zeros(len(states), np.int32)
    for row in range(1, len(offsets)):
        state, place, end, mark = np.int64(0), offsets[row - 1], offsets[row], False
        while place <= end:
            stop, hashed = _scan(texts, place, end, mark)
            word = np.int64(words[_slot(words, blob, texts, place, stop, hashed), NUMBER])
            state = np.int64(0) if word == NOTHING else _step(edges, first, states, state, word)
            found = _with_room(found, count, longest)
            count = _collect(states, state, seen, row, found, count)
            virtual, mark = mark, not mark and stop < end and _KIND[texts[stop]] == MARK
            place = stop if virtual or mark else stop + 1
        if count > ends[row - 1] + 1:
            found[ends[row - 1] : count].sort()
        ends[row] = count
    return ends, found[:count].copy()
