"""Near-duplicate texts: signatures a second beside datasketch, datatrove and rensa, and what is found beside theory.

Signatures of 256 permutations over sets of 5 characters, of captions of `shared/data/pairs` and of made-up texts of
three lengths. Every contender starts from the same strings, normalised alike (NFKC, lower case, single spaces), ours in
Arrow, the peers in Python, with the list of n-grams that each of them wants; that part of their time stands beside the
whole. A peer that is not installed is left out: `pip install --no-deps --target DIR rensa datatrove loguru`, and DIR
in PYTHONPATH. datatrove gets its n-grams directly, for its own tokenizer (spaCy) would take most of the time.

Then 200,000 texts, half of them edited copies of the other half: how often a pair of a similarity meets against
1 - (1 - s^r)^b, whether each verified pair is one (by sets of strings in plain Python), and all pairs of a sample by
the product of a sparse matrix.

    python -m bench.minhash [--small] [rates] [parts_us] [quality] [equal]
"""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.dedup.shingles import Shingles, shingle_sets

PERMUTATIONS, N, THRESHOLD = 256, 5, 0.8
PAIRS = Path(__file__).resolve().parents[2] / "shared/data/pairs"
LENGTHS = {"alt texts": 60, "descriptions": 400, "pages": 3_000}
CPU_S = 1.5
"""Seconds of CPU that a contender gets, about; it signs as many texts as that allows."""

Texts = list[str]
Grams = list[list[str]]


