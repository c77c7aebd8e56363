"""The last step of a hand-over: the stages, and a manifest with the lineage of every shard.

    stages.toml      or stages.json
    manifest.json    a line a shard

It reads two or three small files of each shard (its description, the commits of what packed it and counted its tokens)
and, of each parent, what it tells of itself: .75 ms of one core a shard, so 40,000 shards take 30 s and 150 MB; on a
store 16 reads are under way. Digests are those of the commits; no file is hashed again (`curate export --verify` does
that). Same inputs, same bytes: no clock, no host, no path that the config does not name, no secret.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from curate.errors import ShardError
from curate.handover.compose import Composition, source_facts
from curate.handover.created_by import created_by
from curate.handover.described import CONTENTS, read_contents
from curate.handover.histograms import BINS, add_shard, totals_of
from curate.handover.lineage import Lineage, lineage_of, without_secrets
from curate.handover.lineage_columns import caption_columns, chosen_view, conversation_column, decontaminated
from curate.handover.manifest import MANIFEST, VERSION, check_record, dataset_id
from curate.handover.plan_stages import StagesFormat, check_origins, check_sources, stages_bytes
from curate.handover.policy import Policy, warnings_of
from curate.handover.stages import Stages
from curate.manifest import MANIFEST as COMMITS
from curate.manifest import Attempt, Commit, CommitLog, FileRecord, commit_name
from curate.shard import Shard
from curate.stage import Barrier, Runtime, settings_of
from curate.storage import Storage

__all__ = ["Gathered", "HandOver"]

READERS = 16
OTHERWISE_TOLD = ("path", "kind", "licence", "about")
"""Fields of a source that have entries of their own."""
DROPPED = "dropped."


@dataclass(frozen=True)
class HandOver(Barrier):
    """Writes the stages and the manifest. `config` is what the manifest tells of the config; `packed_by` are the labels
    of the steps whose files are a shard's."""

    composition: Composition
    stages: Stages
    policy: Policy
    config: Mapping[str, Any]
    stages_format: StagesFormat
    packed_by: tuple[str, ...]

    name: ClassVar[str] = "handover"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image", CONTENTS)

    def identity(self) -> Any:
        """With digests of what parents tell of themselves, which no shard's fingerprint covers."""
        told = {name: _told_digest(Storage(source.path)) for name, source in self.composition.sources.items()}
        plan = self._plan(stages_bytes(self.stages, self.stages_format))
        settings = [settings_of(self.policy), dict(self.config), plan, self._tokenizers(), told]
        return {"stage": self.label, "version": self.version, "settings": json.loads(json.dumps(settings, default=str))}

    def require(self, runtime: Runtime) -> None:
        """Raises ConfigError for stages whose sources are of other kinds, ShardError for a source that is not there."""
        check_sources(self.stages, self.composition.kinds())

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        """Raises ConfigError for stages that want captions which no text is, ShardError for shards without commits."""
        found = Gathered()
        for entry, dropped in _entries(attempt.storage, shards, self.packed_by):
            found.add(entry, dropped)
        totals = totals_of(found.by_source)
        check_origins(self.stages, {name: own.get("captions", {}) for name, own in found.by_source.items()})
        stages = stages_bytes(self.stages, self.stages_format)
        plan = self._plan(stages)
        told = {
            "manifest_version": VERSION,
            "dataset_id": dataset_id(found.contents),
            "created_by": created_by(self.config),
            "licence_policy": self.policy.licence_policy,
            "opt_out_date": self.policy.opted_out,
            **self._lineage(attempt.storage, found),
            "tokenizers": self._tokenizers(),
            "stages": plan,
            "bins": BINS,
            "totals": totals,
        }
        record: dict[str, Any] = without_secrets(told)
        wrong = check_record(json.loads(_json({**record, "shards": []})))
        if wrong:
            raise ShardError(f"{MANIFEST} would not be valid: {wrong}; change the config there")
        attempt.write_bytes(plan["file"], stages)
        attempt.write_bytes(MANIFEST, _text(record, found.lines))
        attempt.counts.update({"in": totals["samples"], "kept": totals["samples"], "shards": totals["shards"]})

    def _plan(self, data: bytes) -> dict[str, Any]:
        """The entry `stages`."""
        return {
            "file": f"stages.{self.stages_format}",
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "names": [stage.name for stage in self.stages.stages],
        }

    def _tokenizers(self) -> dict[str, dict[str, str]]:
        every = self.composition.tokenizers.items()
        return {n: {"kind": own.kind or "files", "path": own.path, "digest": own.digest()} for n, own in every}

    def _lineage(self, target: Storage, found: Gathered) -> dict[str, Any]:
        """What is told of sources, columns, views and policies."""
        lineages = {name: lineage_of(Storage(source.path)) for name, source in self.composition.sources.items()}
        sources = self._sources(target, found, lineages)
        columns: list[dict[str, Any]] = []
        views = []
        cleaned = [{"source": None, "sets": sets, "method": "named"} for sets in self.policy.decontamination]
        for name, lineage in lineages.items():
            settings = sources[name]["settings"]
            view, talk = settings.get("captions", ""), settings.get("conversations", "")
            origins = found.by_source.get(name, {}).get("captions", {})
            columns += caption_columns(name, lineage, view, origins, name in self.policy.human_captions)
            columns += [conversation_column(name, lineage, talk)] if talk else []
            views += [own for own in [chosen_view(name, lineage, view)] if own and view]
            cleaned += [own for own in [decontaminated(name, lineage)] if own]
        shards = {name: own["shards"] for name, own in found.by_source.items() if own["samples"]}
        warnings = list(warnings_of(sources, lineages, shards, self.policy, bool(cleaned)))
        told = {"sources": sources, "columns": columns, "views": views, "decontamination": cleaned}
        return {**told, "warnings": warnings}

    def _sources(self, target: Storage, found: Gathered, lineages: Mapping[str, Lineage]) -> dict[str, dict[str, Any]]:
        facts, entries = source_facts(target), {}
        for name, source in self.composition.sources.items():
            own: Any = source
            settings = {f.name: getattr(own, f.name) for f in fields(own) if f.name not in OTHERWISE_TOLD}
            entries[name] = {
                "kind": source.example_kind(),
                "path": source.path,
                "licence": source.licence,
                "about": source.about,
                "settings": settings,
                "cut": {fact: value for fact, value in facts.get(name, {}).items() if fact != "kind"},
                "left_out": dict(sorted(found.left_out.get(name, Counter()).items())),
                "lineage": lineages[name].record,
            }
        return entries


