"""What data sets and hand-overs have to train on, told by their tables: kinds, tokens of text, sizes of pictures.

A shard at a time, and nothing is decoded: 100,000 pairs take 0.2 s of one core (0.4 s in a hand-over, whose tables are
checked against each other). Tokens of text are those that a hand-over counted; where there is no tokenizer they are
1.3 a word, which is what English takes in the tokenizers of the field, and too few for Chinese, where white space
parts no words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.document.columns import IMAGE
from curate.document.read import IMAGE_MEMBER, kept_rows
from curate.errors import ConfigError
from curate.handover.compose_stage import is_composed
from curate.handover.layout import Kind
from curate.handover.manifest import MANIFEST
from curate.handover.shards import Handover, open_handover, read_places
from curate.shard import Shard, list_shards
from curate.slices import in_current_cut
from curate.source.raw_page import OK
from curate.storage import Storage
from curate.text import SPACE
from curate.tombstones import alive

__all__ = ["CHARS_PER_WORD", "TOKENS_PER_WORD", "Found", "TrainingSet", "open_training_set"]

TOKENS_PER_WORD = 1.3
CHARS_PER_WORD = 6.0
"""With the space behind it, in English: for a hand-over that counted characters and no tokens."""
CONVERSATION = "_conversation"
"""Ends the name of a column with a conversation about the sample (`curate.instruct`)."""
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """The examples of one kind in one shard, n of them with p pictures that are there. `source`: of a hand-over, its
    own name for them, else "". `tokens` int64 (n), of text; `owner` int64 (p), whose picture it is; `width`, `height`
    int64 (p) px, 0 where no table says."""

    source: str
    kind: Kind
    tokens: Numbers
    owner: Numbers
    width: Numbers
    height: Numbers


@dataclass(frozen=True)
class TrainingSet:
    """A data set or hand-over. `tokenizer`: whose counts its tokens are, "" where they are estimated. `undecided`:
    shards that no selection has looked at, which are left out beside others that have one."""

    storage: Storage
    tokenizer: str
    sources: tuple[str, ...]
    undecided: int
    handover: Handover | None
    shards: tuple[Shard, ...]

    def found(self) -> Iterator[Found]:
        """What its shards have, one after the other. Raises ShardError where one of them is broken."""
        if self.handover is not None:
            for entry in self.handover.manifest.shards:
                places = read_places(self.storage, entry, self.tokenizer, ("chars",))
                tokens = places.tokens if self.tokenizer else _of_chars(places.texts, entry.samples)
                owner = np.repeat(np.arange(entry.samples), np.diff(places.picture))
                yield Found(entry.source, entry.kind, tokens, owner, places.width, places.height)
        for shard in self.shards:
            yield from _documents(shard) if _has_documents(shard) else _pairs(shard)


def open_training_set(path: str, tokenizer: str = "") -> TrainingSet:
    """The data set or hand-over in a folder or at a URL. Raises ConfigError where there is neither, ShardError where a
    manifest is broken."""
    storage = Storage(path)
    if storage.exists(MANIFEST):
        handover = open_handover(path)
        counted = handover.tokenizer(tokenizer) if handover.manifest.tokenizers else ""
        return TrainingSet(storage, counted, tuple(handover.manifest.sources), 0, handover, ())
    shards = in_current_cut(storage, list_shards(storage))
    if not shards:
        raise ConfigError(
            f"{storage.root} holds no data set and no hand-over; name a folder that `curate run` wrote to"
        )
    if is_composed(shards[0]):
        raise ConfigError(
            f"{storage.root} holds a composition without its manifest.json, which says what its shards are; run its "
            'config to the end with pipeline = "handover"'
        )
    decided = [shard for shard in shards if "keep" in shard.column_files]
    taken = decided or shards
    return TrainingSet(storage, "", (), len(shards) - len(taken), None, tuple(taken))


def _has_documents(shard: Shard) -> bool:
    return shard.storage.exists(shard.parts.table_name())


def _pairs(shard: Shard) -> Iterator[Found]:
    """Samples that leave with their captions, and conversations about them."""
    columns = shard.column_files
    talks = [name for name in columns if name.endswith(CONVERSATION)]
    rows = shard.columns([n for n in ("key", "caption", "width", "height", "status", *talks) if n in columns])
    chosen = _leaving(shard, rows, "success", "status")
    rows = rows.take(pa.array(chosen))
    width, height = _size(rows, "width"), _size(rows, "height")
    tokens = _of_words(rows["caption"]) if "caption" in columns else np.zeros(len(rows), np.int64)
    yield Found("", "pairs", tokens, np.arange(len(rows)), width, height)
    for name in talks:
        there = np.flatnonzero(np.asarray(pc.is_valid(rows[name])))
        said = _of_turns(rows[name].take(pa.array(there)))
        yield Found("", "chat", said, np.arange(len(there)), width[there], height[there])


def _documents(shard: Shard) -> Iterator[Found]:
    """Documents that leave, with their kept text and the pictures that came; those without one are text."""
    documents = shard.columns([n for n in ("key", "document_status") if n in shard.column_files])
    times = np.bincount(_leaving(shard, documents, OK, "document_status"), minlength=len(documents))
    own = shard.parts
    names = [n for n in ("document", "kind", "text", "width", "height", IMAGE_MEMBER) if n in own.column_files]
    parts = own.columns(names).take(pa.array(kept_rows(own)))
    owner = np.asarray(parts["document"].combine_chunks(), np.int64)
    is_image = np.asarray(pc.equal(parts["kind"].combine_chunks(), IMAGE), bool)
    came = is_image & np.asarray(pc.is_valid(parts[IMAGE_MEMBER].combine_chunks()), bool)
    words = np.where(is_image, 0, _of_words(parts["text"]))
    tokens = np.bincount(owner, words, len(documents)).astype(np.int64)
    pictures = np.bincount(owner[came], minlength=len(documents))
    width, height = _size(parts, "width")[came], _size(parts, "height")[came]
    for kind, has in (("interleaved", pictures > 0), ("text", pictures == 0)):
        chosen = np.repeat(np.arange(len(documents)), times * has)
        yield _taken(kind, chosen, tokens, owner[came], (width, height))  # type: ignore[arg-type]


def _taken(kind: Kind, chosen: Numbers, tokens: Numbers, owner: Numbers, size: tuple[Numbers, Numbers]) -> Found:
    """The chosen documents with their pictures, which lie in the documents' order."""
    first = np.searchsorted(owner, chosen)
    many = np.searchsorted(owner, chosen, side="right") - first
    new = np.repeat(np.arange(len(chosen)), many)
    within = np.arange(len(new)) - np.repeat(np.cumsum(many) - many, many)
    places = np.repeat(first, many) + within
    return Found("", kind, tokens[chosen], new, size[0][places], size[1][places])


