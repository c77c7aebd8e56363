"""Which columns are worth counting, and between which edges: learned from a few shards before the one pass over all.

All shards of a run have the same columns, so one shard that has a family tells its columns. Edges are drawn from some
rows of at most six shards; whatever the others hold is counted all the same (`edges`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from curate.gauge import Gauge
from curate.listing import Listed
from curate.report.counting.bars import Bars, Measure, Numbers, measures_of, numbers_of
from curate.report.counting.downloads import CAUSE, STATUS
from curate.report.counting.edges import edges_of
from curate.report.counting.reading import BROKEN, Columns, Reduce, Troubles, schema_of
from curate.report.counting.values import LONG, SIDES, VALUES, cut, shapes
from curate.run_record import FilterRecord

__all__ = ["Survey", "bars_of", "columns_of", "numbers_by_gauge", "survey_of"]

SUFFIXES = (
    *("_score", "_similarity", "_probability", "_ratio", "_px", "_bytes", "_s", "_variance"),
    *("_chars", "_words", "_count", "_size", "_quality", "_documents"),
)
"""What the names of numbers end in that are worth a histogram; others are places, identifiers and keys."""
OTHERS = (
    *("similarity", "aesthetic", "punsafe", "pwatermark", "clip_similarity_vitb32", "clip_similarity_vitl14"),
    *("nsfw_score_opennsfw2", "nsfw_score_gantman", "aesthetic_score_laion_v2"),
)
"""Numbers that LAION and COYO give."""
NUMBERS = ("aspect_ratio", "chars", "images", *(side for pair in SIDES for side in pair))
TOKENS = "tokens_"
LOOKED_AT = 6
SAMPLE_ROWS = 10_000
"""Of a shard, evenly, that edges are drawn from."""


@dataclass(frozen=True)
class Survey:
    """`owners`: the family that each column is read from; `kinds`: its type there."""

    owners: Mapping[str, str]
    kinds: Mapping[str, pa.DataType]


def survey_of(tables: Sequence[Listed], troubles: Troubles) -> Survey:
    """Of every family the first table that has it and can be read. What a stage wrote goes before a column of the same
    name that came with the source."""
    schemas: dict[str, pa.Schema] = {}
    for table in tables:
        for family in table.families:
            if family not in schemas and (schema := schema_of(table, family, troubles)) is not None:
                schemas[family] = schema
    owners: dict[str, str] = {}
    kinds: dict[str, pa.DataType] = {}
    for family in sorted(schemas):
        for field in schemas[family]:
            if not owners.get(field.name):
                owners[field.name], kinds[field.name] = family, field.type
    return Survey(owners, kinds)


def columns_of(survey: Survey, prefix: str | None, filters: Sequence[FilterRecord]) -> Columns:
    """What is read of every table: the decision, all that gauges measure, numbers, and values."""
    wanted = [f"{prefix}{name}" for name in ("keep", "drop_reasons")] if prefix is not None else []
    wanted += [name for one in filters for gauge in one.gauges for name in (*gauge.columns, "kind")]
    wanted += [*plain_numbers(survey), *(side for pair in SIDES for side in pair), *STATUS, *VALUES]
    long = {name: reduce for name, reduce in LONG.items() if _is_text(survey.kinds.get(name))}
    causes = () if {*STATUS[:-1]} & survey.owners.keys() else (CAUSE,)
    long |= {name: cut(name) for name in (*VALUES, *causes) if _from_source(survey, name)}
    plain: dict[str, list[str]] = {}
    for name in dict.fromkeys(wanted):
        if name in survey.owners and name not in long:
            plain.setdefault(survey.owners[name], []).append(name)
    made: dict[str, dict[str, Reduce]] = {}
    for name, reduce in long.items():
        made.setdefault(survey.owners[name], {})[name] = reduce
    return Columns(plain, made)


def plain_numbers(survey: Survey) -> list[str]:
    """Columns that get a histogram without a filter, in the order of their files."""
    told = [name for name, kind in survey.kinds.items() if _is_number(kind)]
    return [
        name
        for name in told
        if name.lower().endswith(SUFFIXES) or name.startswith(TOKENS) or name in (*NUMBERS, *OTHERS)
    ]


def bars_of(tables: Sequence[Listed], columns: Columns, filters: Sequence[FilterRecord], survey: Survey) -> list[Bars]:
    """The histograms of a unit, empty, between edges that some rows of a few tables give."""
    plain = [*plain_numbers(survey), "aspect_ratio", "caption_chars", "caption_words"]
    measures = measures_of(filters, list(dict.fromkeys(plain)))
    silent = Troubles()
    looked_at = [shapes(columns.read(table, table.families, silent)) for table in _spread(tables, LOOKED_AT)]
    found = [numbers_by_gauge(measures, own, silent) for own in looked_at]
    return [bars for measure in measures if (bars := _bars(measure, [own[measure.gauge] for own in found])) is not None]


def numbers_by_gauge(measures: Sequence[Measure], columns: pa.Table, troubles: Troubles) -> dict[Gauge, Numbers | None]:
    """The numbers of every gauge of a shard, each once; None for those that it has not."""
    found: dict[Gauge, Numbers | None] = {}
    for measure in measures:
        for gauge in (measure.gauge, *measure.beside):
            if gauge not in found:
                try:
                    found[gauge] = numbers_of(gauge, columns)
                except BROKEN as error:
                    found[gauge] = None
                    troubles.add(f"{gauge.name} was not measured: {error}")
    return found


def _bars(measure: Measure, found: Sequence[Numbers | None]) -> Bars | None:
    """None for a column that no table has."""
    told = [own for own in found if own is not None]
    if not told:
        return None
    sample = np.concatenate([_some(own.values[own.known]) for own in told])
    whole = all(pt.is_integer(own.kind) for own in told)
    gauge = measure.gauge
    return Bars(measure, edges_of(gauge.name, sample[np.isfinite(sample)], whole, gauge.min, gauge.max))


def _some(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return values[:: max(1, -(-len(values) // SAMPLE_ROWS))]


def _spread(tables: Sequence[Listed], most: int) -> list[Listed]:
    places = {len(tables) * place // most for place in range(most)} if len(tables) > most else range(len(tables))
    return [tables[place] for place in sorted(places)]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_floating(kind))


def _is_text(kind: pa.DataType | None) -> bool:
    return kind is not None and bool(pt.is_string(kind) or pt.is_large_string(kind))


def _from_source(survey: Survey, name: str) -> bool:
    """Whether a column of text is in the sample table, where it may hold anything."""
    return survey.owners.get(name) == "" and _is_text(survey.kinds.get(name))
