"""docs/writing_a_filter.md, carried out: its filter, its test, its package, its run."""

import json
from pathlib import Path

import pytest
from page_blocks import ROOT, Block
from page_session import Shown, carry_out, compare, session

PAGE = ROOT / "docs/writing_a_filter.md"


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    printed = carry_out(PAGE, tmp_path)
    assert "103 kept of 120" in next(text for command, text in printed.items() if command.startswith("curate run"))
    record = json.loads((tmp_path / "data/digits/run.json").read_text())
    (decision,) = record["decisions"]
    assert decision["filters"][-1]["gauges"][0]["max"] == 0.3


def test_what_a_page_shows_is_compared(tmp_path: Path) -> None:
    block = Block("a.md", 1, "console", "$ curate a \\\n  --b\nx   1.5 s\n...\nlast\n$ python c")
    first, second = session(block)
    assert (first, second) == (Shown("curate a    --b", ("x   1.5 s", "...", "last")), Shown("python c", ()))
    compare(first, "x 20 s\nmiddle\n\nlast\n", tmp_path)
    compare(Shown("c", ("x ab ...",)), "x abc d\n", tmp_path)
    for other in ("x 20 s\nlast\nmore\n", "y 20 s\nlast\n", "x 20 s\n"):
        with pytest.raises(AssertionError):
            compare(first, other, tmp_path)
