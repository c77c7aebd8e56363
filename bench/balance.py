"""Balance: matching with 500,000 concepts against the naive loop and pyahocorasick, and what each barrier costs a row.

    python -m bench.balance [--small]

Captions are put together anew from pieces of three to six words of real ones (the shared data: OpenStax and recipes),
about 80 characters each. Concepts are all words of these, pairs and triples of neighbours, whole words of BERT's
vocabulary, and words made of halves of others until there are 500,000: 11 concepts a caption, where MetaCLIP reports
3.5 of 1.6 billion, so there is more to find than there would be. All three must find the same.

pyahocorasick is a peer and no dependency: put it on PYTHONPATH, or its line is left out. CPU seconds of one thread.
The barriers run over shards of 10,000 rows, best of 3, each size in a process of its own, at four sizes of which the
last has ten times the rows of the first; a row costs the same at each if the cost is linear.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).parent / "results" / "balance.json"
ENTRIES = 500_000
SHARD_ROWS = 10_000
MARKS = ",.;:?!`"


def real_texts() -> list[str]:
    """Alt texts and captions of the shared data."""
    found = []
    for name in ("openstax", "recipes"):
        for line in (DATA / "pairs" / f"{name}.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            found += [row[key] for key in ("alt", "caption", "text_after") if row.get(key)]
    return found


def make_captions(texts: list[str], count: int, seed: int = 0) -> list[str]:
    """One to five pieces of three to six words each."""
    random = np.random.default_rng(seed)
    words = [text.split() for text in texts]
    captions = []
    for pieces in random.integers(1, 6, count).tolist():
        parts = []
        for own in random.integers(0, len(words), pieces).tolist():
            start = int(random.integers(0, len(words[own])))
            parts += words[own][start : start + int(random.integers(3, 7))]
        captions.append(" ".join(parts))
    return captions


def make_entries(texts: list[str], count: int) -> list[str]:
    """Words, pairs and triples of neighbours, then made-up words."""
    words = [text.split() for text in texts]
    single = sorted({word for own in words for word in own})
    vocabulary = DATA / "models" / "bert_vocab" / "bert-base-uncased" / "vocab.txt"
    single += [w for w in vocabulary.read_text("utf-8").split() if w.isalpha()]
    pairs = {f"{a} {b}" for own in words for a, b in pairwise(own)}
    triples = {" ".join(own[i : i + 3]) for own in words for i in range(len(own) - 2)}
    found = dict.fromkeys([*single, *sorted(pairs), *sorted(triples)])
    random = np.random.default_rng(1)
    while len(found) < count:
        one, other = (single[i] for i in random.integers(0, len(single), 2).tolist())
        found[one[: len(one) // 2 + 1] + other[len(other) // 2 :]] = None
    return list(found)[:count]


def padded(text: str) -> str:
    """The text by MetaCLIP's spacing rules."""
    text = f" {text} "
    for mark in MARKS:
        text = text.replace(mark, f" {mark} ")
    return text.replace("\t", " ").replace("\n", " ").replace("\r", " ")


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and its answer."""
    started = time.process_time()
    answer = work()
    return time.process_time() - started, answer


def matching(small: bool) -> dict[str, Any]:
    """Captions a CPU second: the naive loop, pyahocorasick where it is installed, ours."""
    from curate.balance.matching import Matcher
    from curate.balance.metadata import Metadata

    texts = real_texts()
    captions = make_captions(texts, 20_000 if small else 200_000)
    metadata = Metadata.of(make_entries(texts, ENTRIES // 10 if small else ENTRIES))
    entries = metadata.entries
    Matcher(Metadata.of(["a b", "b"])).match(pa.array(["a b b"]))
    build_s, matcher = cpu(lambda: Matcher(metadata))
    column = pa.array(captions)
    took, found = min((cpu(lambda: matcher.match(column)) for _ in range(3)), key=lambda run: run[0])
    report: dict[str, Any] = {
        "entries": len(entries),
        "characters a caption": round(sum(map(len, captions)) / len(captions), 1),
        "concepts a caption": round(len(found.flatten()) / len(captions), 2),
        "ours": {
            "captions/s": len(captions) / took,
            "build s": build_s,
            "MB": matcher.automaton.nbytes / 1e6,
        },
    }
    few = captions[:: len(captions) // (20 if small else 100)]
    spaced = [f" {entry} " for entry in entries]
    naive_s, naive = cpu(lambda: [[n for n, e in enumerate(spaced) if e in t] for t in map(padded, few)])
    report["naive loop"] = {"captions/s": len(few) / naive_s}
    report["equal to the naive loop"] = matcher.match(pa.array(few)).to_pylist() == naive
    report["times the naive loop"] = report["ours"]["captions/s"] / report["naive loop"]["captions/s"]
    return report | pyahocorasick(entries, captions[:20_000], found.slice(0, 20_000))


def pyahocorasick(entries: tuple[str, ...], captions: list[str], expected: pa.Array) -> dict[str, Any]:
    """The peer on some of the captions, if it is there."""
    try:
        import ahocorasick
    except ImportError:
        return {"pyahocorasick": "not installed"}

    def build() -> Any:
        automaton = ahocorasick.Automaton()
        for number, entry in enumerate(entries):
            automaton.add_word(f" {entry} ", number)
        automaton.make_automaton()
        return automaton

    before = peak_mb()
    build_s, automaton = cpu(build)
    grown = peak_mb() - before
    took, found = cpu(lambda: [sorted({n for _, n in automaton.iter(padded(text))}) for text in captions])
    peer = {"captions/s": len(captions) / took, "build s": build_s, "MB": grown}
    return {"pyahocorasick": peer, "equal to pyahocorasick": found == expected.to_pylist()}


def peak_mb() -> float:
    """Most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_shards(folder: Path, rows: int) -> None:
    """Sample tables, and a column file with concepts (a few of 500,000, as Zipf has it), a score, a host."""
    random = np.random.default_rng(0)
    for number in range(rows // SHARD_ROWS):
        name = f"{number:05d}"
        own = np.arange(SHARD_ROWS) + number * SHARD_ROWS
        lengths = random.integers(0, 8, SHARD_ROWS)
        concepts = np.minimum(np.exp(random.random(int(lengths.sum())) * np.log(ENTRIES)), ENTRIES - 1)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        sample = {
            "key": [f"{name}{row:04d}" for row in range(SHARD_ROWS)],
            "url": [f"http://a{row % 9999}.test/{row}.jpg" for row in own.tolist()],
            "caption": [f"picture {row}" for row in own.tolist()],
            "sha256": [f"{row:064x}" for row in own.tolist()],
        }
        scores = {
            "key": sample["key"],
            "concepts": pa.ListArray.from_arrays(pa.array(offsets), pa.array(concepts.astype(np.uint32))),
            "score": random.normal(size=SHARD_ROWS),
            "host": [f"h{n}" for n in (10 ** (5 * random.random(SHARD_ROWS))).astype(int).tolist()],
        }
        pq.write_table(pa.table(sample), folder / f"{name}.parquet", compression="zstd")
        pq.write_table(pa.table(scores), folder / f"{name}.scores.parquet", compression="zstd")


def barrier(name: str, folder: Path) -> dict[str, Any]:
    """One barrier over the shards of a folder, warmed up on its first shard; CPU seconds and the peak of memory."""
    from curate.balance.caps import PlaceInGroup
    from curate.balance.metaclip import BalanceConcepts
    from curate.balance.soft_cap import DrawBySoftCap
    from curate.manifest import Attempt
    from curate.shard import list_shards
    from curate.storage import Storage

    entries = folder / "entries.txt"
    rows = len(list(folder.glob("?????.parquet"))) * SHARD_ROWS
    work = {
        "metaclip, by a cap": BalanceConcepts(str(entries), cap=rows / 10_000),
        "metaclip, by a size": BalanceConcepts(str(entries), fraction=0.3),
        "soft cap, 1,280 rounds": DrawBySoftCap("score", fraction=1.0),
        "cap per host": PlaceInGroup("host", bin_rows=100_000),
    }[name]
    shards = list_shards(Storage(str(folder)))
    work.run(shards[:1], Attempt(Storage(str(folder)), "warm", "all", "0" * 16))
    before = peak_mb()
    took = []
    for _ in range(3):
        attempt = Attempt(Storage(str(folder)), work.label, "all", "0" * 16)
        took.append(cpu(lambda attempt=attempt: work.run(shards, attempt))[0])
        attempt.abandon()
    return {"rows": rows, "cpu_s": min(took), "peak_mb": peak_mb(), "warm_mb": before}


BARRIERS = ("metaclip, by a cap", "metaclip, by a size", "soft cap, 1,280 rounds", "cap per host")


def barriers(small: bool) -> dict[str, list[dict[str, Any]]]:
    """All barriers at four sizes."""
    sizes = [20_000, 40_000, 90_000, 200_000] if small else [200_000, 400_000, 900_000, 2_000_000]
    report: dict[str, list[dict[str, Any]]] = {name: [] for name in BARRIERS}
    for rows in sizes:
        with tempfile.TemporaryDirectory() as name:
            make_shards(Path(name), rows)
            (Path(name) / "entries.txt").write_text("".join(f"e{n}\n" for n in range(ENTRIES)))
            for which in BARRIERS:
                report[which].append(alone("barrier", which, name))
    return report


def vocabulary(small: bool) -> dict[str, Any]:
    """Words of a corpus counted a CPU second, both passes together."""
    from curate.balance.ngrams import count_pairs, count_words

    captions = make_captions(real_texts(), 20_000 if small else 400_000)
    blocks = [
        pa.array(captions[start : start + 100_000], pa.large_string()) for start in range(0, len(captions), 100_000)
    ]
    words_s, words = cpu(lambda: count_words(blocks, 100))
    pairs_s, _ = cpu(lambda: count_pairs(blocks, words, 100))
    return {"million words/s": words.total / (words_s + pairs_s) / 1e6, "words": words.total}


def alone(*arguments: str) -> Any:
    """One part in a process of its own."""
    command = [sys.executable, "-m", "bench.balance", "--alone", *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def main(small: bool) -> None:
    """Run all parts, print, and keep the numbers of a full run."""
    flag = ["small"] if small else []
    report = {
        "matching": alone("matching", *flag),
        "vocabulary": alone("vocabulary", *flag),
        "barriers": barriers(small),
    }
    found = report["matching"]
    print(f"{found['entries']:,} entries, {found['characters a caption']} characters and", end=" ")
    print(f"{found['concepts a caption']} concepts a caption")
    print(f"{'':16}{'captions/s':>12}{'build s':>9}{'MB':>7}")
    for name in ("naive loop", "pyahocorasick", "ours"):
        if isinstance(found[name], dict):
            print(f"{name:16}{found[name]['captions/s']:12,.0f}", end="")
            print(f"{found[name].get('build s', 0):9.2f}{found[name].get('MB', 0):7.0f}")
    equal = [found["equal to the naive loop"], found.get("equal to pyahocorasick", True)]
    print(
        f"{found['times the naive loop']:,.0f} times the naive loop; matches {'are equal' if all(equal) else 'DIFFER'}"
    )
    print(f"\n{report['vocabulary']['million words/s']:.2f} million words of a corpus counted a second, pairs too\n")
    print(
        f"{'CPU us a row':24}" + "".join(f"{run['rows']:>12,}" for run in report["barriers"][BARRIERS[0]]) + "  peak MB"
    )
    for name, runs in report["barriers"].items():
        cells = "".join(f"{run['cpu_s'] / run['rows'] * 1e6:12.2f}" for run in runs)
        print(f"{name:24}{cells}  {', '.join(str(round(run['peak_mb'])) for run in runs)}")
    if not small:
        RESULTS.write_text(json.dumps(report, indent=1))
    if not all(equal):
        sys.exit(1)


if __name__ == "__main__":
    if "--alone" in sys.argv:
        kind, *rest = sys.argv[sys.argv.index("--alone") + 1 :]
        parts = {"matching": matching, "vocabulary": vocabulary}
        print(json.dumps(barrier(rest[0], Path(rest[1])) if kind == "barrier" else parts[kind](rest == ["small"])))
    else:
        main("--small" in sys.argv)
