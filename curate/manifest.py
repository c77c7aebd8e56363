"""Which stage finished which shard, from what, with which counts: small files, created once, folded on demand.

A stage writes under a name of its own attempt (`_attempts/...`), where no reader looks. When all is written it
creates one commit file; that creation decides between two attempts at the same work. Only then are the files moved
to their final names, which may be repeated after a crash. So a final name never holds bytes that were not committed,
and killing anything at any moment costs at most the shards in flight. The files are synced before the commit names
them, so a power cut cannot leave a commit without its bytes.

    _attempts/<stage>.<shard>.<id>/00000.tar      being written, or committed and not yet moved
    commits/<stage>/<shard>-<fingerprint>.json    done, with counts, digests and seconds
    failed/<stage>/<shard>.json                   set aside, with its error

The manifest is the fold of all commits. It can be made anew from them at any time.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import StorageError
from curate.storage import Storage, plain_errors, sync_folder

__all__ = ["Attempt", "Commit", "CommitLog", "FileRecord", "fingerprint", "write_parquet"]

ROW_GROUP = 10_000


def fingerprint(parts: object) -> str:
    """16 hex digits for a JSON-like value; the same for the same value on any machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_parquet(table: pa.Table, path: Path | IO[bytes]) -> None:
    """Write a table so that the same rows give the same bytes, in whichever chunks they come.

    zstd, row groups of 10,000, no clock in the footer. The chunks are joined because pages end where they end.
    Embeddings (fixed-size lists of float16) are split by byte instead of put into a dictionary: read five times as
    fast, and a tenth smaller.
    """
    lists = [f for f in table.schema if pa.types.is_fixed_size_list(f.type)]
    vectors = [f.name for f in lists if f.type.value_type == pa.float16()]
    split: dict[str, Any] = {}
    if vectors:
        split["column_encoding"] = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in vectors}
        split["use_dictionary"] = [name for name in table.column_names if name not in vectors]
    options = {"row_group_size": ROW_GROUP, "compression": "zstd", "store_schema": True}
    pq.write_table(table.combine_chunks(), path, **options, **split)


@dataclass(frozen=True)
class FileRecord:
    """One committed file. `clock` marks the few that hold times and so differ from run to run."""

    name: str
    bytes: int
    sha256: str
    clock: bool = False


@dataclass(frozen=True)
class Commit:
    """That one stage finished one shard. `counts` are samples (in, kept, dropped per reason); `seconds` per phase."""

    stage: str
    shard: str
    fingerprint: str
    attempt: str
    files: tuple[FileRecord, ...]
    counts: Mapping[str, int]
    seconds: Mapping[str, float]
    host: str
    created: float

    @property
    def name(self) -> str:
        return commit_name(self.stage, self.shard, self.fingerprint)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Commit:
        record: dict[str, Any] = json.loads(raw)
        record["files"] = tuple(FileRecord(**f) for f in record["files"])
        return cls(**record)


def commit_name(stage: str, shard: str, fingerprint: str) -> str:
    return f"commits/{stage}/{shard}-{fingerprint}.json"


