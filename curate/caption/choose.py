"""The stage that applies a view's rule to a shard: columns in, columns out, no model and no pixels.

10,000 rows with one caption each take 16 ms on one core, with ten captions 45, two thirds of it to read and write
Parquet (`sub_caption` more: it draws). So a bound is changed by running this again, and several views stand side by
side.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.caption.rule import WEB, Choice, Rule
from curate.errors import ShardError, StageError
from curate.manifest import Attempt, fingerprint
from curate.models.caption_scores import captions_column
from curate.shard import Shard
from curate.stage import Runtime, Stage, settings_of

__all__ = ["Choose", "reasons_column", "view_columns", "view_family", "web_reason_column"]

CHUNK_BYTES = 32 << 20
CHUNK_ROWS = 16_384
WEB_TEXT, REPEATED = "caption", "repeated_text"


def view_family(view: str) -> str:
    """The family of a view's column file, and the label of its stage."""
    return f"view_{view}"


def view_columns(view: str) -> tuple[str, str, str, str]:
    """The columns with a view's texts, their origins, scores and weights; of lists, one item a text."""
    return f"{view}_texts", f"{view}_origins", f"{view}_scores", f"{view}_weights"


def web_reason_column(view: str) -> str:
    """The column that says why a view has not the web's caption."""
    return f"{view}_web_reason"


def reasons_column(view: str, captioner: str) -> str:
    """The column of lists that says why a view has not each of a captioner's captions."""
    return f"{view}_{captioner}_reasons"


@dataclass(frozen=True)
class Choose(Stage):
    """Writes the columns of `view` by `rule`, as `Choice` has them, with what is known of their making in each field:
    rule, settings, and what the columns that it read say of themselves (`COLUMN:name`).

    Counts rows `in`, with `both` kinds of text, `web_only`, `synthetic_only`, `none`; texts before (`web_in`,
    `synthetic_in`) and after (`web_kept`, `synthetic_kept`, `texts`), those refused (`web_rejected`,
    `synthetic_rejected`, which leaves out repetitions, `rejected.<reason>`). What the rule made itself counts as
    synthetic."""

    view: str
    rule: Rule

    name: ClassVar[str] = "view"

    @property
    def label(self) -> str:
        return view_family(self.view)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("key", *self.rule.reads)))

    @property
    def writes(self) -> tuple[str, ...]:
        reasons = [reasons_column(self.view, captioner) for captioner in self._captioners]
        return (*view_columns(self.view), web_reason_column(self.view), *reasons)

    def identity(self) -> Any:
        return {"stage": self.label, "version": self.version, "rule": self.rule.identity()}

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        columns = shard.columns(self.reads)
        schema = self._schema(columns.schema.field("key"), self._about(shard))
        parts = []
        for part in _parts(columns):
            chosen = self._chosen(part, shard)
            parts.append(self._table(part, chosen, schema))
            attempt.counts.update(self._counts(part, chosen))
        table = pa.Table.from_batches(parts, schema)
        attempt.write_table(shard.table_name(self.label), table)

    @property
    def _captioners(self) -> tuple[str, ...]:
        """Those whose captions the rule reads."""
        named = [column.removesuffix("_captions") for column in self.rule.reads]
        return tuple(name for name in dict.fromkeys(named) if captions_column(name) in self.rule.reads)

    def _chosen(self, part: pa.Table, shard: Shard) -> Choice:
        try:
            chosen = self.rule.choose(part)
        except ShardError as error:
            raise ShardError(f"shard {shard.id}, view {self.view}: {error}") from None
        lengths = {len(column) for column in (*_lists(chosen), chosen.web_reason, *chosen.synthetic_reasons.values())}
        if lengths != {len(part)}:
            raise StageError(f"the rule of view {self.view} gave {sorted(lengths)} values for {len(part)} rows")
        return chosen

    def _table(self, part: pa.Table, chosen: Choice, schema: pa.Schema) -> pa.RecordBatch:
        nothing = pa.nulls(len(part), pa.list_(pa.string()))
        reasons = [chosen.synthetic_reasons.get(captioner, nothing) for captioner in self._captioners]
        key = part["key"].combine_chunks()
        arrays = [key, *_lists(chosen), chosen.web_reason, *reasons]
        return pa.record_batch([array.cast(f.type) for array, f in zip(arrays, schema, strict=True)], schema=schema)

    def _schema(self, key: pa.Field, about: Mapping[str, str]) -> pa.Schema:
        texts = pa.list_(pa.string())
        kinds = [texts, texts, pa.list_(pa.float32()), pa.list_(pa.float32()), pa.string()]
        kinds += [texts] * len(self._captioners)
        own = [pa.field(name, kind, metadata=about) for name, kind in zip(self.writes, kinds, strict=True)]
        return pa.schema([key.remove_metadata(), *own])

    def _about(self, shard: Shard) -> dict[str, str]:
        """The `model_fingerprint` is of the rule and of all models below it."""
        told = {column: shard.provenance(column) for column in self.rule.reads}
        identity = self.rule.identity()
        marks = {column: own["model_fingerprint"] for column, own in told.items() if "model_fingerprint" in own}
        below = {f"{column}:{name}": value for column, own in told.items() for name, value in own.items()}
        return {
            "view_rule": type(self.rule).__module__.rpartition(".")[2],
            "view_source": self.rule.source,
            "view_settings": json.dumps(settings_of(self.rule), sort_keys=True),
            "model_fingerprint": fingerprint([identity, marks]),
            **below,
        }

    def _counts(self, part: pa.Table, chosen: Choice) -> Counter[str]:
        texts = _lengths(chosen.texts)
        of_web = np.asarray(pc.equal(chosen.origins.flatten(), WEB), bool)
        row = np.repeat(np.arange(len(texts)), texts)
        web = np.bincount(row[of_web], minlength=len(texts))
        has_web, has_other = web > 0, texts > web
        counts = Counter(
            {
                "in": len(part),
                "texts": int(texts.sum()),
                "web_kept": int(web.sum()),
                "synthetic_kept": int((texts - web).sum()),
                "both": int((has_web & has_other).sum()),
                "web_only": int((has_web & ~has_other).sum()),
                "synthetic_only": int((~has_web & has_other).sum()),
                "none": int((texts == 0).sum()),
                "web_in": _valid(part[WEB_TEXT]) if WEB_TEXT in part.column_names else 0,
                "web_rejected": _valid(chosen.web_reason),
            }
        )
        reasons = [chosen.web_reason]
        for own in chosen.synthetic_reasons.values():
            reasons.append(own.flatten())
            counts["synthetic_in"] += len(reasons[-1])
            counts["synthetic_rejected"] += _valid(reasons[-1]) - _repeated(reasons[-1])
        for values in reasons:
            for entry in pc.value_counts(values.drop_null()).to_pylist():
                counts[f"rejected.{entry['values']}"] += entry["counts"]
        return counts


def _parts(columns: pa.Table) -> Iterator[pa.Table]:
    """Rows of some 32 MB at most, at least one at a time."""
    each = max(1, min(CHUNK_ROWS, len(columns) * CHUNK_BYTES // max(1, columns.nbytes)))
    for start in range(0, len(columns), each):
        yield columns.slice(start, each)


def _lists(chosen: Choice) -> tuple[pa.Array, ...]:
    return chosen.texts, chosen.origins, chosen.scores, chosen.weights


def _lengths(lists: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)


def _repeated(reasons: pa.Array) -> int:
    return int(pc.sum(pc.equal(reasons, REPEATED)).as_py() or 0)


def _valid(values: pa.Array | pa.ChunkedArray) -> int:
    return len(values) - int(values.null_count)