@dataclass
class Gathered:
    """What is kept of the shards: a line of JSON each, the digests of their files, and sums by source."""

    lines: list[bytes] = field(default_factory=list)
    contents: list[tuple[str, str, tuple[FileRecord, ...]]] = field(default_factory=list)
    by_source: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, entry: Mapping[str, Any], dropped: Mapping[str, int]) -> None:
        """Raises ShardError for an entry that is not valid."""
        wrong = check_record(entry, "shard")
        if wrong:
            raise ShardError(f"shard {entry['id']}: {wrong}; compose it anew")
        self.lines.append(_json(entry))
        files = tuple(FileRecord(own["name"], own["bytes"], own["sha256"]) for own in entry["files"])
        self.contents.append((entry["source"], entry["kind"], files))
        self.left_out.setdefault(entry["source"], Counter()).update(dropped)
        add_shard(self.by_source, entry)


def _entries(
    storage: Storage, shards: Sequence[Shard], labels: Sequence[str]
) -> Iterator[tuple[dict[str, Any], Mapping[str, int]]]:
    """Each shard as the manifest lists it, and what was left out of it by reason, in order."""
    log = CommitLog(storage)
    marks = {label: log.names(label) for label in labels}
    waiting: deque[Future[tuple[dict[str, Any], Mapping[str, int]]]] = deque()
    with ThreadPoolExecutor(READERS) as pool:
        for shard in shards:
            names = [
                commit_name(label, shard.id, m) for label in labels for m in sorted(marks[label].get(shard.id, ()))
            ]
            waiting.append(pool.submit(_entry, log, shard, names))
            if len(waiting) >= 2 * READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _entry(log: CommitLog, shard: Shard, names: Sequence[str]) -> tuple[dict[str, Any], Mapping[str, int]]:
    try:
        commits = [log.read(name) for name in names]
        contents = dict(read_contents(log.storage, shard.id))
    except FileNotFoundError as error:
        raise ShardError(f"shard {shard.id} in {log.storage.root} lacks {error.filename}; run again") from None
    files = _files(shard, commits)
    tar = files.get(shard.tar)
    if tar is None:
        raise ShardError(f"no commit in {log.storage.root} has {shard.tar}; compose that shard anew")
    dropped = {n.removeprefix(DROPPED): k for c in commits for n, k in c.counts.items() if n.startswith(DROPPED)}
    head = {"id": shard.id, "tar": shard.tar, "sha256": tar.sha256, "bytes": tar.bytes}
    listed = [{"name": own.name, "sha256": own.sha256, "bytes": own.bytes} for own in files.values()]
    return {**head, **contents, "files": listed}, dropped


def _files(shard: Shard, commits: Sequence[Commit]) -> dict[str, FileRecord]:
    """The files of a shard by name; what lies in folders of its own, such as lists of what was left out, is none."""
    every = (file for commit in commits for file in commit.files)
    return {f.name: f for f in sorted(every, key=lambda f: (f.name != shard.tar, f.name)) if "/" not in f.name}


def _told_digest(storage: Storage) -> str:
    """A digest of the manifest of a parent; "" where it has none."""
    try:
        return hashlib.sha256(storage.read(COMMITS)).hexdigest()[:16] if storage.exists(COMMITS) else ""
    except FileNotFoundError:
        return ""


def _text(record: Mapping[str, Any], shards: Sequence[bytes]) -> bytes:
    """The file: a line for each entry of its lists and tables, so that people and `diff` can read it."""
    parts = [b"%s: %s" % (_json(name), _lines(value)) for name, value in record.items()]
    parts.append(b'"shards": [\n  %s\n ]' % b",\n  ".join(shards))
    return b"{\n %s\n}\n" % b",\n ".join(parts)


def _lines(value: Any) -> bytes:
    if isinstance(value, Mapping) and value:
        return b"{\n  %s\n }" % b",\n  ".join(b"%s: %s" % (_json(n), _json(own)) for n, own in value.items())
    if isinstance(value, list) and value:
        return b"[\n  %s\n ]" % b",\n  ".join(map(_json, value))
    return _json(value)


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
    return text.encode("utf-8", "replace")
