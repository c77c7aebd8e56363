"""Mosaic data shards (MDS, version 2), for mosaicml streaming: one file that a reader seeks in, and an index beside it.

    shard.00000.mds   uint32 n | uint32 where each sample begins, and the end | the columns as JSON | the samples
    a sample          uint32 size of each column that has no size of its own | the columns, by name
    index.json        {"shards": [{"raw_data": {"basename", "bytes", "hashes"}, "samples", columns, ...}], "version": 2}

Places are uint32, so no file has 4 GiB; like streaming's own writer this one begins a new file at 64 MiB, and holds
what goes into one: a reader then takes a sample by one seek and fetches shards that pass quickly. The format is
documented at docs.mosaicml.com/projects/streaming ("Dataset Format"); its bytes are those of MDSWriter, except that
JSON has no spaces and keeps its letters.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.fetch.members import strict_json
from curate.storage import plain_errors

__all__ = ["ENCODINGS", "INDEX", "SIZE_LIMIT", "MdsWriter", "index_bytes"]

INDEX = "index.json"
SIZE_LIMIT = 64 << 20
MOST_BYTES = (1 << 32) - 1
HASH = "sha1"
TOO_LARGE = "too_many_bytes"


def _text(value: str) -> bytes:
    return value.encode("utf-8", "replace")


def _pictures(values: Sequence[bytes]) -> bytes:
    """`list[jpeg]`: uint32 0, how many, the size of each, and their bytes."""
    return struct.pack(f"<{2 + len(values)}I", 0, len(values), *map(len, values)) + b"".join(values)


ENCODINGS: Mapping[str, Callable[[Any], bytes]] = {
    "str": _text,
    "int": struct.Struct("<q").pack,
    "json": strict_json,
    "jpeg": bytes,
    "list[jpeg]": _pictures,
}
"""What a column may be called in the index, and how its value becomes bytes. Readers open `jpeg` with Pillow, which
looks at the bytes: they may be a PNG's."""

SIZES: Mapping[str, int] = {"int": 8}
"""Bytes of the columns that have a size of their own."""


@dataclass
class MdsWriter:
    """Writes samples into files of `size_limit` bytes at most (one sample may have more) in a local folder.

    `columns`: name to one of ENCODINGS. `shards` has the index's entries of the files that are whole.
    """

    folder: Path
    columns: Mapping[str, str]
    size_limit: int = SIZE_LIMIT
    shards: list[dict[str, Any]] = field(default_factory=list)
    _held: list[bytes] = field(default_factory=list)
    _held_bytes: int = 0

    def add(self, sample: Mapping[str, Any]) -> str | None:
        """Take one sample; `too_many_bytes` where it would not fit a file at all. Raises StorageError."""
        encoded = self._encode(sample)
        if self._size(1, len(encoded)) > MOST_BYTES:
            return TOO_LARGE
        if self._held and self._size(len(self._held) + 1, self._held_bytes + len(encoded)) > self.size_limit:
            self.flush()
        self._held.append(encoded)
        self._held_bytes += len(encoded)
        return None

    def flush(self) -> None:
        """Write what is held as one file."""
        if not self._held:
            return
        path = self.folder / f"shard.{len(self.shards):05d}.mds"
        head, digest = self._head(), hashlib.new(HASH, usedforsecurity=False)
        with plain_errors(f"write {path}"), open(path, "wb") as target:
            for piece in (head, *self._held):
                digest.update(piece)
                target.write(piece)
        about = {"basename": path.name, "bytes": len(head) + self._held_bytes, "hashes": {HASH: digest.hexdigest()}}
        self.shards.append({**self._config, "raw_data": about, "samples": len(self._held), "zip_data": None})
        self._held.clear()
        self._held_bytes = 0

    def _encode(self, sample: Mapping[str, Any]) -> bytes:
        sizes, data = [], []
        for name in sorted(self.columns):
            data.append(ENCODINGS[self.columns[name]](sample[name]))
            if self.columns[name] not in SIZES:
                sizes.append(len(data[-1]))
        return struct.pack(f"<{len(sizes)}I", *sizes) + b"".join(data)

    def _head(self) -> bytes:
        config = self._config_bytes
        place = _places(len(self._held)) + len(config)
        places = [place]
        for encoded in self._held:
            place += len(encoded)
            places.append(place)
        return struct.pack(f"<{1 + len(places)}I", len(self._held), *places) + config

    def _size(self, samples: int, held_bytes: int) -> int:
        return _places(samples) + len(self._config_bytes) + held_bytes

    @cached_property
    def _config(self) -> dict[str, Any]:
        names = sorted(self.columns)
        return {
            "column_encodings": [self.columns[name] for name in names],
            "column_names": names,
            "column_sizes": [SIZES.get(self.columns[name]) for name in names],
            "compression": None,
            "format": "mds",
            "hashes": [HASH],
            "size_limit": self.size_limit,
            "version": 2,
        }

    @cached_property
    def _config_bytes(self) -> bytes:
        return json.dumps(self._config, sort_keys=True).encode()


def _places(samples: int) -> int:
    """Bytes of the number of samples and of where each begins and the last one ends."""
    return 4 * (samples + 2)


def index_bytes(shards: Sequence[Mapping[str, Any]]) -> bytes:
    """The `index.json` of these shards."""
    return json.dumps({"shards": list(shards), "version": 2}, sort_keys=True).encode()
