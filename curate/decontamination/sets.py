"""An evaluation set as it lies on a disk: picture files, tars of samples, captions or questions in text files.

| a path | is read as |
|---|---|
| a folder or glob of picture files, at any depth, through links too | pictures |
| a folder or glob of tars: WebDataset, img2dataset, a data set or export of ours | pictures and captions (`.txt`) |
| `.txt` | a text a line |
| `.jsonl` | an object a line, of which the `text_fields` are read: a string, or a list of strings |

A folder that holds two of these kinds is refused, so that nothing of it is left out unsaid: `val/**/*.jpg` and
`val/*.txt` name them apart. Names that begin with `.`, and `_attempts`, where our runs write, are not meant.

Of our data sets all samples count, dropped ones too: to be in the evaluation's pool is enough to be left out elsewhere.
What cannot be read is counted and passed over, for evaluations have broken files as well; files of other kinds are
counted by themselves.
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
from curate.source.tar_samples import Group, read_contents
from curate.tar import Member

__all__ = ["TEXT_FIELDS", "Item", "files_of", "items_of", "set_names"]

TEXT_FIELDS = ("caption", "captions", "text", "question", "prompt", "sentence", "sentences")
MOST_LINE_BYTES = 16 << 20
PICTURES = (*IMAGE_EXTENSIONS, "tiff", "jfif")
KINDS = {"pictures": PICTURES, "tars": ("tar",), ".txt or .jsonl files": ("txt", "jsonl")}
"""What a folder may hold, one of these."""
OWN_FOLDERS = ("_attempts",)


@dataclass(frozen=True)
class Item:
    """A picture, texts, or both. `sha256`: of the picture as it was downloaded, hex, where a sample tells it.
    `broken`: it could not be read. `other`: it is a file of no kind that is read."""

    name: str
    image: bytes | None = None
    texts: tuple[str, ...] = ()
    sha256: str | None = None
    broken: bool = False
    other: bool = False


def set_names(paths: Sequence[str]) -> tuple[str, ...]:
    """What sets are called in columns: the last part of their paths, or as much as tells one from another."""
    parts = [[p for p in path.replace("\\", "/").rstrip("/").split("/") if p] or ["/"] for path in paths]
    for length in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(own[-length:]) for own in parts]
        if len(set(names)) == len(names):
            return tuple(names)
    raise ConfigError(f"sets names one path twice: {', '.join(paths)}")


def files_of(path: str) -> list[tuple[str, int, str]]:
    """The files of a set, sorted: where each lies, its bytes, and a mark that changes with it; a file that is not to be
    reached has 0 bytes. Raises ConfigError where there is none of a known kind, and where there are two kinds."""
    return _files(path)[0]


def _files(path: str) -> tuple[list[tuple[str, int, str]], list[str]]:
    """The files of a set, and those of no known kind."""
    if "://" in path:
        try:
            return [(file.path, file.size, file.mark) for file in input_files(path, ("tar",))], []
        except SourceError as error:
            raise ConfigError(f"the set {path}: {error}") from None
    found = sorted({file for start in _starts(path) for file in _below(start)})
    kinds = {name: own for name, kind in KINDS.items() if (own := [file for file in found if _ending(file) in kind])}
    if not kinds:
        raise ConfigError(f"the set {path} holds no pictures, no tars and no .txt or .jsonl; check the path")
    if len(kinds) > 1:
        example = f"{os.path.join(path, '**', '*')}.{_ending(min(kinds.values(), key=len)[0])}"
        raise ConfigError(f"the set {path} holds {' and '.join(kinds)}; name them apart, by globs such as {example}")
    (own,) = kinds.values()
    return [(file, *_about(file)) for file in own], sorted(set(found).difference(own))


def _about(file: str) -> tuple[int, str]:
    try:
        about = os.stat(file)
    except OSError:
        return 0, "not to be reached"
    return about.st_size, str(about.st_mtime_ns)


def items_of(path: str, text_fields: Sequence[str]) -> Iterator[Item]:
    """All items of a set, in the order of its files; files of no known kind last."""
    base = path if os.path.isdir(path) else os.path.dirname(path)
    files, others = _files(path)
    for file, size, _ in files:
        name = os.path.relpath(file, base) if "://" not in file and not glob.has_magic(base) else file
        kind = _ending(file)
        try:
            if "://" not in file and not os.path.isfile(file):  # a pipe or a device, which might be read without end
                yield Item(name, broken=True)
            elif kind in PICTURES:
                yield Item(name, Path(file).read_bytes()) if size <= MOST_PICTURE_BYTES else Item(name, broken=True)
            elif kind == "tar":
                yield from _of_tar(file, name)
            else:
                with open(file, "rb") as lines:
                    yield from _of_lines(lines, name, text_fields if kind == "jsonl" else None)
        except (OSError, ShardError):
            yield Item(name, broken=True)
    yield from (Item(file, other=True) for file in others)


def _starts(path: str) -> list[str]:
    return sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) and not os.path.exists(path) else [path]


def _below(start: str) -> Iterator[str]:
    """A file, or those of a folder and of the folders that it links to, each folder once. Raises ConfigError for a
    folder that cannot be looked into."""
    if not os.path.isdir(start):
        if os.path.exists(start):
            yield start
        return
    seen: set[str] = set()
    for base, folders, names in os.walk(start, onerror=_refuse, followlinks=True):
        seen.add(os.path.realpath(base))
        meant = sorted(filter(_is_meant, folders), reverse=True)
        first = {os.path.realpath(os.path.join(base, name)): name for name in meant}
        folders[:] = sorted(name for real, name in first.items() if real not in seen)
        seen |= first.keys()
        yield from (os.path.join(base, name) for name in names if _is_meant(name))


def _is_meant(name: str) -> bool:
    return not name.startswith(".") and name not in OWN_FOLDERS


def _refuse(error: OSError) -> None:
    raise ConfigError(f"cannot look into {error.filename}, of an evaluation set: {error.strerror}; mend its rights")


def _ending(file: str) -> str:
    return file.rpartition(".")[2].lower()


def _of_tar(file: str, name: str) -> Iterator[Item]:
    import fsspec

    with fsspec.open(file, "rb") as data:
        contents = read_contents(data, name)
        for key, group in contents.groups.items():
            row, picture = member_row(group, data), _picture(group)
            caption, digest = row.get("caption"), row.get("sha256")
            texts = (caption,) if isinstance(caption, str) else ()
            image = None
            if picture is not None and picture.size <= MOST_PICTURE_BYTES:
                data.seek(picture.offset)
                image = data.read(picture.size)
            empty = image is None and not texts
            yield Item(f"{name}/{key}", image, texts, digest if isinstance(digest, str) else None, empty)
        yield from [Item(name, broken=True)] * (contents.left_out + (contents.damage is not None))


def _picture(group: Group) -> Member | None:
    return group.picture or next((m for e, m in group.members.items() if e.rpartition(".")[2] in PICTURES), None)


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
