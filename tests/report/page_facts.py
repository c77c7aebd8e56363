"""Facts of a made-up data set, and of one whose every word is hostile: what a page is tested with."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from curate.report.facts import (
    Captions,
    Copies,
    Cost,
    Counted,
    Download,
    Facts,
    Gallery,
    Histogram,
    Overlap,
    Tile,
    Unit,
)
from curate.report.funnel import FunnelRow
from curate.sample import Document, Picture, Text

HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "</style></title></textarea><b>bold</b>",
    "{{ 7 * 7 }} {% raw %}",
    "javascript:alert(1)",
    "\u202egnp.exe \u2066\u2067 \u0627\u0644\u0644\u063a\u0629 \u05e9\u05dc\u05d5\u05dd",
    "a\x00b\x1b[31m\x7f\ud800\udfff\r\n\u2028",
    "x" * 100_000,
    "\N{PILE OF POO}\u0301" * 500,
    "&lt;b&gt; &amp; $\\frac{1}{2}$ %s %(x)s",
)


@dataclass(frozen=True)
class Numbers:
    """A column's numbers (n,), and which rows something else drops; `histogram` counts them as `collect` would."""

    values: np.ndarray
    others: np.ndarray
    histogram: Histogram

    def stay(self, low: float, high: float) -> int:
        """Rows that stay within bounds, both included; rows without a number are never kept here."""
        return int(((self.values >= low) & (self.values <= high) & ~self.others).sum())


def counted(name: str, values: np.ndarray, edges: list[float], low: float | None, high: float | None, **own) -> Numbers:
    """Edges grow; what is beyond them counts in the outermost bins."""
    others = np.random.default_rng(5).random(len(values)) < 0.4
    bounds = [] if low is None else [low]
    whole = bool((values == np.floor(values)).all())
    bounds += [] if high is None else [float(high + 1) if whole else math.nextafter(high, math.inf)]
    found = sorted({*map(float, edges), *map(float, bounds)})
    places = np.clip(np.searchsorted(found, values, side="right") - 1, 0, len(found) - 2)
    rows, left = (np.bincount(places[mask], minlength=len(found) - 1).tolist() for mask in (values == values, ~others))
    settings = {"min_setting": "min", "max_setting": "max"} | own
    told = Histogram(name, tuple(found), tuple(rows), tuple(left), 7, 0, min=low, max=high, **settings)
    return Numbers(values, others, told)


def draws() -> dict[str, Numbers]:
    """One histogram with a lower bound, one of whole numbers with both, one whose edges grow by a factor, one free."""
    random = np.random.default_rng(3)
    return {
        "similarity": counted(
            "clip_similarity", random.normal(0.28, 0.06, 900), [n / 50 for n in range(2, 25)], 0.25, None,
            filter="clip_similarity",
        ),
        "words": counted(
            "caption_words", np.floor(random.gamma(3, 4, 900)), [*range(0, 41, 2)], 3, 30, filter="caption_words"
        ),
        "variance": counted(
            "laplacian_variance", random.lognormal(5, 1.5, 900), [2.0**n for n in range(13)], 8.0, 3000.0,
            filter="blur", log=True, min_setting="min_variance", max_setting="max_variance",
        ),
        "free": counted("original_width", np.floor(random.gamma(3, 200, 900)), [*range(0, 2001, 100)], None, None),
    }  # fmt: skip


def jpeg(seed: int = 0, side: int = 48, form: str = "WEBP") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side // 8, side // 8, 3), np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(written, form)
    return written.getvalue()


def tile(number: int, caption: str = "A cell with its parts", **own) -> Tile:
    own = {"numbers": {"clip_similarity": "0.271"}, "url": f"https://example.org/{number}.jpg"} | own
    return Tile("00000", f"{number:08d}", jpeg(number), caption, reasons=("blurred", "too_few_words"), **own)


