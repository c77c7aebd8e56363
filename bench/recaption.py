"""CapFilt from tar to columns, as a worker runs it: caption, judge both texts, find faults, choose.

    python -m bench.recaption --small       BLIP-base at 384 px on the CPU, 24 photos: some two CPU minutes
    python -m bench.recaption               the same, 48 photos
    python -m bench.recaption --cuda        BLIP-large at 384 px on a GPU, 4,096 photos in shards of 1,024

Weights are random, of the real architectures, those of `bench.captioner`: texts have their full length of 20 tokens,
where trained ones end earlier. The photos are those of `../shared/data/pairs`, else the toy web's. The first shard
warms up (loading, batch search, graph capture) and is not counted. CPU time is that of all threads; on a GPU the wall
time counts. One core decodes some 100 to 200 photos a second, so beside a GPU all cores do. The arithmetic limit of
one H200 is 953 pictures a second for BLIP-large (829 GFLOP each at 790 TFLOP/s).

Needs pyarrow, fsspec, cv2 and simplejpeg beside torch and transformers; not ray, open_clip, pycurl or numba. The folder
`bench/data/captioner/photos_1024`, made elsewhere, is taken as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import curate.models  # noqa: F401  (lets torchvision be imported)
from bench.captioner import PROMPT, written
from bench.clip import write_shards
from curate.caption.choose import Choose
from curate.caption.faults import FindFaults
from curate.caption.rules.itm_threshold import ItmThreshold
from curate.manifest import Attempt
from curate.models.caption_scores import WriteCaptions
from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.models.match_scores import ScoreMatches
from curate.score import Score
from curate.shard import Shard
from curate.stage import Runtime, Stage
from curate.storage import Storage

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 953


def main() -> None:
    """Make shards and weights, run the stages shard by shard, print the table, keep the numbers."""
    parser = argparse.ArgumentParser(description="CapFilt from tar to columns")
    parser.add_argument("--small", action="store_true", help="24 photos")
    parser.add_argument("--cuda", action="store_true", help="BLIP-large on a GPU")
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16"))
    parser.add_argument("--threads", type=int, default=0, help="that decode (default: all cores with --cuda, else 1)")
    parser.add_argument("--data", type=Path, default=ROOT / "bench" / "data" / "captioner")
    options = parser.parse_args()
    options.threads = options.threads or (len(os.sched_getaffinity(0)) if options.cuda else 1)
    size, per_shard = ("large", 1024) if options.cuda else ("base", 8 if options.small else 16)
    folder = options.data / f"photos_{per_shard}"
    if not (folder / "done").exists():
        write_shards(folder, (5 if options.cuda else 4) * per_shard, per_shard)
        (folder / "done").touch()
    stages = stages_of(options, size)
    rows = [timed(stage, folder, options) for stage in stages]
    report(rows, size, options)


def stages_of(options: argparse.Namespace, size: str) -> list[Stage]:
    """The stages of configs/capfilt.toml."""
    device: Any = "cuda" if options.cuda else "cpu"
    captioner = CaptionerSettings(
        weights=str(written(options.data / size, size)),
        precision=options.precision,
        min_tokens=20,
        prompt=PROMPT,
        device=device,
    )
    matcher = MatcherSettings(
        weights=str(written(options.data / f"{size}_itm", size, "BlipForImageTextRetrieval")),
        precision=options.precision,
        captions=("synthetic",),
        device=device,
    )
    return [
        Score(WriteCaptions("synthetic", captioner)),
        Score(FindFaults("synthetic", PROMPT)),
        Score(ScoreMatches("itm", matcher)),
        Choose("capfilt", ItmThreshold("synthetic", "itm")),
    ]


def timed(stage: Stage, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a stage on all shards but the first, and how many pictures these have."""
    pictures, cpu_s, wall_s = 0, 0.0, 0.0
    for number, tar in enumerate(sorted(folder.glob("*.tar"))):
        shard = Shard(Storage(str(folder)), tar.stem)
        attempt = Attempt(shard.storage, stage.label, shard.id, "bench")
        cpu, wall = _cpu(), time.perf_counter()
        stage.run(_with_digests(shard), attempt, Runtime(threads=options.threads))
        if number:
            cpu_s, wall_s = cpu_s + _cpu() - cpu, wall_s + time.perf_counter() - wall
            pictures += attempt.counts["in"]
        attempt.commit()
    return {"stage": stage.label, "pictures": pictures, "cpu_s": round(cpu_s, 3), "wall_s": round(wall_s, 3)}


def _with_digests(shard: Shard) -> Shard:
    """The shard, whose table gets the column of digests that fetching would have made."""
    if "sha256" not in shard.column_files:
        import pyarrow as pa

        table = shard.table()
        attempt = Attempt(shard.storage, "digests", shard.id, "bench")
        attempt.write_table(shard.table_name("fetch"), pa.table({"key": table["key"], "sha256": table["key"]}))
        attempt.commit()
    return Shard(shard.storage, shard.id)


def report(rows: list[dict[str, Any]], size: str, options: argparse.Namespace) -> None:
    """The table, and bench/results/recaption_<size>_<device>.json."""
    total = {name: round(sum(row[name] for row in rows), 3) for name in ("cpu_s", "wall_s")}
    rows = [*rows, {"stage": "all", "pictures": rows[0]["pictures"], **total}]
    print(f"BLIP-{size} at 384 px, {rows[0]['pictures']} photos, 20 tokens, {options.precision}")
    print("| stage | CPU s | wall s | pictures/s |\n|---|---|---|---|")
    for row in rows:
        row["pictures_per_s"] = round(row["pictures"] / row["wall_s"], 2)
        print(f"| {row['stage']} | {row['cpu_s']:.2f} | {row['wall_s']:.2f} | {row['pictures_per_s']} |")
    if options.cuda:
        print(f"of the arithmetic limit: {rows[-1]['pictures_per_s'] / LIMIT:.2f}")
    device = "gpu" if options.cuda else "cpu"
    target = ROOT / "bench" / "results" / f"recaption_{size}_{device}.json"
    target.write_text(json.dumps(rows, indent=1) + "\n")


def _cpu() -> float:
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


if __name__ == "__main__":
    main()
