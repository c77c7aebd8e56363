"""The GPU half of `bench.captioner`: BLIP-large at 384 px, batches of several sizes, and where the time goes.

Wall time between two waits for the GPU; every size is run once before. First it is checked there that a step that is
replayed as a graph says the same as one that is launched, that captions do not depend on what stands beside them, and
that greedy texts in float32 are those of transformers.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.captioner import Peer, opened, ours, pictures, sampling_of, written
from curate.models.blip import BlipCaptioner
from curate.models.captioner import seeds_of

__all__ = ["on_gpu"]

WHERE: Any = "cuda"
TOKENS = 20
LIMIT = 1_930
"""Pictures of BLIP-large with a caption of 20 tokens that 790 TFLOP/s compute in a second."""
OURS = ((64, 1), (128, 1), (256, 1), (32, 10), (64, 10), (128, 10))
THEIRS = ((64, 1), (128, 1), (256, 1), (32, 10), (64, 10))
UNITS = 4
"""Batches of ours that are timed in one call."""
TEXTS = ("a dog runs across a wide green field near the trees", "two people stand on a bridge and look at the river")


def on_gpu(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows of the table, which is printed as it comes."""
    folder = written(options.data / "large", "large")
    checks(folder)
    print(
        "| captions | batch | program | pictures/s | captions/s | of the limit | GB |\n" + "|---" * 7 + "|", flush=True
    )
    captioner = opened(folder, options.precision, WHERE)
    rows = [_ours(captioner, batch, n) for batch, n in OURS]
    del captioner
    _free()
    peer = Peer(folder, options.precision, WHERE)
    rows += [row for batch, n in THEIRS for row in _theirs(peer, batch, n)]
    del peer
    _free()
    parts(folder, options.precision)
    return rows + matching(options)


def checks(folder: Path) -> None:
    """Print on how many of 16 pictures graph and launched steps agree, and ours and transformers in float32."""
    views = pictures(16)
    captioner = opened(folder, "bf16", WHERE, 16)
    graphed = ours(captioner, views, ("nucleus", 2), TOKENS)
    recorded = captioner._decoder._run is not None
    captioner._decoder._run = None
    launched = ours(captioner, views, ("nucleus", 2), TOKENS)
    print(f"recorded and launched steps: {_same(graphed, launched)} of {len(graphed)} texts equal, graph: {recorded}")
    captioner._decoder.free()
    for text, order in (("the other way round", range(15, -1, -1)), ("five of them", (3, 14, 0, 7, 9))):
        told = _told(captioner, views, order)
        print(f"captions of pictures {text}: {_same(told, [graphed[2 * n + k] for n in order for k in (0, 1)])} equal")
    del captioner
    _free()
    greedy = ours(opened(folder, "fp32", WHERE, 8), views[:8], ("greedy", 1), TOKENS)
    _free()
    theirs = Peer(folder, "fp32", WHERE).texts(views[:8], ("greedy", 1), TOKENS)
    print(f"greedy in float32 beside transformers: {_same(greedy, theirs)} of {len(greedy)} texts equal")
    _free()


def _told(captioner: BlipCaptioner, views: list[Any], order: Sequence[int]) -> list[str]:
    """Two captions of each of these pictures, drawn by the seeds that `ours` gives them."""
    seeds = seeds_of([str(number) for number in range(len(views))], 0)
    sampling = sampling_of("nucleus", TOKENS)
    found = captioner.generate([views[n] for n in order], 2, sampling, [seeds[n] for n in order])
    return [text.text for row in found for text in row]


def _ours(captioner: BlipCaptioner, batch: int, n: int) -> dict[str, Any]:
    views = pictures(batch * UNITS)
    captioner.unit = batch
    ours(captioner, views[:batch], ("nucleus", n), TOKENS)
    seconds = _seconds(lambda: ours(captioner, views, ("nucleus", n), TOKENS))
    return _row("curate", n, captioner.unit, len(views) / seconds)


def _theirs(peer: Peer, batch: int, n: int) -> list[dict[str, Any]]:
    pixels = peer.pixels(pictures(batch))
    try:
        peer.texts_of(pixels, ("nucleus", n), 3)
        seconds = _seconds(lambda: peer.texts_of(pixels, ("nucleus", n), TOKENS))
    except torch.OutOfMemoryError:
        print(f"| {n} | {batch} | transformers | out of memory |", flush=True)
        return []
    return [_row("transformers", n, batch, batch / seconds)]