def facts() -> Facts:
    """A data set of 900 samples with every section of a report."""
    tiles = tuple(map(tile, range(5)))
    galleries = (
        Gallery("kept", "kept", tiles, 600),
        Gallery("dropped", "too_few_words", tiles[:2], 120, 1, "the caption has too few words"),
        Gallery(
            "borderline", "clip_similarity near 0.25", (*tiles[:1], replace(tiles[1], picture=b"", status="gone")), 90
        ),
    )
    funnel = (
        FunnelRow("fetch_status", "not_found", 900, 60, 840, 0),
        FunnelRow("caption_words", "too_few_words", 840, 120, 720, 8),
        FunnelRow("caption_words", "too_many_words", 720, 20, 700, 3),
        FunnelRow("clip_similarity", "similarity_too_low", 700, 100, 600, 50),
    )
    words = {"not_found": "fetch failed: not found", "too_few_words": "the caption has too few words"}
    overlap = Overlap(
        ("fetch_status", "caption_words", "clip_similarity", "blur"),
        ((60, 5, 60, 0), (5, 140, 30, 0), (60, 30, 150, 0), (0, 0, 0, 0)),
        (0, 105, 60, 0),
    )
    values = (
        Counted("languages", tuple((f"l{n}", 100 - n, 80 - n) for n in range(14)), (9, 3), 4, 2),
        Counted("licences", (("CC-BY-4.0", 900, 600),)),
    )
    histograms = tuple(one.histogram for one in draws().values())
    unit = Unit("samples", 900, 600, funnel, words, overlap, histograms, values, galleries)
    page = Document(
        "00000001",
        (
            Text("A heading", "h1"),
            Text("A paragraph."),
            Picture("https://example.org/a.jpg", jpeg(9), "webp", "success", {"alt": "a cell"}),
            Text("an item", "li"),
            Picture("https://example.org/b.jpg", None, "", "not_found", {}),
        ),
        {"title": "A page", "url": "https://example.org/page", "keep": True},
    )
    both = {"web": "a cell", "web score": "0.21", "synthetic": "a drawing of a cell", "synthetic score": "0.88"}
    texts = Gallery("kept", "synthetic only", (replace(tiles[0], numbers=both),), 30)
    lengths = draws()["free"].histogram
    return Facts(
        "a small set",
        (3, 4),
        (unit,),
        Download((("success", "success", 840), ("http", "not_found", 60)), (("example.org", 900, 840, "not_found"),)),
        (
            Copies("bytes", 30, 9, ((2, 6), (3, 3)), (Gallery("copies", "2 rows", tiles[:2], 2),)),
            Copies("url", 0, 0, ()),
        ),
        (Captions("capfilt", {"both": 500, "web only": 90}, lengths, None, (("repeated_text", 4),), (texts,)),),
        (page,),
        {"nsfw_probability": 3},
        (Cost("fetch", 4, 900, 12.5, {"read": 3.2}, 1_234_567, 0.0042), Cost("select", 4, 0, 0.0, {}, 0, None)),
        61.0,
        {"config": "small", "python": "3.11"},
        {"filters": {"clip_similarity": {"min": 0.25}, "caption_words": {"min": 3}}, "pipeline": "image_text_pairs"},
        ("shard 00003 was set aside",),
    )


def hostile() -> Facts:
    """The same facts with a hostile text at every place that has a text of somebody's."""
    own = facts()
    (unit,) = own.units
    h = HOSTILE
    tiles = tuple(
        Tile(text, text, jpeg(n), text, text, url=text, numbers={text: text}, reasons=(text,), status=text)
        for n, text in enumerate(h)
    )
    galleries = tuple(
        replace(gallery, title=text, tiles=tiles, words=text) for gallery in unit.galleries for text in h[:1]
    )
    histograms = tuple(
        replace(one, name=text, filter=text and one.filter and text, min_setting=text, max_setting=text)
        for one, text in zip(unit.histograms * 3, h, strict=False)
    )
    bad = replace(
        unit,
        name=h[0],
        funnel=tuple(replace(row, stage=text, reason=text) for row in unit.funnel for text in h),
        words={text: text for text in h},
        overlap=Overlap(h[:4], unit.overlap.both, unit.overlap.alone) if unit.overlap else None,
        histograms=(*histograms, replace(unit.histograms[0], edges=(0.0, math.nan, 1.0), rows=(1, 2), left=(1, 1))),
        counted=tuple(Counted(text, tuple((value, 9, 3) for value in h)) for text in h),
        galleries=galleries,
    )
    parts = [Text(text, text) for text in h] + [Picture(text, jpeg(1), text, text, {"alt": text}) for text in h]
    return Facts(
        h[1],
        (1, 1),
        (bad,),
        Download(tuple((text, text, 3) for text in h), tuple((text, 3, 1, text) for text in h)),
        tuple(Copies(text, 3, 1, ((3, 1),), (replace(galleries[0], title=text),)) for text in h[:2]),
        tuple(
            Captions(text, {text: 3}, None, None, ((text, 2),), (replace(galleries[0], title=text),)) for text in h[:2]
        ),
        (Document(h[0], tuple(parts), {"title": h[2], "url": h[5], "drop_reason": h[3]}),),
        dict.fromkeys(h, 3),
        tuple(Cost(text, 1, 3, 1.0, {text: 1.0}, 5) for text in h),
        1.0,
        {text: text for text in h},
        {text: {"nested": [text, {text: 1}], text: None} for text in h},
        h,
    )
