"""The list of concepts that captions are matched with: MetaCLIP's "metadata", from the user's own file.

MetaCLIP (Xu et al. 2023) takes 500,000 entries: WordNet's synsets, words and pairs of words of Wikipedia, titles of its
pages. Their list is for non-commercial use, so none is shipped; `curate.balance.vocabulary` builds one. An entry's
number is its place in the cleaned list, so numbers hold for one list only; its digest is in every fingerprint.
500,000 entries are read and cleaned in 0.2 s, once per process.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from curate.errors import ConfigError

__all__ = ["MOST_ENTRIES", "Metadata", "clean_entries", "read_metadata", "write_metadata"]

MOST_ENTRIES = 1 << 24
"""More than 16 million entries are taken for a mistake, such as a corpus in place of a list."""
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Metadata:
    """Cleaned entries in a stable order, and the SHA-256 over them, hex: the same for a JSON and a text file."""

    entries: tuple[str, ...] = field(compare=False)
    digest: str

    @classmethod
    def of(cls, entries: Iterable[str]) -> Metadata:
        """From any strings. Raises ValueError when one cannot be written as UTF-8."""
        cleaned = clean_entries(entries)
        return cls(cleaned, hashlib.sha256(json.dumps(cleaned, ensure_ascii=False).encode()).hexdigest())


def clean_entries(entries: Iterable[str]) -> tuple[str, ...]:
    """Each entry once, in the order in which they come; without blank ones and single marks of punctuation.

    Punctuation is Unicode's category P (MetaCLIP drops single marks, for they would match almost every caption).
    Letter case and white space inside an entry are kept: matching is case-sensitive.
    """
    return tuple(e for e in dict.fromkeys(entries) if e.strip() and not _is_mark(e))


def _is_mark(entry: str) -> bool:
    return len(entry) == 1 and unicodedata.category(entry).startswith("P")


def read_metadata(path: str, option: str = "metadata") -> Metadata:
    """The entries of a file: a JSON list of strings where the name ends in `.json`, else one entry a line, UTF-8.

    Read once per process and state of the file. Raises ConfigError, which names the `option` of the config.
    """
    try:
        stat = Path(path).stat()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{option} = {path!r} cannot be read: {why}; give the path of a list") from None
    if stat.st_size > MOST_BYTES:
        raise ConfigError(f"{option} = {path!r} has {stat.st_size} bytes; a list of concepts has at most {MOST_BYTES}")
    return _read(path, option, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=2)
def _read(path: str, option: str, modified_ns: int, size_bytes: int) -> Metadata:
    where = f"{option} = {path!r}"
    try:
        text = Path(path).read_text("utf-8-sig")
        found = Metadata.of(_listed(json.loads(text), where) if path.endswith(".json") else text.split("\n"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where} cannot be read: {error}; one entry a line in UTF-8, or a JSON list") from None
    if not 0 < len(found.entries) <= MOST_ENTRIES:
        raise ConfigError(f"{where} has {len(found.entries)} entries; from 1 to {MOST_ENTRIES} can be matched")
    return found


def _listed(value: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} is JSON but no list; write a list of strings")
    for number, entry in enumerate(value):
        if not isinstance(entry, str):
            raise ConfigError(f"{where}: entry {number} is {entry!r:.40}, no string")
    return value


def write_metadata(entries: Iterable[str], path: Path) -> Metadata:
    """Clean entries and write them: JSON where the name ends in `.json`, else a line each.

    Raises ConfigError for an entry with a line break in a file of lines, and where the file cannot be written.
    """
    found = Metadata.of(entries)
    if path.suffix != ".json":
        broken = next((e for e in found.entries if "\n" in e), None)
        if broken is not None:
            raise ConfigError(f"the entry {broken!r:.60} has a line break; write to a name that ends in .json")
        text = "".join(f"{entry}\n" for entry in found.entries)
    else:
        text = json.dumps(found.entries, ensure_ascii=False, indent=0)
    try:
        path.write_text(text, "utf-8-sig" if text.startswith("\ufeff") else "utf-8", newline="\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; name another file") from None
    return found
