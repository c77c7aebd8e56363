"""What a report says, as data: counted once from the column files, then drawn by the page, told as JSON, compared.

Nothing here grows with the data: histograms have their bins, lists their longest entries, galleries their tiles. So the
page stays under 5 MB at any size. Counts are exact unless `looked_at` says that some shards only were read; the funnel
and the costs are always of all, for they are in the manifest. Pictures are thumbnails, made when they are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from curate.report.funnel import FunnelRow
from curate.sample import Document

__all__ = [
    "Captions",
    "Copies",
    "Cost",
    "Counted",
    "Download",
    "Facts",
    "Gallery",
    "Histogram",
    "Overlap",
    "Tile",
    "Unit",
]


@dataclass(frozen=True)
class Histogram:
    """One number of every row. `edges` (n + 1, ascending): bin i holds values from edges[i] up to, and without,
    edges[i + 1]; the last bin has its upper edge too, and the first and the last also hold what lies beyond the outer
    edges. A single bin may have one number as both edges. The bounds `min` and (just above; of whole numbers the next
    one) `max` are edges.

    `rows` (n): rows in each bin; `left` (n): of them, those that nothing but this bound drops or would drop (no other
    filter, no other reason of this one, and no other gauge of this one, whose reason may stand behind), so that
    sum(left[i:j]) + `without_kept` rows stay when the bounds move to edges i and j; with the bounds as they are that is
    the number of kept rows, exactly. `without`: rows without a number; `without_kept`: those of them that are kept.
    `filter` and the settings are empty where nothing bounds the column (then `left` are the kept rows). `log`: the
    edges grow by a factor. `bits`: of a number with a fraction; a bound is compared in that precision.
    `least`, `most`: the outermost numbers, None where they are not known.
    """

    name: str
    edges: tuple[float, ...]
    rows: tuple[int, ...]
    left: tuple[int, ...]
    without: int = 0
    without_kept: int = 0
    filter: str = ""
    min: float | None = None
    max: float | None = None
    min_setting: str = ""
    max_setting: str = ""
    log: bool = False
    bits: int = 64
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Counted:
    """How often each value occurs: (value, rows, kept rows), most frequent first, at most 30. `others`: rows and kept
    rows of all other values; `without`: rows without a value. `least`: counts may be too low by as much, where a column
    has more different values than are counted at once (hosts of the whole web); 0 where they are exact."""

    title: str
    values: tuple[tuple[str, int, int], ...]
    others: tuple[int, int] = (0, 0)
    without: int = 0
    least: int = 0


@dataclass(frozen=True)
class Overlap:
    """Which filters drop the same rows. `both[i][j]`: rows that filters i and j would drop; `both[i][i]`: all that i
    would. `alone[i]`: rows that only i drops."""

    filters: tuple[str, ...]
    both: tuple[tuple[int, ...], ...]
    alone: tuple[int, ...]


@dataclass(frozen=True)
class Tile:
    """One sample as a gallery shows it. `picture`: the thumbnail's bytes (WebP or JPEG), empty where there is none;
    `alt` and `caption` are plain text of anybody's, at most 300 letters. `numbers`: what to tell below, such as the
    score that a borderline sample has. `reasons`: all reasons against it."""

    shard: str
    key: str
    picture: bytes = b""
    caption: str = ""
    alt: str = ""
    url: str = ""
    numbers: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    status: str = "success"


@dataclass(frozen=True)
class Gallery:
    """Samples of one fate, drawn evenly over all shards by a seed. `kind`: kept, dropped, borderline (nearest to a
    bound, on either side), copies or captions. `of`: how many there are; `withheld`: drawn ones that are not shown,
    because they were flagged as unsafe."""

    kind: str
    title: str
    tiles: tuple[Tile, ...]
    of: int
    withheld: int = 0
    words: str = ""


@dataclass(frozen=True)
class Copies:
    """Clusters of one kind of copies. `rows`: rows that are in one, the kept ones too. `sizes`: (rows in a cluster,
    clusters) ascending, the last entry holds all that are larger still. `examples`: the largest and some drawn ones,
    the row that is kept first."""

    kind: str
    rows: int
    clusters: int
    sizes: tuple[tuple[int, int], ...]
    examples: tuple[Gallery, ...] = ()


@dataclass(frozen=True)
class Captions:
    """A view of captions, the web's against synthetic ones: `counts` by fate (both, web only, synthetic only, none),
    lengths of both in words, why texts are not in it, and examples whose `numbers` hold both texts with scores."""

    view: str
    counts: Mapping[str, int]
    web_words: Histogram | None
    synthetic_words: Histogram | None
    reasons: tuple[tuple[str, int], ...]
    examples: tuple[Gallery, ...] = ()


@dataclass(frozen=True)
class Download:
    """Fetches, of pages too. `statuses`: (class such as `success`, `http`, `robots`; status; rows); `hosts`: those that
    were asked most often: (host, rows that were fetched from it, succeeded, most frequent failure)."""

    statuses: tuple[tuple[str, str, int], ...]
    hosts: tuple[tuple[str, int, int, str], ...]


@dataclass(frozen=True)
class Cost:
    """What one step took. `seconds`: of workers, added up over shards; `phases` splits them. Steps that share a pass
    over a shard share its seconds. `rows`: that it saw; `written_bytes`: of its files. `price`: in the currency of the
    rates that were given; None without them."""

    step: str
    shards: int
    rows: int
    seconds: float
    phases: Mapping[str, float]
    written_bytes: int
    price: float | None = None


@dataclass(frozen=True)
class Unit:
    """What was decided on: samples, parts or documents. `kept` of `rows`; the words of each reason; sections as above.
    `galleries` are of samples and of pictures in documents."""

    name: str
    rows: int
    kept: int
    funnel: tuple[FunnelRow, ...]
    words: Mapping[str, str]
    overlap: Overlap | None
    histograms: tuple[Histogram, ...]
    counted: tuple[Counted, ...]
    galleries: tuple[Gallery, ...] = ()


@dataclass(frozen=True)
class Facts:
    """All that a report shows of one data set.

    `looked_at`: (shards read, shards there). `withheld`: rows whose pictures are not shown anywhere, by what flagged
    them. `shown`: documents as a reader sees them, with thumbnails. `about`: pairs for the head and foot (config's
    name, digest, versions, models). `config`: its tables, without secrets. `troubles`: what could not be read, in
    words (a shard set aside, a broken column file)."""

    title: str
    looked_at: tuple[int, int]
    units: tuple[Unit, ...]
    downloads: Download | None = None
    copies: tuple[Copies, ...] = ()
    captions: tuple[Captions, ...] = ()
    shown: tuple[Document, ...] = ()
    withheld: Mapping[str, int] = field(default_factory=dict)
    costs: tuple[Cost, ...] = ()
    wall_s: float | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()
