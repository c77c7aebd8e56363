"""Counts the tokens of every example, by every tokenizer of a config: a stage of its own, which touches no tar.

    00000.tokens.parquet   key; of each tokenizer tokens_NAME (int32), and of pairs captions_tokens_NAME (list<int32>)

`tokens_NAME` is of all texts of an example, of a pair of its first caption; `captions_tokens_NAME` of each caption.
Another tokenizer counts anew and packs nothing: of 10,000 conversations 4 MB of JSON are read, and no picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ShardError
from curate.handover.layout import Kind, example_of
from curate.manifest import Attempt
from curate.models.tokenizers import TokenizerSettings, open_tokenizer
from curate.sample import Document, Sample, Text
from curate.shard import Shard
from curate.stage import Runtime, Stage

__all__ = ["Tokens", "captions_tokens_column", "tokens_column"]

CAPTIONS, CAPTION = "captions", "caption"


def tokens_column(tokenizer: str) -> str:
    """The column with the tokens of an example."""
    return f"tokens_{tokenizer}"


def captions_tokens_column(tokenizer: str) -> str:
    """The column with the tokens of each of its captions."""
    return f"captions_tokens_{tokenizer}"


@dataclass(frozen=True)
class Tokens(Stage):
    """Counts tokens. `tokenizers` by the names that columns have."""

    tokenizers: Mapping[str, TokenizerSettings]

    name: ClassVar[str] = "tokens"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image", "kind")

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(map(tokens_column, self.tokenizers))

    def identity(self) -> Any:
        digests = {name: own.digest() for name, own in self.tokenizers.items()}
        return {"stage": self.label, "version": self.version, "settings": digests}

    def require(self, runtime: Runtime) -> None:
        """Raises ConfigError for a tokenizer that cannot be opened."""
        for settings in self.tokenizers.values():
            open_tokenizer(settings)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        rows = shard.table(columns=["key", "kind"])
        kind: Kind = rows["kind"][0].as_py() if len(rows) else "text"
        counters = {name: open_tokenizer(settings) for name, settings in self.tokenizers.items()}
        each: dict[str, list[list[int]]] = {name: [] for name in counters}
        for own in _captions(shard) if kind == "pairs" else _texts(shard, kind, rows["key"]):
            for name, count in counters.items():
                each[name].append([count(text) for text in own])
        columns: dict[str, pa.Array] = {"key": rows["key"].combine_chunks()}
        for name in counters:
            columns |= _columns(name, each[name], kind)
            attempt.counts[f"tokens.{name}"] = pc.sum(columns[tokens_column(name)]).as_py() or 0
        attempt.counts["in"] = attempt.counts["kept"] = len(rows)
        attempt.write_table(shard.table_name("tokens"), pa.table(columns))


def _columns(name: str, each: Sequence[Sequence[int]], kind: str) -> dict[str, pa.Array]:
    """The columns of one tokenizer; `each` are the tokens of the texts of each example."""
    if kind != "pairs":
        return {tokens_column(name): pa.array(map(sum, each), pa.int32())}
    first = [own[0] if own else 0 for own in each]
    columns = {tokens_column(name): pa.array(first, pa.int32())}
    return columns | {captions_tokens_column(name): pa.array(each, pa.list_(pa.int32()))}


def _captions(shard: Shard) -> Iterator[list[str]]:
    """The captions of each pair: those of a view, else the web's."""
    names = shard.schema().names
    if CAPTIONS in names:
        return ([*(own or ())] for own in shard.table(columns=[CAPTIONS])[CAPTIONS].to_pylist())
    if CAPTION not in names:
        return ([] for _ in range(shard.rows()))
    return ([] if own is None else [own] for own in shard.table(columns=[CAPTION])[CAPTION].to_pylist())


def _texts(shard: Shard, kind: Kind, keys: pa.ChunkedArray) -> Iterator[list[str]]:
    """The texts of each example, from its JSON in the tar. Raises ShardError."""
    index = shard.table("index")
    index = index.filter(pc.equal(index["extension"], "json"))
    if not index["key"].equals(keys):
        raise ShardError(
            f"{shard.table_name('index')} has other keys than {shard.table_name()}; compose the shard anew"
        )
    with shard.storage.open(shard.tar) as tar:
        for row in index.to_pylist():
            tar.seek(row["offset"])
            example = example_of(kind, row["key"], {"json": tar.read(row["size"])})
            assert not isinstance(example, Sample)
            parts = example.parts if isinstance(example, Document) else [p for t in example.turns for p in t.parts]
            yield [part.text for part in parts if isinstance(part, Text)]
