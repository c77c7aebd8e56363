"""Evaluation sets as an index on disk: built once, read by every worker through the page cache.

    card.json          what is in it, of which sets, built how; its fingerprint and its digest
    items.arrow        set and name of every item
    file_* pixels_*    digests of the pictures' files (as stored, as downloaded) and of their pixels, sorted
    caption_* ngram_*  digests of whole texts and of runs of words, sorted
    pdq quality phash  of every picture that could be decoded, as `picture_items` has them
    embeddings.npy     float16 (pictures, d) of unit length, by one model; zeros where it gave none

A picture of 15 kB takes 1 ms of a core to decode and hash, and 120 bytes on the disk, with 512 numbers of embedding
1.1 kB: a million pictures of that size a quarter of an hour and 0.1 GB. PDQ alone is searched through tables in memory,
550 bytes a picture and worker.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.decontamination.sets import TEXT_FIELDS, files_of, set_names
from curate.decontamination.tables import TABLES, DigestTable, open_array, open_table
from curate.errors import ConfigError
from curate.filter import Scorer
from curate.manifest import fingerprint

__all__ = [
    "Card",
    "EvaluationIndex",
    "IndexSettings",
    "build_index",
    "default_folder",
    "open_index",
    "sets_fingerprint",
]

CARD = "card.json"
NEW_S = 60
VERSION = 1


@dataclass(frozen=True)
class IndexSettings:
    """How an index is built. `words`: the length of a run of words; `min_words`: the least that a text must have to be
    compared as a whole; `text_fields`: what is read of `.jsonl`. `model`: "" or the fingerprint of the embeddings."""

    words: int = 13
    min_words: int = 5
    text_fields: tuple[str, ...] = TEXT_FIELDS
    model: str = ""

    @property
    def mark(self) -> str:
        """The fingerprint of these settings."""
        return fingerprint([VERSION, {**asdict(self), "text_fields": list(self.text_fields)}])


@dataclass(frozen=True)
class Card:
    """What an index says of itself. `settings_mark` and `fingerprint` (of settings and sets) tell whether it is the one
    that is meant; `digest` is of its contents. `sets`: name to counts of pictures, texts, and what was broken."""

    settings_mark: str
    fingerprint: str
    digest: str
    sets: Mapping[str, Mapping[str, int]]
    length: int = 0

    def words(self) -> str:
        """One line for people."""
        told = []
        for name, counts in self.sets.items():
            whole = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in counts.items() if count)
            told.append(f"{name}: {whole}")
        return "; ".join(told)


@dataclass(frozen=True)
class EvaluationIndex:
    """An open index; arrays are mapped into memory. `items` has the columns `set` and `name`."""

    card: Card
    items: pa.Table
    tables: Mapping[str, DigestTable]
    picture_items: npt.NDArray[np.int64]
    pdq: npt.NDArray[np.uint64]
    quality: npt.NDArray[np.uint8]
    phash: npt.NDArray[np.uint64]
    embeddings: npt.NDArray[np.float16]


def sets_fingerprint(sets: Sequence[str], settings: IndexSettings) -> str:
    """The fingerprint that an index of these sets has: it covers names, sizes and times of all their files. Raises
    ConfigError for a set without files."""
    return fingerprint(
        [settings.mark, [[name, _listing(path)] for name, path in zip(set_names(sets), sets, strict=True)]]
    )


@dataclass(frozen=True)
class _Listing:
    """A digest of a set's files, and the folders that they were found in, each with the time of its last change."""

    digest: str
    folders: Mapping[str, int]


_LISTINGS: dict[str, _Listing] = {}
"""By path: a digest is asked for once per shard, and a million files take 10 s to list."""


def _listing(path: str) -> str:
    """The digest of a set's listing, made anew when a folder of it has changed, and by every `build_index`."""
    known = _LISTINGS.get(path)
    if known is None or known.folders != {folder: _changed_ns(folder) for folder in known.folders}:
        known = _LISTINGS[path] = _listed(path)
    return known.digest


def _listed(path: str) -> _Listing:
    base = os.path.dirname(path.rstrip("/"))
    files = files_of(path)
    rows = [[os.path.relpath(f, base) if "://" not in f else f, size, mark] for f, size, mark in files]
    folders = {path, *(os.path.dirname(file) for file, _, _ in files)} if "://" not in path else ()
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return _Listing(digest, {folder: _changed_ns(folder) for folder in folders})


def _changed_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def default_folder(mark: str) -> Path:
    """Where an index lies unless a config says where."""
    return Path.home() / ".cache" / "curate" / "evaluations" / mark


