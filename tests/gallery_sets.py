"""Small data sets of pairs with a decision, written as a run leaves them, cut into shards of any sizes; every picture
has a colour of its own, so that a thumbnail says whose it is."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
from PIL import Image

from curate.gauge import Gauge
from curate.manifest import write_parquet
from curate.report.facts import Gallery, Tile
from curate.run_record import DecisionRecord, FilterRecord
from curate.select import DECISION
from curate.shard import Shard, list_shards
from curate.storage import Storage
from curate.tar import TarWriter

Row = dict[str, Any]

SAMPLES = DecisionRecord("select", "samples", "keep", ())
PARTS = DecisionRecord("select_parts", "parts", "keep", ())
SIZE = Gauge("side_px", ("side_px",), min=100.0, too_low="too_small", min_setting="min_px")
FILTERS = (
    FilterRecord("size", {"too_small": "the picture is too small"}, ("side_px",), {"min_px": 100}, (SIZE,)),
    FilterRecord("words", {"too_few_words": "few words", "never_given": "never"}, ("caption_words",), {}),
)


def color(number: int) -> tuple[int, int, int]:
    """Of picture `number`, one of 512 that no encoder takes for another."""
    return 16 + 32 * (number % 8), 16 + 32 * (number // 8 % 8), 16 + 32 * (number // 64 % 8)


def picture(number: int, side: int = 24) -> bytes:
    """A PNG of one colour."""
    target = io.BytesIO()
    Image.new("RGB", (side, side), color(number)).save(target, "PNG")
    return target.getvalue()


def shown(data: bytes) -> int:
    """Which picture a thumbnail is of."""
    mean = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3).mean(axis=0)
    red, green, blue = np.clip(np.round((mean - 16) / 32), 0, 7).astype(int).tolist()
    return int(red + 8 * green + 64 * blue)


def pictures_of(galleries: Sequence[Gallery]) -> set[int]:
    """Every picture that a tile shows."""
    return {shown(tile.picture) for tile in tiles_of(galleries) if tile.picture}


def tiles_of(galleries: Sequence[Gallery]) -> list[Tile]:
    return [tile for one in galleries for tile in one.tiles]


def row(number: int, reasons: Sequence[str] = (), **more: Any) -> Row:
    """A row of which everything is told by its number."""
    own = {"url": f"http://a.test/{number}.png", "caption": f"picture {number}", "sha256": f"{number:064x}"}
    return {**own, "fetch_status": "success", "picture": number, "reasons": list(reasons), **more}


def put_rows(storage: Storage, shard: str, rows: Sequence[Row], decided: bool = True) -> list[str]:
    """One shard: sample table, tar, index, decision. `picture` is the number of a picture, None for none."""
    keys = [f"{shard}{place:04d}" for place in range(len(rows))]
    target = io.BytesIO()
    tar = TarWriter(target)
    index = []
    for key, own in zip(keys, rows, strict=True):
        if own["picture"] is not None:
            tar.add(f"{key}.png", picture(own["picture"]))
            index.append((key, "png"))
        tar.add(f"{key}.txt", b"words")
        index.append((key, "txt"))
    tar.finish()
    storage.write(f"{shard}.tar", target.getvalue())
    places = {"offset": [m.offset for m in tar.members], "size": [m.size for m in tar.members]}
    names = {"key": [key for key, _ in index], "extension": [extension for _, extension in index]}
    put_table(storage, f"{shard}.index.parquet", pa.table(names | places))
    told = [{name: value for name, value in own.items() if name not in ("picture", "reasons")} for own in rows]
    columns = {name: [own.get(name) for own in told] for name in dict.fromkeys(n for own in told for n in own)}
    put_table(storage, f"{shard}.parquet", pa.table({"key": keys, **columns}))
    if decided:
        put_table(storage, f"{shard}.select.parquet", decision(keys, [own["reasons"] for own in rows]))
    return keys


def decision(keys: Sequence[str], reasons: Sequence[Sequence[str]]) -> pa.Table:
    first = [own[0] if own else None for own in reasons]
    columns = [[not own for own in reasons], first, list(reasons)]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, DECISION, strict=True)]
    return pa.table([pa.array(keys), *arrays], ["key", *DECISION.names])


def put_table(storage: Storage, name: str, table: pa.Table) -> None:
    target = io.BytesIO()
    write_parquet(table, target)
    storage.write(name, target.getvalue())


def pack(folder: Any, rows: Sequence[Row], sizes: Sequence[int]) -> list[Shard]:
    """The rows in shards of these sizes."""
    storage = Storage(str(folder))
    start = 0
    for number, size in enumerate(sizes):
        put_rows(storage, f"{number:05d}", rows[start : start + size])
        start += size
    return list_shards(storage)


class Watched(Storage):
    """A folder that notes which ranges of its tars are read."""

    def open(self, name: str) -> IO[bytes]:
        handle = super().open(name)
        return _Noted(handle.read(), ranges(self).setdefault(name, [])) if name.endswith(".tar") else handle


_RANGES: dict[str, dict[str, list[tuple[int, int]]]] = {}


def ranges(storage: Storage) -> dict[str, list[tuple[int, int]]]:
    """What was read of each tar: first byte and the one behind the last."""
    return _RANGES.setdefault(storage.root, {})


class _Noted(io.BytesIO):
    def __init__(self, data: bytes, noted: list[tuple[int, int]]) -> None:
        super().__init__(data)
        self._noted = noted

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        data = super().read(size)
        self._noted.append((start, start + len(data)))
        return data


def texts(gallery: Gallery) -> list[tuple[str, str, bytes]]:
    """What does not depend on how rows are packed."""
    return [(tile.caption, tile.url, tile.picture) for tile in gallery.tiles]


def by_title(galleries: Sequence[Gallery]) -> Mapping[str, Gallery]:
    return {f"{one.kind} {one.title}": one for one in galleries}
