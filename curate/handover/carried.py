"""Sets of others, carried through unchanged: conversations (VQA, OCR, grounding, instructions, with or without
pictures) and plain texts.

    carried_text.py     rows of jsonl and json files, dealt to shards
    carried_tables.py   rows of Parquet files, and tars in the layout of a hand-over
    carried_rows.py     what a row says, as an example
    carried_images.py   pictures out of one folder

A row that cannot be used has a reason and its place in the input, and is listed beside the shard that it was dealt to.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Self

import pyarrow as pa

from curate.config import require_range
from curate.errors import ConfigError, ShardError
from curate.fetch.members import strict_json
from curate.handover.carried_images import ImageFolder, Unusable, picture_of
from curate.handover.carried_rows import conversation_of, prose_of
from curate.handover.carried_tables import FILE, parquet_rows, parquet_tables, same_file, tar_tables
from curate.handover.carried_text import KEY, PLACE, ROW, text_tables
from curate.handover.compose_source import Facts, Item, LeftOut, Packed, ShardSettings
from curate.handover.layout import Kind, example_of, pictures_of
from curate.sample import Conversation, Text
from curate.source.files import InputFile, input_files
from curate.source.tar_samples import read_contents
from curate.storage import Storage

__all__ = ["Chat", "Prose"]

TEXTS = ("jsonl", "json")
SETTINGS = "settings"
MOST_DETAIL_CHARS = 300
Carry = Callable[[Mapping[str, Any], str], Packed]
"""What makes an example of a row and its key, or raises Unusable."""


@dataclass(frozen=True)
class _Carried:
    """Files of others. `path` is a file, a folder or a glob, on any fsspec URL."""

    path: str
    samples: int = 0
    licence: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        require_range("samples", self.samples, 0)

    def columns(self, plan: pa.Table) -> Mapping[str, pa.DataType]:
        """None of its own: what else a row says is in its JSON."""
        return {}

    def located(self) -> Self:
        """The same with absolute paths."""
        return replace(self, path=_absolute(self.path))

    def drawn(self, samples: int) -> Self:
        """The same with no more than so many rows."""
        return replace(self, samples=min(self.samples or samples, samples))


@dataclass(frozen=True)
class Chat(_Carried):
    """A `[sources.NAME]` table with `kind = "chat"`.

    `format`: "llava" and "messages" are rows of jsonl, json or parquet files (see `curate.handover.carried_rows`), with
    pictures under the folder `images` or as bytes in the parquet; "shards" are tars in the layout of a hand-over.
    Pictures are looked at when a shard is packed: after some were put in their place, another `revision` (any words)
    packs the shards of this source again.
    """

    kind: Literal["chat"] = "chat"
    format: Literal["llava", "messages", "shards"] = "llava"
    images: str = ""
    revision: str = ""

    def example_kind(self) -> Kind:
        return "chat"

    def located(self) -> Self:
        return replace(super().located(), images=_absolute(self.images))

    def identity(self) -> Any:
        return {"files": _marks(self._files()), "settings": [self.format, self.images, self.revision, self.samples]}

    def tables(self, shards: ShardSettings, facts: Facts) -> Iterator[pa.Table]:
        """A table per output shard. Raises SourceError, ConfigError where `images` is no folder."""
        files, folder = self._files(), Storage(self.images).local if self.images else None
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"images = {self.images!r} is no folder; name the one that pictures are named in")
        cut = tar_tables if self.format == "shards" else _cutter(files)
        return _set(cut(files, self.samples, shards, facts), [self.format, self.images, self.revision])

    def examples(self, plan: pa.Table, counts: Counter[str]) -> Iterator[Item]:
        """An item per row."""
        if self.format == "shards":
            return _of_tars(self._files(), plan)
        return _of_rows(self._files, plan, partial(conversation_of, self.format, ImageFolder(self.images)))

    def _files(self) -> list[InputFile]:
        return input_files(self.path, ("tar",) if self.format == "shards" else (*TEXTS, "parquet"), mixed=True)


@dataclass(frozen=True)
class Prose(_Carried):
    """A `[sources.NAME]` table with `kind = "text"`: rows of jsonl, json or parquet files, with the text in `field`."""

    kind: Literal["text"] = "text"
    field: str = "text"

    def example_kind(self) -> Kind:
        return "text"

    def identity(self) -> Any:
        return {"files": _marks(self._files()), "settings": [self.field, self.samples]}

    def tables(self, shards: ShardSettings, facts: Facts) -> Iterator[pa.Table]:
        """A table per output shard. Raises SourceError."""
        files = self._files()
        return _set(_cutter(files)(files, self.samples, shards, facts), [self.field])

    def examples(self, plan: pa.Table, counts: Counter[str]) -> Iterator[Item]:
        """An item per row."""
        return _of_rows(self._files, plan, partial(prose_of, self.field))

    def _files(self) -> list[InputFile]:
        return input_files(self.path, (*TEXTS, "parquet"), mixed=True)


def _of_rows(files: Callable[[], Sequence[InputFile]], plan: pa.Table, carry: Carry) -> Iterator[Item]:
    """The items of a slice whose rows are texts, or lie in Parquet files."""
    texts = ROW in plan.column_names
    rows = (_parsed(row.as_py()) for row in plan[ROW]) if texts else map(_plain, parquet_rows(files(), plan))
    places = plan.select([KEY, PLACE]).to_pylist()
    for place, record in zip(places, rows, strict=True):
        try:
            if isinstance(record, Unusable):
                raise record
            yield carry(record, place[KEY])
        except Unusable as why:
            detail = why.detail[:MOST_DETAIL_CHARS].encode("utf-8", "replace").decode()
            yield LeftOut(place[KEY], place[PLACE], why.reason, detail)


def _parsed(row: str | None) -> dict[str, Any] | Unusable:
    """The object that a row is, or why it is none."""
    if row is None:
        return Unusable("row_too_long")
    try:
        record = json.loads(row)
    except (ValueError, RecursionError) as error:
        return Unusable("bad_json", str(error))
    return record if isinstance(record, dict) else Unusable("bad_json", "it is no object")


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table with what JSON can hold, except the pictures' bytes; turns that are JSON in text are read."""
    found: dict[str, Any] = {}
    for name, value in record.items():
        turns = name in ("messages", "conversations")
        if value is None:
            continue
        if turns and isinstance(value, str):
            parsed = _parsed(f'{{"": {value}}}')
            found[name] = parsed.get("") if isinstance(parsed, dict) else None
        else:
            found[name] = value if turns or name in ("image", "images") else json.loads(strict_json(value))
    return found


