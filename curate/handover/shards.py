"""Where each example of a hand-over lies: numbers of its tables, and no byte of a tar.

A loader wants to know, before it reads anything: which bytes of which tar an example is, how many tokens its texts
have and how large its pictures are. That is 140 bytes a pair, so tables are read a few shards at a time, when their
turn comes: 10,000 pairs take 20 ms of one core. What the tables say of one another is checked here, once, so that what
reads the tars later need not parse them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.dedup.digest import Digests, digest_strings, join_digests
from curate.errors import ConfigError, ShardError
from curate.handover.manifest import Manifest, ShardEntry, dataset_id, read_manifest
from curate.registry import nearest
from curate.storage import Storage, plain_errors

__all__ = ["Handover", "Places", "open_handover", "read_places", "text_columns"]

INDEX = ("key", "extension", "offset", "size")
SIZES = ("images", "widths", "heights")
TOKENS = ("tokens_", "captions_tokens_")
LISTS = {"widths": pa.int64(), "heights": pa.int64(), "caption_origins": pa.string(), "caption_weights": pa.float64()}
TYPES = {
    **{name: pa.string() for name in ("key", "source_key", "extension")},
    **{name: pa.int64() for name in ("offset", "size", "images")},
    **{name: pa.list_(of) for name, of in LISTS.items()},
}
"""What is relied on, as it is read; a table is no more to be trusted than a tar."""
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Handover:
    """A hand-over that is open for reading. `digest` (16 hex digits) is of the contents of all its shards' files."""

    storage: Storage
    manifest: Manifest
    digest: str

    def shards(self, source: str) -> list[ShardEntry]:
        """The shards of a source, in the manifest's order. Raises ConfigError for a source that is not there."""
        found = self.manifest.of(source)
        if not found:
            known = sorted({shard.source for shard in self.manifest.shards})
            raise ConfigError(f"{self.storage.root} has no source {source!r}; {nearest(source, known)}")
        return found

    def tokenizer(self, name: str = "") -> str:
        """The tokenizer whose counts are asked for: the only one where no name is given. Raises ConfigError."""
        known = sorted(self.manifest.tokenizers)
        if name in known or (not name and len(known) == 1):
            return name or known[0]
        if not known:
            raise ConfigError(
                f"{self.storage.root} counted no tokens, which packing, sequence_tokens and a mixture by token need; "
                "name a tokenizer in the config of the hand-over and run that again"
            )
        told = f"has no tokenizer {name!r}" if name else "has several tokenizers"
        raise ConfigError(f"{self.storage.root} {told}; {nearest(name, known)}")


@dataclass(frozen=True)
class Places:
    """The examples of one shard, as aligned arrays; n of them with m members and p pictures in all.

    `keys` string (n); `identity` uint64 (n, 2): what each row is, by its source and `source_key`. `first` int64
    (n + 1): where an example's members begin among `offset` int64 (m), `size` int64 (m) bytes and `extension` int32
    (m), a number among `extensions`. `tokens` int64 (n): of all text, of pairs of the first caption; 0 without a
    tokenizer. `images` int64 (n); `width`, `height` int64 (p) px, and `picture` int64 (n + 1) where an example's begin.
    `texts`: further columns of the sample table that were asked for; `text_tokens`: a list for each of n, or None.
    """

    keys: pa.Array
    identity: Digests
    first: Numbers
    offset: Numbers
    size: Numbers
    extension: npt.NDArray[np.int32]
    extensions: tuple[str, ...]
    tokens: Numbers
    images: Numbers
    width: Numbers
    height: Numbers
    picture: Numbers
    texts: pa.Table
    text_tokens: pa.Array | None

    def __len__(self) -> int:
        return len(self.first) - 1


def open_handover(path: str) -> Handover:
    """The hand-over in a folder, on any fsspec URL. Raises ShardError where there is none or its manifest is broken."""
    storage = Storage(path)
    manifest = read_manifest(storage)
    contents = ((shard.source, shard.kind, shard.files) for shard in manifest.shards)
    return Handover(storage, manifest, dataset_id(contents))


def read_places(storage: Storage, entry: ShardEntry, tokenizer: str = "", columns: Sequence[str] = ()) -> Places:
    """What the tables of one shard say of its examples; `columns` of the sample table that it has are read too.

    Raises ShardError where a table is missing, or two of them, or the manifest, are at odds.
    """
    rows = _read(storage, f"{entry.id}.parquet", ("key", *SIZES), ("source_key", *columns))
    index = _read(storage, f"{entry.id}.index.parquet", INDEX)
    if len(rows) != entry.samples:
        raise _at_odds(storage, entry, f"{entry.id}.parquet has {len(rows)} rows, the manifest {entry.samples} samples")
    keys = _column(rows, "key")
    first = _first_members(storage, entry, keys, _column(index, "key"))
    tokens, text_tokens = _tokens(storage, entry, keys, tokenizer)
    extension = pc.fill_null(_column(index, "extension"), "").dictionary_encode()
    own = _column(rows, "source_key") if "source_key" in rows.column_names else keys
    width, height, picture = _sizes(storage, entry, rows)
    return Places(
        keys=keys,
        identity=_identity(entry.source, pc.coalesce(own, keys)),
        first=first,
        offset=_numbers(index, "offset"),
        size=_numbers(index, "size"),
        extension=np.asarray(extension.indices),
        extensions=tuple(extension.dictionary.to_pylist()),
        tokens=tokens,
        images=_numbers(rows, "images"),
        width=width,
        height=height,
        picture=picture,
        texts=rows.select([name for name in columns if name in rows.column_names]),
        text_tokens=text_tokens,
    )


