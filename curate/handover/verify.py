"""Is a hand-over what its manifest says? Every byte is read and hashed again; the manifest is held against itself.

Files are read 8 MiB at a time by several threads (a disk or a store waits, and SHA-256 lets go of the interpreter), so
memory is 8 MiB a thread at any size; a gigabyte takes .7 s of one core. What is wrong is listed, file by file: a copy
that stopped half-way is told in full, not by its first file.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import ConfigError, ShardError, StorageError
from curate.handover.card import CARD, CROISSANT
from curate.handover.histograms import add_shard, totals_of
from curate.handover.manifest import (
    MANIFEST,
    Manifest,
    as_manifest,
    dataset_id,
    read_record,
    require_valid,
)
from curate.handover.plan_stages import check_origins, check_sources, parse_stages
from curate.handover.tokenizers import tokens_column
from curate.manifest import MANIFEST as COMMITS
from curate.manifest import FileRecord
from curate.run_record import RUN_RECORD
from curate.storage import Storage, plain_errors

__all__ = ["Problem", "Verified", "verify"]

PIECE_BYTES = 8 << 20
PAGE_BYTES = 64 << 20
"""Of a croissant.json that is looked at; one of 1,000 shards has 2 MB."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `problem` is "missing", "unreadable", "changed", "extra" or "at odds"."""

    file: str
    problem: str
    detail: str


@dataclass
class Verified:
    """What was read, and what is wrong with it: nothing where `problems` is empty."""

    dataset_id: str = ""
    files: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)


def verify(storage: Storage, threads: int = 8, watch: Callable[[int], None] = lambda size: None) -> Verified:
    """Hash every file that the manifest names and hold the manifest against itself; `watch` is told the bytes of each
    file as it is done. Raises ShardError where there is no manifest that can be read."""
    record = read_record(storage)
    require_valid(record, f"{MANIFEST} in {storage.root}")
    manifest = as_manifest(record)
    found = Verified(manifest.dataset_id)
    wrong = [*_at_odds(manifest), *_wrong_totals(record)]
    found.problems += [Problem(MANIFEST, "at odds", words) for words in wrong]
    wanted = _files(manifest)
    found.problems += _extra(storage, wanted)
    with ThreadPoolExecutor(threads) as pool:
        for file, problem in _hashed(pool, storage, list(wanted.values()), 4 * threads):
            found.files, found.bytes = found.files + 1, found.bytes + file.bytes
            found.problems += [problem] if problem else []
            watch(file.bytes)
    spoilt = {problem.file for problem in found.problems}
    found.problems += [*_counts(storage, manifest, spoilt), *_stages(storage, manifest, spoilt), *_page(storage)]
    found.problems.sort(key=lambda problem: (problem.file, problem.problem))
    return found


def _files(manifest: Manifest) -> dict[str, FileRecord]:
    """All files that the manifest names, by name."""
    found = {file.name: file for shard in manifest.shards for file in shard.files}
    plan = manifest.stages
    return found | ({plan.file: FileRecord(plan.file, plan.bytes, plan.sha256)} if plan else {})


def _extra(storage: Storage, wanted: Mapping[str, FileRecord]) -> list[Problem]:
    """What lies beside the shards and is not in the manifest: a reader that lists the folder would take it for data."""
    there = set(storage.files()) - wanted.keys() - {MANIFEST, COMMITS, CARD, CROISSANT, RUN_RECORD}
    return [Problem(name, "extra", "the manifest does not name it; move it elsewhere") for name in there]


def _hashed(
    pool: ThreadPoolExecutor, storage: Storage, files: list[FileRecord], ahead: int
) -> Iterator[tuple[FileRecord, Problem | None]]:
    """Each file with what is wrong with it, in order, `ahead` of them at most under way."""
    waiting: deque[tuple[FileRecord, Future[Problem | None]]] = deque()
    for file in files:
        waiting.append((file, pool.submit(_compared, storage, file)))
        if len(waiting) >= ahead:
            first, work = waiting.popleft()
            yield first, work.result()
    for file, work in waiting:
        yield file, work.result()


def _compared(storage: Storage, file: FileRecord) -> Problem | None:
    digest, size = hashlib.sha256(), 0
    try:
        with plain_errors(f"read {storage.path(file.name)}"), storage.open(file.name) as source:
            while size <= file.bytes and (piece := source.read(PIECE_BYTES)):
                digest.update(piece)
                size += len(piece)
    except FileNotFoundError:
        return Problem(file.name, "missing", "copy it again, or run the hand-over again")
    except StorageError as error:
        return Problem(file.name, "unreadable", str(error))
    if size != file.bytes:
        more = "or more " if size > file.bytes else ""
        return Problem(file.name, "changed", f"{size:,} {more}bytes, and the manifest says {file.bytes:,}")
    if digest.hexdigest() != file.sha256:
        return Problem(file.name, "changed", f"SHA-256 {digest.hexdigest()[:16]} ..., not {file.sha256[:16]} ...")
    return None


