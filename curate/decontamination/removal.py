"""Tombstones for data that is there already: samples that a list names go from an export, or are marked as dead.

| mode | what it writes | for |
|---|---|---|
| `rewrite` | tars, indexes, tables, counts, manifest without the samples | exports to webdataset, tars of others |
| `index` | `tombstones/SHARD.parquet`, which exports honour; the bytes stay | the same, and what `curate run` wrote |

A shard is exchanged whole (`curate.decontamination.rewriting`); the next call ends what a killed one began, and must be
made before anything else is done with the folder. At the end every shard that these lists changed, now or in a call
before, is read again, and a member of a removed key is an error. What a killed export left in the making is deleted,
and other files that may be tars, in folders below or with names such as `00000.tar.gz`, are told in `failed`.

What it cannot do: a hard link or a copy elsewhere keeps the bytes, and so does a store with versions. Exporting the
same data set again brings the samples back, unless its own tombstones are written (mode `index`) as well.

A shard of 4,000 samples and 0.4 GB takes 0.3 s to look through, 0.7 s where MD5 are listed, and 0.5 s more to write.

Nothing but counts, keys and kinds of entries leaves this module: no URL, caption or picture of what a list names.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from curate.decontamination.finding import find_listed
from curate.decontamination.lists import Listed
from curate.decontamination.rewriting import STAGE, end_what_was_begun, rewrite, verify
from curate.errors import ConfigError, ShardError
from curate.manifest import Commit, CommitLog, Manifest
from curate.shard import Shard
from curate.storage import Storage
from curate.tombstones import dead_rows, removed_rows, write_dead

__all__ = ["Mode", "Removal", "remove_listed"]

Mode = Literal["rewrite", "index"]
PACK = "pack"
SIZES = "sizes.json"
_REMEDY = "delete it, or apply the list to its own folder"
MOST_FOLDERS = 8
"""One in another, in which tars are looked for."""
_MAY_BE_TAR = re.compile(r"\.(tar|tgz|tbz2?|txz)(\.(?!idx$)[^/]*)?$", re.IGNORECASE)
SUMMARY = "export.json"
"""Beside documents that were exported."""


@dataclass
class Removal:
    """What was done. `dead`: shard to its keys to the kind of entry that named them; `failed`: shard to its error."""

    mode: Mode
    list_digest: str
    looked_at: int = 0
    dead: dict[str, dict[str, str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, Any]:
        """Numbers alone."""
        by = Counter(kind for keys in self.dead.values() for kind in keys.values())
        shards = {"shards": self.looked_at, "shards_changed": len(self.dead), "shards_failed": len(self.failed)}
        return {"mode": self.mode, **shards, "samples": sum(by.values()), "by": dict(sorted(by.items()))}

    def report(self) -> bytes:
        """Counts, keys and kinds as JSON."""
        record = {**self.counts(), "list_sha256": self.list_digest, "dead": self.dead, "failed": self.failed}
        return json.dumps(record, indent=1, sort_keys=True).encode()


def remove_listed(target: Storage, listed: Listed, mode: Mode = "rewrite", threads: int = 1) -> Removal:
    """Take out, or mark, every sample that is listed. What the same lists took out in an earlier call is told again. A
    shard that cannot be read or rewritten is told in `failed`, and the others are done; one that tells no URL or uid
    to compare is told too, and done by the other entries. Raises ConfigError for a folder that is no such data set."""
    _check(target, *_listed_files(target), mode)
    end_what_was_begun(target)
    if mode == "rewrite":
        _clear_attempts(target)
    names, shards = _listed_files(target)
    done = Removal(mode, listed.digest, failed=dict(_passed_over(target)))
    unasked: dict[str, str] = {}
    for shard in shards:
        done.looked_at += 1
        try:
            found = find_listed(shard, listed, threads, whole=mode == "rewrite")
            if mode == "index":
                _mark(shard, found.keys, done)
            elif found.keys:
                rewrite(shard, found.keys, names, listed.digest)
                done.dead[shard.id] = found.keys
            if found.unasked:
                unasked[shard.id] = found.unasked
        except (ShardError, ConfigError) as error:
            done.failed[shard.id] = str(error)
    if mode == "rewrite":
        _settle(target)
        _recall(shards, done)
        for name, keys in done.dead.items():
            verify(Shard(target, name), keys)
    done.failed |= unasked
    return done


def _listed_files(target: Storage) -> tuple[set[str], list[Shard]]:
    names = set(target.files())
    return names, [Shard(target, name.removesuffix(".tar")) for name in sorted(names) if name.endswith(".tar")]


def _clear_attempts(target: Storage) -> None:
    """Nothing that a killed export had in the making stays, once what it had committed is in place."""
    CommitLog(target).recover()
    for folder in target.folders("_attempts"):
        target.delete_folder(f"_attempts/{folder}")


def _passed_over(target: Storage, folder: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Files that may be tars of samples too and are not looked into, with what to do."""
    for name in sorted(target.files(folder)):
        if _MAY_BE_TAR.search(name) and (folder or not name.endswith(".tar")):
            yield name, f"{name} was not looked into, only NAME.tar in the folder itself is; {_REMEDY}"
    for inner in target.folders(folder) if depth < MOST_FOLDERS else ():
        if folder or inner not in ("_attempts", "commits"):
            yield from _passed_over(target, f"{folder}/{inner}" if folder else inner, depth + 1)


