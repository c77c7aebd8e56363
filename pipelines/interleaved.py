"""Interleaved documents: pages become text and image slots in reading order, are judged in rounds, and get pictures.

source -> [fetch pages] -> extract -> read -> unique -> fetch images -> final

Each round scores and selects parts, then documents (`curate/document/select.py`). Pictures are asked for last: only for
slots that are still wanted, in documents that are no copies. A filter is judged as soon as its columns are there: one
that reads what a barrier writes waits for the round `unique`, and the counts are judged again in every round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from curate.config import build, build_filters
from curate.decontamination.file_digests import FileDigests
from curate.dedup.bloom import NgramDuplicates
from curate.dedup.image_sets import ImageSets
from curate.dedup.image_urls import ImageUrlFrequency
from curate.dedup.lines import LineFrequency
from curate.dedup.paragraphs import ParagraphFrequency
from curate.dedup.urls import UrlDuplicates
from curate.document.columns import DOCUMENT_COLUMNS, PART, PART_COLUMNS
from curate.document.file_digests import PartDigests
from curate.document.score import ScoreDocuments, ScoreParts
from curate.document.select import COUNTS, SelectDocuments, SelectParts
from curate.document.settings import DocumentSettings
from curate.document.stage import Extract
from curate.errors import ConfigError
from curate.fetch.document_images import FetchImages
from curate.fetch.pages import FetchPages
from curate.fetch.picture import ImageSettings
from curate.fetch.settings import FetchSettings
from curate.filter import Filter, Scorer
from curate.plan import Job
from curate.registry import filter_class
from curate.run.scheduler import RunSettings
from curate.select import Rules
from curate.source.ingest import ingest, known_cut
from curate.source.kinds import build_source
from curate.stage import Barrier, Stage

__all__ = ["Config", "Dedup", "Shards", "interleaved"]

Step = Stage | Barrier
Counting = TypeVar("Counting", ImageUrlFrequency, ParagraphFrequency, LineFrequency, NgramDuplicates, ImageSets)


@dataclass(frozen=True)
class Shards:
    """The `[shards]` section: `rows` of the source go into one shard: pages, or for archives ranges of a file."""

    rows: int = 5_000

    def __post_init__(self) -> None:
        if not 1 <= self.rows <= 1_000_000:
            raise ValueError(f"rows = {self.rows} is out of range: from 1 to 1000000")


@dataclass(frozen=True)
class Dedup:
    """The `[dedup.*]` sections: how copies are told. A barrier runs where a filter asks for what it counts."""

    url_duplicates: UrlDuplicates = field(default_factory=UrlDuplicates)
    image_url_frequency: ImageUrlFrequency = field(default_factory=ImageUrlFrequency)
    paragraph_frequency: ParagraphFrequency = field(default_factory=ParagraphFrequency)
    line_frequency: LineFrequency = field(default_factory=LineFrequency)
    ngram_duplicates: NgramDuplicates = field(default_factory=NgramDuplicates)
    image_sets: ImageSets = field(default_factory=ImageSets)


@dataclass(frozen=True)
class Config:
    """All sections of a config for this pipeline."""

    pipeline: str
    source: Mapping[str, Any]
    shards: Shards = Shards()
    document: DocumentSettings = field(default_factory=DocumentSettings)
    fetch: FetchSettings = field(default_factory=FetchSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    fetch_images: bool = True
    text_filters: Mapping[str, Any] = field(default_factory=dict)
    image_filters: Mapping[str, Any] = field(default_factory=dict)
    document_filters: Mapping[str, Any] = field(default_factory=dict)
    picture_filters: Mapping[str, Any] = field(default_factory=dict)
    dedup: Dedup = field(default_factory=Dedup)
    run: RunSettings = field(default_factory=RunSettings)


def interleaved(table: Mapping[str, Any], limit: int | None = None) -> Job:
    """The job of a config. Raises ConfigError."""
    config = build(Config, table, "")
    source = build_source(config.source)
    if not hasattr(source, "pages"):
        raise ConfigError(f"[source] kind = {config.source['kind']!r} gives no pages; this pipeline makes documents")
    if config.picture_filters and not config.fetch_images:
        raise ConfigError("[picture_filters] judge pictures, and fetch_images = false gets none; remove one of them")
    rows = config.shards.rows
    return Job(
        steps=tuple(steps(config, source)),
        slices=partial(ingest, source, samples_per_shard=rows, limit=limit),
        known_slices=partial(known_cut, source, samples_per_shard=rows, limit=limit),
        serve=source.serve,
        source_columns=source.known_columns(),
    )


def steps(config: Config, source: Any) -> Iterable[Step]:
    """The steps in their order."""
    text = tuple(build_filters(config.text_filters, "text_filters").items())
    image = tuple(build_filters(config.image_filters, "image_filters").items())
    pictures = tuple(build_filters(config.picture_filters, "picture_filters").items())
    documents = tuple(build_filters(config.document_filters, "document_filters").items())
    for section, rules in (("text_filters", text), ("image_filters", image), ("document_filters", documents)):
        refuse_pictures(section, rules, set(source.known_columns() or ()))
    refuse_other_kind("text_filters", text, _OF_SLOTS, "image_filters")
    refuse_other_kind("image_filters", image, _OF_TEXT, "text_filters")
    refuse_other_kind("picture_filters", pictures, _OF_TEXT, "text_filters")
    status = (("document_status", filter_class("document_status")()),)

    fetched = bool(getattr(source, "fetches_pages", False))
    if fetched:
        yield FetchPages(config.fetch)
    yield Extract(source, config.document, "page" if fetched else "source")

    yield from map(ScoreParts, scorers(at_once(text), at_once(image)))
    parts = SelectParts(at_once(text), at_once(image), "read")
    yield parts
    yield from (ScoreDocuments(scorer, "read") for scorer in scorers(at_once(documents)))
    read = SelectDocuments((*status, *at_once(documents)), "read")
    yield read

    copies = Copies(config.dedup, {column for _, rule in (*text, *image, *documents) for column in rule.columns})
    yield from copies.of_documents_and_parts()
    parts = SelectParts(later(text), later(image), "unique", after=parts)
    yield parts
    yield from copies.of_sets()
    unique = SelectDocuments((*later(documents), *counting(documents)), "unique", after=read)
    yield unique

    if config.fetch_images:
        yield FetchImages(config.fetch, config.image, "unique")
        arrived = (("picture_status", filter_class("picture_status")()), *pictures)
        if digests_of_files(pictures):
            yield PartDigests()
        yield from map(ScoreParts, picture_scorers(pictures))
        yield SelectParts((), arrived, after=parts)
    else:
        yield SelectParts((), (), after=parts)
    yield SelectDocuments(counting(documents), after=unique)


def scorers(*rules: Rules) -> list[Scorer]:
    """The scorers that these filters need, each once. Raises ConfigError when two want one under other settings."""
    return _each_once((name, rule.scorer()) for some in rules for name, rule in some)


def picture_scorers(rules: Rules) -> list[Scorer]:
    """The same for pictures, with the scorers that a filter's own reads, such as hashes of pictures. What a filter's
    own scorer is for rows of one file goes before what it is for samples. There are no models here: raises ConfigError
    for a filter that wants one."""
    found: list[tuple[str, Scorer | None]] = []
    for name, rule in rules:
        own = rule.scorer()
        try:
            first = rule.scorers({})
        except ConfigError as error:
            what = str(error).partition(";")[0]
            words = "documents have no [models]: only filters that need none judge their pictures"
            raise ConfigError(f"[picture_filters.{name}] {what}; {words}") from None
        same = own.name if own else ""
        found += [(name, own if scorer.name == same else scorer) for scorer in (first or filter(None, [own]))]
    return _each_once(found)


def digests_of_files(rules: Rules) -> bool:
    """Whether some filter asks for digests of the stored files."""
    return any(isinstance(step, FileDigests) for _, rule in rules for step in rule.steps(()))


def _each_once(wanted: Iterable[tuple[str, Scorer | None]]) -> list[Scorer]:
    found: dict[str, Scorer] = {}
    for name, scorer in wanted:
        if scorer is not None and found.setdefault(scorer.name, scorer) != scorer:
            raise ConfigError(
                f"[{name}] asks for {scorer.name!r} under other settings than a filter before it, and one column "
                "cannot hold both; give both the same"
            )
    return list(found.values())


def needed(rule: Filter) -> set[str]:
    """All columns that a filter and its scorer read."""
    scorer = rule.scorer()
    return {*rule.columns, *(scorer.reads if scorer else ())}


def refuse_pictures(section: str, rules: Rules, given: set[str]) -> None:
    """Raise ConfigError for a filter that needs a picture where there is none yet. `given` are the source's columns."""
    for name, rule in rules:
        if (_OF_PICTURES - given) & needed(rule):
            raise ConfigError(f"[{section}.{name}] judges pictures, which come last; write [picture_filters.{name}]")


