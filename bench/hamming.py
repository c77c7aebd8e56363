"""The exact Hamming search beside comparing with every hash: numpy, and faiss's IndexBinaryFlat.range_search.

Hashes are random, and every tenth is a neighbour of one of them at up to 12 bits of 64, or 46 of 256. Queries are half
new, half neighbours of hashes. Each contender runs in a process of its own, on as many queries as it can in some
seconds; its matches for the first queries must be those of numpy. Time is of the search alone, without the index, and
memory the most that the process had. The self-join is run on all hashes; what comparing all takes is multiplied out.

    python -m bench.hamming [--small] [bits, 64 or 256]
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HASHES, SMALL = 10_000_000, 500_000
RADIUS = {64: 8, 256: 31}
QUERIES = {"ours": 20_000, "numpy": 50, "faiss": 200}
CHECKED = 50
THREADS = 2
Hashes = npt.NDArray[np.uint64]


def neighbours(hashes: Hashes, furthest: int, rng: np.random.Generator) -> Hashes:
    """Each with up to that many bits turned."""
    near = hashes.copy()
    bits = 64 * hashes.shape[1]
    many = rng.integers(0, furthest + 1, len(hashes))
    for turn in range(furthest):
        rows = np.flatnonzero(many > turn)
        bit = rng.integers(0, bits, len(rows))
        near[rows, bit // 64] ^= np.uint64(1) << (bit % 64).astype(np.uint64)
    return near


def make(folder: Path, count: int, bits: int) -> None:
    """Write hashes and queries."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64 - 1, (count, bits // 64), dtype=np.uint64, endpoint=True)
    furthest = RADIUS[bits] * 3 // 2
    hashes[::10] = neighbours(hashes[1::10][rng.integers(0, count // 20, len(hashes[::10]))], furthest, rng)
    queries = rng.integers(0, 2**64 - 1, (QUERIES["ours"], bits // 64), dtype=np.uint64, endpoint=True)
    queries[::2] = neighbours(hashes[rng.integers(0, count, len(queries[::2]))], furthest, rng)
    np.save(folder / "hashes.npy", rng.permutation(hashes))
    np.save(folder / "queries.npy", queries)


def digest(query: Any, item: Any, distance: Any) -> str:
    """Of the matches of the first queries, in order."""
    few = np.stack([np.asarray(column, np.int64)[query < CHECKED] for column in (query, item, distance)])
    return hashlib.sha256(few[:, np.lexsort(few)].tobytes()).hexdigest()[:16] + f" {few.shape[1]}"


def numpy_search(hashes: Hashes, queries: Hashes, radius: int) -> dict[str, Any]:
    """A row of distances for each query."""
    columns = [np.ascontiguousarray(word) for word in hashes.T]
    started = clock()
    found = []
    for number, query in enumerate(queries):
        apart = np.bitwise_count(columns[0] ^ query[0])
        for word in range(1, len(columns)):
            apart = apart + np.bitwise_count(columns[word] ^ query[word])
        item = np.flatnonzero(apart <= radius)
        found.append(np.stack([np.full(len(item), number), item, apart[item]]))
    return {**since(started), "digest": digest(*np.concatenate(found, axis=1))}


def faiss_search(hashes: Hashes, queries: Hashes, radius: int) -> dict[str, Any]:
    """Its radius is not included."""
    import faiss

    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexBinaryFlat(64 * hashes.shape[1])
    index.add(hashes.view(np.uint8))
    started = clock()
    limits, distance, item = index.range_search(queries.view(np.uint8), radius + 1)
    spent = since(started)
    query = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
    return {**spent, "digest": digest(query, item, distance)}


def our_search(hashes: Hashes, queries: Hashes, radius: int) -> dict[str, Any]:
    """With the time that the index took."""
    from curate.dedup.hamming import Index, search

    search(Index(hashes[:1000], radius), queries[:10], radius)
    started = clock()
    index = Index(hashes, radius)
    built = since(started)
    started = clock()
    found = search(index, queries, radius, threads=THREADS)
    spent = since(started)
    return {**spent, "digest": digest(*found), "index_cpu_s": built["cpu_s"], "chunks": cut(index._chunks)}


def our_join(hashes: Hashes, queries: Hashes, radius: int) -> dict[str, Any]:
    """All pairs of all hashes."""
    from curate.dedup.hamming import pairs_within
    from curate.dedup.hamming_plan import choose

    assert len(queries)
    list(pairs_within(hashes[:1000], radius, threads=THREADS))
    started = clock()
    pairs = sum(len(some.left) for some in pairs_within(hashes, radius, threads=THREADS))
    return {**since(started), "pairs": pairs, "chunks": cut(choose(hashes, radius, queries=False))}


def cut(chunks: Any) -> str:
    """In words."""
    return f"{chunks.count} of {chunks.width} bits"


def clock() -> tuple[float, float]:
    """Wall and CPU seconds."""
    return time.perf_counter(), time.process_time()


def since(started: tuple[float, float]) -> dict[str, Any]:
    """What was spent since then."""
    return {"wall_s": time.perf_counter() - started[0], "cpu_s": time.process_time() - started[1]}


CONTENDERS = {"numpy": numpy_search, "faiss": faiss_search, "ours": our_search, "join": our_join}


def child(contender: str, folder: Path, bits: int) -> None:
    """What `run_alone` starts."""
    hashes, queries = np.load(folder / "hashes.npy"), np.load(folder / "queries.npy")
    queries = queries[: QUERIES.get(contender, CHECKED)]
    answer = CONTENDERS[contender](hashes, queries, RADIUS[bits])
    answer |= {"queries": len(queries), "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}
    print(json.dumps(answer))


def run_alone(contender: str, folder: Path, bits: int) -> dict[str, Any]:
    """One contender in a process of its own."""
    command = [sys.executable, "-m", "bench.hamming", "alone", contender, str(folder), str(bits)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return answer


def main(count: int, bits: int) -> bool:
    """Make hashes, run all, print; whether all agree."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.executable, "-m", "bench.hamming", "make", name, str(count), str(bits)], check=True)
        print(f"{count:,} hashes of {bits} bits, radius {RADIUS[bits]}, {THREADS} threads for ours and faiss")
        answers = {contender: run_alone(contender, Path(name), bits) for contender in CONTENDERS}
    print(f"{'':8}{'queries':>9}{'wall s':>9}{'CPU s':>9}{'queries/CPU s':>15}{'peak MB':>9}   matches of {CHECKED}")
    rates = {}
    for contender in ("numpy", "faiss", "ours"):
        answer = answers[contender]
        rates[contender] = answer["queries"] / answer["cpu_s"]
        print(
            f"{contender:8}{answer['queries']:9,}{answer['wall_s']:9.2f}{answer['cpu_s']:9.2f}"
            f"{rates[contender]:15,.0f}{answer['peak_mb']:9,}   {answer['digest']}"
        )
    ours, join = answers["ours"], answers["join"]
    print(f"ours: {ours['chunks']}, index in {ours['index_cpu_s']:.1f} CPU s; ", end="")
    print(f"{rates['ours'] / rates['numpy']:,.0f}x numpy, {rates['ours'] / rates['faiss']:,.0f}x faiss")
    print(
        f"join: {join['chunks']}, {join['pairs']:,} pairs in {join['wall_s']:.1f} s, {join['cpu_s']:.1f} CPU s, peak "
        f"{join['peak_mb']:,} MB; every hash as a query: ours {count / rates['ours']:,.0f} CPU s, "
        f"faiss {count / rates['faiss']:,.0f}, numpy {count / rates['numpy']:,.0f}"
    )
    equal = len({answers[contender]["digest"] for contender in ("numpy", "faiss", "ours")}) == 1
    print(f"matches {'are equal' if equal else 'DIFFER'}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / f"hamming_{bits}.json").write_text(json.dumps({"hashes": count, "equal": equal, **answers}, indent=1))
    return equal


if __name__ == "__main__":
    asked = sys.argv[1:]
    if asked[:1] == ["alone"]:
        child(asked[1], Path(asked[2]), int(asked[3]))
    elif asked[:1] == ["make"]:
        make(Path(asked[1]), int(asked[2]), int(asked[3]))
    else:
        os.environ.update(OMP_NUM_THREADS=str(THREADS), NUMBA_NUM_THREADS=str(THREADS))
        which = [int(word) for word in asked if word != "--small"] or [64]
        agree = [main(SMALL if "--small" in asked else HASHES, bits) for bits in which]
        sys.exit(0 if all(agree) else 1)