def _at_odds(manifest: Manifest) -> Iterator[str]:
    """Where the manifest contradicts itself."""
    names = [file.name for shard in manifest.shards for file in shard.files]
    yield from (f"{name} is named {n} times" for name, n in Counter(names).items() if n > 1)
    for shard in manifest.shards:
        source = manifest.sources.get(shard.source)
        if source is None or source.kind != shard.kind:
            has = "is not there" if source is None else f"has {source.kind}"
            yield f"shard {shard.id} has {shard.kind} of source {shard.source!r}, which {has}"
        own = {file.name: (file.sha256, file.bytes) for file in shard.files}
        if own.get(shard.tar) != (shard.sha256, shard.bytes):
            yield f"shard {shard.id}: its tar {shard.tar} is not among its files, or another there"
        for tokenizer in shard.text_tokens.keys() ^ manifest.tokenizers.keys():
            yield f"shard {shard.id} and tokenizers differ by {tokenizer!r}"
    contents = ((shard.source, shard.kind, shard.files) for shard in manifest.shards)
    if manifest.stages and dataset_id(contents) != manifest.dataset_id:
        yield "dataset_id is not that of these files"


def _wrong_totals(record: Mapping[str, Any]) -> Iterator[str]:
    told = record.get("totals")
    if not told:
        return
    by_source: dict[str, dict[str, Any]] = {}
    try:
        for shard in record["shards"]:
            add_shard(by_source, shard)
    except ShardError as error:
        yield str(error)
        return
    for name, value in totals_of(by_source).items():
        if told.get(name) != value:
            yield f"totals.{name} is not what the shards come to"


def _counts(storage: Storage, manifest: Manifest, spoilt: set[str]) -> Iterator[Problem]:
    """Tables whose rows, pictures, characters or tokens are not what the manifest says."""
    for shard in manifest.shards:
        told = {"images": shard.images, **({"chars": shard.chars} if shard.chars else {})}
        tables = {
            f"{shard.id}.parquet": told,
            f"{shard.id}.tokens.parquet": {tokens_column(name): n for name, n in shard.text_tokens.items()},
        }
        known = {file.name for file in shard.files} - spoilt
        for name, sums in tables.items():
            if name in known and sums:
                yield from (Problem(name, "at odds", words) for words in _summed(storage, name, shard.samples, sums))


def _summed(storage: Storage, name: str, samples: int, sums: Mapping[str, int]) -> Iterator[str]:
    """What a table holds and the manifest tells otherwise. Columns are read 64Ki rows at a time."""
    found = dict.fromkeys(sums, 0)
    try:
        with plain_errors(f"read {storage.path(name)}"), storage.open(name) as source:
            file = pq.ParquetFile(source)
            rows = file.metadata.num_rows
            for batch in file.iter_batches(columns=list(sums)) if rows == samples else ():
                for column in sums:
                    found[column] += pc.sum(batch[column]).as_py() or 0
    except (FileNotFoundError, StorageError, pa.ArrowException) as error:
        yield f"cannot be read: {error}"
        return
    if rows != samples:
        yield f"{rows} rows, and the manifest says {samples} samples"
        return
    for column, told in sums.items():
        if found[column] != told:
            yield f"{column} comes to {found[column]:,}, and the manifest says {told:,}"


def _page(storage: Storage) -> Iterator[Problem]:
    """A page of another manifest, such as that before a licence was mended: `croissant.json` has the digest of its."""
    there = storage.files().get(CROISSANT, 0)
    if not 0 < there <= PAGE_BYTES:
        return
    told, digest = storage.read(CROISSANT), hashlib.sha256(storage.read(MANIFEST)).hexdigest()
    if MANIFEST.encode() in told and digest.encode() not in told:
        yield Problem(CROISSANT, "at odds", "it tells of another manifest.json; run `curate export --to card` again")


def _stages(storage: Storage, manifest: Manifest, spoilt: set[str]) -> Iterator[Problem]:
    """What the stages draw from that is not there."""
    if manifest.stages is None or manifest.stages.file in spoilt:
        return
    origins: dict[str, set[str]] = {}
    for shard in manifest.shards:
        origins.setdefault(shard.source, set()).update(shard.captions)
    try:
        stages = parse_stages(storage.read(manifest.stages.file), manifest.stages.file)
        check_sources(stages, {name: source.kind for name, source in manifest.sources.items()})
        check_origins(stages, origins)
        if tuple(stage.name for stage in stages.stages) != manifest.stages.names:
            raise ConfigError("its stages are not those that the manifest names")
    except (ConfigError, FileNotFoundError) as error:
        yield Problem(manifest.stages.file, "at odds", str(error))
