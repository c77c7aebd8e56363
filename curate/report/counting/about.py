"""What made a data set: the pairs for a report's head and foot, and the models whose columns it has.

Models are told by the columns' own files, as a hand-over tells them (`curate.handover.lineage`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.handover.lineage import first_shard, lineage_of
from curate.report.counting.reading import BROKEN, Troubles
from curate.run_record import RunRecord
from curate.storage import Storage

__all__ = ["about_of", "model_steps", "models_of"]

MOST_LETTERS = 300
MOST_MODELS = 40
OWN = ("model_fingerprint", "model_revision", "model_precision", "endpoint")


def models_of(storage: Storage, troubles: Troubles) -> list[Mapping[str, Any]]:
    """Each model that made columns: its name, revision, fingerprint, and which `columns`."""
    try:
        found = lineage_of(storage)
    except BROKEN as error:
        troubles.add(f"which models made columns is not known: {error}")
        return []
    return list((found.record or {}).get("models", ()))


def model_steps(storage: Storage, models: list[Mapping[str, Any]]) -> set[str]:
    """The steps that wrote columns which say that a model made them."""
    try:
        shard = first_shard(storage)
        files = dict(shard.column_files) if shard is not None else {}
    except BROKEN:
        return set()
    families = {files.get(name, "") for model in models for name in model["columns"]} - {""}
    return families | {f"score_{family}" for family in families}


def about_of(record: RunRecord | None, models: list[Mapping[str, Any]], rows: Mapping[str, int]) -> dict[str, str]:
    """Pairs in the order in which they are told: the run, the code, versions, sizes, models. `rows` by unit."""
    told: dict[str, object] = {}
    if record is not None:
        by = record.created_by
        told |= {"config": record.name, "config digest": by.get("config_digest")}
        told |= {"made by": f"{by.get('package')} {by.get('version')}", "commit": by.get("commit")}
        told |= record.versions
    told |= {unit: f"{n:,}" for unit, n in rows.items()}
    for model in models[:MOST_MODELS]:
        name = f"model {model.get('model')}"
        told[name if name not in told else f"{name} {model.get('model_fingerprint')}"] = _model(model)
    return {name: str(value)[:MOST_LETTERS] for name, value in told.items() if value not in (None, "")}


def _model(model: Mapping[str, Any]) -> str:
    own = [f"{name.removeprefix('model_')} {model[name]}" for name in OWN if model.get(name)]
    return "; ".join([f"columns {', '.join(model['columns'])}", *own])
