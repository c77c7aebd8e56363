"""Small data sets of pairs with real pictures, sets of others, and what a composition made of them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from document_sets import jpeg

from curate.handover.compose import build_composition
from curate.handover.compose_source import ShardSettings
from curate.handover.layout import Example, example_of
from curate.instruct.stage import TURNS
from curate.manifest import CommitLog, write_parquet
from curate.plan import Job
from curate.run.inline import InlineEngine
from curate.run.scheduler import Outcome, run_job
from curate.shard import Shard
from curate.storage import Storage
from curate.tar import TarWriter

LISTS = {
    "texts": pa.list_(pa.string()),
    "origins": pa.list_(pa.string()),
    "scores": pa.list_(pa.float32()),
    "weights": pa.list_(pa.float32()),
}


def put_pairs(storage: Storage, shard: str, rows: int, **columns: Sequence[Any]) -> list[str]:
    """One shard of pairs; `columns` such as keep and multiplicity go into a column file. Answers the keys."""
    target = io.BytesIO()
    tar = TarWriter(target)
    keys = [f"{shard}{row:04d}" for row in range(rows)]
    index: list[tuple[str, str]] = []
    table = []
    for row, key in enumerate(keys):
        record = {
            "key": key,
            "url": f"http://h/{key}",
            "caption": f"words of {key}",
            "width": 24 + row,
            "source": "own",
            "kind": row,
        }
        members = (("jpg", picture(row)), ("json", json.dumps(record).encode()), ("txt", f"words of {key}".encode()))
        for extension, data in members:
            tar.add(f"{key}.{extension}", data)
            index.append((key, extension))
        table.append({**record, "status": "success"})
    tar.finish()
    storage.write(f"{shard}.tar", target.getvalue())
    names, extensions = zip(*index, strict=True)
    places = {"offset": [m.offset for m in tar.members], "size": [m.size for m in tar.members]}
    put_table(storage, f"{shard}.index.parquet", pa.table({"key": names, "extension": extensions, **places}))
    put_table(storage, f"{shard}.parquet", pa.Table.from_pylist(table))
    if columns:
        put_table(storage, f"{shard}.select.parquet", pa.table({"key": keys, **columns}))
    return keys


def put_view(storage: Storage, shard: str, texts: Sequence[Sequence[str]]) -> None:
    """A view `mix` of these texts for each row: all synthetic, of equal weight."""
    columns: dict[str, Any] = {"key": [f"{shard}{row:04d}" for row in range(len(texts))]}
    values = {"texts": texts, "origins": [["synthetic"] * len(own) for own in texts]}
    values |= {name: [[0.5] * len(own) for own in texts] for name in ("scores", "weights")}  # type: ignore[misc]
    columns |= {f"mix_{name}": pa.array(own, LISTS[name]) for name, own in values.items()}
    put_table(storage, f"{shard}.view_mix.parquet", pa.table(columns))


def put_conversations(storage: Storage, shard: str, rows: Sequence[int | None]) -> None:
    """A conversation about its number for each row that has one, as `curate.instruct` writes the column `made`."""
    said = [[{"role": "user", "text": f"Which {n}?"}, {"role": "assistant", "text": f"{n}."}] for n in rows]
    columns = {
        "key": pa.array([f"{shard}{row:04d}" for row in range(len(rows))]),
        "made_conversation": pa.array([None if n is None else own for n, own in zip(rows, said, strict=True)], TURNS),
        "made_kind": pa.array(["detail"] * len(rows)),
        "made_model": pa.array(["m"] * len(rows)),
    }
    put_table(storage, f"{shard}.instructions_made.parquet", pa.table(columns))


def put_table(storage: Storage, name: str, table: pa.Table) -> None:
    target = io.BytesIO()
    write_parquet(table, target)
    storage.write(name, target.getvalue())


def picture(row: int) -> bytes:
    return jpeg(row, side=24 + row % 8)


def talk(number: int, **more: Any) -> dict[str, Any]:
    """A row as LLaVA writes it, about the picture NUMBER.jpg."""
    said = [{"from": "human", "value": f"<image>\nWhat is {number}?"}, {"from": "gpt", "value": f"It is {number}."}]
    return {"id": f"row{number}", "image": f"{number}.jpg", "conversations": said, **more}


def put_images(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    return folder


def put_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def composed(
    target: Storage, sources: Mapping[str, Any], tokenizers: Mapping[str, Any] | None = None, **shards: Any
) -> Outcome:
    """Run a composition inline; no shard may fail."""
    composition = build_composition(sources, tokenizers or {}, ShardSettings(**shards))
    job = Job(composition.steps(), composition.slices, composition.known_slices, source_columns=None)
    outcome = run_job(job, target, InlineEngine())
    assert not outcome.failed, outcome.failed
    return outcome


def rows_of(target: Storage, shard: str) -> list[dict[str, Any]]:
    return list(Shard(target, shard).table().to_pylist())


def members_of_shard(target: Storage, shard: str) -> dict[str, dict[str, bytes]]:
    """Key to extension to bytes, by the index."""
    found: dict[str, dict[str, bytes]] = {}
    for row in Shard(target, shard).table("index").to_pylist():
        data = target.read_range(f"{shard}.tar", row["offset"], row["size"])
        found.setdefault(row["key"], {})[row["extension"]] = data
    return found


def examples_of(target: Storage, shard: str) -> list[Example]:
    """The examples of a shard, as its reader makes them."""
    rows, members = rows_of(target, shard), members_of_shard(target, shard)
    assert list(members) == [row["key"] for row in rows]
    return [example_of(row["kind"], row["key"], members[row["key"]]) for row in rows]


def left_out(target: Storage, shard: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in target.read(f"left_out/{shard}.jsonl").splitlines()]


def counts(target: Storage, stage: str = "compose") -> dict[str, dict[str, int]]:
    return {commit.shard: dict(commit.counts) for commit in CommitLog(target).fold([stage])}


def digests(folder: Path) -> dict[str, str]:
    """Every file of the data set that holds no clock."""
    files = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {name: digest for name, digest in found.items() if not name.startswith(("commits/", "_attempts"))}
