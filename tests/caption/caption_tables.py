"""Tables of captions and their scores as scorers write them, and a choice as plain Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from curate.caption.rule import Choice

TEXT, NUMBER = pa.string(), pa.float32()
KINDS: Mapping[str, pa.DataType] = {
    "key": TEXT,
    "url": TEXT,
    "sha256": TEXT,
    "caption": TEXT,
    "synthetic_captions": pa.list_(TEXT),
    "synthetic_faults": pa.list_(TEXT),
    "other_captions": pa.list_(TEXT),
    "other_faults": pa.list_(TEXT),
    "itm_probability": NUMBER,
    "itm_synthetic_probability": pa.list_(NUMBER),
    "clip_similarity": NUMBER,
    "clip_synthetic_similarity": pa.list_(NUMBER),
    "big_synthetic_similarity": pa.list_(NUMBER),
    "good": pa.float64(),
    "synthetic_good": pa.list_(pa.float64()),
    "rewritten": TEXT,
    "rewrites": pa.list_(TEXT),
    "clip_similarity_of_best_0_3": pa.float64(),
    "clip_similarity_of_best_0_5": pa.float64(),
}


def caption_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table of rows that name some of KINDS; faults are of sound captions where a row does not say, keys count."""
    columns: dict[str, pa.Array] = {}
    for name in dict.fromkeys(("key", *(name for row in rows for name in row), "synthetic_faults", "other_faults")):
        columns[name] = pa.array([_value(name, number, row) for number, row in enumerate(rows)], KINDS[name])
    return pa.table(columns)


def _value(name: str, number: int, row: Mapping[str, Any]) -> Any:
    if name in row or not name.endswith(("_faults", "key")):
        return row.get(name)
    if name == "key":
        return f"{number:09d}"
    captions = row.get(name.replace("_faults", "_captions"))
    return None if captions is None else [None] * len(captions)


def plain(chosen: Choice) -> list[dict[str, Any]]:
    """One dict a row; weights and scores are rounded, reasons are `why_web` and `why` by captioner."""
    for column in (chosen.texts, chosen.origins, chosen.scores, chosen.weights, chosen.web_reason):
        column.validate(full=True)
    assert chosen.texts.type == chosen.origins.type == pa.list_(TEXT)
    assert chosen.scores.type == chosen.weights.type == pa.list_(NUMBER)
    assert chosen.web_reason.type == TEXT
    assert all(column.type == pa.list_(TEXT) for column in chosen.synthetic_reasons.values())
    return [
        {
            "texts": chosen.texts[row].as_py(),
            "origins": chosen.origins[row].as_py(),
            "scores": [None if v is None else round(v, 5) for v in chosen.scores[row].as_py()],
            "weights": [round(v, 5) for v in chosen.weights[row].as_py()],
            "why_web": chosen.web_reason[row].as_py(),
            "why": {name: column[row].as_py() for name, column in chosen.synthetic_reasons.items()},
        }
        for row in range(len(chosen.texts))
    ]
