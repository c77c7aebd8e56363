"""A sample out of a tar and into a batch: our loader and webdataset's, on the same tars, in turn.

    python -m bench.loader             8 shards of 1,000 pairs at 256 px; best of 3
    python -m bench.loader --small     2 shards of 250

Pictures are those of `bench.pictures`, stored as `curate run` stores them: 256 x 256 px, quality 95, with the `.json`
that a crawl writes and a `.txt`. Both programs shuffle (webdataset by shards and over a buffer of 1,000 samples, as
open_clip does; ours over all of its window of shards) and run in one process of one core; the files are in the
system's memory. What is counted is CPU time of the process, threads too. Ours gives batches of 32 with the parsed
`.json` in every row; webdataset gives tuples of picture and caption, unbatched, which is less.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.pictures import SETS, picture_folder
from curate.fetch.image import ImageSettings, process
from curate.fetch.members import IndexedTar, strict_json
from curate.handover.resolution import Resolution
from curate.handover.stages import Mixture, MixtureSource, TrainingStage
from curate.tar import TarWriter
from curate.train.data import Loader, Plan, PlanOptions, open_handover

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
BATCH = 32
BUFFER = 1_000


def main() -> None:
    """Make the tars, time everything in turn, print the table."""
    parser = argparse.ArgumentParser(description="our loader and webdataset's")
    parser.add_argument("--small", action="store_true", help="2 shards of 250 pairs")
    parser.add_argument("--data", type=Path, default=ROOT / "bench" / "data" / "loader")
    options = parser.parse_args()
    shards, per_shard = (2, 250) if options.small else (8, 1_000)
    folder = options.data / f"{shards}x{per_shard}"
    if not (folder / "manifest.json").exists():
        write_handover(folder, shards, per_shard)
    samples = shards * per_shard
    cases = contenders(folder)
    best = {name: float("inf") for name in cases}
    for _ in range(ROUNDS):
        for name, run in cases.items():
            started = time.process_time()
            taken = run()
            best[name] = min(best[name], time.process_time() - started)
            if taken != samples:
                raise SystemExit(f"{name} gave {taken} samples of {samples}")
    report({name: 1_000 * seconds / samples for name, seconds in best.items()})


def contenders(folder: Path) -> dict[str, Callable[[], int]]:
    """Each runs once over all samples and answers how many there were."""
    return {
        "webdataset rgb8, decoded": lambda: count(webdataset(folder).decode("rgb8").to_tuple("jpg", "txt")),
        "webdataset pilrgb, decoded": lambda: count(webdataset(folder).decode("pilrgb").to_tuple("jpg", "txt")),
        "curate, decoded": lambda: ours(folder, decode=True, threads=0),
        "curate, decoded, 1 thread ahead": lambda: ours(folder, decode=True, threads=1),
        "webdataset, bytes": lambda: count(webdataset(folder).to_tuple("jpg", "txt")),
        "curate, bytes": lambda: ours(folder, decode=False, threads=0),
        "curate, bytes, 1 thread ahead": lambda: ours(folder, decode=False, threads=1),
        "curate, the plan alone": lambda: planned(folder),
    }


def webdataset(folder: Path) -> Any:
    """The pipeline of a webdataset user, before decoding."""
    import webdataset as wds

    tars = sorted(str(path) for path in folder.glob("*.tar"))
    return wds.WebDataset(tars, shardshuffle=100, seed=0).shuffle(BUFFER)


def count(samples: Iterator[Any]) -> int:
    """Take them all."""
    return sum(1 for _, text in samples if text)


def stage() -> TrainingStage:
    """One pass over the pairs."""
    mixture = Mixture((MixtureSource("pairs", "pairs"),))
    return TrainingStage("one", {"contrastive": 1.0}, mixture, Resolution(size=256, patch=16), epochs=1.0)


def ours(folder: Path, decode: bool, threads: int) -> int:
    """One epoch of our loader, opening included."""
    loader = Loader(open_handover(str(folder)), stage(), seed=0, batch=BATCH, decode=decode, threads=threads)
    return sum(1 for batch in loader for drawn in batch.examples if drawn.caption)


def planned(folder: Path) -> int:
    """One epoch of numbers: what every rank and worker pays for all examples."""
    plan = Plan(open_handover(str(folder)), stage(), 0, PlanOptions(BATCH))
    return sum(len(batch.rows) for batch in plan.batches())


def report(rows: dict[str, float]) -> None:
    """CPU seconds per 1,000 samples, samples a second a core, and how many times those of webdataset's best."""
    print("| program | CPU s per 1,000 | samples/s/core | against webdataset |\n|---|---|---|---|")
    best = {
        kind: min(seconds for name, seconds in rows.items() if name.startswith("webdataset") and kind in name)
        for kind in ("decoded", "bytes")
    }
    for name, seconds in rows.items():
        kind = next((kind for kind in best if kind in name), None)
        ratio = f"{best[kind] / seconds:.2f}x" if kind else ""
        print(f"| {name} | {seconds:.4f} | {1_000 / seconds:,.0f} | {ratio} |")


