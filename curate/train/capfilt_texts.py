"""One round's texts of the web set: captions of every picture, both texts judged, and what is kept, a table a shard.

The columns are those that `pipelines/recaption.py` writes, made by the same scorers and the same rule, so that a round
can be looked at as a data set can. They stand in the round's own folder, not beside the tars: each round has its own,
and the web set may belong to others. A table is written whole or not at all, and says which models made it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.caption.choose import reasons_column, view_columns, web_reason_column
from curate.caption.faults import FindFaults
from curate.caption.rule import WEB
from curate.caption.rules.itm_threshold import ItmThreshold
from curate.dedup.digest import digest_strings, join_digests
from curate.errors import ConfigError
from curate.filter import Batch
from curate.manifest import fingerprint, write_parquet
from curate.models.caption_scores import WriteCaptions
from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.models.match_scores import ScoreMatches
from curate.storage import plain_errors
from curate.train.caption_pairs import each_text, joined, open_captions, web_captions
from curate.train.pairs import Pairs, PairSource, open_pairs
from curate.train.stream import in_order

__all__ = ["CAPTIONER", "MATCHER", "VIEW", "CaptionSet", "Judges", "table_path", "write_texts", "yields_of"]

CAPTIONER = "synthetic"
MATCHER = "itm"
VIEW = "capfilt"
"""Names in the columns: `synthetic_captions`, `itm_probability`, `capfilt_texts`, ..."""
AT_A_TIME = 256
"""Pictures that are decoded and held together."""
MADE_BY = b"curate.capfilt"


@dataclass(frozen=True)
class Judges:
    """Who writes and who judges: both settings with the weights of the round before; `min`: the least probability (0 to
    1, included) of a text that is kept."""

    captions: CaptionerSettings
    matching: MatcherSettings
    min: float

    @property
    def writer(self) -> WriteCaptions:
        """The scorer of the captions."""
        return WriteCaptions(CAPTIONER, self.captions)

    @property
    def matcher(self) -> ScoreMatches:
        """The scorer of both texts."""
        return ScoreMatches(MATCHER, self.matching)

    @property
    def rule(self) -> ItmThreshold:
        """What is kept."""
        return ItmThreshold(CAPTIONER, MATCHER, self.min)

    def identity(self) -> str:
        """16 hex digits of models, decoding and rule."""
        return fingerprint([self.writer.identity(), self.matcher.identity(), self.rule.identity()])


@dataclass(frozen=True)
class CaptionSet:
    """What a model of the loop learns from: the clean pairs, and of the web set its own texts, or what a round kept."""

    clean: PairSource
    web: PairSource | None = None
    kept: str = ""

    def open(self) -> Pairs:
        """All texts with their pictures, the clean ones first. Raises as `open_pairs`."""
        clean = open_captions(self.clean)
        if self.web is None:
            return clean
        if not self.kept:
            return joined([clean, open_captions(self.web)])
        pictures = open_pairs(self.web, captions=False)
        texts = [_kept(pictures, number, Path(self.kept)) for number in range(len(pictures.shards))]
        return joined([clean, each_text(pictures, pa.concat_arrays(texts))])


def _kept(pictures: Pairs, number: int, folder: Path) -> pa.Array:
    """The kept texts of one shard's pictures."""
    table = pq.read_table(table_path(folder, pictures, number), columns=["key", view_columns(VIEW)[0]])
    keys = pictures.keys.filter(pa.array(pictures.shard == number))
    place = pc.index_in(keys, value_set=table["key"].cast(pa.large_string()).combine_chunks())
    return table[view_columns(VIEW)[0]].combine_chunks().cast(pa.list_(pa.large_string())).take(place)


def table_path(folder: Path, web: Pairs, number: int) -> Path:
    """The file of one of the web set's shards."""
    return folder / f"{number:05d}-{web.shards[number].id.rpartition('/')[2]}.parquet"


