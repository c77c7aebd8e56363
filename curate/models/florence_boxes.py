"""Where words are in a picture, as Florence-2 writes it: `a dog<loc_52><loc_332><loc_932><loc_774>`.

The numbers are left, top, right and bottom in thousandths of width and height (Xiao et al. 2023), each the middle of
its thousandth, as transformers' own reading has it. A phrase may have several boxes, one after another. A model that
was cut off, or that makes things up, writes numbers that are too few, too large or the wrong way round, or without end:
what is no box gives no phrase, and of an answer the first 20,000 characters and 100 boxes are read (.6 ms).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from curate.models.captioner import Phrase

__all__ = ["BINS", "GROUNDING", "MOST_BOXES", "OBJECTS", "parse_boxes"]

GROUNDING = "<CAPTION_TO_PHRASE_GROUNDING>"
"""Task: the words of a caption that follows, with boxes."""
OBJECTS = "<OD>"
"""Task: all objects, with boxes; the words are their kinds."""
BINS = 1_000
MOST_BOXES, MOST_CHARS, MOST_WORDS_CHARS = 100, 20_000, 300

_NUMBERS = re.compile(r"((?: ?<loc_[0-9]+>)+)")
_NUMBER = re.compile(r"<loc_([0-9]+)>")
_OTHER = re.compile(r"</?s>|<pad>|<unk>|<mask>")


def parse_boxes(answer: str) -> tuple[Phrase, ...]:
    """Phrases of an answer to GROUNDING or OBJECTS, in its order, one for each box; at most MOST_BOXES.

    A phrase whose numbers are no whole boxes has none: which of them are missing is not known. A box without an inside,
    or with a number above 999, is left out alone. Never raises.
    """
    found: list[Phrase] = []
    for words, numbers in _parts(answer[:MOST_CHARS]):
        for place in range(0, len(numbers), 4):
            left, top, right, bottom = numbers[place : place + 4]
            if not (left < right < BINS and top < bottom < BINS):
                continue
            if len(found) == MOST_BOXES:
                return tuple(found)
            box = ((left + 0.5) / BINS, (top + 0.5) / BINS, (right + 0.5) / BINS, (bottom + 0.5) / BINS)
            found.append(Phrase(words, box))
    return tuple(found)


def _parts(answer: str) -> Iterator[tuple[str, list[int]]]:
    """Words with their numbers, where these make whole boxes."""
    pieces = _NUMBERS.split(" ".join(_OTHER.sub("", answer).split()))
    for before, told in zip(pieces[::2], pieces[1::2], strict=False):
        words = before.strip()
        numbers = [int(number) if len(number) <= 3 else BINS for number in _NUMBER.findall(told)]
        if words and len(words) <= MOST_WORDS_CHARS and len(numbers) % 4 == 0:
            yield words, numbers
