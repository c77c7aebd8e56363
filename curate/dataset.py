"""A data set's folder as Python sees it: `curate.open(DIR)`, and from it each view in one line.

    data = curate.open("data/demo")
    data.shards                                     handles; nothing is read
    data.to_arrow("key", "caption", "keep")         columns of all shards, whichever files hold them
    data.to_pandas("drop_reason", "caption_words")
    data.to_duckdb().sql("select drop_reason, count(*) from samples group by all")
    data.samples(), data.documents()                kept ones, with their pictures
    data.to_torch(), data.to_hf(), data.to_ray()    for trainers and notebooks

Tables have every row, dropped ones too, since whoever looks at columns wants to know why; samples are the kept ones,
since whoever takes pictures wants to train. `kept=` turns either. A row that is dead, or on a hash list, is in neither.
Everything is read shard by shard, so only `to_arrow` and `to_pandas` take the memory of all they return.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.document.read import read_documents
from curate.errors import ConfigError, ShardError
from curate.registry import nearest
from curate.run_record import RunRecord, read_record
from curate.sample import Document, Picture, Sample, Text
from curate.shard import Shard, list_shards
from curate.slices import known_slices
from curate.storage import Storage
from curate.tombstones import alive, hidden_keys

if TYPE_CHECKING:
    import datasets
    import duckdb
    import pandas

    from curate.train.data.samples import ShardsDataset

__all__ = ["UNITS", "Dataset", "open_dataset"]

UNITS = ("samples", "documents", "parts")
KEPT = "keep"


@dataclass(frozen=True)
class Dataset:
    """A data set, to be read. `storage`: its folder, on a disk or in a bucket."""

    storage: Storage

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The shards of the current cut that have a sample table, by id."""
        cut = known_slices(self.storage)
        current = None if cut is None else {piece.shard for piece in cut}
        return tuple(shard for shard in list_shards(self.storage) if current is None or shard.id in current)

    @cached_property
    def record(self) -> RunRecord | None:
        """What its last run was told to do: config, filters, versions. Raises StorageError for a damaged one."""
        return read_record(self.storage)

    @cached_property
    def units(self) -> tuple[str, ...]:
        """What its rows are: `("samples",)`, or `("documents", "parts")`."""
        first = self.shards[0]
        return UNITS[1:] if self.storage.exists(first.parts.table_name()) else UNITS[:1]

    def columns(self, unit: str = "") -> dict[str, pa.DataType]:
        """Names and types of a unit's columns, as the first shard has them; the first unit's unless it is named."""
        table = self._tables(unit)[0]
        schemas = {family: table.schema(family) for family in dict.fromkeys(table.column_files.values())}
        return {name: schemas[family].field(name).type for name, family in table.column_files.items()}

    def batches(self, *columns: str, unit: str = "", kept: bool = False) -> Iterator[pa.Table]:
        """A table for each shard: these columns, in that order (all, where none is named), a row for each row of the
        source that may be shown; `kept`: only those that were kept. Raises ShardError, ConfigError."""
        names = columns or tuple(self.columns(unit))
        for number, table in enumerate(self._tables(unit)):
            yield _shown(self.shards[number], table, names, kept)

    def to_arrow(self, *columns: str, unit: str = "", kept: bool = False) -> pa.Table:
        """All of `batches` as one table."""
        return pa.concat_tables(list(self.batches(*columns, unit=unit, kept=kept)), promote_options="permissive")

    def to_pandas(self, *columns: str, unit: str = "", kept: bool = False) -> pandas.DataFrame:
        """The same as a DataFrame."""
        return self.to_arrow(*columns, unit=unit, kept=kept).to_pandas()

    def samples(self, *, kept: bool = True) -> Iterator[Sample]:
        """Samples of pairs with their pictures, in order of shards and rows; those that never arrived are not there."""
        self._require("samples")
        return (sample for shard in self.shards for sample in shard_samples(shard, kept=kept))

    def documents(self, *, kept: bool = True) -> Iterator[Document]:
        """Interleaved documents with their pictures; with `kept` the kept parts of kept documents, else all."""
        self._require("documents")
        return (document for shard in self.shards for document in shard_documents(shard, kept=kept))

    def to_duckdb(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own with a view for each unit, over the column files; nothing is read before a query."""
        from curate.duck import open_views

        return open_views(self.storage, self.shards)

    def to_torch(self, transform: Callable[[Any], Any] | None = None, *, kept: bool = True) -> ShardsDataset:
        """What `samples` or `documents` gives as a data set of PyTorch, each passed through `transform`. Workers of a
        DataLoader read every n-th shard. For exact order, mixtures and resume there is `curate.train.data`."""
        from curate.train.data.samples import ShardsDataset

        return ShardsDataset(self._parts(kept), transform)

    def to_hf(self, *, kept: bool = True) -> datasets.IterableDataset:
        """As Hugging Face's IterableDataset, a part for each shard: pairs as `key image caption`, documents as `key
        images texts` (OBELICS' form: at each place one of the two, the other None)."""
        import datasets as hf

        image: Any = hf.Image()
        text: Any = hf.Value("string")
        pairs, pages = {"image": image, "caption": text}, {"images": [image], "texts": [text]}
        features = hf.Features({"key": text, **(pairs if self.units[0] == "samples" else pages)})
        parts = {"parts": list(self._parts(kept))}
        return hf.IterableDataset.from_generator(_hf_rows, features=features, gen_kwargs=parts)

    def to_ray(self, *columns: str, unit: str = "", kept: bool = False) -> Any:
        """Columns as a Ray Data data set, a block for each shard."""
        from curate.run.ray_data import read_parts

        names = columns or tuple(self.columns(unit))
        tables = zip(self.shards, self._tables(unit), strict=True)
        return read_parts(partial(_block, names=names, kept=kept), list(tables))

    def __len__(self) -> int:
        """Rows of the first unit, dropped ones too."""
        return sum(shard.rows() for shard in self.shards)

    def __repr__(self) -> str:
        return f"<data set {self.storage.root}: {len(self.shards)} shards of {' and '.join(self.units)}>"

    def _tables(self, unit: str) -> tuple[Shard, ...]:
        unit = unit or self.units[0]
        self._require(unit)
        return tuple(shard.parts for shard in self.shards) if unit == "parts" else self.shards

    def _require(self, unit: str) -> None:
        if unit not in self.units:
            has = " and ".join(self.units)
            raise ConfigError(f"{self.storage.root} has {has}, no {unit!r}; {nearest(unit, list(self.units))}")

    def _parts(self, kept: bool) -> tuple[Callable[[], Iterable[Any]], ...]:
        read = shard_samples if self.units[0] == "samples" else shard_documents
        return tuple(partial(read, shard, kept=kept) for shard in self.shards)


def open_dataset(place: str) -> Dataset:
    """The data set in a folder or at an fsspec URL. Raises ShardError where there is none."""
    found = Dataset(Storage(str(place)))
    if not found.shards:
        raise ShardError(f"{found.storage.root} holds no data set; name the folder that `curate run` wrote to")
    return found


def shard_samples(shard: Shard, *, kept: bool = True) -> Iterator[Sample]:
    """The samples of a shard that may be shown; `kept`: only those that were kept."""
    wanted = set(_shown(shard, shard, ("key",), kept)["key"].to_pylist())
    return (sample for sample in shard.samples() if sample.key in wanted)


def shard_documents(shard: Shard, *, kept: bool = True) -> Iterator[Document]:
    """The documents of a shard that may be shown; `kept`: the kept parts of those that were kept."""
    shown = set(_shown(shard, shard, ("key",), kept)["key"].to_pylist())
    return (document for document in read_documents(shard, kept) if document.key in shown)


def _shown(shard: Shard, table: Shard, names: Iterable[str], kept: bool) -> pa.Table:
    """Rows of `table`, which is the shard or its parts, without those of samples and documents that are dead or on a
    hash list."""
    names = tuple(names)
    rows = table.columns(list(dict.fromkeys((*names, *(c for c in (KEPT,) if kept and c in table.column_files)))))
    keys = shard.columns(["key"])["key"]
    fine = alive(shard, keys) & ~np.asarray(pc.is_in(keys, value_set=pa.array(sorted(hidden_keys(shard)), pa.string())))
    if table.id != shard.id:
        fine = fine[np.asarray(table.columns(["document"])["document"])]
    if kept and KEPT in rows.column_names:
        fine = fine & np.asarray(pc.fill_null(rows[KEPT].combine_chunks(), False), bool)
    return rows.select(names).filter(pa.array(fine, pa.bool_()))


def _block(part: tuple[Shard, Shard], names: Iterable[str], kept: bool) -> Iterator[pa.Table]:
    yield _shown(*part, names, kept)


def _hf_rows(parts: list[Callable[[], Iterable[Any]]]) -> Iterator[dict[str, Any]]:
    for read in parts:
        for one in read():
            yield _document_row(one) if isinstance(one, Document) else _sample_row(one)


def _sample_row(sample: Sample) -> dict[str, Any]:
    return {"key": sample.key, "image": {"bytes": sample.image, "path": None}, "caption": sample.caption}


def _document_row(document: Document) -> dict[str, Any]:
    parts = [part for part in document.parts if isinstance(part, Text) or part.image is not None]
    pictures = [{"bytes": p.image, "path": None} if isinstance(p, Picture) else None for p in parts]
    return {"key": document.key, "images": pictures, "texts": [p.text if isinstance(p, Text) else None for p in parts]}