def _recall(shards: Iterable[Shard], done: Removal) -> None:
    """Count what earlier calls with the same lists took out too: one of them may have been killed before it told."""
    for shard in shards:
        before = removed_rows(shard, done.list_digest) if shard.id not in done.failed else {}
        if before:
            done.dead[shard.id] = before | done.dead.get(shard.id, {})


def _mark(shard: Shard, found: Mapping[str, str], done: Removal) -> None:
    new = {key: kind for key, kind in found.items() if key not in dead_rows(shard)}
    if found:
        write_dead(shard, found)
    if new:
        done.dead[shard.id] = new


def _check(target: Storage, names: set[str], shards: list[Shard], mode: Mode) -> None:
    if not shards:
        raise ConfigError(
            f"{target.root} holds no tars; tombstones are for data sets of pairs in tars, and for exports to webdataset"
        )
    if mode == "index":
        return
    others = [name for name in sorted(names) if name == SUMMARY or name.endswith((".idx", ".jsonl"))]
    if others or ".nv-meta" in target.folders():
        raise ConfigError(
            f"{target.root} is an export of documents, or for a reader with an index of its own ("
            f"{(*others, '.nv-meta')[0]}), and cannot be rewritten; write tombstones into the data set that it comes "
            "from (--tombstones-only) and export anew"
        )
    stages = set(target.folders("commits")) - {PACK, STAGE}
    if stages:
        raise ConfigError(
            f"{target.root} is no plain export ({', '.join(sorted(stages)[:3])} made it), and its other files are "
            "aligned with its rows; write tombstones (--tombstones-only), which its exports honour, and export anew"
        )


def _settle(target: Storage) -> None:
    """Have the export's own records say what its files are now: else it would make the shards anew."""
    log = CommitLog(target)
    now = {commit.shard: commit for commit in log.fold([STAGE])}
    if not now:
        return
    changed = list(_packs(log, now))
    for commit in changed:
        target.write(commit.name, commit.to_json())
    places = [entry.place for entry in Manifest.read(target).entries]
    if places:
        Manifest.fold(log, places, changed)
    if target.exists(SIZES):
        _write_sizes(target, {f"{shard}.tar": commit.counts["kept"] for shard, commit in now.items()})


def _write_sizes(target: Storage, now: Mapping[str, int]) -> None:
    """open_clip's samples per tar. Raises ShardError for a file that is something else."""
    try:
        sizes = json.loads(target.read(SIZES))
    except (ValueError, RecursionError):
        sizes = None
    if not isinstance(sizes, dict):
        raise ShardError(
            f"{SIZES} in {target.root} is no table of tars and their sizes; mend or delete it, apply again"
        )
    sizes |= {name: count for name, count in now.items() if name in sizes}
    target.write(SIZES, json.dumps(sizes, indent=1).encode())


def _packs(log: CommitLog, now: Mapping[str, Commit]) -> Iterator[Commit]:
    """The commits of the export's shards, as they are with the tombstones' files."""
    for commit in log.fold([PACK]):
        if commit.shard in now:
            files = {record.name: record for record in now[commit.shard].files}
            counts = {**commit.counts, "kept": now[commit.shard].counts["kept"]}
            yield replace(commit, files=tuple(files.get(f.name, f) for f in commit.files), counts=counts)
