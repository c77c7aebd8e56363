"""What each view came to: texts before and after, pictures with both kinds of text, one or none, and why texts went.

It is read from the manifest alone, so it costs one small file at any data size. The *noise ratio* is BLIP's: the share
of synthetic texts that were refused, without those that only repeat another. BLIP found 25 % with nucleus sampling and
19 % with beams, and 8 % where captioner and matcher had shared their weights, which made the data worse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from curate.caption.choose import view_family
from curate.manifest import Entry

__all__ = ["yields"]

REASON = "rejected."


def yields(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """One line a view, by name: rows, texts that came in and that were kept, rows with both kinds, one or none, the
    noise ratio, texts after per text before (both null where none came in), and the reasons, the most frequent first.
    """
    totals: dict[str, Counter[str]] = {}
    family = view_family("")
    for entry in entries:
        if entry.stage.startswith(family):
            totals.setdefault(entry.stage.removeprefix(family), Counter()).update(entry.counts)
    return [_line(view, total) for view, total in sorted(totals.items())]


def _line(view: str, total: Counter[str]) -> dict[str, Any]:
    before = total["web_in"] + total["synthetic_in"]
    reasons = {name.removeprefix(REASON): n for name, n in total.items() if name.startswith(REASON) and n}
    return {
        "view": view,
        "rows": total["in"],
        "web_in": total["web_in"],
        "web_kept": total["web_kept"],
        "synthetic_in": total["synthetic_in"],
        "synthetic_kept": total["synthetic_kept"],
        "both": total["both"],
        "one": total["web_only"] + total["synthetic_only"],
        "none": total["none"],
        "noise_ratio": _ratio(total["synthetic_rejected"], total["synthetic_in"]),
        "texts_ratio": _ratio(total["texts"], before),
        "reasons": dict(sorted(reasons.items(), key=lambda own: (-own[1], own[0]))),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