def write_texts(web: PairSource, judges: Judges, folder: Path, threads: int, say: Any) -> list[Path]:
    """Write the tables that are not there yet, shard by shard; answers all of them. Raises as `open_pairs`, and
    ConfigError for models that cannot be used."""
    pictures, captions = web_captions(web)
    rows_of = [np.flatnonzero(pictures.shard == number) for number in range(len(pictures.shards))]
    marks = [fingerprint([judges.identity(), _digest(pictures, captions, rows)]) for rows in rows_of]
    with plain_errors(f"write {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    paths = [table_path(folder, pictures, number) for number in range(len(pictures.shards))]
    missing = [number for number, path in enumerate(paths) if not _is_of(path, marks[number])]
    if missing:
        judges.writer.require()
        judges.matcher.require()
    for number in missing:
        rows = rows_of[number].tolist()
        table = _texts_of(pictures, captions, rows, judges, threads)
        told = {**(table.schema.metadata or {}), MADE_BY: json.dumps({"made_by": marks[number]}).encode()}
        beside = paths[number].with_suffix(".part")
        with plain_errors(f"write {beside}"):
            write_parquet(table.replace_schema_metadata(told), beside)
            beside.replace(paths[number])
        say(f"{paths[number].stem}: {len(rows):,} pictures captioned and judged")
    return paths


def _digest(pictures: Pairs, captions: Sequence[str | None], rows: npt.NDArray[np.int64]) -> str:
    """32 hex digits of the rows of a shard and their texts."""
    texts = digest_strings(pa.array([captions[row] or "" for row in rows.tolist()], pa.large_string()))
    with np.errstate(over="ignore"):
        joined_rows = join_digests(pictures.identity[rows], texts).sum(axis=0, dtype=np.uint64)
    return "".join(f"{int(half):016x}" for half in joined_rows)


def _is_of(path: Path, mark: str) -> bool:
    if not path.is_file():
        return False
    try:
        told = (pq.read_schema(path).metadata or {}).get(MADE_BY, b"{}")
        return bool(json.loads(told).get("made_by") == mark)
    except (OSError, ValueError, AttributeError, pa.ArrowException):
        return False


def _texts_of(
    pictures: Pairs, captions: Sequence[str | None], rows: Sequence[int], judges: Judges, threads: int
) -> pa.Table:
    """The columns of one shard."""
    writer, matcher = judges.writer, judges.matcher

    def look(row: int) -> tuple[Any, Any]:
        pixels = pictures.decoded(row)
        try:
            return (None, None) if pixels is None else (writer.prepare(pixels), matcher.prepare(pixels))
        except (ValueError, TypeError, ArithmeticError):
            return None, None

    parts: list[pa.Table] = []
    for start in range(0, len(rows), AT_A_TIME):
        part = rows[start : start + AT_A_TIME]
        views = [view for _, view in in_order(look, part, threads)]
        own = pa.array(part, pa.int64())
        base = {
            "key": pictures.keys.take(own).cast(pa.string()),
            "caption": pa.array([captions[row] for row in part], pa.string()),
            "sha256": pictures.sha256.take(own).cast(pa.string()),
        }
        parts.append(_scored(base, views, judges))
    return pa.concat_tables(parts) if parts else _scored(_nothing(), [], judges)


def _nothing() -> dict[str, pa.Array]:
    return {name: pa.array([], pa.string()) for name in ("key", "caption", "sha256")}


def _scored(base: dict[str, pa.Array], views: Sequence[tuple[Any, Any]], judges: Judges) -> pa.Table:
    """What the scorers write of some pictures, and what the rule keeps."""
    columns = dict(base)
    nothing: list[Any] = [None] * len(views)
    steps = (
        (judges.writer, [view[0] for view in views]),
        (FindFaults(CAPTIONER, judges.captions.prompt), nothing),
        (judges.matcher, [view[1] for view in views]),
    )
    for scorer, pixels in steps:
        columns |= scorer.score(Batch(pa.table(columns), pixels))
    columns.pop("sha256")
    chosen = judges.rule.choose(pa.table(columns))
    kept = (chosen.texts, chosen.origins, chosen.scores, chosen.weights)
    columns |= dict(zip(view_columns(VIEW), kept, strict=True))
    columns |= {web_reason_column(VIEW): chosen.web_reason}
    return pa.table(columns | {reasons_column(VIEW, CAPTIONER): chosen.synthetic_reasons[CAPTIONER]})


def yields_of(paths: Sequence[Path]) -> dict[str, Any]:
    """What a round kept: rows, texts of each kind before and after, pictures with both kinds, one or none of them.

    `noise_ratio` is BLIP's, the share of synthetic texts that were refused, `web_noise_ratio` that of the web's; null
    where there was none. `reasons`: why texts were refused, with counts.
    """
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    names = [*view_columns(VIEW)[:2], "caption", web_reason_column(VIEW), reasons_column(VIEW, CAPTIONER)]
    for path in paths:
        try:
            table = pq.read_table(path, columns=names)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"{path} cannot be read ({error}); delete it, and the round goes on") from error
        for origins in table[names[1]].to_pylist():
            web = sum(origin == WEB for origin in origins or ())
            other = len(origins or ()) - web
            counts.update({"rows": 1, "web_kept": web, "synthetic_kept": other})
            counts["both" if web and other else "one" if web or other else "none"] += 1
        web_reasons, own = table[names[3]], pc.list_flatten(table[names[4]])
        counts["web_in"] += (
            pc.sum(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(table["caption"])), 0)).as_py() or 0
        )
        counts["synthetic_in"] += len(own)
        reasons.update(reason for reason in [*web_reasons.to_pylist(), *own.to_pylist()] if reason)
    told = {name: counts[name] for name in ("rows", "web_in", "web_kept", "synthetic_in", "synthetic_kept")}
    told |= {name: counts[name] for name in ("both", "one", "none")}
    return told | {
        "noise_ratio": _lost(counts["synthetic_kept"], counts["synthetic_in"]),
        "web_noise_ratio": _lost(counts["web_kept"], counts["web_in"]),
        "reasons": dict(sorted(reasons.items(), key=lambda own: (-own[1], own[0]))),
    }


def _lost(kept: int, before: int) -> float | None:
    return 1 - kept / before if before else None
