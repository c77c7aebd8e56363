"""OBELICS' Parquet as `datasets` reads it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from document_sets import Page, Slot, Words, export, jpeg, put_pages, small_set

from curate.storage import Storage


@pytest.fixture
def written(tmp_path: Path) -> Storage:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    small_set(data)
    export("obelics", data, target)
    return target


def test_the_schema_is_the_published_one(written: Storage) -> None:
    schema = pq.read_schema(written.path("data/00000.parquet"))
    assert [(f.name, str(f.type).replace("element", "item")) for f in schema] == [
        ("images", "list<item: string>"),
        ("metadata", "string"),
        ("general_metadata", "string"),
        ("texts", "list<item: string>"),
    ]


def test_one_of_the_two_at_each_place(written: Storage) -> None:
    rows = [row for n in (0, 1) for row in pq.read_table(written.path(f"data/0000{n}.parquet")).to_pylist()]
    assert len(rows) == 4
    for row in rows:
        about = json.loads(row["metadata"])
        assert len(row["images"]) == len(row["texts"]) == len(about)
        for image, text, facts in zip(row["images"], row["texts"], about, strict=True):
            assert (image is None) != (text is None)
            assert (image is None) == (facts is None)
            assert facts is None or facts["src"] == image
    assert rows[0]["texts"] == ["one", None, "two\nthree"]
    assert rows[0]["images"] == [None, "http://i/a.jpg", None]
    assert json.loads(rows[0]["metadata"])[1] == {
        "document_url": "http://site/00000000000",
        "src": "http://i/a.jpg",
        "alt_text": "alt of http://i/a.jpg",
        "format": "jpeg",
        "status": "success",
    }
    assert json.loads(rows[1]["general_metadata"]) == {
        "url": "http://same/",
        "warc_filename": "a.warc.gz",
        "warc_record_offset": 100,
        "warc_record_length": 90,
    }
    assert rows[2]["images"] == [None, "http://i/gone.jpg", None, "http://i/c.jpg"]


def test_row_groups_bound_what_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page([Words(f"{i}"), Slot("u", jpeg(i))]) for i in range(5)])
    monkeypatch.setattr("curate.export.obelics.GROUP_DOCUMENTS", 2)
    export("obelics", data, target, shard_samples=9)
    file = pq.ParquetFile(target.path("data/00000.parquet"))
    assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == [2, 2, 1]


READ = """
import json, os, sys
from datasets import load_dataset
for folder in sys.argv[1:]:
    for source in ({"path": folder}, {"path": "parquet", "data_files": folder + "/data/*.parquet"}):
        rows = load_dataset(**source, split="train")
        pictures = [[p if p is None or isinstance(p, str) else p.size for p in row["images"]] for row in rows]
        print(json.dumps([pictures, rows["texts"][:]]), flush=True)
os._exit(0)  # at the end of the program its threads now and then abort it
"""


@pytest.mark.slow
def test_datasets_reads_the_folder(tmp_path: Path) -> None:
    data = Storage(str(tmp_path / "data"))
    targets = {pictures: Storage(str(tmp_path / pictures)) for pictures in ("urls", "bytes")}
    small_set(data)
    for pictures, target in targets.items():
        export("obelics", data, target, pictures=pictures)
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", READ, *(target.root for target in targets.values())]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=offline)
    assert told.returncode == 0, told.stderr
    wanted = {"http://i/a.jpg": 4, (24, 24): 3}
    found = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(found) == 4
    for (pictures, texts), (picture, count) in zip(found, [p for p in wanted.items() for _ in range(2)], strict=True):
        assert pictures[0] == [None, list(picture) if isinstance(picture, tuple) else picture, None]
        assert texts[0] == ["one", None, "two\nthree"]
        assert len(texts) == count
