"""Scores that somebody else computed: from Parquet files, matched to rows by an id, into a column of our shards.

FLYT, HYPE and others publish scores by uid for pools of 128 million pairs and more, so neither side fits into memory.
Both sides are brought together by the digest of the id (`curate.dedup.exchange`): the files ask like shards do, and
what they bring is the answer. That writes some 50 bytes a row of either side into scratch files where a join made for
this would need 35, and is code that exists, whose answers depend neither on shards nor on the order of files. 2 million
scores for 2 million rows take 3.5 s on one core by uid, 4.3 s by URL, and 8 s by pair, which is an md5 for each row;
at twice that it takes twice the time and the same 0.5 GB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.config import require_range
from curate.dedup.digest import Digests, digest_strings
from curate.dedup.exchange import BIN_ROWS, Exchange
from curate.dedup.groups import Groups, Rows
from curate.errors import ShardError, SourceError
from curate.manifest import Attempt, fingerprint
from curate.registry import nearest
from curate.shard import Shard
from curate.source.columns import cast_column, plain_type
from curate.source.files import InputFile, input_files
from curate.source.model_file import file_digest
from curate.stage import Barrier, Runtime
from curate.subset import HEX, pair_uid

__all__ = ["By", "Import", "score_type"]

By: TypeAlias = Literal["uid", "pair", "url", "key"]
OWN: dict[str, tuple[str, ...]] = {"uid": ("uid",), "pair": ("caption", "url"), "url": ("url",), "key": ("key",)}
"""The columns that a row's id is made of."""

BATCH_ROWS = 1 << 16
BUFFER_BYTES = 1 << 20
NOT_IMPORTED = -1
SCORE, PLACE = "score", "place"
Floats = npt.NDArray[np.float64]


class _Piece(NamedTuple):
    """Rows of a file: ids without nulls, their scores, and where each row stands among all rows of all files."""

    ids: pa.Array
    scores: Floats
    places: Rows


class _Conflict(Exception):
    """Two values for one id; `place` is a row that has it."""

    def __init__(self, place: int, low: float, high: float) -> None:
        super().__init__(place, low, high)
        self.place, self.low, self.high = place, low, high


