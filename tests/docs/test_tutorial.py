"""docs/tutorial.md, carried out from its first command to its last."""

import json
from pathlib import Path

import pytest
from page_blocks import ROOT
from page_session import carry_out


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    printed = carry_out(ROOT / "docs/tutorial.md", tmp_path)
    assert {command.split()[1] for command in printed if command.startswith("curate")} == {
        "plan", "run", "show", "report", "compare", "export", "train",
    }  # fmt: skip
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
