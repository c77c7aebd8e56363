"""A selection that was written as a config keeps the rows that the browser found, and says what cannot be written."""

import tomllib

import pyarrow as pa
import pytest
from column_sets import put_files
from tombstone_sets import ROWS, put_shard

from curate.browse.find import Finder
from curate.browse.selection import selection_config
from curate.errors import ConfigError
from curate.job import load_job
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.shard import Shard, list_shards
from curate.storage import Storage
from curate.tombstones import write_dead


@pytest.fixture
def data_set(tmp_path):
    storage = Storage(str(tmp_path / "set"))
    for number, id in enumerate(("00000", "00002")):
        put_shard(storage, id, number * ROWS)
        keys = Shard(storage, id).columns(["key"])["key"]
        scores = pa.table(
            {"key": keys, "score": pa.array([n / 8 if n != 5 else None for n in range(ROWS)], pa.float32())}
        )
        put_files(tmp_path / "set", {id: {"clip": scores}})
    return storage


def kept(storage):
    found = [shard.columns(["key", "keep"]).to_pylist() for shard in list_shards(storage)]
    return [row["key"] for rows in found for row in rows if row["keep"]]


def run(text, out):
    path = out.with_suffix(".toml")
    path.write_text(text)
    run_job(load_job(path).job, Storage(str(out)), InlineEngine())
    return Storage(str(out))


def test_the_rows_that_are_kept_are_those_that_were_found(data_set, tmp_path):
    condition = "score >= 0.25 and score < 0.8 and (url not like '%h1.test%' or status is null or 'it''s' = url)"
    write_dead(Shard(data_set, "00002"), {"000020003": "url"})
    found = [row.key for row in Finder(data_set).find("samples", condition).rows]
    assert 0 < len(found) < 2 * ROWS
    assert "000020003" not in found
    out = run(selection_config(data_set, "samples", condition), tmp_path / "out")
    assert kept(out) == found
    reasons = Shard(out, "00001").columns(["key", "drop_reason"]).to_pylist()
    assert {"key": "000020003", "drop_reason": "withheld_at_its_source"} in reasons
    taken = Shard(out, "00001").columns(["key", "source_url"]).to_pylist()
    assert [row["key"] for row in taken if row["source_url"] is None] == ["000020003"]


def test_a_score_that_changes_there_is_work_to_do_here(data_set, tmp_path):
    out = run(selection_config(data_set, "samples", "score < 0.3"), tmp_path / "out")
    before = out.files("commits/own_columns")
    assert len(kept(out)) == 6
    run((tmp_path / "out.toml").read_text(), tmp_path / "out")
    assert out.files("commits/own_columns") == before
    tables = {"00000": {"more": pa.table({"more": [1] * ROWS})}}
    put_files(tmp_path / "set", tables)
    run((tmp_path / "out.toml").read_text(), tmp_path / "out")
    assert out.files("commits/own_columns").keys() != before.keys()
    write_dead(Shard(data_set, "00000"), {kept(out)[0]: "url"})
    run((tmp_path / "out.toml").read_text(), tmp_path / "out")
    assert len(kept(out)) == 5


@pytest.mark.parametrize("odd", ["a\"b'c", "line\nbreak", "\u202e\U0001f600\x7f\\"])
def test_any_text_is_written_so_that_it_is_read_again(data_set, odd):
    text = selection_config(data_set, "samples", "url = '" + odd.replace("'", "''") + "'")
    assert tomllib.loads(text)["filters"]["condition"]["sql"] == "url = '" + odd.replace("'", "''") + "'"


PAGES = """
pipeline = "interleaved"
fetch_images = false
[source]
kind = "html_files"
path = "{path}"
[document_filters.text_count]
[document_filters.text_words]
min = 3
"""


def test_documents_are_selected_by_the_config_that_made_them(tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    for number in range(6):
        words = " ".join(["red", "house", "with", "a", "garden", "wall"][: number + 1])
        (folder / f"{number}.html").write_text(f"<title>It's {number % 2}</title><main><p>{words}.</p></main>")
    made = run(PAGES.format(path=folder), tmp_path / "made")
    condition = "text_words >= 4 and title <> 'It''s 1'"
    found = [row.key for row in Finder(made).find("documents", f"keep and {condition}").rows]
    assert 0 < len(found) < len(kept(made)) < 6
    text = selection_config(made, "documents", condition)
    assert kept(run(text, tmp_path / "selected")) == found
    again = selection_config(Storage(str(tmp_path / "selected")), "documents", "text_words > 5")
    assert kept(run(again, tmp_path / "twice")) == []
    with pytest.raises(ConfigError, match="keep is what this run decides"):
        selection_config(made, "documents", "keep and text_words > 1")
    with pytest.raises(ConfigError, match="of documents"):
        selection_config(made, "parts", "kind = 'text'")


def test_what_cannot_be_written_is_told_in_words(data_set, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'score'"):
        selection_config(data_set, "samples", "scroe > 1")
    with pytest.raises(ConfigError, match="empty"):
        selection_config(data_set, "samples", " ")
    pages = {"00000": {"": pa.table({"url": ["a"]})}, "00000_parts": {"": pa.table({"kind": ["text"]})}}
    with pytest.raises(ConfigError, match=r"no run\.json"):
        selection_config(put_files(tmp_path / "pages", pages), "documents", "url = 'a'")