@dataclass(frozen=True)
class Import(Barrier):
    """Writes `to`: the number that `column` of the files at `path` has for this row; null where they have none.

    `path` is a file, a folder or a glob of Parquet files, on any fsspec URL. `id_column` (text) is matched with what
    `by` says of a row: `uid`, its column of this name, 32 hex digits in either case; `pair`, the md5 of caption and URL
    (`curate.subset.pair_uid`), in hex as well; `url`, as written; `key`, ours, which tells how rows were packed.

    float32 where all files have at most that, else float64; true is 1. A null, not-a-number and an infinite value are
    no score. An id that is there twice must have one value. Raises SourceError when it has not, and for what cannot be
    read. `bin_rows`: rows, of both sides, that are in memory together, some 150 bytes each.
    """

    path: str
    column: str
    to: str
    id_column: str = "uid"
    by: By = "uid"
    bin_rows: int = field(default=BIN_ROWS, metadata={"runtime": True})

    name: ClassVar[str] = "imported"

    def __post_init__(self) -> None:
        require_range("bin_rows", self.bin_rows, 1, 1_000_000_000)

    @property
    def label(self) -> str:
        return f"{self.name}_{self.to}"

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*OWN[self.by], "key")))

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.to,)

    def identity(self) -> Any:
        """Covers what the files hold, not what they are called or where they lie."""
        settings = [self.column, self.id_column, self.by]
        digests = sorted(_identity(file) for file in self._files())
        return {"stage": self.label, "version": self.version, "settings": settings, "files": digests}

    def require(self, runtime: Runtime) -> None:
        """Called once before a run starts: look into the first file. Raises SourceError for what would fail later."""
        self._footer(self._files()[0])

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        files = self._files()
        footers = [self._footer(file) for file in files]
        rows = sum(shard.rows() for shard in shards) + sum(rows for rows, _ in footers)
        kind = pa.float64() if pa.float64() in [kind for _, kind in footers] else pa.float32()
        about = {"imported_column": self.column, "imported_fingerprint": fingerprint(self.identity()["files"])}
        with Exchange(attempt.scratch / "exchange", rows, self.bin_rows) as exchange:
            try:
                self._ask(exchange, shards, files, attempt)
                answers = exchange.answers(partial(_answer, attempt))
                for shard, answer in zip(shards, answers, strict=False):
                    scores = answer[SCORE].cast(kind, safe=False)
                    attempt.counts["matched"] += len(scores) - scores.null_count
                    attempt.counts["unmatched"] += scores.null_count
                    fields = [pa.field("key", pa.string()), pa.field(self.to, kind, metadata=about)]
                    columns = [shard.columns(["key"])["key"].cast(pa.string()), scores]
                    attempt.write_table(shard.table_name(self.label), pa.table(columns, schema=pa.schema(fields)))
            except _Conflict as conflict:
                raise SourceError(self._words(files, conflict)) from None

    def _ask(self, exchange: Exchange, shards: Sequence[Shard], files: Sequence[InputFile], attempt: Attempt) -> None:
        """Shards first, so that theirs are the first answers."""
        for shard in shards:
            known, digests = _own_ids(shard, self.by)
            nothing = np.full(len(known), np.nan)
            exchange.ask(shard.rows(), known, digests, partial(_asked, nothing, np.full(len(known), NOT_IMPORTED)))
        for piece in self._pieces(files):
            scored = np.isfinite(piece.scores)
            attempt.counts["imported"] += int(scored.sum())
            attempt.counts["without_score"] += int((~scored).sum())
            digests = _digests(piece.ids.filter(pa.array(scored)), self.by)
            about = partial(_asked, piece.scores[scored], piece.places[scored])
            exchange.ask(len(digests), np.arange(len(digests)), digests, about)

    def _files(self) -> list[InputFile]:
        try:
            return input_files(self.path, ("parquet",))
        except SourceError as error:
            words = error.__cause__ or "no Parquet file is there"
            raise SourceError(f"cannot import scores from {self.path}: {words}; check `path`") from error

    def _footer(self, file: InputFile) -> tuple[int, pa.DataType]:
        """How many rows a file has, and the type that holds its scores."""
        with _opened(file) as table:
            schema, rows = table.schema_arrow, table.metadata.num_rows
        for name in (self.id_column, self.column):
            if schema.get_field_index(name) < 0:
                raise SourceError(f"{file.path} has no column {name!r}; {nearest(name, schema.names)}")
        ids, kind = plain_type(schema.field(self.id_column).type), schema.field(self.column).type
        if ids != pa.string():
            raise SourceError(f"{file.path}: `id_column` {self.id_column!r} is a column of {ids}; ids are text")
        held = pa.float32() if pa.types.is_null(kind) else score_type(kind)
        if held is None:
            raise SourceError(f"{file.path}: `column` {self.column!r} is a column of {kind}; a score is a number")
        return rows, held

    def _pieces(self, files: Sequence[InputFile]) -> Iterator[_Piece]:
        """All rows that have an id, file by file."""
        place = 0
        for file in files:
            with _opened(file) as table:
                for batch in table.iter_batches(BATCH_ROWS, columns=[self.id_column, self.column]):
                    places = np.arange(place, place + len(batch))
                    place += len(batch)
                    ids = cast_column(batch.column(self.id_column), pa.string())
                    known = ids.is_valid()
                    piece = _Piece(
                        ids.filter(known), _floats(batch.column(self.column).filter(known)), places[np.asarray(known)]
                    )
                    self._check(piece.ids, file)
                    yield piece

    def _check(self, ids: pa.Array, file: InputFile) -> None:
        if self.by not in ("uid", "pair"):
            return
        wrong = pc.index(pc.match_substring_regex(ids, HEX), False).as_py()
        if wrong >= 0:
            raise SourceError(
                f"{file.path}: {self.id_column!r} has {ids[wrong].as_py()!r}, and by = {self.by!r} matches uids of 32 "
                'hex digits; name another `id_column`, or say by = "url" or "key"'
            )

    def _words(self, files: Sequence[InputFile], conflict: _Conflict) -> str:
        """Read the files again, to tell whose values these are."""
        for piece in self._pieces(files):
            found = np.flatnonzero(piece.places == conflict.place)
            if len(found):
                id = piece.ids[int(found[0])].as_py()
                return (
                    f"{self.path}: {self.column!r} has {conflict.low!r} and {conflict.high!r} for {self.id_column} "
                    f"{id!r}; a row can have one score: remove one of them"
                )
        raise SourceError(f"{self.path} has changed while it was read; run again")


