"""The image-text pairs of shards, or of any WebDataset tars: where each picture lies, who the row is, its caption.

That is all of a pair that is held in memory, 210 bytes, so 2.1 GB for ten million; pictures are read one by one at
their place in the tar (0.05 ms beside a decode of 2 ms), so that an order can be drawn over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.digest import Digests, digest_strings, join_digests
from curate.dedup.identity import IDENTITY, identities
from curate.errors import ConfigError, ShardError
from curate.fetch.image import decode
from curate.filter import Pixels
from curate.shard import IMAGE_EXTENSIONS, Shard, list_shards
from curate.slices import in_current_cut
from curate.source.files import input_files
from curate.source.tar_rows import member_row
from curate.source.tar_samples import Contents, index_table, read_contents
from curate.storage import Storage
from curate.tombstones import alive

__all__ = ["DEFECT", "PairSource", "Pairs", "open_pairs", "pairs_of"]

DEFECT = "toy_defect"
"""The toy web's label of a row: what is wrong with it."""
MOST_PICTURE_BYTES = 256 << 20

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PairSource:
    """The `[clean]` table: where pairs lie.

    `shards`: folders of our shards, of img2dataset's, or of any WebDataset tars with a `.txt` or `.json` beside each
    picture, on any fsspec URL. `caption_column` may be any text column, so a generated caption too. `kept_only`: of
    shards that filters have judged, take the kept rows alone.
    """

    shards: tuple[str, ...]
    caption_column: str = "caption"
    kept_only: bool = True

    def __post_init__(self) -> None:
        if not self.shards:
            raise ValueError("shards = [] names no folder; give at least one")


@dataclass(frozen=True)
class Pairs:
    """Pairs of picture and caption, as aligned arrays: nothing of a picture but its place.

    `shard` (index into `shards`) int32, `offset` and `size` int64: the picture's bytes in the tar. `identity` uint64
    (n, 2): what the row is. `picture` uint64: equal for one picture under several captions. `sha256`: of the picture as
    it was downloaded, null where nobody knows. `rows` counts all rows looked at, those without picture or caption too.
    """

    shards: Sequence[Shard]
    shard: npt.NDArray[np.int32]
    offset: Numbers
    size: Numbers
    keys: pa.Array
    captions: pa.Array
    sha256: pa.Array
    defects: pa.Array
    identity: Digests
    picture: npt.NDArray[np.uint64]
    rows: int

    def __len__(self) -> int:
        return len(self.offset)

    def read(self, row: int) -> bytes:
        """The picture's bytes; empty for one above 256 MB. Raises StorageError, and ShardError for a tar that went."""
        shard, size = self.shards[self.shard[row]], int(self.size[row])
        if size > MOST_PICTURE_BYTES:
            return b""
        try:
            return bytes(shard.storage.read_range(shard.tar, int(self.offset[row]), size))
        except FileNotFoundError:
            raise ShardError(f"{shard.tar} is gone from {shard.storage.root}; put it back and train anew") from None

    def decoded(self, row: int) -> Pixels | None:
        """The picture, uint8 (height, width, 3); None where it cannot be decoded."""
        return decode(self.read(row))

    def key(self, row: int) -> str:
        """The sample's key in its shard."""
        return str(self.keys[row].as_py())

    def digest(self) -> str:
        """32 hex digits for this set of pairs, however they are packed and ordered."""
        with np.errstate(over="ignore"):
            joined = join_digests(self.identity, digest_strings(self.captions))
            return "".join(f"{int(half):016x}" for half in joined.sum(axis=0, dtype=np.uint64))


def open_pairs(source: PairSource, captions: bool = True) -> Pairs:
    """All pairs with a picture and a caption; without `captions`, all pictures, and an empty text for each.

    Raises ConfigError where there is none, ShardError for broken shards, SourceError where there are no shards.
    """
    return pairs_of([shard for folder in source.shards for shard in _shards(folder)], source, captions)


def pairs_of(shards: Sequence[Shard], source: PairSource, captions: bool = True) -> Pairs:
    """The pairs of these shards, read as `source` says, whose folders are but named where there is none. Raises as
    `open_pairs`."""
    found = [_pairs_of(shard, source, captions) for shard in shards]
    owner = np.repeat(np.arange(len(found), dtype=np.int32), [table.num_rows for table, _ in found])
    table = pa.concat_tables([table for table, _ in found]).combine_chunks()
    if not len(table):
        folders = ", ".join(source.shards)
        raise ConfigError(
            f"no pair with a picture and a text in {source.caption_column!r} in {folders}, of "
            f"{sum(rows for _, rows in found)} rows; check shards, caption_column and what the filters kept"
        )
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    return Pairs(
        shards=shards,
        shard=owner,
        offset=np.asarray(columns["offset"]),
        size=np.asarray(columns["size"]),
        keys=columns["key"],
        captions=columns["caption"],
        sha256=columns["sha256"],
        defects=columns[DEFECT],
        identity=np.stack([np.asarray(columns["high"]), np.asarray(columns["low"])], axis=1),
        picture=_picture_numbers(columns["sha256"], columns["key"], owner),
        rows=sum(rows for _, rows in found),
    )


