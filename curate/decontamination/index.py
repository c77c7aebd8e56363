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

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
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


def _listing(path: str) -> str:
    changed = os.stat(path).st_mtime_ns if os.path.exists(path) else 0
    return _listed(path, changed)


@lru_cache(maxsize=256)
def _listed(path: str, changed_ns: int) -> str:
    """A digest of a set's listing: asked for once per shard, and a million files take 10 s to list."""
    base = os.path.dirname(path.rstrip("/"))
    rows = [[os.path.relpath(f, base) if "://" not in f else f, size, mark] for f, size, mark in files_of(path)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


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

    Raises ConfigError for sets that are empty, and for a folder with another index.
    """
    settings = settings or IndexSettings()
    mark = sets_fingerprint(sets, settings)
    if (folder / CARD).is_file():
        return _expected(folder, settings, mark)
    scratch = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        scratch.mkdir(parents=True)
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
