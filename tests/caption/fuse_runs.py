"""Small shards of pairs of texts, and the stage that fuses them as a test calls it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from chat_server import Asked, ChatServer

from curate.caption.fuse import Fuse, FuseSettings
from curate.errors import CurateError
from curate.fetch.chat_endpoint import ChatSettings
from curate.manifest import Attempt, write_parquet
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage

FAST = ChatSettings(concurrency=4, retries=1, backoff_s=0.01, most_backoff_s=0.1)
PROMPT_OF_TEST = "Fuse these.\nW: {web}\nS: {synthetic}"


def web_of(asked: Asked) -> str:
    found = re.search(r"^W: (.*)$", asked.prompt, re.MULTILINE)
    return found.group(1) if found else ""


def settings(server: ChatServer, **changes: Any) -> FuseSettings:
    plain = {"model": "m", "base_url": server.base_url, "prompt": PROMPT_OF_TEST, "requests": FAST}
    return FuseSettings(**plain | changes)


def shard_of(
    root: Path | Storage,
    captions: Sequence[str | None],
    synthetic: Sequence[Sequence[str | None] | None] | None = None,
    faults: Sequence[Sequence[str | None] | None] | None = None,
) -> Shard:
    """A shard with these texts; each row's synthetic one is `a thing` where none are given."""
    storage = root if isinstance(root, Storage) else Storage(str(root))
    shard = Shard(storage, "00000")
    keys = pa.array([f"{row:09d}" for row in range(len(captions))])
    written = [["a thing"]] * len(captions) if synthetic is None else synthetic
    wrong = [own and [None] * len(own) for own in written] if faults is None else faults
    lists = pa.list_(pa.string())
    made = {"synthetic_captions": pa.array(written, lists), "synthetic_faults": pa.array(wrong, lists)}
    tables = {"": {"caption": pa.array(captions, pa.string())}, "made": made}
    for family, columns in tables.items():
        out = pa.BufferOutputStream()
        write_parquet(pa.table({"key": keys} | columns), out)
        storage.write(shard.table_name(family), out.getvalue().to_pybytes())
    return shard


def run(shard: Shard, own: FuseSettings, runtime: Runtime | None = None) -> dict[str, list[Any]]:
    """The stage's columns, after a run that commits; what it counts is held against them."""
    stage = Fuse("fused", own)
    attempt = Attempt(shard.storage, stage.label, shard.id, "f" * 16)
    try:
        stage.run(shard, attempt, runtime or Runtime())
    except CurateError:
        attempt.abandon()
        raise
    found: dict[str, list[Any]] = pq.read_table(attempt.scratch / "00000.fuse_fused.parquet").to_pydict()
    counted = Counter(f"fused_{status}" for status in found["fused_status"])
    assert attempt.counts == counted | {"in": len(found["key"])}
    attempt.abandon()
    return found