def write_handover(folder: Path, shards: int, per_shard: int) -> None:
    """Shards, tables and the manifest of one source of pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = replace(SETS["photos_0.6mp"], name="photos_loader", count=300)
    settings = ImageSettings(resize_mode="center_crop", exif=False)
    stored = [process(path.read_bytes(), settings) for path in sorted(picture_folder(chosen).glob("*.jpg"))]
    entries = []
    for number in range(shards):
        rows = [
            (f"{number:05d}{row:04d}", stored[(number * per_shard + row) % len(stored)]) for row in range(per_shard)
        ]
        entries.append(write_shard(folder, f"{number:05d}", rows))
    manifest = {
        "manifest_version": 1,
        "dataset_id": "bench",
        "created_by": {},
        "sources": {"pairs": {"kind": "pairs", "path": "bench", "licence": ""}},
        "tokenizers": {"words": {}},
        "shards": entries,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def write_shard(folder: Path, shard: str, rows: list[tuple[str, Any]]) -> dict[str, Any]:
    """One tar, its tables, and its line of the manifest."""
    with open(folder / f"{shard}.tar", "wb") as target:
        writer = TarWriter(target)
        tar = IndexedTar(writer)
        for key, picture in rows:
            caption = f"a picture of many things over one another, number {key} of its kind"
            record = {"url": f"http://photos.example/{key}.jpg", "caption": caption, "key": key, "status": "success"}
            sizes = {"width": picture.width, "height": picture.height, "original_width": picture.original_width}
            rest = {"original_height": picture.original_height, "sha256": picture.sha256, "exif": "{}"}
            tar.add(key, "jpg", picture.data)
            tar.add(key, "json", strict_json({**record, **sizes, **rest, "error_message": None}))
            tar.add(key, "txt", caption.encode())
        writer.finish()
    keys = [key for key, _ in rows]
    sizes = {f"{side}s": [[getattr(picture, side)] for _, picture in rows] for side in ("width", "height")}
    table = {"key": keys, "source_key": keys, "images": np.ones(len(keys), np.int32), **sizes}
    pq.write_table(pa.table(table), folder / f"{shard}.parquet")
    pq.write_table(tar.index(), folder / f"{shard}.index.parquet")
    tokens = pa.table({"key": keys, "tokens_words": np.full(len(keys), 13, np.int32)})
    pq.write_table(tokens, folder / f"{shard}.tokens.parquet")
    data = (folder / f"{shard}.tar").read_bytes()
    own = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    counts = {"samples": len(keys), "images": len(keys), "text_tokens": {"words": 13 * len(keys)}}
    return {
        **{"id": shard, "tar": f"{shard}.tar", "source": "pairs", "kind": "pairs"},
        **own,
        **counts,
        "files": [{"name": f"{shard}.tar", **own}],
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
