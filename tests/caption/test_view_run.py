"""Views in a run: in order with their thresholds, the same at any packing, and redone alone when a bound changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scored_shards import Given, ScoredBy, by_row, handles, pack, packings, pairs, run_steps

from curate.caption.choose import view_columns
from curate.caption.views import build_views, view_steps
from curate.caption.yields import yields
from curate.models.settings import build_models
from curate.select import Select
from filters.caption_choice import CaptionChoice

MODELS = build_models(
    {
        "synthetic": {"kind": "captioner"},
        "itm": {"kind": "matcher", "captions": ["synthetic"]},
        "clip": {"captions": ["synthetic"]},
    }
)
VIEWS: dict[str, dict[str, Any]] = {
    "capfilt": {"rule": "itm_threshold", "captioner": "synthetic", "matcher": "itm"},
    "mix": {"rule": "raw_else_synthetic", "captioner": "synthetic", "clip": "clip"},
    "parts": {"rule": "sub_caption", "captioner": "synthetic", "words": 2},
}
ROWS = 14
TEXTS, NUMBERS = pa.list_(pa.string()), pa.list_(pa.float32())


def scored() -> pa.Table:
    """Rows with two captions each, of five words, some rows without."""
    draw = np.random.default_rng(0)
    words = [" ".join(f"w{n}{i}{j}" for j in range(5)) for n in range(ROWS) for i in range(2)]
    lists = [words[2 * n : 2 * n + 2] if n % 7 else None for n in range(ROWS)]

    def scores() -> pa.Array:
        return pa.array([own and draw.random(2).astype(np.float32).tolist() for own in lists], NUMBERS)

    return pairs(
        ROWS,
        synthetic_captions=pa.array(lists, TEXTS),
        synthetic_faults=pa.array([own and [None, None] for own in lists], TEXTS),
        itm_probability=pa.array(draw.random(ROWS), pa.float32()),
        itm_synthetic_probability=scores(),
        clip_similarity=pa.array(draw.random(ROWS), pa.float32()),
        clip_synthetic_similarity=scores(),
    )


def run(folder: Path, rows: pa.Table, packing: tuple[Sequence[int], Sequence[int]], views: dict[str, Any]) -> Any:
    sizes, order = packing
    pack(folder / "given", rows, sizes, order)
    columns = tuple(name for name in rows.column_names if name.endswith(("captions", "faults", "ity")))
    steps = [Given(str(folder / "given")), ScoredBy(str(folder / "given"), columns)]
    steps += view_steps(build_views(views), MODELS)
    return run_steps(folder / "run", len(sizes), [*steps, Select((("caption_choice", CaptionChoice()),))])


def test_views_do_not_depend_on_shards(tmp_path: Path) -> None:
    names = [name for view in VIEWS for name in view_columns(view)]
    found = []
    for number, packing in enumerate(packings(ROWS)):
        folder = tmp_path / str(number)
        outcome = run(folder, scored(), packing, VIEWS)
        assert not outcome.failed
        found.append(by_row(handles(folder / "run", len(packing[0])), names))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == ROWS


def test_yields_and_the_filter_tell_the_same(tmp_path: Path) -> None:
    outcome = run(tmp_path, scored(), ([ROWS - 5, 5], list(range(ROWS))), VIEWS)
    lines = {line["view"]: line for line in yields(outcome.manifest.entries)}
    assert list(lines) == ["capfilt", "mix", "parts"]
    assert all(line["rows"] == ROWS == line["both"] + line["one"] + line["none"] for line in lines.values())
    dropped = sum(entry.counts.get("dropped.no_text_kept", 0) for entry in outcome.manifest.of("select"))
    assert dropped == lines["capfilt"]["none"] > 0
    assert lines["mix"]["web_kept"] == int(ROWS * 0.3)
    assert lines["parts"]["texts_ratio"] == 1


@pytest.mark.parametrize(
    ("view", "change", "redone"),
    [("capfilt", {"min": 0.9}, 2), ("mix", {"fraction": 0.1}, 2), ("parts", {"seed": 1}, 1)],
)
def test_a_changed_rule_redoes_itself_and_what_reads_it(
    tmp_path: Path, view: str, change: dict[str, Any], redone: int
) -> None:
    packing = ([ROWS], list(range(ROWS)))
    first = run(tmp_path, scored(), packing, VIEWS)
    again = run(tmp_path, scored(), packing, VIEWS)
    assert (again.made, again.skipped) == (0, first.made)
    changed = run(tmp_path, scored(), packing, VIEWS | {view: VIEWS[view] | change})
    assert (changed.made, changed.skipped) == (redone, first.made - redone)
