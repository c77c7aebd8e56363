"""DataComp's basic filter and a CLIP threshold over 12.8 million rows of columns on disk, ours and DataComp's way.

A table of the size of CommonPool small is made in a temporary folder: uid, the two sides, words, characters, language,
CLIP similarity, with many values on the bounds. Each contender reads it, judges every row and writes the sorted uid
array; both arrays must be equal to the last bit. Ours also makes what DataComp's does not: the first reason and all
reasons of every row. Each run is a process of its own, so its peak memory is its own.

    python bench/selection.py [ROWS]            12,800,000 by default; best of 3

DataComp's way is written anew from its description: pandas masks per row group, then one Python tuple per kept uid.
It runs in one process here as ours does, where the published program starts one per file.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.filter import Filter, Verdict, between
from curate.select import columns_of, count_reasons, decide
from curate.subset import parse_uids, sort_uids

ROWS = 12_800_000
GROUP = 400_000
ROUNDS = 3
SIDES = [120, 199, 200, 201, 256, 400, 600, 601, 640, 1024, 1800]
SHARES = [0.14, 0.03, 0.03, 0.03, 0.1, 0.2, 0.2, 0.03, 0.1, 0.1, 0.04]
CLIP = 0.243
"""DataComp's threshold for the best 30 % by CLIP L/14."""


@dataclass(frozen=True)
class ClipSimilarity(Filter):
    """Keeps pairs with a similarity of at least `min`, included."""

    min: float = CLIP
    reads: ClassVar[tuple[str, ...]] = ("clip_similarity",)
    reasons: ClassVar[Mapping[str, str]] = {"picture_unlike_caption": "picture and caption have little in common"}

    def judge(self, columns: pa.Table) -> Verdict:
        column = columns["clip_similarity"]
        return between(column, self.min, None, "picture_unlike_caption", "", unknown="picture_unlike_caption")


def basic_filter() -> tuple[tuple[str, Filter], ...]:
    """The filters of `configs/datacomp_basic.toml`, and the CLIP threshold."""
    from curate.config import build_filters, read_toml

    table = read_toml(Path(__file__).parents[1] / "configs" / "datacomp_basic.toml")
    return (*build_filters(table["filters"]).items(), ("clip_similarity", ClipSimilarity()))


def make_table(path: Path, rows: int) -> None:
    """Write the synthetic pool, a row group at a time, from a fixed seed."""
    random = np.random.default_rng(0)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    writer = None
    for start in range(0, rows, GROUP):
        n = min(GROUP, rows - start)
        hexes = digits[random.integers(0, 16, (n, 32), dtype=np.uint8)]
        offsets = np.arange(0, 32 * n + 1, 32, dtype=np.int32)
        sides = random.choice(SIDES, (2, n), p=SHARES).astype(np.int32)
        part = pa.table(
            {
                "uid": pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(hexes)),
                "original_width": sides[0],
                "original_height": sides[1],
                "caption_words": random.integers(0, 16, n, dtype=np.int32),
                "caption_chars": random.integers(0, 90, n, dtype=np.int32),
                "language": pa.array(np.array(["en", "de", "fr", "zh"])[random.integers(-3, 4, n).clip(0, 3)]),
                "clip_similarity": random.normal(0.21, 0.06, n).astype(np.float32),
            }
        )
        writer = writer or pq.ParquetWriter(path, part.schema, compression="zstd")
        writer.write_table(part)
    if writer is not None:
        writer.close()


def ours(path: Path, out: Path) -> dict[str, int]:
    """Judge every row with this project's filters; write the uid array, and return the counts."""
    filters = basic_filter()
    counts: dict[str, int] = {}
    kept = []
    for batch in pq.ParquetFile(path).iter_batches(GROUP, columns=["uid", *columns_of(filters)]):
        table = pa.table(batch)
        decided = decide(table, filters)
        kept.append(parse_uids(table["uid"].filter(decided["keep"])))
        for name, count in count_reasons(decided).items():
            counts[name] = counts.get(name, 0) + count
    np.save(out, sort_uids(np.concatenate(kept)))
    return counts


def datacomp(path: Path, out: Path) -> dict[str, int]:
    """The same rule as DataComp's program goes about it."""
    uids: list[tuple[int, int]] = []
    pool = pq.ParquetFile(path)
    for group in range(pool.num_row_groups):
        frame = pool.read_row_group(group).to_pandas()
        longer = frame[["original_width", "original_height"]].max(axis=1)
        shorter = frame[["original_width", "original_height"]].min(axis=1)
        mask = (
            (frame["language"] == "en")
            & (frame["caption_words"] > 2)
            & (frame["caption_chars"] > 5)
            & (longer / shorter <= 3.0)
            & (shorter >= 200)
            & (frame["clip_similarity"] >= CLIP)
        )
        uids.extend((int(uid[:16], 16), int(uid[16:32], 16)) for uid in frame["uid"][mask])
    array = np.array(uids, np.dtype("u8,u8"))
    array.sort()
    np.save(out, array)
    return {"in": pool.metadata.num_rows, "kept": len(array)}


def run_alone(contender: str, path: Path, out: Path) -> dict[str, Any]:
    """One contender in a process of its own: wall and CPU seconds, peak memory, counts."""
    command = [sys.executable, __file__, contender, str(path), str(out)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return answer


def child(contender: str, path: Path, out: Path) -> None:
    """What `run_alone` starts."""
    started = time.perf_counter()
    counts = {"ours": ours, "datacomp": datacomp}[contender](path, out)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answer = {
        "wall_s": round(time.perf_counter() - started, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
        "counts": counts,
    }
    print(json.dumps(answer))


def main(rows: int) -> None:
    """Make the table, run both in turn, compare, print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.parquet"
        make_table(path, rows)
        print(f"{rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB of Parquet, best of {ROUNDS}")
        best: dict[str, dict[str, Any]] = {}
        for _ in range(ROUNDS):
            for contender in ("ours", "datacomp"):
                answer = run_alone(contender, path, Path(folder) / f"{contender}.npy")
                if contender not in best or answer["wall_s"] < best[contender]["wall_s"]:
                    best[contender] = answer
        arrays = [np.load(Path(folder) / f"{contender}.npy") for contender in best]
        equal = arrays[0].tobytes() == arrays[1].tobytes()
    print(f"{'':10}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'kept':>12}")
    for contender, answer in best.items():
        print(
            f"{contender:10}{answer['wall_s']:9.2f}{answer['cpu_s']:9.2f}{answer['peak_mb']:9,}{answer['counts']['kept']:12,}"
        )
    print(f"uid arrays {'are equal' if equal else 'DIFFER'}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "selection.json").write_text(json.dumps({"rows": rows, "equal": equal, **best}, indent=1))
    if not equal:
        sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        child(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