def refuse_other_kind(section: str, rules: Rules, missing: Iterable[str], right: str) -> None:
    """Raise ConfigError for a filter of a column that parts of this kind never have: it would keep everything."""
    for name, rule in rules:
        wrong = sorted(needed(rule).intersection(missing))
        if wrong:
            words = f"reads {wrong[0]!r}, which these parts do not have; write [{right}.{name}]"
            raise ConfigError(f"[{section}.{name}] {words}")


def at_once(rules: Rules) -> Rules:
    """Filters that can judge before any barrier ran."""
    return tuple((name, rule) for name, rule in rules if not _waits(rule))


def later(rules: Rules) -> Rules:
    """Filters that judge what a barrier wrote."""
    return tuple((name, rule) for name, rule in rules if _waits(rule))


def counting(rules: Rules) -> Rules:
    """Filters of nothing but the number of parts that are left."""
    return tuple((name, rule) for name, rule in rules if set(rule.columns) <= set(COUNTS))


@dataclass(frozen=True)
class Copies:
    """The barriers whose columns some filter reads. The others look at distinct URLs where those are told."""

    dedup: Dedup
    wanted: set[str]

    def of_documents_and_parts(self) -> Iterable[Barrier]:
        """Copies of URLs first, then what occurs often in the documents that are none."""
        yield from self._asked(self.dedup.url_duplicates)
        yield from self._asked(self._among_distinct(self.dedup.image_url_frequency))
        yield from self._asked(self._among_distinct(self.dedup.paragraph_frequency))
        yield from self._asked(self._among_distinct(self.dedup.line_frequency))
        yield from self._asked(self._among_distinct(self.dedup.ngram_duplicates))

    def of_sets(self) -> Iterable[Barrier]:
        """Copies of whole sets of pictures, after frequent ones are gone."""
        yield from self._asked(self._among_distinct(self.dedup.image_sets))

    def _asked(self, barrier: Barrier) -> Iterable[Barrier]:
        return (barrier,) if self.wanted & _columns(barrier) else ()

    def _among_distinct(self, barrier: Counting) -> Counting:
        return replace(barrier, distinct_urls=bool(self.wanted & _columns(self.dedup.url_duplicates)))


def _columns(step: Step) -> set[str]:
    return {name.removeprefix(PART) for name in step.writes}


def _waits(rule: Filter) -> bool:
    return bool(_COUNTED & set(rule.columns))


_OF_PICTURES = _columns(FetchImages(FetchSettings(), ImageSettings())) - DOCUMENT_COLUMNS.keys() - PART_COLUMNS.keys()
_OF_SLOTS = {
    *("url", "alt", "title", "caption", "section", "rendered_width_px", "rendered_height_px", "link_url"),
    *_columns(ImageUrlFrequency()),
}
_OF_TEXT = {"text", "block"}.union(*map(_columns, (ParagraphFrequency(), LineFrequency(), NgramDuplicates())))
_COUNTED = frozenset[str]().union(
    *map(
        _columns,
        (UrlDuplicates(), ImageUrlFrequency(), ParagraphFrequency(), LineFrequency(), NgramDuplicates(), ImageSets()),
    )
)
