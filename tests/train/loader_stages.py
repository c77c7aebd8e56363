"""Stages and plans for the loader's tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.handover.resolution import Resolution
from curate.handover.shards import Handover, open_handover
from curate.handover.stages import Mixture, MixtureSource, TrainingStage
from curate.manifest import write_parquet
from curate.train.data import Plan, PlanOptions

TOKENS = 4
"""Of each picture, at 28 px in patches of 14."""


def stage(*sources: MixtureSource, unit: Any = "sample", **settings: Any) -> TrainingStage:
    """A stage over these sources."""
    own = {"name": "one", "objectives": {"lm": 1.0}, "resolution": Resolution(size=28), **settings}
    return TrainingStage(mixture=Mixture(sources, unit), **own)


def plan(handover: Handover, chosen: TrainingStage, seed: int = 0, **options: Any) -> Plan:
    return Plan(handover, chosen, seed, PlanOptions(**{"batch": 8, **options}))


def keys_of(row: Any) -> list[str]:
    """The keys of a planned row."""
    return [item.window.places[item.window.shard[item.row]].keys[item.window.row[item.row]].as_py() for item in row]


def planned(handover: Handover, chosen: TrainingStage, seed: int = 0, most: int = 10_000, **options: Any) -> list[Any]:
    """The keys of each row of each batch of a plan, `most` batches of it."""
    found = []
    for batch in plan(handover, chosen, seed, **options).batches():
        found.append([keys_of(row) for row in batch.rows])
        if len(found) == most:
            break
    return found


def flat(batches: Sequence[Any]) -> list[str]:
    return [key for batch in batches for row in batch for key in row]


def numbers_only(
    folder: Path, sources: dict[str, tuple[str, list[int]]], shard_samples: int, copies: int = 1
) -> Handover:
    """A hand-over that has tables and no tar: by source its kind, and the tokens of each of its examples. With
    `copies`, so many neighbours are copies of one row."""
    folder.mkdir(parents=True)
    shards: list[dict[str, Any]] = []
    for name, (kind, tokens) in sources.items():
        for start in range(0, len(tokens), shard_samples):
            own = tokens[start : start + shard_samples]
            shard, n = f"{len(shards):05d}", len(own)
            keys = [f"{name}{start + row}" for row in range(n)]
            origin = [f"{name}{(start + row) // copies}" for row in range(n)]
            images = int(kind == "pairs")
            sizes = {side: pa.array([[28] * images] * n, pa.list_(pa.int32())) for side in ("widths", "heights")}
            table = {
                "key": keys,
                "source_key": origin,
                "images": pa.array([images] * n, pa.int32()),
                **sizes,
            }
            write_parquet(pa.table(table), folder / f"{shard}.parquet")
            index = {"extension": ["json"] * n, "offset": [512] * n, "size": [2] * n}
            write_parquet(pa.table({"key": keys, **index}), folder / f"{shard}.index.parquet")
            counts = pa.table({"key": keys, "tokens_words": pa.array(own, pa.int32())})
            write_parquet(counts, folder / f"{shard}.tokens.parquet")
            files = [{"name": f"{shard}.tar", "sha256": "0" * 64, "bytes": 1}]
            told = {"id": shard, "tar": f"{shard}.tar", "sha256": "0" * 64, "bytes": 1, "source": name, "kind": kind}
            shards.append({**told, "samples": n, "images": n * images, "text_tokens": {}, "files": files})
    said = {name: {"kind": kind, "path": "none", "licence": ""} for name, (kind, _) in sources.items()}
    head = {"manifest_version": 1, "dataset_id": "numbers", "created_by": {}, "tokenizers": {"words": {}}}
    (folder / "manifest.json").write_text(json.dumps({**head, "sources": said, "shards": shards}))
    return open_handover(str(folder))