def _row(program: str, n: int, batch: int, rate: float, what: str = "") -> dict[str, Any]:
    held = torch.cuda.max_memory_allocated() / 1e9
    share = "" if what else f"{rate / LIMIT:.2f}"
    print(f"| {what or n} | {batch} | {program} | {rate:.0f} | {rate * n:.0f} | {share} | {held:.1f} |", flush=True)
    _free()
    row = {"what": what or "nucleus", "program": program, "n": n, "batch": batch}
    return row | {"pictures_per_s": round(rate, 1), "gb": round(held, 1)}


@torch.inference_mode()
def parts(folder: Path, precision: str, batch: int = 128) -> None:
    """Print what the tower, the keys and values, and a step of 1 and of 10 captions take, and the tower compiled."""
    captioner = opened(folder, precision, WHERE, batch)
    pixels = torch.from_numpy(np.stack(pictures(batch))).to(WHERE)
    vision, decoder = captioner._vision, captioner._decoder
    for n in (1, 10):
        decoder.lay_out(batch, n, TOKENS + 5, vision.places)
        tokens = torch.full((batch * n,), 5_000, device=WHERE)

        def steps(n: int = n, tokens: Any = tokens) -> None:
            decoder.start(torch.full((batch * n, 4), 1_000, device=WHERE))
            for _ in range(TOKENS):
                decoder.step(tokens)

        print(f"a step of {n} x {batch} texts: {1e3 * _seconds(steps) / TOKENS:.2f} ms")
    for piece in (16, 32, 64, 128):
        pieces = pixels.split(piece)
        spent = _seconds(lambda pieces=pieces: [vision(part) for part in pieces])
        print(f"the tower in pieces of {piece}: {1e3 * spent:.1f} ms for {batch} pictures")
    states = vision(pixels)
    print(f"keys and values of {batch} pictures: {1e3 * _seconds(lambda: decoder.look_at(states, 0)):.1f} ms")
    picks(batch)
    try:
        compiled: Callable[[Any], Any] = torch.compile(vision.__call__)
        started = time.perf_counter()
        compiled(pixels[:32])
        made = time.perf_counter() - started
        spent = _seconds(lambda: [compiled(part) for part in pixels.split(32)])
        print(f"the tower compiled, pieces of 32: {1e3 * spent:.1f} ms for {batch} pictures, made in {made:.0f} s")
    except Exception as error:  # noqa: BLE001 - a machine without a compiler
        print(f"the tower cannot be compiled here: {type(error).__name__}")
    _free()


def picks(batch: int) -> None:
    """Print what it takes to draw the tokens of a step."""
    from curate.models.picks import drawn

    for n in (1, 10):
        scores = torch.randn(batch * n, 30_524, device=WHERE) * 4
        numbers = torch.rand(batch * n, dtype=torch.float64, device=WHERE)
        for name, candidates in (("the likeliest", 1_024), ("all", 30_524)):
            spent = _seconds(lambda c=candidates, s=scores, u=numbers: drawn(s, u, sampling_of("nucleus", 5), c))
            print(f"drawing {n} x {batch} tokens among {name}: {1e3 * spent:.2f} ms")


def matching(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Two texts a picture by the matching head, beside transformers, which reads the picture for each."""
    from transformers import AutoTokenizer, BlipForImageTextRetrieval

    from curate.models.blip_match import open_matcher
    from curate.models.caption_settings import MatcherSettings

    folder, batch = written(options.data / "large_itm", "large", "BlipForImageTextRetrieval"), 128
    views = pictures(batch * UNITS)
    matcher = open_matcher(MatcherSettings(weights=str(folder), precision=options.precision, device=WHERE))
    texts = [TEXTS] * len(views)
    matcher.match(views[:batch], texts[:batch])
    seconds = _seconds(lambda: matcher.match(views, texts))
    rows = [_row("curate", 1, 0, len(views) / seconds, "matching, 2 texts")]
    peer = Peer.__new__(Peer)
    peer.kind, peer.where = torch.bfloat16, WHERE
    model = BlipForImageTextRetrieval.from_pretrained(folder, dtype=torch.bfloat16).to(WHERE).eval()
    words, pixels = AutoTokenizer.from_pretrained(folder), peer.pixels(views[:batch])

    def both() -> None:
        with torch.inference_mode():
            for text in TEXTS:
                ids = words([text] * batch, return_tensors="pt", return_token_type_ids=False).to(WHERE)
                model(pixel_values=pixels, **ids).itm_score.float().cpu()

    both()
    return [*rows, _row("transformers", 1, batch, batch / _seconds(both), "matching, 2 texts")]


def _seconds(work: Callable[[], Any]) -> float:
    """Of the second of two runs."""
    with torch.inference_mode():
        work()
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _same(ours: list[str], theirs: list[str]) -> int:
    return sum(a == b for a, b in zip(ours, theirs, strict=True))


def _free() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
