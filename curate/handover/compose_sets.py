"""A source that is a data set of ours: pairs or documents, whichever it holds, as its own decisions left them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import pyarrow as pa

from curate.config import require_range
from curate.errors import ConfigError, ShardError
from curate.export._interleave import Missing
from curate.export.webdataset import pair_columns
from curate.handover.compose_conversations import conversation_examples
from curate.handover.compose_documents import document_examples, document_tables
from curate.handover.compose_pairs import Wanted, pair_examples, pair_tables
from curate.handover.compose_source import Facts, Item, ShardSettings
from curate.handover.compose_stage import is_composed
from curate.handover.layout import Kind
from curate.manifest import CommitLog
from curate.shard import list_shards
from curate.storage import Storage

__all__ = ["DataSet"]


@dataclass(frozen=True)
class DataSet:
    """A `[sources.NAME]` table without `kind`, or with the one that is found there.

    `path` is the folder or fsspec URL that `curate run` wrote to. Pairs: `captions` names a view whose texts leave
    instead of the web's caption; `conversations` names instructions of its config: samples that have one leave as talk
    about their picture. `kept_only = false` takes every sample with a picture, dropped ones too, except what a
    hash list matched. Documents: `missing` says what becomes of a picture that did not come ("slot", "drop_slot",
    "drop_document"). `undecided`: shards without a selection beside others that have one are an error, or left out.
    """

    path: str
    kind: Literal["", "pairs", "interleaved"] = ""
    captions: str = ""
    conversations: str = ""
    kept_only: bool = True
    missing: Missing = "drop_slot"
    undecided: Literal["refuse", "leave_out"] = "refuse"
    samples: int = 0
    licence: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        require_range("samples", self.samples, 0)
        if self.captions and self.conversations:
            raise ValueError("captions and conversations are both given; make a source of each")

    @property
    def storage(self) -> Storage:
        return Storage(self.path)

    def example_kind(self) -> Kind:
        """As its tables tell. Raises ShardError where there is no data set, ConfigError where it holds another kind, or
        a composition."""
        first = next(iter(list_shards(self.storage)), None)
        if first is None:
            raise ShardError(f"{self.path} holds no data set; name the folder that `curate run` wrote to")
        if is_composed(first):
            raise ConfigError(f"{self.path} is a composition already; name the data sets that it was composed of")
        pairs: Kind = "chat" if self.conversations else "pairs"
        found: Kind = "interleaved" if self.storage.exists(first.parts.table_name()) else pairs
        if self.kind not in ("", found):
            raise ConfigError(f'{self.path} holds {found}; leave kind = "{self.kind}" out')
        of_pairs = {"captions": self.captions, "conversations": self.conversations, "kept_only": not self.kept_only}
        wrong = next((name for name, given in of_pairs.items() if given), None)
        if found == "interleaved" and wrong:
            raise ConfigError(f"{self.path} holds documents, and {wrong} is for pairs; leave it out")
        return found

    def identity(self) -> Any:
        """The settings, and a digest of all work that is committed there and of its tombstones. One listing a step;
        where nothing is committed, as in a folder made by hand, names and sizes of files stand for it."""
        storage, log = self.storage, CommitLog(self.storage)
        steps = storage.folders("commits")
        work: Any = {step: sorted((s, sorted(m)) for s, m in log.names(step).items()) for step in steps}
        work = work or sorted(storage.files().items())
        dead = {name: hashlib.sha256(storage.read(name)).hexdigest() for name in sorted(storage.files("tombstones"))}
        made = hashlib.sha256(json.dumps([work, dead]).encode()).hexdigest()[:16]
        settings = [self.captions, self.conversations, self.kept_only, self.missing, self.undecided, self.samples]
        return {"kind": self.example_kind(), "settings": settings, "made": made}

    def tables(self, shards: ShardSettings, facts: Facts) -> Iterator[pa.Table]:
        """See `pair_tables` and `document_tables`. Raises ConfigError for shards without a selection."""
        if self.example_kind() == "interleaved":
            tables = document_tables(self.storage, self.missing, self.samples, shards, facts)
        else:
            wanted = Wanted(self.captions, self.conversations, self.kept_only, self.samples)
            tables = pair_tables(self.storage, wanted, shards, facts)
        for table in tables:
            without = facts["shards_without_selection"]
            if without and self.undecided == "refuse":
                raise ConfigError(
                    f"{self.path}: {without} of its shards have no selection yet; run its config to the end, or write "
                    'undecided = "leave_out"'
                )
            yield table

    def examples(self, plan: pa.Table, counts: Counter[str]) -> Iterator[Item]:
        """An item per row."""
        if "row" in plan.column_names:
            return document_examples(self.storage, plan, counts)
        if self.conversations:
            return conversation_examples(self.storage, self.conversations, plan, counts)
        return pair_examples(self.storage, plan, counts)

    def columns(self, plan: pa.Table) -> Mapping[str, pa.DataType]:
        """Of pairs the data set's own columns, and the lists of a view."""
        return {} if self.conversations or "row" in plan.column_names else pair_columns(self.storage, plan)

    def located(self) -> Self:
        """The same with an absolute path."""
        return replace(self, path=self.storage.root)

    def drawn(self, samples: int) -> Self:
        """The same with no more than so many samples."""
        return replace(self, samples=min(self.samples or samples, samples))
