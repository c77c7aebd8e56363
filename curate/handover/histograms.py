"""What is in a shard, in numbers: sizes of its pictures, its captions by origin, tokens, the range of each score.

They are read from the tables beside the tar, column by column, so no picture is opened. Bins are fixed, so the
histograms of shards add to those of a source. Their edges are the sizes at which models look (224, 336, 448 px, ...)
and the aspect ratios at which they tile; how many tokens a picture comes to is told by `Resolution` and the table's
own widths and heights, to the pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curate.caption.rule import WEB
from curate.errors import ShardError
from curate.export._captions import CAPTION, LISTS, ORIGINS, SCORES, TEXTS
from curate.handover.tokenizers import captions_tokens_column, tokens_column
from curate.shard import Shard
from curate.text import count_words

__all__ = ["BINS", "add_shard", "describe", "histogram", "merged", "totals_of"]

SIDE_PX = (0, 64, 128, 224, 256, 336, 384, 448, 512, 768, 896, 1024, 1344, 1536, 2048, 4096)
BINS: Mapping[str, tuple[float, ...]] = {
    "width_px": SIDE_PX,
    "height_px": SIDE_PX,
    "aspect": (0, 0.25, 0.3333, 0.5, 0.6667, 0.75, 1, 1.3333, 1.5, 2, 3, 4),
    "words": (0, 1, 2, 3, 5, 8, 12, 20, 30, 50, 77, 100, 200, 500),
}
"""Of each histogram the least value of every bin; a bin ends where the next begins, the last one never. `aspect` is
width by height; `words` are between white space (`str.split`)."""
IMAGE_ORIGIN = "image_origin"
"""The column that `curate.caption.imagine` writes beside pictures that a model drew."""
SCORE_ENDINGS = ("_score", "_similarity", "_probability", "_ratio")
CONTENTS = (
    *("bytes", "samples", "images", "synthetic_images", "chars", "text_tokens"),
    *("width_px", "height_px", "aspect", "captions", "scores"),
)
"""Entries of a shard that add up."""
Contents = dict[str, Any]
Numbers = npt.NDArray[Any]


def describe(shard: Shard, tokenizers: Sequence[str]) -> Contents:
    """The contents of a shard as `manifest.schema.json` has them: `samples`, `images` and `synthetic_images`, `chars`,
    `text_tokens`, the histograms, `captions` (pairs only) and `scores`. Raises ShardError where a table lacks a
    column."""
    kinds = {field.name: field.type for field in shard.schema()}
    names = set(kinds)
    images, chars = (_column(shard, name) for name in ("images", "chars"))
    found: Contents = {
        "samples": len(images),
        "images": _total(images),
        "chars": _total(chars),
        "text_tokens": {t: _total(_column(shard, tokens_column(t), "tokens")) for t in tokenizers},
        **_sizes(shard),
    }
    if IMAGE_ORIGIN in names:
        found["synthetic_images"] = _column(shard, IMAGE_ORIGIN).to_pylist().count("synthetic")
    if TEXTS in names or CAPTION in names:
        found["captions"] = _captions(shard, names, tokenizers)
    judged = (name for name in sorted(names) if name.endswith(SCORE_ENDINGS) and pt.is_floating(kinds[name]))
    scores = {name: own for name in judged if (own := _range(_column(shard, name)))}
    return found | ({"scores": scores} if scores else {})


def histogram(values: Numbers, kind: str) -> list[int]:
    """How many values (n,) fall into each bin of BINS[kind]; those below the first are counted in it."""
    edges = np.asarray(BINS[kind], np.float64)
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, None)
    counts: list[int] = np.bincount(places, minlength=len(edges)).tolist()
    return counts


def merged(a: Contents, b: Contents) -> Contents:
    """The contents of two shards together: counts and histograms added, ranges widened."""
    if not a or not b:
        return dict(a or b)
    if {"values", "min", "max"} == set(a) == set(b):
        return {"values": a["values"] + b["values"], "min": min(a["min"], b["min"]), "max": max(a["max"], b["max"])}
    return {name: _sum(a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b])}


def add_shard(by_source: dict[str, Contents], shard: Mapping[str, Any]) -> None:
    """Add a shard, as the manifest lists it, to the contents of its source. Raises ShardError for histograms of other
    lengths than those before."""
    own = {"shards": 1, **{name: shard[name] for name in CONTENTS if name in shard}}
    try:
        by_source[shard["source"]] = merged(by_source.get(shard["source"], {}), own)
    except (ValueError, TypeError) as error:
        words = f"shard {shard['id']} has other histograms than the shards of its source before it: {error}"
        raise ShardError(f"{words}; run the hand-over again") from None


def totals_of(by_source: Mapping[str, Contents]) -> Contents:
    """The `totals` of a manifest."""
    totals: Contents = dict.fromkeys(("shards", "bytes", "samples", "images", "chars"), 0)
    for own in by_source.values():
        totals = merged(
            totals, {name: own[name] for name in (*totals, "synthetic_images", "text_tokens") if name in own}
        )
    return {**totals, "by_source": dict(by_source)}


def _sum(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, Mapping):
        return merged(dict(a), dict(b))
    if isinstance(a, list):
        return [x + y for x, y in zip(a, b, strict=True)]
    return a + b


def _sizes(shard: Shard) -> dict[str, list[int]]:
    width, height = (np.asarray(_flat(_column(shard, name)), np.float64) for name in ("widths", "heights"))
    if len(width) != len(height):
        raise ShardError(f"shard {shard.id}: {len(width)} widths and {len(height)} heights; make the shard anew")
    aspect = width / np.maximum(height, 1)
    values = {"width_px": width, "height_px": height, "aspect": aspect}
    return {name: histogram(own, name) for name, own in values.items()}


def _captions(shard: Shard, names: set[str], tokenizers: Sequence[str]) -> dict[str, Contents]:
    """By origin. A pair without a list of captions has one of the web."""
    found: dict[str, Contents] = {}
    listed = pa.nulls(shard.rows(), pa.list_(pa.string()))
    if set(LISTS) <= names:
        listed = _column(shard, TEXTS)
    if _total(pc.list_value_length(listed)):
        found = _by_origin(shard, listed, tokenizers)
    caption = _column(shard, CAPTION) if CAPTION in names else pa.nulls(len(listed), pa.string())
    alone = pc.and_(pc.equal(pc.fill_null(pc.list_value_length(listed), 0), 0), pc.is_valid(caption))
    if pc.any(alone).as_py():
        own = caption.filter(alone)
        tokens = {t: _total(_column(shard, tokens_column(t), "tokens").filter(alone)) for t in tokenizers}
        web = {"texts": len(own), "words": _words(own), "text_tokens": tokens}
        found[WEB] = merged(found.get(WEB, {}), web)
    return dict(sorted(found.items()))


def _by_origin(shard: Shard, listed: pa.ChunkedArray, tokenizers: Sequence[str]) -> dict[str, Contents]:
    texts, origins, scores = (_flat(own) for own in (listed, _column(shard, ORIGINS), _column(shard, SCORES)))
    tokens = {t: _flat(_column(shard, captions_tokens_column(t), "tokens")) for t in tokenizers}
    lengths = {len(own) for own in (texts, origins, scores, *tokens.values())}
    if len(lengths) > 1:
        raise ShardError(f"shard {shard.id}: the lists of captions differ in length; make the shard anew")
    found = {}
    for origin in pc.unique(origins).to_pylist():
        own = pc.equal(origins, origin)
        mine = texts.filter(own)
        counts = {t: _total(numbers.filter(own)) for t, numbers in tokens.items()}
        found[origin] = {"texts": len(mine), "words": _words(mine), "text_tokens": counts}
        score = _range(scores.filter(own))
        found[origin] |= {"score": score} if score else {}
    return found


def _words(texts: pa.Array | pa.ChunkedArray) -> list[int]:
    return histogram(np.array([count_words(text or "", "whitespace") for text in _python(texts)]), "words")


def _python(texts: pa.Array | pa.ChunkedArray) -> Iterator[str | None]:
    """The texts as Python's, 10,000 at a time."""
    for start in range(0, len(texts), 10_000):
        yield from texts.slice(start, 10_000).to_pylist()


def _range(values: pa.Array | pa.ChunkedArray) -> dict[str, float] | None:
    """How many finite numbers there are, the least and the largest; None without any. Not a number is no score."""
    known = np.asarray(values.drop_null())
    known = known[np.isfinite(known)]
    return {"values": len(known), "min": _short(known.min()), "max": _short(known.max())} if len(known) else None


def _short(number: np.floating[Any]) -> float:
    """With as few digits as tell it: .2 and not .20000000298023224."""
    return float(str(number))


def _total(values: pa.Array | pa.ChunkedArray) -> int:
    return int(pc.sum(values).as_py() or 0)


def _flat(lists: pa.ChunkedArray) -> pa.Array:
    return pc.list_flatten(lists.combine_chunks())


def _column(shard: Shard, name: str, family: str = "") -> pa.ChunkedArray:
    try:
        return shard.table(family, [name])[name]
    except KeyError:
        pass
    raise ShardError(f"{shard.table_name(family)} has no column {name!r}; compose the hand-over anew")
