"""How much work a page would be for the parser: an estimate from its tags, which errs on the side of more.

It keeps what matters of the standard's tree construction: which elements are open, how far an end tag reaches, which
formatting elements go on behind the block that they were opened in. Elements whose end tag may be left out are not
counted as open: they cannot be inside one another without another element between.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from curate.document.scan import FOREIGN, Tag

__all__ = ["FORMATTING", "MOST_ALIKE", "Effort"]

FORMATTING = frozenset(b"b big code em font i s small strike strong tt u".split())
"""Elements that go on behind the block that they were opened in. `a` does too, but never two of them."""
MOST_ALIKE = 3
"""Of equal formatting elements, so many go on at most ("Noah's Ark clause")."""
STEPS_OF_ONE = 4
"""What a look at one of them takes, to see whether it is equal to a new one."""
NEVER_OPEN = frozenset(b"area base br col embed hr img input link meta param source track wbr".split()) | frozenset(
    b"p li dd dt option tr td th caption thead tbody tfoot colgroup".split()
)
CELLS = frozenset(b"td th caption".split())
WALLS = frozenset(b"table template object applet marquee select button svg math".split())
"""Elements that an end tag inside does not reach beyond."""
MARKERS = frozenset(b"template object applet marquee".split())
"""Elements that formatting from outside does not go on in; cells of tables are others."""
BODIES = (b"html", b"body")


@dataclass(slots=True)
class _Lasting:
    """Formatting elements that go on: by name what was written in their tags, in order."""

    written: dict[bytes, list[bytes]] = field(default_factory=dict)
    count: int = 0

    def add(self, name: bytes, written: bytes) -> None:
        alike = self.written.setdefault(name, [])
        if alike[-MOST_ALIKE:].count(written) < MOST_ALIKE:
            alike.append(written)
            self.count += 1

    def end(self, name: bytes) -> None:
        if self.written.get(name):
            self.written[name].pop()
            self.count -= 1


@dataclass(slots=True)
class _Room:
    """What is open since the last element that end tags do not reach beyond.

    `cell`: formatting since the last cell of a table began, None between cells. `around`: formatting elements that go
    on into the room from outside.
    """

    name: bytes = b""
    around: int = 0
    names: list[bytes] = field(default_factory=list)
    counts: Counter[bytes] = field(default_factory=Counter)
    lasting: _Lasting = field(default_factory=_Lasting)
    cell: _Lasting | None = None

    @property
    def reopened(self) -> int:
        """How many elements a new block makes the parser open again, at most."""
        return self.cell.count if self.cell else self.around + self.lasting.count


@dataclass
class Effort:
    """`steps`: elements that are looked at to see which one is closed. `reopened`: elements that formatting makes.
    `compared`: pairs of attributes. `depth`: elements that are open. `names`: of elements and attributes, each once."""

    steps: int = 0
    reopened: int = 0
    compared: int = 0
    depth: int = 0
    bodies: int = 0
    names: set[bytes] = field(default_factory=set)
    rooms: list[_Room] = field(default_factory=lambda: [_Room()])

    def add(self, tag: Tag) -> None:
        """Take the next tag of the page."""
        self.names.update(tag.attributes, (tag.name,))
        if tag.is_end:
            self._end(tag.name)
        else:
            self._start(tag)

    def _start(self, tag: Tag) -> None:
        room, name = self.rooms[-1], tag.name
        # Attributes of a second `body` are compared with those of the first.
        attributes = len(tag.attributes)
        self.bodies += attributes if name in BODIES else 0
        self.compared += attributes * (self.bodies if name in BODIES else attributes)
        self.steps += len(room.names)
        if name in FORMATTING:
            self.steps += STEPS_OF_ONE * room.reopened
            (room.cell or room.lasting).add(name, tag.written)
        else:
            self.reopened += room.reopened
        if room.name == b"table" and (name in CELLS or name == b"tr"):
            room.cell = _Lasting() if name in CELLS else None
        if name in NEVER_OPEN or (tag.written.endswith(b"/") and FOREIGN.count(room.name or name)):
            return
        self.depth += 1
        if name in WALLS:
            self.rooms.append(_Room(name, 0 if name in MARKERS else room.reopened))
        else:
            room.names.append(name)
            room.counts[name] += 1

    def _end(self, name: bytes) -> None:
        room = self.rooms[-1]
        if name in FORMATTING:
            (room.cell or room.lasting).end(name)
        if name in WALLS:
            self._leave(name)
        elif name in CELLS or name == b"tr":
            room.cell = None
        elif not room.counts[name]:
            self.steps += len(room.names)
        else:
            while (closed := room.names.pop()) != name:
                self._close(room, closed)
            self._close(room, name)

    def _close(self, room: _Room, name: bytes) -> None:
        room.counts[name] -= 1
        self.depth -= 1

    def _leave(self, name: bytes) -> None:
        """A wall ends if no other stands between, or if it is a table's."""
        place = len(self.rooms) - 1
        while name == b"table" and place and self.rooms[place].name not in (name, b"template"):
            place -= 1
        if not place or self.rooms[place].name != name:
            return
        for room in self.rooms[place:]:
            self.depth -= 1 + len(room.names)
        inner, outer = self.rooms[place], self.rooms[place - 1]
        del self.rooms[place:]
        for formatting, alike in inner.lasting.written.items() if name not in MARKERS else ():
            for written in alike:
                (outer.cell or outer.lasting).add(formatting, written)