def _of_tars(files: Sequence[InputFile], plan: pa.Table) -> Iterator[Item]:
    """The items of a slice whose examples lie in tars: with their members as they were."""
    for row in plan.to_pylist():
        file = same_file(files, row[FILE], plan)
        with file.open() as handle:
            handle.seek(row["offset"])
            raw = handle.read(row["size"])
        contents = read_contents(io.BytesIO(raw), file.name)
        members = {n: raw[m.offset : m.offset + m.size] for n, m in contents.groups[row[KEY]].members.items()}
        try:
            yield _checked(row[KEY], members)
        except (Unusable, ShardError) as why:
            reason, detail = (why.reason, why.detail) if isinstance(why, Unusable) else ("bad_example", str(why))
            yield LeftOut(row[KEY], row[PLACE], reason, detail)


def _checked(key: str, members: Mapping[str, bytes]) -> Packed:
    """A conversation whose members are what the layout says. Raises ShardError, Unusable."""
    example = example_of("chat", key, members)
    assert isinstance(example, Conversation)
    sizes = []
    for picture in pictures_of(example):
        found = picture_of(picture.image) if picture.image is not None else None
        if isinstance(found, str) or picture.status == "missing":
            raise Unusable("not_a_picture" if found else "image_missing", found if isinstance(found, str) else "")
        if found is not None:
            sizes.append(found.size)
    texts = [part.text for turn in example.turns for part in turn.parts if isinstance(part, Text)]
    return Packed(key, [*members.items()], sizes, texts)


def _cutter(files: Sequence[InputFile]) -> Callable[..., Iterator[pa.Table]]:
    """How files of their format are cut. Raises ConfigError where texts and tables are mixed."""
    tables = {file.format == "parquet" for file in files}
    if len(tables) > 1:
        raise ConfigError(f"{files[0].path} and others are parquet and text; make a source of each")
    return parquet_tables if tables.pop() else text_tables


def _set(tables: Iterator[pa.Table], settings: Sequence[str]) -> Iterator[pa.Table]:
    """The tables with a column of the settings that a shard's bytes depend on."""
    told = json.dumps(settings)
    for table in tables:
        yield table.append_column(SETTINGS, pa.array([told] * len(table), pa.string()))


def _marks(files: Sequence[InputFile]) -> list[Any]:
    return [file.identity() for file in files]


def _absolute(path: str) -> str:
    """A path that means the same in any working directory; "" stays."""
    if not path or "://" in path or "::" in path:
        return path
    return os.path.abspath(path)
