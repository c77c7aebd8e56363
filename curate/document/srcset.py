"""Reads `srcset` as browsers do (HTML standard, "parse a srcset attribute"): URLs may hold commas, in one pass."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Candidate", "parse_srcset"]

MOST_CANDIDATES = 100
MOST_CHARS = 65_536
_TO_SPACES = str.maketrans("\t\n\f\r", "    ")


class Candidate(NamedTuple):
    """A URL as it stands, and its size: `width_px` (0 where it is not said) or `density` (1 where it is not said)."""

    url: str
    width_px: int = 0
    density: float = 1.0


def parse_srcset(text: str) -> list[Candidate]:
    """The candidates in their order; those with a descriptor that is none are left out, as browsers do."""
    text = text[:MOST_CHARS].translate(_TO_SPACES)
    found: list[Candidate] = []
    place, end = 0, len(text)
    while len(found) < MOST_CANDIDATES:
        while place < end and text[place] in " ,":
            place += 1
        if place == end:
            break
        start, place = place, text.find(" ", place)
        place = end if place < 0 else place
        url = text[start:place]
        if url.endswith(","):
            found.append(Candidate(url.rstrip(",")))
            continue
        start, place = place, _end_of_descriptors(text, place)
        size = _size(text[start:place].split())
        if size is not None:
            found.append(Candidate(url, *size))
    return found


def _end_of_descriptors(text: str, place: int) -> int:
    """Where the next comma is that stands in no parentheses."""
    while True:
        comma = text.find(",", place)
        comma = len(text) if comma < 0 else comma
        opening = text.find("(", place, comma)
        if opening < 0:
            return comma
        place = text.find(")", opening) + 1 or len(text)


def _size(descriptors: list[str]) -> tuple[int, float] | None:
    """Width and density of a list such as `["640w"]`; None where one of them is unknown."""
    width, density = 0, 1.0
    for word in descriptors:
        number, unit = word[:-1], word[-1]
        try:
            if unit == "w" and number.isascii() and number.isdigit():
                width = min(int(number[:9]), 1_000_000)
            elif unit == "x":
                density = float(number)
            elif unit != "h":
                return None
        except ValueError:
            return None
    return (width, density) if density >= 0 else None
