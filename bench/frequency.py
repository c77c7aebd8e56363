"""How often each paragraph occurs on its domain: two million rows, our exchange through files against one pandas table.

Shards of documents are made in a temporary folder, as the stages before would leave them: paragraphs of 5 to 110 words,
a fifth of them from a short list per domain. Both contenders read the same files and answer two columns per part, which
must be equal in every row. pandas does what anybody would write first: all rows in one table, `groupby` with a count
and a number of distinct documents. Each run is a process of its own, so its peak memory is its own.

    python bench/frequency.py [PARTS] [SHARDS]            2,000,000 in 40 by default; best of 3

Besides, in memory: strings hashed and grouped a second of CPU, image URLs and paragraphs.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PARTS, SHARDS, ROUNDS = 2_000_000, 40, 3
PARTS_PER_DOCUMENT = 20
DOMAINS = 2_000
SAMPLE = 300_000
COLUMNS = ["paragraph_count", "paragraph_documents"]
WORDS = np.array(
    ["the", "of", "and", "picture", "Wonder", "international", "on", "a", "with", "Café", "Прага", "about"]
)


def make_shards(folder: Path, parts: int, shards: int) -> None:
    """Write the shards, from a fixed seed."""
    random = np.random.default_rng(0)
    common = texts(random, 20_000)
    for number in range(shards):
        name, count = f"{number:05d}", parts // shards
        document = np.arange(count) // PARTS_PER_DOCUMENT
        keys = [f"{name}{row:06d}" for row in range(document[-1] + 1)]
        domain = random.integers(0, DOMAINS, len(keys))
        own = texts(random, count)
        often = random.random(count) < 0.2
        own[often] = common[(domain[document] * 10 + random.integers(0, 10, count))[often]]
        part_keys = [f"{keys[row]}.{i % PARTS_PER_DOCUMENT}" for i, row in enumerate(document)]
        everyone = pa.array(np.ones(count, bool))
        files = {
            name: {"key": keys, "url": [f"https://www.site{d}.com/{k}" for d, k in zip(domain, keys, strict=True)]},
            f"{name}.read_select": {"key": keys, "read_keep": np.ones(len(keys), bool)},
            f"{name}_parts": {
                "key": part_keys,
                "document": document.astype(np.int32),
                "kind": pa.array(["text"] * count),
                "text": own,
            },
            f"{name}_parts.read_select": {"key": part_keys, "read_keep": everyone},
        }
        for file, columns in files.items():
            pq.write_table(pa.table(columns), folder / f"{file}.parquet", compression="zstd")


def texts(random: np.random.Generator, count: int) -> np.ndarray:
    """Paragraphs of 5 to 110 words, 310 bytes on average."""
    return np.array(
        [" ".join(WORDS[random.integers(0, len(WORDS), n)]) for n in random.integers(5, 111, count)], object
    )


def ours(folder: Path) -> dict[str, Any]:
    """The barrier, on the folder; its columns lie beside the parts afterwards."""
    from curate.dedup.paragraphs import ParagraphFrequency
    from curate.manifest import Attempt
    from curate.shard import list_shards
    from curate.storage import Storage

    storage = Storage(str(folder))
    barrier = ParagraphFrequency(distinct_urls=False, text="exact", domain="netloc")
    attempt = Attempt(storage, barrier.label, "all", "0" * 16)
    barrier.run(list_shards(storage), attempt)
    return dict(attempt.commit().counts)


def pandas_groupby(folder: Path) -> dict[str, Any]:
    """The same columns by one table in memory."""
    import pandas as pd

    frames = []
    for path in sorted(folder.glob("*_parts.parquet")):
        name = path.name.removesuffix("_parts.parquet")
        parts = pq.read_table(path, columns=["document", "text"]).to_pandas()
        urls = pq.read_table(folder / f"{name}.parquet", columns=["url"]).to_pandas()["url"]
        parts["domain"] = urls.str.split("/").str[2].to_numpy()[parts["document"]]
        parts["document"] += len(frames) << 20
        frames.append(parts)
    table = pd.concat(frames, keys=range(len(frames)))
    groups = table.groupby(["domain", "text"], sort=False)["document"]
    answers = pd.DataFrame({COLUMNS[0]: groups.transform("size"), COLUMNS[1]: groups.transform("nunique")})
    (folder / "pandas").mkdir(exist_ok=True)
    for number, answer in answers.groupby(level=0):
        pq.write_table(pa.Table.from_pandas(answer, preserve_index=False), folder / "pandas" / f"{number:05d}.parquet")
    return {"counted": len(table), "distinct": groups.ngroups}


def strings_a_second() -> dict[str, float]:
    """Strings hashed and grouped a second of CPU, in millions, as one batch of 300,000."""
    from curate.dedup.digest import digest_strings
    from curate.dedup.groups import group
    from curate.dedup.paragraphs import normal_texts

    random = np.random.default_rng(0)
    paragraphs = pa.chunked_array([texts(random, SAMPLE)])
    urls = pa.chunked_array(
        [[f"https://cdn.site{i % 999}.com/uploads/2024/05/{i * 7919}-800x600.jpg" for i in range(SAMPLE)]]
    )
    work = {
        "image URLs": lambda: group(digest_strings(urls)),
        "paragraphs": lambda: group(digest_strings(paragraphs)),
        "paragraphs, white space and case put in order": lambda: group(digest_strings(normal_texts(paragraphs))),
    }
    rates = {}
    for name, run in work.items():
        took = []
        for _ in range(ROUNDS):
            started = time.process_time()
            run()
            took.append(time.process_time() - started)
        rates[name] = round(SAMPLE / min(took) / 1e6, 2)
    return rates


def run_alone(contender: str, folder: Path) -> dict[str, Any]:
    """One contender in a process of its own: wall and CPU seconds, peak memory, counts."""
    command = [sys.executable, __file__, contender, str(folder), "alone"]
    answer: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return answer


def child(contender: str, folder: Path) -> None:
    """What `run_alone` starts."""
    started = time.perf_counter()
    counts = {"ours": ours, "pandas": pandas_groupby}[contender](folder)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answer = {
        "wall_s": round(time.perf_counter() - started, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
        "counts": counts,
    }
    print(json.dumps(answer))


def same_columns(folder: Path, shards: int) -> bool:
    """Whether both wrote the same numbers for every part."""
    for number in range(shards):
        mine = pq.read_table(folder / f"{number:05d}_parts.paragraph_frequency.parquet", columns=COLUMNS)
        other = pq.read_table(folder / "pandas" / f"{number:05d}.parquet", columns=COLUMNS)
        if any(mine[name].to_pylist() != other[name].to_pylist() for name in COLUMNS):
            return False
    return True


def main(parts: int, shards: int) -> None:
    """Make the shards, run both in turn, compare, print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_shards(folder, parts, shards)
        size = sum(path.stat().st_size for path in folder.glob("*.parquet"))
        print(f"{parts:,} paragraphs in {shards} shards, {size / 1e6:,.0f} MB of Parquet, best of {ROUNDS}")
        best: dict[str, dict[str, Any]] = {}
        for _ in range(ROUNDS):
            for contender in ("ours", "pandas"):
                answer = run_alone(contender, folder)
                if contender not in best or answer["wall_s"] < best[contender]["wall_s"]:
                    best[contender] = answer
        equal = same_columns(folder, shards)
    print(f"{'':10}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'distinct':>12}")
    for contender, answer in best.items():
        print(
            f"{contender:10}{answer['wall_s']:9.2f}{answer['cpu_s']:9.2f}{answer['peak_mb']:9,}"
            f"{answer['counts']['distinct']:12,}"
        )
    print(f"columns {'are equal' if equal else 'DIFFER'}")
    rates = strings_a_second()
    for what, rate in rates.items():
        print(f"{rate:6.2f} M/s hashed and grouped: {what}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    report = {"parts": parts, "shards": shards, "equal": equal, **best, "million_strings_a_second": rates}
    (results / "frequency.json").write_text(json.dumps(report, indent=1))
    if not equal:
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[-1] == "alone":
        child(sys.argv[1], Path(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]), *(PARTS, SHARDS)[len(sys.argv) - 1 :])
