"""An evaluation set as it lies on a disk: picture files, tars of samples, captions or questions in text files.

| a path | is read as |
|---|---|
| a folder with picture files, at any depth | pictures; text files beside them are not read, name them by themselves |
| a folder or glob of tars: WebDataset, img2dataset, a data set or export of ours | pictures and captions (`.txt`) |
| `.txt` | a text a line |
| `.jsonl` | an object a line, of which the `text_fields` are read: a string, or a list of strings |

Of our data sets all samples count, dropped ones too: to be in the evaluation's pool is enough to be left out elsewhere.
What cannot be read is counted and passed over, for evaluations have broken files as well.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from curate.errors import ConfigError, ShardError, SourceError
from curate.shard import IMAGE_EXTENSIONS
from curate.source.files import input_files
from curate.source.tar_rows import MOST_PICTURE_BYTES, member_row
from curate.source.tar_samples import read_contents

__all__ = ["TEXT_FIELDS", "Item", "files_of", "items_of", "set_names"]

TEXT_FIELDS = ("caption", "captions", "text", "question", "prompt", "sentence", "sentences")
MOST_LINE_BYTES = 16 << 20
KINDS = (IMAGE_EXTENSIONS, ("tar",), ("txt", "jsonl"))
"""What a folder may hold; the first of these that is there is what it is taken for."""


@dataclass(frozen=True)
class Item:
    """A picture, texts, or both. `sha256`: of the picture as it was downloaded, hex, where a sample tells it.
    `broken`: it could not be read."""

    name: str
    image: bytes | None = None
    texts: tuple[str, ...] = ()
    sha256: str | None = None
    broken: bool = False


def set_names(paths: Sequence[str]) -> tuple[str, ...]:
    """What sets are called in columns: the last part of their paths, or as much as tells one from another."""
    parts = [[p for p in path.replace("\\", "/").rstrip("/").split("/") if p] or ["/"] for path in paths]
    for length in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(own[-length:]) for own in parts]
        if len(set(names)) == len(names):
            return tuple(names)
    raise ConfigError(f"sets names one path twice: {', '.join(paths)}")


def files_of(path: str) -> list[tuple[str, int, str]]:
    """The files of a set, sorted: where each lies, its bytes, and a mark that changes with it. Raises ConfigError where
    there is none of a known kind."""
    if "://" in path:
        try:
            return [(file.path, file.size, file.mark) for file in input_files(path, ("tar",))]
        except SourceError as error:
            raise ConfigError(f"the set {path}: {error}") from None
    found = sorted({file for start in _starts(path) for file in _below(start)})
    for kind in KINDS:
        own = [file for file in found if _ending(file) in kind]
        if own:
            return [(file, about.st_size, str(about.st_mtime_ns)) for file in own for about in [os.stat(file)]]
    raise ConfigError(f"the set {path} holds no pictures, no tars and no .txt or .jsonl; check the path")


def items_of(path: str, text_fields: Sequence[str]) -> Iterator[Item]:
    """All items of a set, in the order of its files."""
    base = path if os.path.isdir(path) else os.path.dirname(path)
    for file, _, _ in files_of(path):
        name = os.path.relpath(file, base) if "://" not in file and not glob.has_magic(base) else file
        kind = _ending(file)
        try:
            if kind in IMAGE_EXTENSIONS:
                yield Item(name, Path(file).read_bytes())
            elif kind == "tar":
                yield from _of_tar(file, name)
            else:
                with open(file, "rb") as lines:
                    yield from _of_lines(lines, name, text_fields if kind == "jsonl" else None)
        except (OSError, ShardError):
            yield Item(name, broken=True)


def _starts(path: str) -> list[str]:
    return sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) and not os.path.exists(path) else [path]


def _below(start: str) -> Iterator[str]:
    """A file, or those of a folder; names that begin with `.` or `_` are not meant."""
    if not os.path.isdir(start):
        if os.path.exists(start):
            yield start
        return
    for base, folders, names in os.walk(start):
        folders[:] = sorted(name for name in folders if name[0] not in "._")
        yield from (os.path.join(base, name) for name in names if name[0] not in "._")


def _ending(file: str) -> str:
    return file.rpartition(".")[2].lower()


def _of_tar(file: str, name: str) -> Iterator[Item]:
    import fsspec

    with fsspec.open(file, "rb") as data:
        contents = read_contents(data, name)
        for key, group in contents.groups.items():
            row, picture = member_row(group, data), group.picture
            caption, digest = row.get("caption"), row.get("sha256")
            texts = (caption,) if isinstance(caption, str) else ()
            image = None
            if picture is not None and picture.size <= MOST_PICTURE_BYTES:
                data.seek(picture.offset)
                image = data.read(picture.size)
            yield Item(f"{name}/{key}", image, texts, digest if isinstance(digest, str) else None)
        if contents.damage is not None:
            yield Item(name, broken=True)


def _of_lines(lines: IO[bytes], name: str, fields: Sequence[str] | None) -> Iterator[Item]:
    for number, raw in enumerate(iter(lambda: lines.readline(MOST_LINE_BYTES), b""), 1):
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8", "replace").strip()
        if not text:
            continue
        if fields is None:
            yield Item(f"{name}:{number}", texts=(text,))
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            yield Item(f"{name}:{number}", texts=tuple(_strings(record, fields)))
        else:
            yield Item(f"{name}:{number}", broken=True)


def _strings(record: dict[str, Any], fields: Sequence[str]) -> Iterator[str]:
    for field in fields:
        value = record.get(field)
        yield from (text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str))
