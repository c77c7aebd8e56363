"""docs/python.md: its code runs, block after block, on two small data sets of the names that it uses."""

from pathlib import Path

import pyarrow as pa
import pytest
from document_sets import Page, Slot, Words, jpeg, put_pages
from page_blocks import ROOT, blocks
from tombstone_sets import ROWS, put, put_shard

from curate.storage import Storage


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Storage(str(tmp_path / "data/demo"))
    put_shard(pairs, "00000", 0)
    keep, width = [row % 2 == 0 for row in range(ROWS)], [96] * ROWS
    put(pairs, "00000.select.parquet", pa.table({"keep": keep, "drop_reason": [None, "blurred"] * 4, "width": width}))
    page = Page([Words("One."), Slot("http://a.test/1.jpg", jpeg(1))], "http://a.test/")
    put_pages(Storage(str(tmp_path / "data/interleaved_demo")), "00000", [page])
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    code = [block for block in blocks(ROOT / "docs/python.md") if block.language == "python"]
    for block in code:
        exec(compile(block.text, str(block), "exec"), names)
    assert len(code) == 5
    assert {"data", "pages", "table", "sample", "page", "batches", "rows"} <= set(names), "every view was used"
