"""Who wrote the texts of a source, who judged them, which rule chose them, and what was kept out: from its columns.

Every column that a model wrote says so in its file: model, revision, precision, decoding, a fingerprint. A view names
the columns that it judged by. Nothing is guessed: a text whose writer is not told has the origin "unknown".
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from curate.caption.choose import view_columns, view_family
from curate.caption.rule import WEB
from curate.caption.yields import yields
from curate.handover.lineage import Lineage, without_folders, without_secrets
from curate.instruct.stage import instruction_columns
from curate.manifest import Entry

__all__ = ["caption_columns", "chosen_view", "conversation_column", "decided", "decontaminated"]

JUDGED = re.compile(r"(.+)_(?:similarity|probability)")
OVERLAP = "evaluation_overlap"


def caption_columns(
    source: str, lineage: Lineage, view: str, origins: Collection[str], human: bool
) -> Iterator[dict[str, Any]]:
    """An entry of `columns` for each origin that texts of a source of pairs have. `human`: the config says that people
    wrote what is told to be the web's."""
    judges = _judges(lineage, view)
    written = {*origins, *_captioners(lineage)} - {WEB}
    for origin in sorted(origins):
        column, kind, about = _writer(lineage, origin)
        own = [name for name in judges if _judged(name, written) == origin]
        yield {
            "source": source,
            "name": origin,
            "column": column,
            "origin": "human" if human and origin == WEB else kind,
            "about": dict(about),
            "scores": [{"column": name, **judges[name]} for name in own],
        }


def conversation_column(source: str, lineage: Lineage, name: str) -> dict[str, Any]:
    """The entry of `columns` for conversations that a language model made of a source's captions: instructions `name`
    of its config."""
    column = instruction_columns(name)[0]
    about = dict(lineage.told.get(column, {}))
    return {
        "source": source,
        "name": "messages",
        "column": column,
        "origin": "llm_fusion",
        "about": about,
        "scores": [],
    }


def chosen_view(source: str, lineage: Lineage, view: str) -> dict[str, Any] | None:
    """The entry of `views` for the view whose texts a source has; None where its columns tell of none."""
    about = lineage.told.get(view_columns(view)[0], {})
    if "view_rule" not in about:
        return None
    label = view_family(view)
    parameters = _parameters(about.get("view_settings", ""))
    lines = yields([Entry(label, "all", "", lineage.steps[label], ())]) if label in lineage.steps else []
    return {
        "source": source,
        "view": view,
        "rule": about["view_rule"],
        "rule_source": about.get("view_source", ""),
        "parameters": parameters,
        "fingerprint": about.get("model_fingerprint", ""),
        "yield": {name: value for name, value in lines[0].items() if name != "view"} if lines else None,
    }


def _parameters(text: str) -> dict[str, Any]:
    """A rule's settings; none where somebody else wrote what cannot be read."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    told = without_folders(without_secrets(found)) if isinstance(found, dict) else {}
    return {name: value for name, value in told.items() if name}


def decontaminated(source: str, lineage: Lineage) -> dict[str, Any] | None:
    """The entry of `decontamination` for a source whose rows were compared with evaluations; None for another."""
    if not any(label.endswith(OVERLAP) for label in lineage.steps):
        return None
    told = [about["evaluations"] for about in lineage.told.values() if "evaluations" in about]
    dropped = {
        reason: n
        for line in (lineage.record or {}).get("funnel", ())
        for reason, n in line["dropped"].items()
        if "evaluation" in reason
    }
    return {"source": source, "sets": told[0] if told else "", "method": OVERLAP, "dropped": dropped}


def decided(lineage: Lineage) -> bool:
    """Whether filters of ours have decided on the rows of a data set."""
    return any(label == "select" or label.startswith("select_") for label in lineage.steps)


def _writer(lineage: Lineage, origin: str) -> tuple[str, str, Mapping[str, str]]:
    """The column with the texts of an origin, who wrote it, and what it says of itself."""
    if origin == WEB:
        return "caption", "web", lineage.told.get("caption", {})
    for column in (f"{origin}_captions", origin):
        about = lineage.told.get(column)
        if about is not None:
            fused = "prompt_fingerprint" in about or "endpoint" in about
            return column, "llm_fusion" if fused else "captioner", about
    return origin, "unknown", {}


def _judges(lineage: Lineage, view: str) -> dict[str, dict[str, str]]:
    """The columns of scores that a view judged by, and what each says of itself: `COLUMN:name` among what the view
    says. Without a view, all that models judged texts by."""
    if not view:
        models = {name: about for name, about in lineage.told.items() if "model_fingerprint" in about}
        return {name: dict(about) for name, about in models.items() if _is_judge(name)}
    found: dict[str, dict[str, str]] = {}
    for name, value in lineage.told.get(view_columns(view)[0], {}).items():
        column, colon, own = name.partition(":")
        if colon and _is_judge(column):
            found.setdefault(column, {})[own] = value
    return found


def _is_judge(column: str) -> bool:
    return JUDGED.fullmatch(column) is not None and not column.endswith("_log_probability")


def _captioners(lineage: Lineage) -> set[str]:
    """Those whose captions the data set has."""
    return {name.removesuffix("_captions") for name in lineage.told if name.endswith("_captions")}


def _judged(column: str, written: Collection[str]) -> str:
    """Whose texts a column `MODEL_CAPTIONER_similarity` or `MODEL_similarity` judges: the longest name that fits."""
    match = JUDGED.fullmatch(column)
    fitting = [name for name in written if match and match[1].endswith(f"_{name}")]
    return max(fitting, key=len, default=WEB)