def _picture_numbers(sha256: pa.Array, keys: pa.Array, owner: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """uint64 (n,): by the digest, and where there is none by shard and key, for two tars may both begin with key 0."""
    numbers: npt.NDArray[np.uint64] = digest_strings(pc.coalesce(sha256, keys))[:, 0]
    with np.errstate(over="ignore"):
        apart = (owner.astype(np.uint64) + np.uint64(1)) * np.uint64(0xC2B2AE3D27D4EB4F)
    return np.where(np.asarray(pc.is_null(sha256)), numbers ^ apart, numbers)


def _shards(folder: str) -> list[Shard]:
    """The shards of a data set in its current cut, else all WebDataset tars. Raises SourceError where there is none."""
    storage = Storage(folder)
    if there := list_shards(storage):
        return in_current_cut(storage, there)
    return [Shard(storage, file.name.removesuffix(".tar")) for file in input_files(folder, ("tar",))]


def _pairs_of(shard: Shard, source: PairSource, captions: bool) -> tuple[pa.Table, int]:
    """One row per pair of a shard, and how many rows it has in all."""
    column = source.caption_column if captions else None
    with_table = shard.storage.exists(shard.table_name())
    given = _rows(shard, column, source.kept_only) if with_table else _member_rows(shard, column)
    places = _pictures(shard)
    row = pc.index_in(given["key"], value_set=places["key"])
    keep = pc.and_(pc.and_(pc.is_valid(row), given["keep"]), pa.array(alive(shard, given["key"])))
    if captions:
        keep = pc.and_(keep, pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(given["caption"])), 0))
    keep = pc.fill_null(keep, False)
    chosen = places.take(row.filter(keep)).select(["offset", "size"])
    pairs = given.filter(keep).drop_columns(["keep"])
    for name in chosen.column_names:
        pairs = pairs.append_column(name, chosen[name])
    return pairs, len(given)


def _rows(shard: Shard, column: str | None, kept_only: bool) -> pa.Table:
    """Key, caption, sha256, label, keep and identity of each row, from the column files."""
    there = shard.column_files
    keys = _text(shard.columns(["key"])["key"], shard, "key")
    empty = pa.array([""] * len(keys), pa.large_string())
    caption = empty if column is None else _text(shard.columns([column])[column], shard, column)
    texts = {"key": keys, "caption": caption}
    for name in ("sha256", DEFECT):
        nothing = pa.nulls(len(keys), pa.large_string())
        texts[name] = _text(shard.columns([name])[name], shard, name) if name in there else nothing
    keep = shard.columns(["keep"])["keep"] if kept_only and "keep" in there else None
    own = identities(shard) if set(IDENTITY) <= there.keys() else _fallback(texts["key"], texts["caption"])
    return _given(texts, own, keep)


def _member_rows(shard: Shard, column: str | None) -> pa.Table:
    """The same of a tar that stands alone, from the members of its samples."""
    with shard.storage.open(shard.tar) as data:
        groups = read_contents(data, shard.tar).groups.values()
        rows = [member_row(group, data) for group in groups]
    named = {"key": "key", "caption": column, "sha256": "sha256", DEFECT: DEFECT}
    texts = {}
    for name, wanted in named.items():
        values = [row.get(wanted) if wanted is not None else "" for row in rows]
        texts[name] = pa.array([value if isinstance(value, str) else None for value in values], pa.large_string())
    return _given(texts, _fallback(texts["key"], texts["caption"]), None)


def _given(texts: dict[str, pa.Array], identity: Digests, keep: pa.ChunkedArray | None) -> pa.Table:
    high, low = identity.T
    kept = keep if keep is not None else pa.array(np.ones(len(high), bool))
    return pa.table({**texts, "high": np.ascontiguousarray(high), "low": np.ascontiguousarray(low), "keep": kept})


def _pictures(shard: Shard) -> pa.Table:
    """`key`, `offset`, `size` of each sample's picture: of its index, else found by a walk through the tar."""
    there = shard.storage.exists(shard.table_name("index"))
    index = shard.table("index") if there else index_table(_contents(shard))
    kinds = pa.array(IMAGE_EXTENSIONS)
    index = index.filter(pc.is_in(index["extension"], value_set=kinds)).combine_chunks()
    keys = index["key"].cast(pa.large_string()).combine_chunks()
    number = np.asarray(pc.index_in(keys, value_set=pc.unique(keys)))
    order = np.lexsort((np.asarray(pc.index_in(index["extension"], value_set=kinds)), number))
    first = order[np.unique(number[order], return_index=True)[1]]
    places = pa.table({"key": keys, "offset": index["offset"], "size": index["size"]})
    return places.take(pa.array(first)).combine_chunks()


def _contents(shard: Shard) -> Contents:
    try:
        with shard.storage.open(shard.tar) as data:
            return read_contents(data, shard.tar)
    except FileNotFoundError:
        raise ShardError(f"shard {shard.id} in {shard.storage.root} has no {shard.tar}") from None


def _text(values: pa.ChunkedArray, shard: Shard, column: str) -> pa.Array:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise ShardError(f"shard {shard.id} in {shard.storage.root}: {column} is a column of {kind}, not of text")
    return values.cast(pa.large_string()).combine_chunks()


def _fallback(keys: pa.Array, captions: pa.Array) -> Digests:
    """What a row is where nobody knows its URL and its picture's digest: its key and its caption."""
    return join_digests(digest_strings(keys), digest_strings(pc.fill_null(captions, "")))
