"""Small shards of captions, a model that answers as it is asked, and the stage as a test calls it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from chat_server import Asked, ChatServer, completion

from curate.errors import CurateError
from curate.fetch.chat_endpoint import ChatSettings
from curate.instruct.notes import TextColumn
from curate.instruct.stage import Instruct, InstructSettings
from curate.manifest import Attempt, write_parquet
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage

FAST = ChatSettings(concurrency=4, retries=0, backoff_s=0.01, most_backoff_s=0.1)
MARK = "Answer with a JSON array"


def notes_in(asked: Asked) -> str:
    """The notes that a question ends with."""
    return asked.prompt.rpartition("Notes:\n")[2].removesuffix("\n\nAnswer:")


def kind_of(asked: Asked) -> str:
    if MARK not in asked.prompt:
        return "detail"
    return "reasoning" if "There are two of them" in asked.prompt else "conversation"


def talk(asked: Asked) -> str:
    """A sound answer about the first line of the notes."""
    about = notes_in(asked).partition("\n")[0]
    if kind_of(asked) == "detail":
        return f"This shows {about}. Nothing else is there."
    turns = [f"What about {about}?", f"It is {about}."]
    turns += [] if kind_of(asked) == "reasoning" else ["And what else?", "Nothing else is there."]
    return json.dumps([{"role": ("user", "assistant")[n % 2], "text": text} for n, text in enumerate(turns)])


def talking() -> ChatServer:
    return ChatServer(otherwise=lambda _, asked: completion(talk(asked)))


def settings(server: ChatServer, **changes: Any) -> InstructSettings:
    plain = {"model": "m", "base_url": server.base_url, "requests": FAST}
    plain |= {} if "probabilities" in changes else {"kind": "conversation"}
    return InstructSettings(**plain | changes)


def shard_of(root: Path, columns: Mapping[str, Any], name: str = "00000") -> Shard:
    """A shard with these columns; `caption`, `url`, `sha256` and `keep` are made where none are given."""
    shard = Shard(Storage(str(root)), name)
    rows = len(next(iter(columns.values())))
    plain = {
        "key": pa.array([f"{name}{row:04d}" for row in range(rows)]),
        "url": pa.array([f"http://a.test/{row}" for row in range(rows)]),
        "sha256": pa.array([f"{row:064x}" for row in range(rows)]),
        "caption": pa.array([f"thing {row}" for row in range(rows)]),
        "keep": pa.array([True] * rows),
    }
    table = pa.table(plain | dict(columns))
    out = pa.BufferOutputStream()
    write_parquet(table, out)
    shard.storage.write(shard.table_name(), out.getvalue().to_pybytes())
    return Shard(shard.storage, name)


def run(shard: Shard, own: InstructSettings, texts: tuple[TextColumn, ...] = (TextColumn("caption"),)) -> Any:
    """The stage's columns without their NAME, after an attempt that is given up; and its counts."""
    stage = Instruct("llava", own, texts)
    attempt = Attempt(shard.storage, stage.label, shard.id, "f" * 16)
    try:
        stage.run(shard, attempt, Runtime())
        table = pq.read_table(attempt.scratch / f"{shard.id}.instructions_llava.parquet")
    except CurateError:
        attempt.abandon()
        raise
    attempt.abandon()
    found = {name.removeprefix("llava_"): values for name, values in table.to_pydict().items()}
    assert [fault is None for fault in found["fault"]] == [turns is not None for turns in found["conversation"]]
    return found | {"counts": attempt.counts}