def captions() -> Texts:
    """Alt texts and captions of real pictures, one after the other."""
    found = []
    for path in sorted(PAIRS.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        found += [row[name] for row in rows for name in ("alt", "caption") if row.get(name)]
    return found


def made_up(count: int, mean: int, seed: int = 0) -> Texts:
    """Words of a vocabulary of 20,000, as frequent as words are (Zipf), of some `mean` characters together."""
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    vocabulary = np.array(["".join(random.choice(letters, n)) for n in random.integers(2, 11, 20_000)])
    weights = 1 / np.arange(10, 20_010)
    lengths = np.maximum(random.poisson(mean / 6, count), 1)
    words = random.choice(vocabulary, int(lengths.sum()), p=weights / weights.sum())
    return [" ".join(part) for part in np.split(words, np.cumsum(lengths)[:-1])]


def grams_of(texts: Texts) -> Grams:
    """What a user of a peer writes: the text in normal form, and a list of its n-grams."""
    normal = [" ".join(unicodedata.normalize("NFKC", text).lower().split()) for text in texts]
    return [[text[i : i + N] for i in range(len(text) - N + 1)] or [text] for text in normal]


def contenders() -> dict[str, Callable[[Texts], Any]]:
    """Each from strings to signatures."""
    import datasketch
    import xxhash

    from curate.dedup.minhash import permutations, sign_texts

    by = permutations(PERMUTATIONS)

    def update_batch(texts: Texts) -> None:
        for grams in grams_of(texts):
            sketch = datasketch.MinHash(PERMUTATIONS)
            sketch.update_batch([gram.encode() for gram in grams])

    def bulk(texts: Texts) -> Any:
        encoded = [[gram.encode() for gram in grams] for grams in grams_of(texts)]
        return datasketch.MinHash.bulk(encoded, num_perm=PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest)

    return {
        "ours": lambda texts: sign_texts(pa.array(texts), Shingles(n=N), by),
        "ours, sha1": lambda texts: sign_texts(pa.array(texts), Shingles(n=N), by, "sha1"),
        "datasketch, update_batch": update_batch,
        "datasketch, bulk, xxh32": bulk,
        **datatrove(),
        **rensa(),
    }


def datatrove() -> dict[str, Callable[[Texts], Any]]:
    """Its hash and its `get_signature`, 32 x 8 = 256 numbers of 64 bits (xxHash)."""
    try:
        from datatrove.pipeline.dedup import minhash as module
    except ImportError:
        return {}
    module.load_word_tokenizer = lambda language: None
    config = module.MinhashConfig(n_grams=N, num_buckets=32, hashes_per_bucket=8)
    step = module.MinhashDedupSignature("/tmp", config)  # noqa: S108 (nothing is written)

    def sign(texts: Texts) -> None:
        for grams in grams_of(texts):
            hashes = np.fromiter([step._hash_func(gram.encode()) for gram in grams], np.uint64)
            step.get_signature(hashes.reshape(-1, 1))

    return {"datatrove": sign}


def rensa() -> dict[str, Callable[[Texts], Any]]:
    """R-MinHash over all shingles, as objects and as a matrix; rho looks at some of them only, and is no MinHash."""
    try:
        from rensa import RMinHash
    except ImportError:
        return {}

    def objects(texts: Texts) -> None:
        for grams in grams_of(texts):
            sketch = RMinHash(num_perm=PERMUTATIONS, seed=1)
            sketch.update(grams)

    def matrix(texts: Texts) -> Any:
        return RMinHash.digest_matrix_from_token_sets(grams_of(texts), num_perm=PERMUTATIONS, seed=1)

    def rho(texts: Texts) -> Any:
        return RMinHash.digest_matrix_from_token_sets_rho(grams_of(texts), num_perm=PERMUTATIONS, seed=1)

    return {"rensa, update": objects, "rensa, matrix": matrix, "rensa, rho (a sample)": rho}


def cpu_us(run: Callable[[Texts], Any], texts: Texts, small: bool) -> float:
    """CPU time of a text in us, best of three, over as many texts as take `CPU_S` together."""
    seconds = 0.2 if small else CPU_S / 3
    first = texts[:200]
    run(first)
    started = time.process_time()
    run(first)
    each = (time.process_time() - started) / len(first)
    own = (texts * 40)[: max(200, int(seconds / max(each, 1e-9)))]
    took = []
    for _ in range(3):
        started = time.process_time()
        run(own)
        took.append(time.process_time() - started)
    return min(took) / len(own) * 1e6


def rates(small: bool) -> dict[str, Any]:
    """Texts per CPU second of each contender and kind of text."""
    kinds = {"captions": captions()} if PAIRS.is_dir() else {}
    kinds |= {name: made_up(400 if mean > 1_000 else 4_000, mean) for name, mean in LENGTHS.items()}
    report = {}
    for kind, texts in kinds.items():
        mean = sum(map(len, texts)) / len(texts)
        grams = cpu_us(grams_of, texts, small)
        print(
            f"\n{kind}: {mean:.0f} characters on average; a list of n-grams in Python takes {grams:.1f} us of each peer"
        )
        found = {name: cpu_us(run, texts, small) for name, run in contenders().items()}
        for name, each in found.items():
            print(f"  {name:26}{each:10.1f} us{1e6 / each:12,.0f} texts a CPU second{each / found['ours']:9.1f} x ours")
        report[kind] = {"mean_chars": round(mean), "ngrams_us": round(grams, 1), "us": found}
    return report


def parts_us(texts: Texts) -> dict[str, float]:
    """Where our time goes, us a text."""
    from curate.dedup import shingles
    from curate.dedup.bands import Bands, band_digests
    from curate.dedup.minhash import permutations, signatures

    array, by, bands = pa.array(texts * 10), permutations(PERMUTATIONS), Bands(32, 8)
    normal = shingles.normal_texts(array)
    sets = shingle_sets(normal, Shingles(normalise="none"))
    values = signatures(sets, by)
    work = {
        "normal form": lambda: shingles.normal_texts(array),
        "cut and hashed": lambda: shingle_sets(normal, Shingles(normalise="none")),
        "signature": lambda: signatures(sets, by),
        "32 band digests": lambda: band_digests(values, bands),
    }
    found = {}
    for name, run in work.items():
        took = []
        for _ in range(4):
            started = time.process_time()
            run()
            took.append(time.process_time() - started)
        found[name] = round(min(took) / len(array) * 1e6, 2)
    print(f"\nours, of a text of {sum(map(len, texts)) / len(texts):.0f} characters, us: {found}")
    return found


def planted(pairs: int) -> Texts:
    """Texts of some 200 characters, each followed by a copy with none to ten of its words replaced."""
    random = np.random.default_rng(7)
    found: Texts = []
    fresh = made_up(pairs, 60, seed=8)
    for number, text in enumerate(made_up(pairs, 200, seed=9)):
        words, new = text.split(), fresh[number].split()
        for place in random.integers(0, len(words), random.integers(0, 8)):
            words[place] = new[place % len(new)]
        found += [text, " ".join(words)]
    return found


def quality(count: int) -> dict[str, Any]:
    """Planted pairs that meet against theory, by similarity; precision after verification; brute force on a sample."""
    from curate.dedup.bands import band_digests, choose_bands, datasketch_bands
    from curate.dedup.jaccard import candidate_pairs, jaccard, sorted_sets
    from curate.dedup.minhash import permutations, sign_texts

    texts = planted(count // 2)
    started = time.process_time()
    values = sign_texts(pa.array(texts), Shingles(n=N), permutations(PERMUTATIONS))
    sets = sorted_sets(shingle_sets(pa.array(texts), Shingles(n=N), "xxh64"))
    took = time.process_time() - started
    print(f"\n{len(texts):,} texts, half of them edited copies: {took:.1f} s of CPU to sign and cut")
    even = np.arange(0, len(texts), 2)
    similarity = jaccard(sets, even, even + 1)
    report: dict[str, Any] = {"texts": len(texts)}
    for name, bands in (
        ("ours", choose_bands(THRESHOLD, PERMUTATIONS)),
        ("datasketch's", datasketch_bands(THRESHOLD, PERMUTATIONS)),
    ):
        started = time.process_time()
        met = candidate_pairs(band_digests(values, bands))
        scores = jaccard(sets, met.left, met.right)
        near = scores >= THRESHOLD
        took = time.process_time() - started
        print(f"{name}: {bands.describe(THRESHOLD)}")
        print(f"  {len(met):,} candidates, {near.sum():,} verified, {took:.1f} s of CPU, {met.capped_buckets} capped")
        packed = set((met.left * len(texts) + met.right).tolist())
        hit = np.array([pair in packed for pair in (even * len(texts) + even + 1).tolist()])
        rows = [recall_row(hit, bands.probability(similarity), inside, what) for what, inside in slices(similarity)]
        precision = true_share(texts, met.left[near], met.right[near])
        missed = brute_force(texts[: min(4_000, count)], met.left[near], met.right[near])
        print(f"  precision after verification {precision:.6f}; of all pairs of a sample by brute force: {missed}")
        report[name] = {"bands": [bands.bands, bands.rows], "recall": rows, "precision": precision, "sample": missed}
    return report


def slices(similarity: npt.NDArray[np.float64]) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Pairs at, above and around the threshold."""
    edges = [0.5, 0.6, 0.7, 0.78, 0.82, 0.9, 1.0]
    found = [(f"{a:g} to {b:g}", (similarity >= a) & (similarity < b)) for a, b in pairwise(edges)]
    return [*found, ("1", similarity == 1), (f"at least {THRESHOLD:g}", similarity >= THRESHOLD)]


def recall_row(
    hit: npt.NDArray[np.bool_], theory: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_], what: str
) -> dict[str, Any]:
    """Print and return how many of some pairs met, and how many should."""
    total = max(int(inside.sum()), 1)
    got, wanted = hit[inside].sum() / total, theory[inside].sum() / total
    print(f"  Jaccard {what:12}{total:8,} pairs: met {got:.4f}, theory {wanted:.4f}, difference {got - wanted:+.4f}")
    return {"jaccard": what, "pairs": total, "met": round(got, 5), "theory": round(float(wanted), 5)}


def true_share(texts: Texts, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> float:
    """Share of pairs that plain sets of strings call near, of 20,000 at most."""
    chosen = np.random.default_rng(0).permutation(len(left))[:20_000]
    sides = [grams_of([texts[row] for row in side[chosen].tolist()]) for side in (left, right)]
    sets = [(set(one), set(other)) for one, other in zip(*sides, strict=True)]
    return float(np.mean([len(one & other) >= THRESHOLD * len(one | other) for one, other in sets]))


def brute_force(texts: Texts, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> str:
    """All pairs of the first texts, by a sparse product."""
    from scipy.sparse import csr_matrix, triu

    grams = [sorted(set(one)) for one in grams_of(texts)]
    number = {gram: i for i, gram in enumerate(sorted({gram for one in grams for gram in one}))}
    sizes = np.array([len(one) for one in grams])
    columns = np.array([number[gram] for one in grams for gram in one])
    owners = np.repeat(np.arange(len(texts)), sizes)
    table = csr_matrix((np.ones(len(columns), np.int32), (owners, columns)))
    common = triu(table @ table.T, 1).tocoo()
    near = common.data >= THRESHOLD * (sizes[common.row] + sizes[common.col] - common.data)
    every = set(zip(common.row[near].tolist(), common.col[near].tolist(), strict=True))
    inside = right < len(texts)
    found = set(zip(left[inside].tolist(), right[inside].tolist(), strict=True))
    return f"{len(every)} near pairs, {len(every & found)} found, {len(found - every)} found that are none"


def equal_texts(count: int) -> dict[str, float]:
    """The same text again and again: seconds of CPU to sign it and to pair its 32 buckets."""
    from curate.dedup.bands import band_digests, choose_bands
    from curate.dedup.jaccard import candidate_pairs
    from curate.dedup.minhash import permutations, sign_texts

    bands = choose_bands(THRESHOLD, PERMUTATIONS)
    started = time.process_time()
    digests = band_digests(sign_texts(pa.array(["one text"] * count), Shingles(), permutations(PERMUTATIONS)), bands)
    sign_s, started = time.process_time() - started, time.process_time()
    met = candidate_pairs(digests)
    pair_s = time.process_time() - started
    print(f"\n{count:,} equal texts: {sign_s:.1f} s of CPU to sign, {pair_s:.1f} s to pair, {len(met):,} pairs")
    return {"texts": count, "sign_s": round(sign_s, 2), "pair_s": round(pair_s, 2)}


def main(small: bool, parts: list[str]) -> None:
    """Run some parts, print them, and keep their numbers in bench/results/minhash.json unless they are small."""
    started = time.perf_counter()
    contenders()["ours"](["warm up é"])
    print(f"first signature after {time.perf_counter() - started:.1f} s (kernels compiled, or read from numba's cache)")
    work = {
        "rates": lambda: rates(small),
        "parts_us": lambda: parts_us(captions() if PAIRS.is_dir() else made_up(2_000, 200)),
        "quality": lambda: quality(10_000 if small else 200_000),
        "equal": lambda: equal_texts(20_000 if small else 1_000_000),
    }
    report = {part: work[part]() for part in parts or work}
    if not small:
        path = Path(__file__).parent / "results" / "minhash.json"
        path.parent.mkdir(exist_ok=True)
        kept = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(kept | report, indent=1))


if __name__ == "__main__":
    main("--small" in sys.argv[1:], [part for part in sys.argv[1:] if part != "--small"])
