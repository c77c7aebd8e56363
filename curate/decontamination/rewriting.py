"""One shard of an export without some of its samples: its files made anew, and exchanged so that no kill leaves half.

New files lie in an attempt's folder until they are whole and durable and a commit names them. Then the old index goes,
the tar is exchanged in one step, and the new index comes last. So a reader finds the old tar or the new one, with its
own index or with none, never with the other's.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.decontamination.finding import text_keys
from curate.errors import ConfigError, ShardError
from curate.manifest import Attempt, Commit, CommitLog, FileRecord, fingerprint
from curate.shard import Shard
from curate.storage import Storage, plain_errors, sync_folder
from curate.tar import TarWriter, read_members, split_name
from curate.tombstones import write_removed

__all__ = ["STAGE", "end_what_was_begun", "rewrite", "verify"]

STAGE = "tombstones"
OWN = (".tar", ".parquet", ".index.parquet", "_stats.json")
"""What a shard may consist of to be rewritten; anything else beside it is aligned with its rows in an unknown way."""


def rewrite(shard: Shard, dead: Mapping[str, str], names: Collection[str], why: str) -> None:
    """Make the shard's files anew without the keys `dead`, and exchange them. `dead` has their kinds of entries, which
    are put on record with `why`, the digest of the lists. `names` are the files of the folder. Raises ConfigError for a
    shard with files of unknown kinds, ShardError for one that is broken, or that somebody else rewrites."""
    about = [name for name in sorted(names) if name.startswith((f"{shard.id}.", f"{shard.id}_"))]
    others = [n for n in about if n not in {shard.id + end for end in OWN} and not _of_another(shard, n, names)]
    if others:
        raise ConfigError(f"{others[0]} belongs to {shard.tar} and cannot be rewritten; use --tombstones-only")
    if shard.table_name() in names and "key" not in shard.schema().names:
        raise ConfigError(
            f"{shard.table_name()} has no column `key`, so that nobody knows which of its rows have to go; make it "
            "anew with one, or move it away"
        )
    log = CommitLog(shard.storage)
    stale = tuple(log.names(STAGE).get(shard.id, ()))
    attempt = Attempt(shard.storage, STAGE, shard.id, fingerprint([STAGE, 1, why, sorted(dead), sorted(stale)]))
    _write_tar(shard, dead, names, attempt)
    if shard.table_name() in names:
        table = shard.table()
        kept = table.filter(pa.array([key not in dead for key in text_keys(table)], pa.bool_()))
        attempt.write_table(shard.table_name(), kept)
    _write_stats(shard, attempt.counts["dropped"], names, attempt)
    commit = _commit(attempt)
    write_removed(shard, dead, why)
    if not shard.storage.create(commit.name, commit.to_json()):
        raise ShardError(f"somebody else removes samples from shard {shard.id} at the same time; wait, and apply again")
    _exchange(commit, log, stale)


def _of_another(shard: Shard, name: str, names: Collection[str]) -> bool:
    """Whether a file belongs to a shard whose name goes on from this one's: `00000_1.tar` beside `00000.tar`. A table
    `x.y.parquet` is read as columns of shard `x` as well, and so is no other's."""
    if name.startswith(f"{shard.id}.") and name.endswith(".parquet"):
        return False
    ends = [place for place, letter in enumerate(name) if letter in "._" and place > len(shard.id)]
    return any(f"{name[:place]}.tar" in names for place in ends)


def _write_tar(shard: Shard, dead: Collection[str], names: Collection[str], attempt: Attempt) -> None:
    rows: list[tuple[str, str]] = []
    keys: tuple[set[str], set[str]] = (set(), set())
    path = attempt.path(shard.tar)
    with plain_errors(f"write {path}"), open(path, "wb") as out, shard.storage.open(shard.tar) as headers:
        tar = TarWriter(out)
        with shard.storage.open(shard.tar) as data:
            for member in read_members(headers, shard.tar):
                key, extension = split_name(member.name) or ("", "")
                keys[key in dead].add(key)
                if key not in dead:
                    data.seek(member.offset)
                    tar.add(member.name, data.read(member.size))
                    rows.append((key, extension))
        tar.finish()
    attempt.counts.update({"kept": len(keys[0] - {""}), "dropped": len(keys[1])})
    if shard.table_name("index") in names:
        places = [(*row, m.offset, m.size) for row, m in zip(rows, tar.members, strict=True) if row[0]]
        columns = list(zip(*places, strict=True)) or [()] * 4
        kinds = {"key": pa.string(), "extension": pa.string(), "offset": pa.int64(), "size": pa.int64()}
        index = {name: pa.array(column, kind) for (name, kind), column in zip(kinds.items(), columns, strict=True)}
        attempt.write_table(shard.table_name("index"), pa.table(index))


