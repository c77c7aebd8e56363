"""docs/tutorial.md, carried out from its first command to its last."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from page_blocks import ROOT
from page_session import carry_out


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    here = ("plan", "run", "show", "report", "compare", "export")
    printed = carry_out(ROOT / "docs/tutorial.md", tmp_path, here)
    assert {command.split()[1] for command in printed if command.startswith("curate")} == {*here, "train"}
    assert undocumented(tmp_path / "data") == set()
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "side_too_short" in page
    trained = next(text for command, text in printed.items() if command.startswith("curate train"))
    (stage,) = json.loads(trained)["stages"] if trained.startswith("{") else [row(trained)]
    assert float(stage["last_contrastive"]) < float(stage["first_contrastive"])
    assert float(stage["last_lm"]) < float(stage["first_lm"])


def row(table: str) -> dict[str, str]:
    """The one row of the table of stages."""
    lines = table.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("stage "))
    return dict(zip(lines[head].split(), lines[head + 2].split(), strict=True))


NAMES = {
    "^(capfilt|matcher)_": "NAME_",
    "^synthetic_": "NAME_",
    "_synthetic_": "_CAPTIONER_",
    "tokens_toy$": "tokens_TOKENIZER",
}
"""What the tutorial's config calls its models and views, and how the page writes it."""


def undocumented(data: Path) -> set[str]:
    """Columns of files, and names of folders, of these data sets that docs/formats.md does not know."""
    known = (ROOT / "docs/formats.md").read_text("utf-8")
    names = {
        column
        for file in [*data.glob("*/00000*.parquet"), *data.glob("*/manifest.parquet")]
        for column in pq.read_schema(file).names
        if not column.startswith("toy_")  # of the source
    }
    for pattern, name in NAMES.items():
        names = {re.sub(pattern, name, column) for column in names}
    folders = {entry.name for entry in data.glob("*/*") if entry.is_dir() and (entry.parent / "commits").exists()}
    return {name for name in names if f"`{name}`" not in known} | {n for n in folders if f"{n}/" not in known}
