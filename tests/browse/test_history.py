"""The story of a row: what every step wrote, every reason with its words, bounds as they were."""

import pyarrow as pa
import pytest
from column_sets import put_files
from tombstone_sets import ROWS, put_shard

from curate.browse.find import Finder
from curate.browse.selection import selection_config
from curate.gauge import Gauge
from curate.job import load_job
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.run_record import DecisionRecord, FilterRecord, RunRecord, write_record
from curate.storage import Storage


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run over one shard: which filters dropped what is known."""
    folder = tmp_path_factory.mktemp("ran")
    source = Storage(str(folder / "set"))
    put_shard(source, "00000", 0)
    config = selection_config(source, "samples", f"key <> '00000{1:04d}'")
    (folder / "run.toml").write_text(config + "\n[filters.image_size]\nmin_side_px = 97\n")
    out = Storage(str(folder / "out"))
    run_job(load_job(folder / "run.toml").job, out, InlineEngine())
    return Finder(out)


def test_every_step_is_told_in_order(ran):
    events = ran.history("00000", "000000001")
    assert [event.step for event in events] == ["adopt", "own_columns", "select"]
    assert ("url", "https://h1.test/secret-words/000000001.png") in events[0].what
    assert ("fetch_status", "success") in events[0].what
    assert events[1].what == (("source_key", "000000001"), ("withheld_at_source", "false"))
    assert events[2].kept is False
    assert events[2].reasons == (
        ("condition_not_met", "the condition is not true of it"),
        ("side_too_short", "the picture's shorter side is too short"),
    )
    assert events[2].what == (("shorter_side_px", "96 (kept from 97: image_size)"),)
    assert len(ran.find("samples", "").rows) == ROWS


def test_rounds_tell_each_their_own_reasons_and_counts(tmp_path):
    page = pa.table(
        {
            "url": ["http://a.test"],
            "image_count": [1],
            "read_image_count": [3],
            "read_keep": [False],
            "read_drop_reasons": [["few"]],
            "keep": [False],
            "drop_reasons": [["few", "more <b>"]],
        }
    )
    storage = put_files(tmp_path, {"00000": {"": page}, "00000_parts": {"": pa.table({"document": [0]})}})
    count = FilterRecord(
        "image_count", {"few": "too few"}, ("image_count",), {}, (Gauge("images", ("image_count",), 4),)
    )
    columns = {"one": "read_keep", "two": "keep"}
    rounds = tuple(DecisionRecord(step, "documents", keep, (count,)) for step, keep in columns.items())
    write_record(storage, RunRecord("r", {}, {}, ("one", "two"), rounds))
    first, last, rest = Finder(storage).history("00000", "000000000")
    assert (first.step, first.reasons, first.kept) == ("one", (("few", "too few"),), False)
    assert first.what == (("images", "3 (kept from 4: image_count)"),)
    assert (last.reasons, last.what) == ((("more <b>", ""),), (("images", "1 (kept from 4: image_count)"),))
    assert ("url", "http://a.test") in rest.what
    assert rest.step == "00000.parquet"


def test_a_folder_without_a_record_tells_its_files(tmp_path):
    decided = pa.table({"keep": [False], "drop_reasons": pa.array([["dark"]])})
    long = pa.table({"caption": ["x" * 100_000], "vector": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))})
    finder = Finder(put_files(tmp_path, {"00000": {"": long, "select": decided, "more": pa.table({"score": [1 / 3]})}}))
    events = finder.history("00000", "000000000")
    told = {event.step: dict(event.what) for event in events}
    assert len(told["00000.parquet"]["caption"]) == 2_000
    assert told["00000.parquet"]["vector"] == "2 numbers"
    assert told["00000.more.parquet"] == {"score": "0.33333"}
    assert told["00000.select.parquet"] == {"keep": "false", "drop_reasons": "dark"}