@dataclass
class Attempt:
    """The files of one stage on one shard while they are being made.

    On a disk they are written straight into the attempt's folder; for an object store into a temporary folder here,
    and uploaded by `commit`. `count` and `timed` fill the commit record. `previous` is the commit that this work may
    start from (a retry of failed rows), when there is one. `stale` are the fingerprints that this work replaces.
    """

    storage: Storage
    stage: str
    shard: str
    fingerprint: str
    previous: Commit | None = None
    stale: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    _clocks: set[str] = field(default_factory=set)
    _started: float = field(default_factory=time.perf_counter)
    _scratch: Path | None = None

    @property
    def folder(self) -> str:
        return f"_attempts/{self.stage}.{self.shard}.{self.id}"

    @property
    def scratch(self) -> Path:
        """A local folder for this attempt's files; each is named as it will be called in the data set."""
        if self._scratch is None:
            local = self.storage.local
            self._scratch = local / self.folder if local else Path(tempfile.mkdtemp(prefix="curate-"))
            with plain_errors(f"make {self._scratch}"):
                self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch

    def path(self, name: str, *, clock: bool = False) -> Path:
        """Where to write the file that will be called `name`. `clock`: it holds times, leave it out of comparisons."""
        if clock:
            self._clocks.add(name)
        path = self.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_table(self, name: str, table: pa.Table, *, clock: bool = False) -> None:
        """Write a column file, e.g. `00000.caption.parquet`. Raises StorageError."""
        path = self.path(name, clock=clock)
        with plain_errors(f"write {path}"):
            write_parquet(table, path)

    def write_bytes(self, name: str, data: bytes, *, clock: bool = False) -> None:
        """Write a small file. Raises StorageError."""
        path = self.path(name, clock=clock)
        with plain_errors(f"write {path}"):
            path.write_bytes(data)

    def commit(self) -> Commit:
        """Make the work durable and visible; returns the commit that holds, ours or an earlier one of the same work.

        Raises StorageError when the files cannot be written.
        """
        self.seconds.setdefault("total", round(time.perf_counter() - self._started, 3))
        with plain_errors(f"keep the files of {self.folder} in {self.storage.root}"):
            files = tuple(self._record(p) for p in sorted(self.scratch.rglob("*")) if p.is_file())
            for folder in {self.scratch, *(p for p in self.scratch.rglob("*") if p.is_dir()), self.scratch.parent}:
                sync_folder(folder)
        if self.storage.local is None:
            for f in files:
                self.storage.upload(self.scratch / f.name, f"{self.folder}/{f.name}")
            shutil.rmtree(self.scratch, ignore_errors=True)
        mine = Commit(
            self.stage,
            self.shard,
            self.fingerprint,
            self.id,
            files,
            dict(sorted(self.counts.items())),
            self.seconds,
            socket.gethostname(),
            time.time(),
        )
        log = CommitLog(self.storage)
        if not self.storage.create(mine.name, mine.to_json()):
            self.abandon()
            return log.finish(log.read(mine.name))
        return log.finish(mine, self.stale)

    def abandon(self) -> None:
        """Remove what this attempt wrote."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self.storage.delete_folder(self.folder)

    def _record(self, path: Path) -> FileRecord:
        name = path.relative_to(self.scratch).as_posix()
        with open(path, "rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
            os.fsync(handle.fileno())
        return FileRecord(name, path.stat().st_size, digest, name in self._clocks)


@dataclass(frozen=True)
class CommitLog:
    """The commits of a data set."""

    storage: Storage

    def names(self, stage: str) -> dict[str, set[str]]:
        """What is done: shard id to the fingerprints that are committed. One listing, no file is opened."""
        done: dict[str, set[str]] = {}
        for name in self.storage.files(f"commits/{stage}"):
            shard, _, mark = name.rsplit("/", 1)[1].removesuffix(".json").rpartition("-")
            if shard and name.endswith(".json"):
                done.setdefault(shard, set()).add(mark)
        return done

    def read(self, name: str) -> Commit:
        """One commit. Raises FileNotFoundError; StorageError when the file is not a commit."""
        raw = self.storage.read(name)
        try:
            return Commit.from_json(raw)
        except (ValueError, TypeError, KeyError) as error:
            raise StorageError(
                f"{name} in {self.storage.root} is not a commit record; delete it to redo the work"
            ) from error

    def get(self, stage: str, shard: str, mark: str) -> Commit | None:
        """The commit of this work, or None."""
        try:
            return self.read(commit_name(stage, shard, mark))
        except FileNotFoundError:
            return None

    def finish(self, commit: Commit, stale: Iterable[str] = ()) -> Commit:
        """Move a commit's files to their final names; safe to repeat, and does nothing when that was done.

        `stale` are the fingerprints of the same stage and shard whose files are replaced; what they alone had is
        removed. The moves come last, since an object store has no folder left for `recover` to find after them.
        """
        for mark in sorted(set(stale) - {commit.fingerprint}):
            old = self.get(commit.stage, commit.shard, mark)
            for name in {r.name for r in old.files} - {r.name for r in commit.files} if old else ():
                self.storage.delete(name)
            self.storage.delete(commit_name(commit.stage, commit.shard, mark))
        folder = f"_attempts/{commit.stage}.{commit.shard}.{commit.attempt}"
        for record in commit.files:
            try:
                self.storage.move(f"{folder}/{record.name}", record.name)
            except FileNotFoundError:
                self._require(commit, record)
        self.storage.delete_folder(folder)
        return commit

    def recover(self) -> int:
        """Finish what was committed and not moved when the last run was killed; returns how many that were."""
        finished = 0
        for folder in self.storage.folders("_attempts"):
            if folder.count(".") < 2:
                continue
            stage, shard, attempt = folder.rsplit(".", 2)
            marks = self.names(stage).get(shard, set())
            for mark in sorted(marks):
                commit = self.get(stage, shard, mark)
                if commit is not None and commit.attempt == attempt:
                    self.finish(commit, marks)
                    finished += 1
        return finished

    def sweep(self, older_than_s: float = 3600.0) -> None:
        """Remove attempts that nobody committed and in which nothing has been written for so long, and what is left of
        files whose writer was killed as long ago."""
        self.storage.sweep_temporaries(older_than_s)
        for folder in self.storage.folders("_attempts"):
            if time.time() - self.storage.newest(f"_attempts/{folder}") > older_than_s:
                self.storage.delete_folder(f"_attempts/{folder}")

    def fold(self, stages: Iterable[str]) -> list[Commit]:
        """All commits of these stages, in order of stage and shard."""
        return [self.read(name) for stage in stages for name in sorted(self.storage.files(f"commits/{stage}"))]

    def _require(self, commit: Commit, record: FileRecord) -> None:
        if self.storage.exists(record.name) and self.storage.size(record.name) == record.bytes:
            return
        self.storage.delete(commit.name)
        raise StorageError(
            f"{record.name} of stage {commit.stage} was committed and is gone from {self.storage.root}; "
            "its commit is withdrawn, run again to redo this shard"
        )


MANIFEST = "manifest.parquet"
MANIFEST_SCHEMA = pa.schema(
    {
        "stage": pa.string(),
        "shard": pa.string(),
        "fingerprint": pa.string(),
        "counts": pa.map_(pa.string(), pa.int64()),
        "files": pa.list_(pa.struct({"name": pa.string(), "bytes": pa.int64(), "sha256": pa.string()})),
    }
)


@dataclass(frozen=True)
class Entry:
    """One piece of finished work as the manifest tells it. `files` leaves out those that hold times."""

    stage: str
    shard: str
    fingerprint: str
    counts: Mapping[str, int]
    files: tuple[FileRecord, ...]

    @property
    def place(self) -> tuple[str, str, str]:
        return self.stage, self.shard, self.fingerprint


@dataclass(frozen=True)
class Manifest:
    """What a data set is made of: the fold of its commits, in one file that holds no clock. Trainers read it."""

    entries: tuple[Entry, ...] = ()

    @classmethod
    def read(cls, storage: Storage) -> Manifest:
        """The manifest as it was last written; empty when there is none, or none that can be read."""
        try:
            table = pq.read_table(io.BytesIO(storage.read(MANIFEST)), schema=MANIFEST_SCHEMA)
        except (FileNotFoundError, pa.ArrowException):
            return cls()
        return cls(tuple(_entry(record) for record in table.to_pylist()))

    @classmethod
    def fold(cls, log: CommitLog, places: Iterable[tuple[str, str, str]], made: Iterable[Commit]) -> Manifest:
        """The manifest of this finished work (stage, shard, fingerprint), written if it is not the one that is there.

        What was `made` just now, and what the manifest before had, is not read again.
        """
        before = cls.read(log.storage)
        known = {entry.place: entry for entry in before.entries}
        known |= {(c.stage, c.shard, c.fingerprint): _as_entry(c) for c in made}
        entries = []
        for place in places:
            commit = None if place in known else log.get(*place)
            if place in known or commit is not None:
                entries.append(known[place] if commit is None else _as_entry(commit))
        manifest = cls(tuple(entries))
        if manifest != before:
            target = io.BytesIO()
            write_parquet(pa.Table.from_pylist([_record(e) for e in entries], MANIFEST_SCHEMA), target)
            log.storage.write(MANIFEST, target.getvalue())
        return manifest

    def missing(self, storage: Storage) -> list[Entry]:
        """Entries with a file that is gone or has another size: somebody deleted or cut it. One listing a folder."""
        folders = {name.rpartition("/")[0] for entry in self.entries for name in (f.name for f in entry.files)}
        there = {name: size for folder in sorted(folders) for name, size in storage.files(folder).items()}
        return [e for e in self.entries if any(there.get(f.name) != f.bytes for f in e.files)]

    def of(self, stage: str) -> list[Entry]:
        """The entries of one stage."""
        return list(self._by_stage.get(stage, ()))

    @cached_property
    def _by_stage(self) -> Mapping[str, Sequence[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.stage, []).append(entry)
        return found


def _as_entry(commit: Commit) -> Entry:
    files = tuple(record for record in commit.files if not record.clock)
    return Entry(commit.stage, commit.shard, commit.fingerprint, dict(sorted(commit.counts.items())), files)


def _entry(record: Mapping[str, Any]) -> Entry:
    files = tuple(FileRecord(**file) for file in record["files"])
    return Entry(record["stage"], record["shard"], record["fingerprint"], dict(record["counts"]), files)


def _record(entry: Entry) -> dict[str, Any]:
    files = [{"name": f.name, "bytes": f.bytes, "sha256": f.sha256} for f in entry.files]
    return {
        "stage": entry.stage,
        "shard": entry.shard,
        "fingerprint": entry.fingerprint,
        "counts": list(entry.counts.items()),
        "files": files,
    }
