"""Small decided data sets, cut into shards of any size, and the comparison of two by plain Python."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from curate.compare.compare import UnitChange
from curate.config import build_filters
from curate.manifest import Attempt, Commit, CommitLog, Manifest, write_parquet
from curate.run_record import record_of, write_record
from curate.select import DECISION, Select
from curate.shard import Shard, list_shards, sample_key, shard_id
from curate.stage import Runtime
from curate.storage import Storage
from curate.tar import TarWriter

KEPT, UNDECIDED, ABSENT = "(kept)", "(undecided)", "(absent)"


@dataclass(frozen=True)
class Row:
    """A sample. `verdict`: a reason, "" for kept, None for undecided."""

    url: str | None = None
    caption: str | None = None
    sha256: str | None = None
    verdict: str | None = ""
    width: int | None = None
    words: int | None = None
    score: float | None = None
    color: tuple[int, int, int] | None = None


def write_set(folder: Path, rows: Sequence[Row], shard_rows: int = 3, decided: bool = True) -> Storage:
    """Write a data set; pictures of the rows that have a colour."""
    folder.mkdir(parents=True)
    storage = Storage(str(folder))
    for number, first in enumerate(range(0, len(rows), shard_rows)):
        own, shard = rows[first : first + shard_rows], Shard(storage, shard_id(number))
        keys = [sample_key(shard.id, n, shard_rows) for n in range(len(own))]
        for family, table in _families(keys, own, decided).items():
            write_parquet(table, folder / shard.table_name(family))
        if any(row.color for row in own):
            _write_tar(folder, shard, keys, own)
    return storage


def decide_by(
    storage: Storage, filters: Mapping[str, Mapping[str, object]], name: str = "set", stops_after: int | None = None
) -> Select:
    """Run the decision of these filters on every shard of a data set, as a run does, and keep its record.
    `stops_after`: so many shards the run is killed; None for one that ends."""
    step = Select(tuple(build_filters(filters).items()))
    write_record(storage, record_of(name, {"pipeline": "image_text_pairs", "filters": filters}, (step,)))
    made: list[Commit] = []
    log, mark = CommitLog(storage), f"{abs(hash(str(filters))):016x}"[:16]
    there = log.names(step.label)
    for shard in list_shards(storage)[:stops_after]:
        attempt = Attempt(storage, step.label, shard.id, mark, stale=tuple(there.get(shard.id, ())))
        step.run(shard, attempt, Runtime())
        made.append(attempt.commit())
    if stops_after is None:
        Manifest.fold(log, [(c.stage, c.shard, c.fingerprint) for c in made], made)
    return step


def brute_force(a: Sequence[Row], b: Sequence[Row]) -> tuple[Counter[tuple[str, str]], int]:
    """Rows by their verdicts in A and B, and how many were matched without their pictures."""
    cells: Counter[tuple[str, str]] = Counter()
    matched = [set[int](), set[int]()]
    counts = []
    for who in (_who, _wider):
        places = [defaultdict[tuple[str, ...], list[int]](list) for _ in range(2)]
        for side, rows in enumerate((a, b)):
            for number, row in enumerate(rows):
                if number not in matched[side] and who(row) is not None:
                    places[side][who(row)].append(number)
        pairs = [pair for own in places[0] for pair in zip(places[0][own], places[1][own], strict=False)]
        counts.append(len(pairs))
        for one, other in pairs:
            cells[_word(a[one]), _word(b[other])] += 1
            matched[0].add(one)
            matched[1].add(other)
    cells.update((_word(row), ABSENT) for n, row in enumerate(a) if n not in matched[0])
    cells.update((ABSENT, _word(row)) for n, row in enumerate(b) if n not in matched[1])
    return +cells, counts[1]


def by_words(unit: UnitChange) -> dict[tuple[str, str], int]:
    """A comparison's cells by the names of their verdicts."""
    return {(unit.verdicts[a], unit.verdicts[b]): rows for (a, b), rows in unit.cells.items()}


def _word(row: Row) -> str:
    return UNDECIDED if row.verdict is None else row.verdict or KEPT


def _who(row: Row) -> tuple[str, ...]:
    return tuple(value or "" for value in (row.url, row.caption, row.sha256))


def _wider(row: Row) -> tuple[str, ...] | None:
    return _who(row)[:2] if row.url else None


def _families(keys: Sequence[str], rows: Sequence[Row], decided: bool) -> dict[str, pa.Table]:
    texts = {name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in ("url", "caption", "sha256")}
    width = pa.array([row.width for row in rows], pa.int32())
    found = {
        "": pa.table({"key": keys, **texts, "original_width": width, "original_height": width}),
        "caption_words": pa.table({"key": keys, "caption_words": pa.array([r.words for r in rows], pa.int32())}),
        "clip": pa.table({"key": keys, "clip_similarity": pa.array([r.score for r in rows], pa.float32())}),
    }
    if decided:
        keep = pa.array([None if row.verdict is None else row.verdict == "" for row in rows], pa.bool_())
        first = pa.array([row.verdict or None for row in rows], pa.string()).dictionary_encode()
        every = pa.array([[row.verdict] if row.verdict else [] for row in rows], pa.list_(pa.string()))
        columns = [column.cast(own.type) for column, own in zip((keep, first, every), DECISION, strict=True)]
        found["select"] = pa.table([pa.array(keys), *columns], names=["key", *DECISION.names])
    return found


def _write_tar(folder: Path, shard: Shard, keys: Sequence[str], rows: Sequence[Row]) -> None:
    members = []
    with (folder / shard.tar).open("wb") as target:
        tar = TarWriter(target)
        for key, row in zip(keys, rows, strict=True):
            if row.color is not None:
                picture = io.BytesIO()
                Image.fromarray(np.full((24, 32, 3), row.color, np.uint8)).save(picture, "PNG")
                for extension, data in (("png", picture.getvalue()), ("json", json.dumps({"key": key}).encode())):
                    tar.add(f"{key}.{extension}", data)
                    members.append((key, extension))
        tar.finish()
    index = {name: [one[place] for one in members] for place, name in enumerate(("key", "extension"))}
    index |= {"offset": [m.offset for m in tar.members], "size": [m.size for m in tar.members]}
    write_parquet(pa.table(index), folder / shard.table_name("index"))