def _leaving(shard: Shard, rows: pa.Table, good: str, status: str) -> Numbers:
    """Numbers of the rows that an export would take, as often as it would."""
    times = np.asarray(alive(shard, rows["key"]), np.int64)
    if status in rows.column_names:
        times *= np.asarray(pc.fill_null(pc.equal(rows[status].combine_chunks(), good), False), bool)
    decided = [name for name in ("keep", "multiplicity") if name in shard.column_files]
    for name in decided:
        column = shard.columns([name])[name].combine_chunks()
        times *= np.asarray(pc.fill_null(column, False if name == "keep" else 0), np.int64)
    return np.repeat(np.arange(len(rows)), times)


def _size(rows: pa.Table, name: str) -> Numbers:
    if name not in rows.column_names:
        return np.zeros(len(rows), np.int64)
    return np.asarray(pc.fill_null(rows[name].combine_chunks(), 0), np.int64)


def _of_words(texts: pa.Array | pa.ChunkedArray) -> Numbers:
    """Tokens by words; 0 for null."""
    flat = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    words = pc.count_substring_regex(flat.cast(pa.string()), f"[^{SPACE}]+")
    return np.ceil(np.asarray(pc.fill_null(words, 0)) * TOKENS_PER_WORD).astype(np.int64)


def _of_turns(talks: pa.ChunkedArray) -> Numbers:
    """Tokens of conversations, a list of {role, text} each."""
    lists = talks.combine_chunks()
    each = _of_words(pc.struct_field(pc.list_flatten(lists), "text"))
    return np.bincount(np.asarray(pc.list_parent_indices(lists)), each, len(lists)).astype(np.int64)


def _of_chars(rows: pa.Table, examples: int) -> Numbers:
    """Tokens by characters, of a hand-over that counted those alone; 0 where it counted nothing."""
    if "chars" not in rows.column_names:
        return np.zeros(examples, np.int64)
    chars = np.asarray(pc.fill_null(rows["chars"].combine_chunks(), 0))
    return np.ceil(chars / CHARS_PER_WORD * TOKENS_PER_WORD).astype(np.int64)
