"""A data set's folder as Python sees it: `curate.open(DIR)`, and from it each view in one line.

    data = curate.open("data/demo")
    data.shards                                     handles; nothing is read
    data.to_arrow("key", "caption", "keep")         columns of all shards, whichever files hold them
    data.to_pandas("drop_reason", "caption_words")
    data.to_duckdb().sql("select drop_reason, count(*) from samples group by all")
    data.samples(), data.documents()                kept ones, with their pictures
    data.to_torch(), data.to_hf(), data.to_ray()    for trainers and notebooks

Tables have every row, dropped ones too, since whoever looks at columns wants to know why; samples are the kept ones,
since whoever takes pictures wants to train. `kept=` turns either. A row that is dead, on a hash list, or a copy of one
that is, is in neither (`curate.hidden_rows`). While a run goes on, the rows of shards without a verdict are not kept;
where nothing was ever judged, all are.

A column has one type in all shards and all views, that of `curate.column_files`: text for dictionaries, float32 for
float16, nulls where a shard lacks it. Which shards and columns there are is looked at once, so open the folder anew to
see what a run has added. Everything is read shard by shard: only `to_arrow` and `to_pandas` take the memory of all they
return.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from importlib.util import find_spec
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.balance.extras import require_modules
from curate.column_files import ColumnFiles
from curate.document.read import read_documents
from curate.errors import ConfigError, ShardError
from curate.hidden_rows import Hidden
from curate.registry import nearest
from curate.run_record import RunRecord, read_record
from curate.sample import Document, Picture, Sample, Text
from curate.shard import Shard, list_shards
from curate.slices import in_current_cut
from curate.storage import Storage

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
        return tuple(in_current_cut(self.storage, list_shards(self.storage)))

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
        """Names and types of a unit's columns, those of all shards together; the first unit's unless it is named."""
        schema = self._files(unit).schema()
        return dict(zip(schema.names, schema.types, strict=True))

    def batches(self, *columns: str, unit: str = "", kept: bool = False) -> Iterator[pa.Table]:
        """A table for each shard: these columns, in that order (all, where none is named), a row for each row of the
        source that may be shown; `kept`: only those that were kept. Raises ShardError, ConfigError."""
        names = self._names(columns, unit)
        hidden = self._hidden(unit)
        return (self._table(id, hidden.rows(id), names, unit, kept) for id in self._ids(unit))

    def to_arrow(self, *columns: str, unit: str = "", kept: bool = False) -> pa.Table:
        """All of `batches` as one table."""
        return pa.concat_tables(list(self.batches(*columns, unit=unit, kept=kept)))

    def to_pandas(self, *columns: str, unit: str = "", kept: bool = False) -> pandas.DataFrame:
        """The same as a DataFrame."""
        require_modules("to_pandas", "report", "pandas")
        found: pandas.DataFrame = self.to_arrow(*columns, unit=unit, kept=kept).to_pandas()
        return found

    def samples(self, *, kept: bool = True) -> Iterator[Sample]:
        """Samples of pairs with their pictures, in order of shards and rows; those that never arrived are not there."""
        self._require("samples")
        return (sample for read in self._readers(kept) for sample in read())

    def documents(self, *, kept: bool = True) -> Iterator[Document]:
        """Interleaved documents with their pictures; with `kept` the kept parts of kept documents, else all."""
        self._require("documents")
        return (document for read in self._readers(kept) for document in read())

    def to_duckdb(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own with a view for each unit, over the column files; nothing is read before a query."""
        from curate.duck import open_views

        return open_views(self.storage, self.shards)

    def to_torch(self, transform: Callable[[Any], Any] | None = None, *, kept: bool = True) -> ShardsDataset:
        """What `samples` or `documents` gives as a data set of PyTorch, each passed through `transform`. Workers of a
        DataLoader read every n-th shard. For exact order, mixtures and resume there is `curate.train.data`."""
        require_modules("to_torch", "models", "torch")
        from curate.train.data.samples import ShardsDataset

        return ShardsDataset(self._readers(kept), transform)

    def to_hf(self, *, kept: bool = True) -> datasets.IterableDataset:
        """As Hugging Face's IterableDataset, a part for each shard: pairs as `key image caption`, documents as `key
        images texts` (OBELICS' form: at each place one of the two, the other None)."""
        if find_spec("datasets") is None:
            raise ConfigError("to_hf needs datasets; pip install datasets")
        import datasets as hf

        image: Any = hf.Image()
        text: Any = hf.Value("string")
        pairs, pages = {"image": image, "caption": text}, {"images": [image], "texts": [text]}
        features = hf.Features({"key": text, **(pairs if self.units[0] == "samples" else pages)})
        parts = {"parts": list(self._readers(kept))}
        return hf.IterableDataset.from_generator(_hf_rows, features=features, gen_kwargs=parts)

    def to_ray(self, *columns: str, unit: str = "", kept: bool = False) -> Any:
        """Columns as a Ray Data data set, a block for each shard."""
        from curate.run.ray_data import read_parts

        table = {"names": self._names(columns, unit), "unit": unit, "kept": kept}
        blocks = [(id, self._hidden(unit).rows(id)) for id in self._ids(unit)]
        return read_parts(partial(_block, self.storage, uuid.uuid4().hex, table), blocks)

    def __len__(self) -> int:
        """Rows of the first unit that may be shown, dropped ones too."""
        files, hidden = self._files(""), self._hidden("")
        return sum(files.rows(id) - len(hidden.rows(id)) for id in self._ids(""))

    def __reduce__(self) -> tuple[Any, ...]:
        return Dataset, (self.storage,)  # what was read of the footers stays here

    def __repr__(self) -> str:
        return f"<data set {self.storage.root}: {len(self.shards)} shards of {' and '.join(self.units)}>"

    @cached_property
    def _row_files(self) -> ColumnFiles:
        return ColumnFiles(self.storage)

    @cached_property
    def _part_files(self) -> ColumnFiles:
        return ColumnFiles(self.storage, parts=True)

    @cached_property
    def _hidden_rows(self) -> Hidden:
        return Hidden(self._row_files)

    @cached_property
    def _hidden_parts(self) -> Hidden:
        return Hidden(self._part_files, self._hidden_rows)

    def _hidden(self, unit: str) -> Hidden:
        return self._hidden_parts if unit == "parts" else self._hidden_rows

    def _files(self, unit: str) -> ColumnFiles:
        self._require(unit or self.units[0])
        return self._part_files if unit == "parts" else self._row_files

    def _ids(self, unit: str) -> list[str]:
        there = set(self._files(unit).shards)
        return [shard.id for shard in self.shards if shard.id in there]

    def _names(self, columns: Sequence[str], unit: str) -> tuple[str, ...]:
        """The columns that were asked for, else all. Raises ShardError for one that is not there."""
        there = self.columns(unit)
        missing = [name for name in columns if name not in there]
        if missing:
            raise ShardError(
                f"{self.storage.root} has no column {missing[0]!r}; {nearest(missing[0], sorted(there))}. It has "
                f"{', '.join(sorted(there))}"
            )
        return tuple(columns or there)

    def _table(self, id: str, gone: Collection[int], names: Sequence[str], unit: str, kept: bool) -> pa.Table:
        """The columns of a shard, without the rows that are `gone`."""
        files = self._files(unit)
        fine = np.ones(files.rows(id), bool)
        fine[list(gone)] = False
        if kept:
            fine &= self._verdicts(id, unit)
        return files.table(id, names).filter(pa.array(fine, pa.bool_()))

    def _verdicts(self, id: str, unit: str) -> npt.NDArray[np.bool_]:
        """Which rows of a shard are kept, bool (rows,); of parts, those of kept documents."""
        files = self._files(unit)
        keep = np.ones(files.rows(id), bool)
        if self._judged(unit):
            keep = np.array(pc.fill_null(files.table(id, [KEPT])[KEPT].combine_chunks(), False), bool)
        if unit == "parts":
            keep &= self._verdicts(id, "")[np.asarray(files.table(id, ["document"])["document"])]
        return keep

    def _judged(self, unit: str) -> bool:
        """Whether some rows have a verdict. Raises ShardError for a column `keep` that is none."""
        kind = self.columns(unit).get(KEPT)
        if kind not in (None, pa.bool_()):
            raise ShardError(f"`keep` in {self.storage.root} is {kind}, not true or false; ask with kept=False")
        return kind is not None

    def _require(self, unit: str) -> None:
        if unit not in self.units:
            has = " and ".join(self.units)
            raise ConfigError(f"{self.storage.root} has {has}, no {unit!r}; {nearest(unit, list(self.units))}")

    def _readers(self, kept: bool) -> tuple[Callable[[], Iterable[Any]], ...]:
        kept = kept and self._judged("")
        self._require_pairs()
        read = _samples if self.units[0] == "samples" else _documents
        units = [self._hidden(unit) for unit in self.units]
        return tuple(partial(read, shard, kept, *(hidden.keys(shard.id) for hidden in units)) for shard in self.shards)

    def _require_pairs(self) -> None:
        """Raise ConfigError for a hand-over of other than pairs, whose tars are laid out otherwise."""
        from curate.handover.compose_stage import is_composed

        if not is_composed(self.shards[0]):
            return
        kinds = {str(kind) for table in self.batches("kind") for kind in table["kind"].unique().to_pylist()}
        if others := sorted(kinds - {"pairs"}):
            raise ConfigError(
                f"{self.storage.root} is a hand-over with {' and '.join(others)} examples; "
                "curate.train.data.open_handover reads them, here are their columns"
            )