def score_type(kind: pa.DataType) -> pa.DataType | None:
    """The type in which a column of numbers is judged: float32 where that holds them all; None for other columns."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_float16(kind) or pa.types.is_float32(kind) or pa.types.is_boolean(kind):
        return pa.float32()
    number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    return pa.float64() if number else None


def _own_ids(shard: Shard, by: By) -> tuple[Rows, Digests]:
    """The rows that have an id, and its digest."""
    columns = shard.columns(OWN[by])
    if by == "pair":
        pairs = zip(columns["caption"].to_pylist(), columns["url"].to_pylist(), strict=True)
        ids = pa.array([pair_uid(caption, url) for caption, url in pairs], pa.string())
    else:
        kind = columns[0].type
        if plain_type(kind) != pa.string():
            raise ShardError(f"shard {shard.id}: {by} is a column of {kind}, not of text; say another `by`")
        ids = cast_column(columns[0].combine_chunks(), pa.string())
    known = np.flatnonzero(np.asarray(ids.is_valid()))
    return known, _digests(ids.take(pa.array(known)), by)


def _digests(ids: pa.Array, by: By) -> Digests:
    return digest_strings(ids if by in ("url", "key") else pc.ascii_lower(ids))


def _asked(scores: Floats, places: Rows, groups: Groups) -> pa.Table:
    return _merged(groups, scores, places)[0]


def _answer(attempt: Attempt, groups: Groups, found: pa.Table) -> pa.Table:
    merged, wanted = _merged(groups, np.asarray(found[SCORE]), np.asarray(found[PLACE]))
    attempt.counts["unused"] += int((~wanted).sum())
    scores = np.asarray(merged[SCORE])
    return pa.table({SCORE: pa.array(scores, mask=np.isnan(scores))})


def _merged(groups: Groups, scores: Floats, places: Rows) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """The score of each group with a row that has it, and whether a shard asks for it. Raises _Conflict."""
    if not len(groups):
        return pa.table({SCORE: scores[:0], PLACE: places[:0]}), np.empty(0, bool)
    scores, places = scores[groups.order], places[groups.order]
    low, high = np.fmin.reduceat(scores, groups.starts), np.fmax.reduceat(scores, groups.starts)
    last = np.maximum.reduceat(places, groups.starts)
    differ = np.flatnonzero(low < high)
    if len(differ):
        first = differ[0]
        raise _Conflict(int(last[first]), float(low[first]), float(high[first]))
    return pa.table({SCORE: low, PLACE: last}), np.minimum.reduceat(places, groups.starts) == NOT_IMPORTED


def _floats(values: pa.Array) -> Floats:
    """float64, not a number for null; -0 is 0, so that files that differ in that alone give the same bytes."""
    plain = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    return np.asarray(plain.cast(pa.float64(), safe=False).fill_null(np.nan)) + 0.0


def _identity(file: InputFile) -> list[Any]:
    """Size and SHA-256 of a local file; of another its name, its size, and what its store says changes with it."""
    local = Path(file.path)
    if not local.is_file():
        return file.identity()
    about = local.stat()
    return [about.st_size, _digest(str(local), about.st_size, about.st_mtime_ns)]


@lru_cache(maxsize=4096)
def _digest(path: str, size: int, changed: int) -> str:
    return file_digest(Path(path))


@contextmanager
def _opened(file: InputFile) -> Iterator[pq.ParquetFile]:
    """One line for whatever a file is not."""
    try:
        with file.open() as handle:
            yield pq.ParquetFile(handle, buffer_size=BUFFER_BYTES, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{file.path} cannot be read as Parquet: {error}") from error