def text_columns(storage: Storage, entry: ShardEntry) -> list[str]:
    """The columns of text of a shard's sample table. Raises ShardError."""
    schema = _opened(storage, f"{entry.id}.parquet", lambda file: file.schema_arrow)
    return [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]


def _identity(source: str, keys: pa.Array) -> Digests:
    """By source and key there, so that the packing into shards plays no part; copies of one row have one identity."""
    digests = digest_strings(keys)
    own = digest_strings(pa.array([source]))
    return join_digests(np.repeat(own, len(digests), axis=0), digests)


def _first_members(storage: Storage, entry: ShardEntry, keys: pa.Array, members: pa.Array) -> Numbers:
    """int64 (n + 1): where each example's members begin in the index, which has the keys in the table's order."""
    changes = np.asarray(pc.not_equal(members[1:], members[:-1])) if len(members) > 1 else np.empty(0, bool)
    starts = np.append(0, np.flatnonzero(changes) + 1) if len(members) else np.empty(0, np.int64)
    if not members.take(pa.array(starts)).equals(keys):
        raise _at_odds(storage, entry, f"{entry.id}.index.parquet has not the keys of {entry.id}.parquet")
    return np.append(starts, len(members)).astype(np.int64)


def _tokens(storage: Storage, entry: ShardEntry, keys: pa.Array, tokenizer: str) -> tuple[Numbers, pa.Array | None]:
    if not tokenizer:
        return np.zeros(len(keys), np.int64), None
    lists = f"captions_tokens_{tokenizer}"
    table = _read(storage, f"{entry.id}.tokens.parquet", ("key", f"tokens_{tokenizer}"), (lists,))
    if not _column(table, "key").equals(keys):
        raise _at_odds(storage, entry, f"{entry.id}.tokens.parquet has not the keys of {entry.id}.parquet")
    return _numbers(table, f"tokens_{tokenizer}"), _column(table, lists) if lists in table.column_names else None


def _sizes(storage: Storage, entry: ShardEntry, rows: pa.Table) -> tuple[Numbers, Numbers, Numbers]:
    """Widths and heights of all pictures, and where an example's begin. One without a size counts as 1 x 1."""
    widths, heights = _column(rows, "widths"), _column(rows, "heights")
    ends = np.cumsum(np.asarray(pc.fill_null(pc.list_value_length(widths), 0)).astype(np.int64))
    width, height = (np.asarray(pc.fill_null(pc.list_flatten(c), 1)).astype(np.int64) for c in (widths, heights))
    if not pc.list_value_length(widths).equals(pc.list_value_length(heights)):
        raise _at_odds(storage, entry, f"{entry.id}.parquet has other numbers of widths than of heights")
    return np.maximum(width, 1), np.maximum(height, 1), np.append(0, ends)


def _read(storage: Storage, name: str, needed: Sequence[str], wanted: Sequence[str] = ()) -> pa.Table:
    """The needed columns of a Parquet file, and of the wanted ones those that it has."""

    def columns(file: pq.ParquetFile) -> pa.Table:
        there = set(file.schema_arrow.names)
        missing = next((column for column in needed if column not in there), None)
        if missing is not None:
            raise ShardError(f"{name} in {storage.root} has no column {missing!r}; run the hand-over again")
        table = file.read([*needed, *(column for column in wanted if column in there)])
        columns = {column: table[column].cast(_type_of(column, table)) for column in table.column_names}
        return pa.table(columns).combine_chunks()

    return _opened(storage, name, columns)


def _type_of(column: str, table: pa.Table) -> pa.DataType:
    """The type that a column is read as: its own where nothing is relied on."""
    if column.startswith(TOKENS):
        return pa.int64() if column.startswith(TOKENS[0]) else pa.list_(pa.int64())
    return TYPES.get(column, table.schema.field(column).type)


def _opened(storage: Storage, name: str, look: Callable[[pq.ParquetFile], Any]) -> Any:
    """What is seen in a Parquet file. Raises ShardError where it is missing or broken, StorageError."""
    try:
        with plain_errors(f"read {storage.path(name)}"), storage.open(name) as source:
            try:
                return look(pq.ParquetFile(source))
            except pa.ArrowException as error:
                words = str(error).partition("\n")[0]
                raise ShardError(f"{name} in {storage.root} is broken: {words}; run the hand-over again") from None
    except FileNotFoundError:
        raise ShardError(f"{storage.root} has no {name}, which its manifest names; run the hand-over again") from None


def _column(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()


def _numbers(table: pa.Table, name: str) -> Numbers:
    return np.asarray(pc.fill_null(table[name], 0)).astype(np.int64)


def _at_odds(storage: Storage, entry: ShardEntry, what: str) -> ShardError:
    return ShardError(f"shard {entry.id} in {storage.root}: {what}; run the hand-over again")