def open_dataset(place: str | PathLike[str]) -> Dataset:
    """The data set in a folder or at an fsspec URL. Raises ShardError where there is none."""
    found = Dataset(Storage(str(place)))
    if not found.shards:
        raise ShardError(f"{found.storage.root} holds no data set; name the folder that `curate run` wrote to")
    return found


def _samples(shard: Shard, kept: bool, gone: frozenset[str]) -> Iterator[Sample]:
    """The samples of a shard, those that are `gone` left out; `kept`: only kept ones, none before its verdict."""
    shown = _shown_keys(shard, kept, gone)
    return (sample for sample in shard.samples() if sample.key in shown)


def _documents(shard: Shard, kept: bool, gone: frozenset[str], gone_parts: frozenset[str]) -> Iterator[Document]:
    """The documents of a shard in the same way; `kept`: the kept parts of the kept ones."""
    shown = _shown_keys(shard, kept, gone)
    for document in read_documents(shard, kept):
        if document.key in shown:
            yield replace(document, parts=tuple(p for p in document.parts if p.columns["key"] not in gone_parts))


def _shown_keys(shard: Shard, kept: bool, gone: frozenset[str]) -> set[str]:
    if kept and KEPT not in shard.column_files:
        return set()
    rows = shard.columns(["key", KEPT] if kept else ["key"])
    rows = rows.filter(rows[KEPT]) if kept else rows
    return set(rows["key"].cast(pa.string()).to_pylist()) - gone


@lru_cache(maxsize=4)
def _opened(storage: Storage, call: str) -> Dataset:
    """A data set for all blocks of one call that a worker of Ray reads: footers are looked at once."""
    return Dataset(storage)


def _block(
    storage: Storage, call: str, table: Mapping[str, Any], part: tuple[str, Collection[int]]
) -> Iterator[pa.Table]:
    yield _opened(storage, call)._table(*part, **table)


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
