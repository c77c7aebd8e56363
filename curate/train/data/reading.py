"""From a place in a plan to an example: one read of its bytes, no tar parser, and nothing wrong goes by in silence.

The index says where an example's members lie, side by side, so one positioned read takes them all (5 us for 25 kB that
the system has in memory). Each member's name is compared with its header in the tar, 0.4 us, so a tar that was
exchanged under its index is noticed. What cannot be read, parsed or decoded is a hole with a reason, never an
exception: its place in the row stays, and the others' with it.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from curate.errors import CurateError, ShardError
from curate.filter import Pixels
from curate.handover.augment import View
from curate.handover.layout import Example, Kind, example_of, pictures_of
from curate.handover.shards import Places
from curate.handover.stages import MixtureSource
from curate.sample import Sample
from curate.storage import Storage
from curate.train.data.pixels import pixels_of, why_not
from curate.train.data.texts import FIRST
from curate.train.data.window import Item

__all__ = ["OK", "Drawn", "ExampleReader", "Unread"]

OK = "ok"
HEADER = 512
NAME_BYTES = 100
MOST_BYTES = 1 << 30
OPEN_FILES = 128


@dataclass(frozen=True, slots=True)
class Drawn:
    """An example as a stage drew it.

    `status` is "ok", or says what is missing: all (`example` is None), or a picture. `caption`: the text of a pair
    that was chosen. `pictures`: decoded, uint8 (height, width, 3) in reading order, None for each that is not there;
    empty where nothing is decoded. `tokens`: what it counts for in its row; `cut`: it has more. `next_image`: a text
    of this document attends to the picture behind it. `run` and `place`: which pass over its source, and where there.
    `view`: which part of a pair's picture is seen, where the stage draws that; `pictures` have it applied.
    """

    source: str
    kind: Kind
    shard: str
    key: str
    run: int
    place: int
    tokens: int
    cut: bool
    next_image: bool
    status: str
    example: Example | None = None
    caption: str | None = None
    pictures: tuple[Pixels | None, ...] = ()
    view: View | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """An example that could not be read, or not in full, and why."""

    key: str
    shard: str
    reason: str


class ExampleReader:
    """Reads the examples of a plan; any number of threads may do so at once."""

    def __init__(self, storage: Storage, sources: Sequence[MixtureSource], decode: bool) -> None:
        self._storage, self._sources, self._decode = storage, sources, decode
        self._on_disk = storage.local is not None
        self._files: OrderedDict[str, io.FileIO] = OrderedDict()
        self._lock = Lock()

    def read(self, item: Item) -> Drawn:
        """The example of one place. Never raises for what is wrong with the data."""
        window, source = item.window, self._sources[item.stream]
        shard, row = int(window.shard[item.row]), int(window.row[item.row])
        entry, places = window.shards[shard], window.places[shard]
        key = places.keys[row].as_py()
        status, example, caption = OK, None, None
        view = window.views.at(item.row) if window.views is not None else None
        pictures: tuple[Pixels | None, ...] = ()
        try:
            example = example_of(entry.kind, key, self._members(entry.tar, key, places, row))
            if isinstance(example, Sample):
                caption = _text(example, int(window.text[item.row]), source)
        except (CurateError, OSError, MemoryError) as error:
            status, example = f"unreadable: {error}", None
        if example is not None and self._decode:
            pictures, status = _decoded(example, view)
        return Drawn(
            source=source.name,
            kind=entry.kind,
            shard=entry.id,
            key=key,
            run=item.run,
            place=item.place,
            tokens=item.tokens,
            cut=window.cuts and bool(window.longer[item.row]),
            next_image=bool(window.next_image[item.row]),
            status=status,
            example=example,
            caption=caption,
            pictures=pictures,
            view=view,
        )

    def close(self) -> None:
        """Close the tars."""
        with self._lock:
            self._files.clear()

    def _members(self, tar: str, key: str, places: Places, row: int) -> Mapping[str, bytes]:
        """The members of an example by extension. Raises ShardError and StorageError."""
        first, end = places.first[row : row + 2].tolist()
        offsets, sizes = places.offset[first:end].tolist(), places.size[first:end].tolist()
        begin, stop = offsets[0] - HEADER, offsets[-1] + sizes[-1]
        if begin < 0 or not 0 <= stop - begin <= MOST_BYTES or min(sizes) < 0:
            raise ShardError(f"the index of {tar} puts {key} at bytes {begin} to {stop}")
        data = self._range(tar, begin, stop - begin)
        if len(data) < stop - begin:
            raise ShardError(f"{tar} ends early: of {key} there are {len(data)} of {stop - begin} bytes at {begin}")
        members: dict[str, bytes] = {}
        numbers = places.extension[first:end].tolist()
        for offset, size, number in zip(offsets, sizes, numbers, strict=True):
            extension, at = places.extensions[number], offset - begin
            name = f"{key}.{extension}"
            if at < HEADER or at + size > len(data) or not _named(data, at - HEADER, name):
                raise ShardError(f"{tar} has no {name} at byte {offset}, where its index says")
            members[extension] = data[at : at + size]
        return members

    def _range(self, tar: str, offset: int, size: int) -> bytes:
        if not self._on_disk:
            try:
                return self._storage.read_range(tar, offset, size)
            except FileNotFoundError:
                raise ShardError(f"{tar} is gone") from None
        file = self._file(tar)  # held until it was read: a descriptor that is closed may be another file's by then
        return os.pread(file.fileno(), size, offset)

    def _file(self, tar: str) -> io.FileIO:
        """The open tar. One that is pushed out is closed when the last thread that reads it lets it go."""
        with self._lock:
            found = self._files.get(tar)
            if found is None:
                found = self._files[tar] = io.FileIO(self._storage.path(tar))
                if len(self._files) > OPEN_FILES:
                    self._files.popitem(last=False)
            return found


def _named(data: bytes, at: int, name: str) -> bool:
    """Whether the tar header there is of this member; a name that needs a PAX header is not looked at."""
    if len(name) >= NAME_BYTES or not name.isascii():
        return True
    return data.startswith(f"{name}\0".encode(), at)


def _text(sample: Sample, choice: int, source: MixtureSource) -> str | None:
    """The chosen text of a pair. Raises ShardError where the table promised one that the tar has not."""
    if choice == FIRST:
        return sample.caption
    if choice < FIRST:
        found = sample.columns.get(list(source.captions)[-2 - choice])
    else:
        texts = sample.columns.get("captions")
        found = texts[choice] if isinstance(texts, list) and choice < len(texts) else None
    if not isinstance(found, str):
        raise ShardError(f"{sample.key}.json lacks a text that the shard's table has")
    return found


def _decoded(example: Example, view: View | None) -> tuple[tuple[Pixels | None, ...], str]:
    """All its pictures as they are seen, and a status that names those which came and cannot be decoded."""
    pictures: list[Pixels | None] = []
    wrong: list[str] = []
    for number, picture in enumerate(pictures_of(example)):
        pixels = None if picture.image is None else pixels_of(picture.image)
        if pixels is None and picture.image is not None:
            wrong.append(f"picture {number}: {why_not(picture.image)}")
        pictures.append(pixels if pixels is None or view is None else np.ascontiguousarray(view.of(pixels)))
    return tuple(pictures), "; ".join(wrong) or OK
