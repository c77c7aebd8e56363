"""`run.json`: what a run was told to do, beside what it made."""

import json
from pathlib import Path

import pytest

from curate.errors import StorageError
from curate.gauge import Gauge
from curate.job import load_job
from curate.run_record import MOST_BYTES, RUN_RECORD, read_record, record_of, write_record
from curate.storage import Storage

PAIRS = """
pipeline = "image_text_pairs"
[source]
kind = "url_table"
path = "https://somebody:secret@example.org/list.parquet"
[fetch]
contact = "https://example.org/bot"
[filters.image_size]
min_side_px = 100
max_bytes = 5000
[filters.caption_words-short]
min = 4
"""
PAGES = """
pipeline = "interleaved"
[source]
kind = "toy_pages"
count = 4
[fetch]
contact = "https://example.org/bot"
[text_filters.text_words]
min = 3
[image_filters.slot_rendered_size]
[document_filters.text_words]
min = 20
[document_filters.url_duplicate]
"""


def job_of(folder: Path, text: str) -> Storage:
    path = folder / "small.toml"
    path.write_text(text)
    loaded = load_job(path)
    storage = Storage(str(folder / "out"))
    loaded.job.begun(storage)
    return storage


@pytest.fixture
def pages(tmp_path: Path) -> Storage:
    return job_of(tmp_path, PAGES)


def test_what_is_written_is_what_is_read(pages: Storage, tmp_path: Path) -> None:
    loaded = load_job(tmp_path / "small.toml")
    assert read_record(pages) == record_of("small", loaded.config, loaded.job.steps)


def test_it_holds_no_clock_and_is_written_once(pages: Storage, tmp_path: Path) -> None:
    before = pages.read(RUN_RECORD), (tmp_path / "out" / RUN_RECORD).stat().st_mtime_ns
    load_job(tmp_path / "small.toml").job.begun(pages)
    assert (pages.read(RUN_RECORD), (tmp_path / "out" / RUN_RECORD).stat().st_mtime_ns) == before


def test_decisions_tell_units_columns_words_and_gauges(pages: Storage) -> None:
    record = read_record(pages)
    assert record is not None
    assert {one.unit for one in record.decisions} == {"parts", "documents"}
    assert [one.prefix for one in record.decisions if one.unit == "documents"] == ["read_", "unique_", ""]
    last = record.last("documents")
    assert last is not None
    assert last.keep == "keep"
    assert [one.name for one in record.filters("documents")] == ["document_status", "text_words", "url_duplicate"]
    of_text, of_slots = (one for one in record.filters("parts") if one.name != "picture_status")
    assert of_text.gauges == (
        Gauge("text_words", ("text_words",), 3, None, "text_too_short", "text_too_long", kind="text"),
    )
    assert of_text.reasons["text_too_short"] == "the text has too few words"
    assert {gauge.kind for gauge in of_slots.gauges} == {"image"}
    assert record.last("samples") is None
    assert record.config["document_filters"] == {"text_words": {"min": 20}, "url_duplicate": {}}


def test_secrets_stay_out(tmp_path: Path) -> None:
    config = {"source": {"path": "https://me:hunter2@example.org/x"}, "fetch": {"api_key": "hunter2"}, "run": {}}
    storage = Storage(str(tmp_path))
    write_record(storage, record_of("x", config, ()))
    assert b"hunter2" not in storage.read(RUN_RECORD)
    assert b"example.org/x" in storage.read(RUN_RECORD)


def test_labels_have_reasons_of_their_own(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"url": ["u"], "caption": ["c"]}), tmp_path / "list.parquet")
    text = PAIRS.replace("https://somebody:secret@example.org/list.parquet", str(tmp_path / "list.parquet"))
    record = read_record(
        job_of(tmp_path, text.replace('kind = "url_table"', 'kind = "url_table"\ncaption_column = "caption"'))
    )
    assert record is not None
    size, words = record.filters("samples")[1:]
    assert [(g.name, g.min, g.max, g.measure) for g in size.gauges] == [
        ("shorter_side_px", 100, None, "least"),
        ("original_bytes", None, 5000, "value"),
    ]
    assert (words.name, words.gauges[0].too_low) == ("caption_words-short", "too_few_words_short")


def test_it_is_strict_json_where_a_bound_is_at_infinity(tmp_path: Path) -> None:
    storage = job_of(tmp_path, PAGES + "[image_filters.slot_aspect_ratio]\nmax = inf\n")
    assert b"Infinity" not in storage.read(RUN_RECORD)
    record = read_record(storage)
    assert record is not None
    (ratio,) = (one for one in record.filters("parts") if one.name == "slot_aspect_ratio")
    assert ratio.gauges[0].max is None


def test_no_record_is_none(tmp_path: Path) -> None:
    assert read_record(Storage(str(tmp_path))) is None


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        json.dumps({"name": "x", "created_by": {}, "versions": {}, "steps": [], "decisions": [{"step": "s"}]}).encode(),
        json.dumps({"name": "x", "created_by": {}, "versions": {}, "steps": [], "decisions": 3}).encode(),
    ],
)
def test_a_damaged_record_is_an_error_in_words(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / RUN_RECORD).write_bytes(damage)
    with pytest.raises(StorageError, match=r"run\.json in .* is damaged.*run the config again"):
        read_record(Storage(str(tmp_path)))


@pytest.mark.parametrize(
    ("gauge", "words"),
    [
        ({"columns": []}, "measures no column"),
        ({"max": 10**400}, "another type"),
        ({"min": 1 << 63}, "another type"),
        ({"min": (1 << 63) - 1}, None),
        ({"min": float("nan"), "max": float("inf")}, None),
        ({"min": -1e300, "max": "1e999"}, "another type"),
        ({"min": -1e300, "max": 1e300}, None),
    ],
)
def test_gauges_of_anybody_are_held_to_what_can_be_drawn(
    pages: Storage, gauge: dict[str, object], words: str | None
) -> None:
    told = json.loads(pages.read(RUN_RECORD))
    told["decisions"][0]["filters"][0]["gauges"] = [{"name": "x", "columns": ["x"], **gauge}]
    pages.write(RUN_RECORD, json.dumps(told).replace('"1e999"', "1e999").encode())
    if words:
        with pytest.raises(StorageError, match=words):
            read_record(pages)
    else:
        assert read_record(pages) is not None


def test_a_record_of_unknown_measure_is_damaged_and_a_huge_one_is_not_read(tmp_path: Path, pages: Storage) -> None:
    told = json.loads(pages.read(RUN_RECORD))
    told["decisions"][0]["filters"][0]["gauges"] = [{"name": "x", "columns": ["x"], "measure": "eval"}]
    (tmp_path / RUN_RECORD).write_text(json.dumps(told))
    with pytest.raises(StorageError, match="'eval' is none of value"):
        read_record(Storage(str(tmp_path)))
    with open(tmp_path / RUN_RECORD, "wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(StorageError, match="is larger than"):
        read_record(Storage(str(tmp_path)))


@pytest.mark.parametrize(
    "place", [("name",), ("steps", 0), ("decisions", 0, "unit"), ("decisions", 0, "filters", 0, "name")]
)
def test_a_value_of_another_type_is_damage(pages: Storage, place: tuple[str | int, ...]) -> None:
    told = json.loads(pages.read(RUN_RECORD))
    inner = told
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = 7
    pages.write(RUN_RECORD, json.dumps(told).encode())
    with pytest.raises(StorageError, match="of another type than runs write"):
        read_record(pages)