def _write_stats(shard: Shard, fewer: int, names: Collection[str], attempt: Attempt) -> None:
    """img2dataset's counts without the dead; a file that is no JSON object is left as it is."""
    name = f"{shard.id}_stats.json"
    try:
        stats = json.loads(shard.storage.read(name)) if name in names else None
    except (ValueError, RecursionError):
        return
    if isinstance(stats, dict):
        statuses = stats.get("status_dict")
        both = _fewer(stats, ("count", "successes"), fewer)
        both |= {"status_dict": _fewer(statuses, ("success",), fewer)} if isinstance(statuses, dict) else {}
        attempt.write_bytes(name, json.dumps(both, indent=4).encode())


def _fewer(counts: Mapping[str, Any], words: Collection[str], fewer: int) -> dict[str, Any]:
    return {n: max(0, v - fewer) if n in words and isinstance(v, int) else v for n, v in counts.items()}


def _commit(attempt: Attempt) -> Commit:
    """The record of files that are whole and durable, in the data set's own store."""
    records = tuple(_record(path) for path in sorted(attempt.scratch.iterdir()))
    sync_folder(attempt.scratch)
    sync_folder(attempt.scratch.parent)
    if attempt.storage.local is None:
        for record in records:
            attempt.storage.upload(attempt.scratch / record.name, f"{attempt.folder}/{record.name}")
    about = (
        attempt.stage,
        attempt.shard,
        attempt.fingerprint,
        attempt.id,
        records,
        dict(sorted(attempt.counts.items())),
    )
    return Commit(*about, seconds={}, host=platform.node(), created=time.time())


def _record(path: Path) -> FileRecord:
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        os.fsync(handle.fileno())
    return FileRecord(path.name, path.stat().st_size, digest)


def _exchange(commit: Commit, log: CommitLog, stale: tuple[str, ...] = ()) -> None:
    """Put a commit's files in place: no index lies beside a tar that is not its own. Safe to repeat."""
    storage, folder = log.storage, f"_attempts/{commit.stage}.{commit.shard}.{commit.attempt}"
    index = Shard(storage, commit.shard).table_name("index")
    names = [record.name for record in commit.files]
    if f"{folder}/{commit.shard}.tar" in storage.files(folder) and index in names:
        storage.delete(index)
    for name in sorted(names, key=lambda n: (n == index, not n.endswith(".tar"), n)):
        if storage.exists(f"{folder}/{name}"):
            storage.move(f"{folder}/{name}", name)
    for mark in set(stale) - {commit.fingerprint}:
        storage.delete(f"commits/{STAGE}/{commit.shard}-{mark}.json")
    log.finish(commit)


def end_what_was_begun(target: Storage) -> None:
    """Finish shards whose commit was there when an earlier call was killed, and forget those without one."""
    log = CommitLog(target)
    for folder in target.folders("_attempts"):
        stage, shard, attempt = folder.rsplit(".", 2) if folder.count(".") >= 2 else ("", "", "")
        if stage != STAGE:
            continue
        commits = [log.get(STAGE, shard, mark) for mark in log.names(STAGE).get(shard, ())]
        mine = next((c for c in commits if c is not None and c.attempt == attempt), None)
        if mine is None:
            target.delete_folder(f"_attempts/{folder}")
        else:
            _exchange(mine, log, tuple(c.fingerprint for c in commits if c is not None))


def verify(shard: Shard, dead: Collection[str]) -> None:
    """Read the shard again. Raises ShardError when a removed key is left in a file of it."""
    with shard.storage.open(shard.tar) as tar:
        left = {(split_name(member.name) or ("",))[0] for member in read_members(tar, shard.tar)}
    for family in ("", "index"):
        if shard.storage.exists(shard.table_name(family)):
            left.update(text_keys(shard.table(family, ["key"])))
    still = left.intersection(dead)
    if still:
        raise ShardError(f"{len(still)} removed samples are still in shard {shard.id}, e.g. {min(still)}; apply again")