def build_index(
    sets: Sequence[str],
    folder: Path,
    settings: IndexSettings | None = None,
    model: Scorer | None = None,
    threads: int = 4,
) -> Card:
    """Build the index of some sets in `folder`, unless it is there. `model`: the scorer whose pictures' embeddings are
    kept, of which `settings.model` is the fingerprint.

    Raises ConfigError for sets that are empty, and for a folder with another index or with anything else. What a build
    that was killed left beside the folder is deleted.
    """
    _refuse_other_folder(folder)
    settings = settings or IndexSettings()
    _LISTINGS.clear()
    mark = sets_fingerprint(sets, settings)
    if (folder / CARD).is_file():
        return _expected(folder, settings, mark)
    _delete_left_behind(folder)
    scratch = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
    hold = -1
    try:
        scratch.mkdir(parents=True)
        hold = _hold(scratch)
        from curate.decontamination.building import Build

        build = Build(scratch, settings.words, settings.min_words, settings.text_fields, model)
        for name, path in zip(set_names(sets), sets, strict=True):
            build.add(name, path, threads)
        build.finish()
        card = Card(settings.mark, mark, _digest(scratch), build.counts, build.length)
        (scratch / CARD).write_text(json.dumps(asdict(card), indent=1, sort_keys=True))
        try:
            os.replace(scratch, folder)
        except OSError:
            return _expected(folder, settings, mark)  # somebody else was faster
        return card
    except OSError as error:
        raise ConfigError(f"cannot write the index {folder}: {error.strerror}; choose another `index`") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if hold >= 0:
            os.close(hold)


def _refuse_other_folder(folder: Path) -> None:
    """Before anything is built: a folder with files of others would not be replaced by an index."""
    try:
        other = folder.exists() and not (folder / CARD).is_file() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise ConfigError(f"cannot look into {folder}: {error.strerror}; choose another `index`") from error
    if other:
        raise ConfigError(f"{folder} is there and is no evaluation index; name an empty or a new folder as `index`")


def _hold(scratch: Path) -> int:
    """A lock on the folder of a build, which ends with its process; -1 where its file system has none."""
    import fcntl

    handle = os.open(scratch, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return -1
    return handle


def _delete_left_behind(folder: Path) -> None:
    """Folders of builds that nobody holds any more; those of the last minute may be about to be held."""
    for scratch in folder.parent.glob(f"{glob.escape(folder.name)}.{'[0-9a-f]' * 12}.tmp"):
        with suppress(OSError):
            hold = _hold(scratch) if time.time() - scratch.stat().st_mtime > NEW_S else -1
            if hold >= 0:
                shutil.rmtree(scratch, ignore_errors=True)
                os.close(hold)


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as handle:
            found.update(f"{path.name} {hashlib.file_digest(handle, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()


def read_card(folder: Path) -> Card:
    """What an index says of itself. Raises ConfigError where there is none."""
    try:
        return Card(**json.loads((folder / CARD).read_text()))
    except FileNotFoundError:
        raise ConfigError(
            f"no evaluation index in {folder}: name `sets` to have it built, and on several machines an `index` that "
            "all of them share"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{folder / CARD} is damaged; delete the folder to have the index built anew") from error


def _expected(folder: Path, settings: IndexSettings, mark: str = "") -> Card:
    """The card of an index that is there. Raises ConfigError when it has other settings or is of other sets."""
    card = read_card(folder)
    if card.settings_mark != settings.mark:
        raise ConfigError(
            f"the index {folder} was built with other settings (its fingerprint is {card.settings_mark}, wanted is "
            f"{settings.mark}): words, min_words, text_fields, model; delete it, or name another `index`"
        )
    if mark and card.fingerprint != mark:
        raise ConfigError(
            f"the index {folder} is of other sets, or they have changed (its fingerprint is {card.fingerprint}, wanted "
            f"is {mark}); delete it to have it built anew, or name another `index`"
        )
    return card


def open_index(folder: Path, settings: IndexSettings) -> EvaluationIndex:
    """The index in a folder, opened once per process. Raises ConfigError when it was built with other settings."""
    return _opened(folder, _expected(folder, settings).digest)


@lru_cache(maxsize=2)
def _opened(folder: Path, digest: str) -> EvaluationIndex:
    try:
        items = pa.ipc.open_file(pa.memory_map(str(folder / "items.arrow"))).read_all()
        tables = {name: open_table(folder, name) for name in TABLES}
        arrays = [open_array(folder, name) for name in ("picture_items", "pdq", "quality", "phash", "embeddings")]
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise ConfigError(f"the index {folder} is damaged ({error}); delete it to have it built anew") from error
    return EvaluationIndex(read_card(folder), items, tables, *arrays)
