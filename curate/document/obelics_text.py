"""How the `obelics` rules join the texts between two pictures into one.

Texts are joined by the strongest of three separators: an empty line, a new line, a space. The elements that end and
begin between two texts ask for one each, and so do the edges of the texts themselves. The published program cuts and
joins the growing text anew for each piece, which is quadratic; here pieces are kept in a list, with the white space
behind the last one apart, and only that is ever cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["LINE_BREAK", "STRENGTHS", "Paragraph", "Run", "clean_text"]

LINE_BREAK = "#BR_TAG#"
"""Stands for a `<br>` until texts are cleaned; a page that writes it out gets a new line for it."""

SEPARATORS = ("", " ", "\n", "\n\n")
"""By strength."""

STRENGTHS = {
    **dict.fromkeys(("blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "ul"), 3),
    **dict.fromkeys(("address", "article", "aside", "center", "dd", "dt", "div", "figcaption", "hgroup"), 2),
    **dict.fromkeys(("legend", "main", "marquee", "section", "summary"), 2),
}
"""Which separator an element asks for; `br` for none, so that one which kept its attributes glues words together."""

SPACES = re.compile(" {2,}")


def clean_text(text: str) -> str:
    """A text on one line, with its line breaks where `LINE_BREAK` stands; one space stays at each edge."""
    text = SPACES.sub(" ", text.replace("\n", " ").replace("\t", " "))
    before = " " if text.startswith(" ") else ""
    after = " " if text.endswith(" ") and len(text) > 1 else ""
    return before + "\n".join(line.strip() for line in text.split(LINE_BREAK)) + after


class Paragraph(NamedTuple):
    """One block of a joined text. `separator`: what stands between it and the block before it."""

    text: str
    node: int
    separator: str


class Run:
    """Texts with no picture between them, as they come."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, int]] = []
        self._space: list[str] = []

    def add(self, text: str, node: int, strength: int) -> None:
        """Join `text` of element `node`; `strength` is what the elements between it and the text before it ask for."""
        if self._pieces or self._space:
            for rank in (3, 2, 1):
                mark = SEPARATORS[rank]
                cut = self._cut(mark)
                if cut or text.startswith(mark):
                    strength = max(strength, rank)
                text = text.removeprefix(mark)
            self._space.extend(SEPARATORS[strength])
        body = text.rstrip(" \n")
        if body:
            self._pieces.append(("".join(self._space) + body, node))
            self._space.clear()
        self._space.extend(text[len(body) :])

    def _cut(self, mark: str) -> bool:
        """Take a separator from the end of what is there."""
        if self._space[-len(mark) :] != list(mark):
            return False
        del self._space[-len(mark) :]
        return True

    def paragraphs(self) -> Iterator[Paragraph]:
        """The joined text, stripped and split at empty lines; together with the separators it is the text again."""
        text = "".join(piece for piece, _ in self._pieces)
        start = end = first = limit = 0
        for part in text.split("\n\n"):
            body = part.strip()
            begin = start + len(part) - len(part.lstrip())
            while body and limit <= begin:
                limit += len(self._pieces[first][0])
                first += 1
            if body:
                yield Paragraph(body, self._pieces[first - 1][1], text[end:begin] if end else "\n\n")
                end = begin + len(body)
            start += len(part) + 2
