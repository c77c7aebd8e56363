"""Builds an evaluation index: every set read once, its pictures decoded by threads, what they give collected.

What is held meanwhile is 210 bytes a picture, with a name of 40 characters, and 24 a digest of a text; embeddings go to
the disk as they come.
"""

from __future__ import annotations

import hashlib
import shutil
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.decode import Prepared, Unprepared, prepared
from curate.decontamination.finding import sha256_bytes
from curate.decontamination.sets import Item, items_of
from curate.decontamination.tables import TABLES, write_array, write_table
from curate.decontamination.words import plain_words, run_digests, whole_digests
from curate.dedup.digest import Digests
from curate.dedup.picture_hashes import PictureHashes
from curate.errors import ConfigError
from curate.filter import Batch, Scorer
from curate.models.embeddings import embeddings_of

__all__ = ["Build"]

TEXTS = 10_000
EMBEDDED = 256
RAW = "embeddings.raw"


@dataclass
class _Packed:
    """Digests one behind the other, and the number of the item that each is of: objects of Python would be five times
    as large."""

    digests: bytearray = field(default_factory=bytearray)
    items: array[int] = field(default_factory=lambda: array("q"))

    def add(self, own: int, digests: bytes, size: int) -> None:
        self.digests += digests
        self.items.extend([own] * (len(digests) // size))


@dataclass
class Build:
    """What is known so far of an index that is being built in `folder`; see IndexSettings for the others."""

    folder: Path
    words: int
    min_words: int
    text_fields: Sequence[str]
    model: Scorer | None
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    length: int = 0
    _sets: list[str] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _digests: dict[str, list[Digests]] = field(default_factory=lambda: {name: [] for name in TABLES})
    _items: dict[str, list[npt.NDArray[np.int64]]] = field(default_factory=lambda: {name: [] for name in TABLES})
    _texts: list[tuple[int, str]] = field(default_factory=list)
    _files: _Packed = field(default_factory=lambda: _Packed())
    _pixels: _Packed = field(default_factory=lambda: _Packed())
    _pdq: _Packed = field(default_factory=lambda: _Packed())
    _quality: bytearray = field(default_factory=bytearray)
    _phash: array[int] = field(default_factory=lambda: array("Q"))
    _waiting: list[Any] = field(default_factory=list)

    def add(self, name: str, path: str, threads: int) -> None:
        """Take a whole set in. Raises ConfigError for one that holds nothing."""
        counts = Counter({"pictures": 0, "texts": 0, "pictures_unreadable": 0, "entries_unreadable": 0})
        hashes = PictureHashes(("pixel_hash", "phash", "pdq"))
        hashes.require()
        prepares = [hashes.prepare, *([self.model.prepare] if self.model else [])]
        for picture in prepared(self._encoded(name, path, counts), prepares, threads):
            self._add_picture(picture, counts)
        self._add_texts()
        self._embed()
        if not counts["pictures"] + counts["texts"]:
            raise ConfigError(f"the set {path} holds no picture and no text that can be read; check the path")
        self.counts[name] = dict(counts)

    def _encoded(self, name: str, path: str, counts: Counter[str]) -> Iterator[tuple[str, bytes]]:
        """Pictures under the number of their item; texts are taken on the way."""
        for item in items_of(path, self.text_fields):
            if item.broken or item.other:
                counts["entries_unreadable" if item.broken else "files_passed_over"] += 1
                continue
            own = len(self._names)
            self._sets.append(name)
            self._names.append(item.name)
            counts["texts"] += len(item.texts)
            self._texts += [(own, text) for text in item.texts]
            if len(self._texts) >= TEXTS:
                self._add_texts()
            if item.image is not None:
                self._add_files(own, item)
                yield str(own), item.image

    def _add_files(self, own: int, item: Item) -> None:
        """By the digests of the file as it is stored, and as it was downloaded."""
        stored, downloaded = hashlib.sha256(item.image or b"").digest(), sha256_bytes(item.sha256)
        known = stored[:16] + (downloaded or b"")[:16]
        self._files.add(own, known, 16)

    def _add_picture(self, picture: Prepared, counts: Counter[str]) -> None:
        hashes = picture.views[0]
        if not isinstance(hashes, Mapping):
            counts["pictures_unreadable"] += 1
            return
        counts["pictures"] += 1
        own = int(picture.key)
        self._pixels.add(own, hashes["pixel_hash"], 16)
        if "pdq" in hashes:
            self._pdq.add(own, hashes["pdq"], 32)
            self._quality.append(hashes["pdq_quality"])
            self._phash.append(hashes["phash"])
            self._waiting += picture.views[1:]
        if len(self._waiting) >= EMBEDDED:
            self._embed()

    def _put(self, table: str, digests: Digests, items: Sequence[int] | npt.NDArray[np.int64]) -> None:
        self._digests[table].append(digests)
        self._items[table].append(np.asarray(items, np.int64))

    def _add_texts(self) -> None:
        items = np.array([own for own, _ in self._texts], np.int64)
        words = plain_words(pa.array([text for _, text in self._texts], pa.large_string()))
        self._texts = []
        rows, digests = whole_digests(words, self.min_words)
        self._put("caption", digests, items[rows])
        rows, digests = run_digests(words, self.words)
        self._put("ngram", digests, items[rows])

    def _embed(self) -> None:
        """Embeddings of the pictures that wait, onto the disk; zeros where the model gives none."""
        if self.model is None or not self._waiting:
            return
        views, self._waiting = self._waiting, []
        seen = [row for row, view in enumerate(views) if view is not None and not isinstance(view, Unprepared)]
        others = {name: pa.nulls(len(seen), pa.string()) for name in self.model.reads if name != "image"}
        batch = Batch(pa.table(others or {"key": pa.nulls(len(seen))}), [views[row] for row in seen])
        column = next(name for name in self.model.writes if name.endswith("_image_embedding"))
        self.length = self.model.writes[column].list_size
        placed = np.zeros((len(views), self.length), np.float16)
        if seen:
            placed[seen] = embeddings_of(self.model.score(batch)[column])[0]
        with open(self.folder / RAW, "ab") as raw:
            raw.write(placed.tobytes())

    def finish(self) -> None:
        """Write all files but the card."""
        sets = pa.array(self._sets, pa.string()).dictionary_encode()
        table = pa.table({"set": sets, "name": pa.array(self._names, pa.large_string())})
        with pa.OSFile(str(self.folder / "items.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
            out.write_table(table)
        for name, packed in (("file", self._files), ("pixels", self._pixels)):
            self._put(name, _words(packed.digests, 2), np.array(packed.items, np.int64))
        for name in TABLES:
            write_table(self.folder, name, self._digests[name], self._items[name])
        write_array(self.folder, "picture_items", np.array(self._pdq.items, np.int64))
        write_array(self.folder, "pdq", _words(self._pdq.digests, 4))
        write_array(self.folder, "quality", np.array(self._quality, np.uint8))
        write_array(self.folder, "phash", np.array(self._phash, np.uint64))
        self._write_embeddings(len(self._pdq.items))

    def _write_embeddings(self, pictures: int) -> None:
        shape = (pictures if self.length else 0, self.length)
        with open(self.folder / "embeddings.npy", "wb") as out:
            about = {"descr": "<f2", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(out, about)
            if self.length:
                with open(self.folder / RAW, "rb") as raw:
                    shutil.copyfileobj(raw, out, 1 << 20)
        (self.folder / RAW).unlink(missing_ok=True)


def _words(data: bytes | bytearray, count: int) -> Digests:
    """Bytes as numbers, the first byte the most significant, `count` of them in a row."""
    return np.frombuffer(data, ">u8").astype(np.uint64).reshape(-1, count)
