"""A report's facts of real runs, of data that others made, of half-finished and damaged data sets."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from count_sets import Held, Made, left, pairs
from document_sets import Page, Slot, Words, jpeg, put_pages

from curate.errors import ShardError
from curate.job import load_job
from curate.manifest import Manifest
from curate.report.collect import Look, collect
from curate.report.counting.layout import drawn, layout_of
from curate.report.counting.reading import Troubles
from curate.report.facts import Facts
from curate.run import runtime
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.run_record import write_record
from curate.shard import list_shards
from curate.storage import Storage

CONFIG = """
pipeline = "image_text_pairs"
[source]
kind = "toy_web"
samples = 96
[shards]
samples = 24
[fetch]
contact = "https://example.org/test"
per_host_rate = 1000.0
retries = 0
least_rate_window_s = 1.0
most_bytes = 8_000_000
[filters.image_size]
min_side_px = 220
max_bytes = 60000
[filters.aspect_ratio]
max = 1.8
[filters.caption_words]
min = 3
max = 14
[filters.caption_repetition]
max_words_ratio = 0.3
"""


@pytest.fixture(scope="module")
def made_by_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collect")
    config = folder / "small.toml"
    config.write_text(CONFIG)
    loaded = load_job(config)
    with loaded.job.serve() as addresses:
        work = runtime(loaded.run, addresses)
        outcome = run_job(loaded.job, Storage(str(folder / "set")), InlineEngine(), loaded.run, work)
    assert not outcome.failed
    return folder / "set"


@pytest.fixture(scope="module")
def facts(made_by_a_run: Path) -> Facts:
    return collect(Storage(str(made_by_a_run)), Look(tiles=2, cpu_hour=36.0))


@pytest.fixture
def copy(made_by_a_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_by_a_run, tmp_path / "copy"))


def test_every_bound_of_a_run_leaves_what_is_kept(made_by_a_run: Path, facts: Facts) -> None:
    (unit,) = facts.units
    keep = [pc.sum(shard.columns(["keep"])["keep"]).as_py() for shard in list_shards(Storage(str(made_by_a_run)))]
    assert (unit.name, unit.rows, unit.kept) == ("samples", 96, sum(keep))
    assert 0 < unit.kept < 96
    bounded = {own.name: own for own in unit.histograms if own.filter}
    names = {"shorter_side_px", "original_bytes", "elongation", "caption_words", "repeated_words_ratio"}
    assert names <= {*bounded}
    for own in bounded.values():
        assert left(own) == unit.kept
        assert sum(own.rows) + own.without == 96
    for own in unit.histograms:
        if not own.filter:
            assert sum(own.left) + own.without_kept == unit.kept
    assert facts.troubles == ()


def test_what_a_run_was_and_took(made_by_a_run: Path, facts: Facts) -> None:
    assert (facts.title, facts.looked_at) == ("small", (4, 4))
    assert facts.about["config"] == "small"
    assert facts.about["samples"] == "96"
    assert facts.config["filters"]["caption_words"] == {"min": 3, "max": 14}
    steps = {cost.step: cost for cost in facts.costs}
    entries = Manifest.read(Storage(str(made_by_a_run))).of("fetch")
    assert steps["fetch"].written_bytes == sum(f.bytes for entry in entries for f in entry.files)
    assert steps["fetch"].seconds > 0
    assert steps["fetch"].rows == 96
    assert steps["select"].shards == 4
    assert steps["fetch"].price == pytest.approx(steps["fetch"].seconds / 100, abs=1e-5)
    assert facts.wall_s is not None
    assert facts.wall_s > 0


def test_sections_of_a_run_agree(facts: Facts) -> None:
    (unit,) = facts.units
    assert facts.downloads is not None
    assert unit.overlap is not None
    statuses = {status: rows for _, status, rows in facts.downloads.statuses}
    assert sum(statuses.values()) == 96
    assert unit.funnel[-1].kept == unit.kept
    fetch = unit.overlap.filters.index("fetch_status")
    assert unit.overlap.both[fetch][fetch] == 96 - statuses["success"]
    hosts = next(own for own in unit.counted if own.title == "hosts")
    assert sum(rows for _, rows, _ in hosts.values) + hosts.others[0] == 96
    assert sum(kept for _, _, kept in hosts.values) + hosts.others[1] == unit.kept
    assert {"too_few_words", "side_too_short"} <= {*unit.words}
    assert unit.galleries


def test_some_shards_are_drawn_evenly_and_again(made_by_a_run: Path, facts: Facts) -> None:
    storage = Storage(str(made_by_a_run))
    some, again = (collect(storage, Look(shards=2, seed=5, tiles=1)) for _ in range(2))
    assert some == again
    assert some.looked_at == (2, 4)
    assert (some.units[0].rows, some.units[0].kept) == (facts.units[0].rows, facts.units[0].kept)
    own = next(h for h in some.units[0].histograms if h.name == "caption_words")
    assert sum(own.rows) + own.without == 48
    assert [cost.rows for cost in some.costs] == [cost.rows for cost in facts.costs]


def test_draws_of_shards() -> None:
    made = Made()
    made.shards([pa.table({"a": [1]})] * 40)
    shards = layout_of(made.storage, Troubles()).samples
    assert drawn(shards, None, 0) == drawn(shards, 99, 0) == shards
    first = drawn(shards, 4, 0)
    assert [int(one.id) // 10 for one in first] == [0, 1, 2, 3]
    assert first == drawn(shards, 4, 0)
    assert len({drawn(shards, 4, seed) for seed in range(8)}) > 1


def test_shards_that_are_listed_at_once_have_the_same_columns(made_by_a_run: Path) -> None:
    storage = Storage(str(made_by_a_run))
    told = {shard.id: shard.column_files for shard in layout_of(storage, Troubles()).samples}
    for shard in list_shards(storage):
        columns = {name: family for name, family in shard.column_files.items() if family != "fetch_log"}
        assert told.pop(shard.id) == columns
    assert not told


def test_small_shards_are_counted_together_as_if_they_were_one() -> None:
    rows = pairs(40, n_count=list(range(40)), language=["en", "de", "no", None] * 10)
    one, several = Made(), Made()
    one.shards([rows])
    sizes = [1, 7, 0, 12, 3, 17]
    several.shards([rows.slice(sum(sizes[:place]), size) for place, size in enumerate(sizes)])
    rules = (("held", Held("n_count", 5, 30)),)
    found = []
    for made, shards in ((one, 1), (several, len(sizes))):
        made.decide(rules, shards)
        (unit,) = collect(made.storage, Look(tiles=3)).units
        found.append(replace(unit, galleries=()))
    assert found[0] == found[1]
    assert found[0].kept == 26
    broken = pq.read_table(io.BytesIO(several.storage.read("00003.select.parquet")))
    reasons = pa.array([[None]] * len(broken), broken.schema.field("drop_reasons").type)
    place = broken.schema.get_field_index("drop_reasons")
    several.put("00003.select.parquet", broken.set_column(place, "drop_reasons", reasons))
    told = collect(several.storage, Look(tiles=3))
    assert told.troubles == ("shard 00003 was not counted: drop_reasons has a null among its reasons",)
    own = next(one for one in told.units[0].histograms if one.name == "n_count")
    assert sum(own.rows) == 28


def test_shards_that_an_earlier_cut_left_are_not_counted(copy: Path, facts: Facts) -> None:
    plan = json.loads((copy / "source/plan.json").read_text())
    (copy / "source/plan.json").write_text(json.dumps({**plan, "slices": plan["slices"][:3]}))
    told = collect(Storage(str(copy)), Look(tiles=0))
    (unit,) = told.units
    kept = pc.sum(pq.read_table(copy / "00003.select.parquet")["keep"]).as_py()
    assert (unit.rows, unit.kept) == (72, facts.units[0].kept - kept)
    assert [cost.shards for cost in told.costs if cost.step == "fetch"] == [3]
    assert told.troubles == ("1 shards are left over from an earlier cut; they are not counted",)
    (copy / "source/plan.json").write_text("{")
    told = collect(Storage(str(copy)), Look(tiles=0))
    assert told.units[0].rows == 96
    assert "source/plan.json is damaged" in told.troubles[0]


def test_a_run_that_was_stopped_before_its_first_decision_is_told() -> None:
    made = Made()
    made.shards([pairs(4, a_score=[1.0, 2.0, 3.0, 4.0], b_score=[1.0, 1.0, 0.0, 1.0])])
    made.decide((("a", Held("a_score", 2)), ("b", Held("b_score", 1))), 1)
    assert collect(made.storage, Look(tiles=0)).troubles == ()
    write_record(made.storage, Made().decide((("a", Held("a_score", 2)),), 0))
    (trouble,) = collect(made.storage, Look(tiles=0)).troubles
    assert trouble.startswith("samples were dropped for reasons that no filter of run.json gives (b_score_low)")


def test_without_a_record_the_columns_tell(copy: Path, facts: Facts) -> None:
    (copy / "run.json").unlink()
    told = collect(Storage(str(copy)), Look(tiles=1))
    (unit,) = told.units
    assert told.title == "copy"
    assert (unit.rows, unit.kept) == (96, facts.units[0].kept)
    assert not any(own.filter for own in unit.histograms)
    assert len(unit.histograms) > 5
    assert unit.overlap is not None
    assert "too_many_words" in unit.overlap.filters
    assert sum(row.dropped for row in unit.funnel) == 96 - unit.kept
    assert told.costs
    assert told.troubles == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{", "{{"),
        ('"name": "small"', '"name": 7'),
        ('"max": 1.8', '"max": "<b>"'),
        ('"kind": ""', '"kind": null'),
        ('"unit": "samples"', '"unit": ["samples"]'),
        ('"numpy": ', '"numpy": {}, "python": '),
    ],
)
def test_a_damaged_record_is_a_trouble(copy: Path, old: str, new: str) -> None:
    text = (copy / "run.json").read_text()
    assert old in text
    (copy / "run.json").write_text(text.replace(old, new))
    told = collect(Storage(str(copy)), Look(tiles=0))
    assert told.units[0].rows == 96
    if "numpy" not in old:
        assert "run.json" in told.troubles[0]


def test_without_commits_the_columns_tell_the_funnel(copy: Path, facts: Facts) -> None:
    shutil.rmtree(copy / "commits")
    (copy / "manifest.parquet").unlink()
    told = collect(Storage(str(copy)), Look(tiles=0))
    (unit,), (expected,) = told.units, facts.units
    assert len(expected.funnel) > 3
    assert (unit.rows, unit.kept, unit.funnel) == (expected.rows, expected.kept, expected.funnel)


def test_img2datasets_own_folders(copy: Path) -> None:
    for path in copy.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in {f"{n:05d}{end}" for n in range(4) for end in (".tar", ".parquet", "_stats.json")}:
            path.unlink()
    told = collect(Storage(str(copy)), Look(tiles=1))
    (unit,) = told.units
    succeeded = sum(pq.read_table(copy / f"{n:05d}.parquet")["status"].to_pylist().count("success") for n in range(4))
    assert (unit.rows, unit.kept, unit.funnel, unit.overlap) == (96, succeeded, (), None)
    assert {"width", "original_height", "aspect_ratio", "caption_words", "caption_chars"} <= {
        own.name for own in unit.histograms
    }
    assert told.downloads is not None
    assert told.downloads.statuses[0] == ("success", "success", succeeded)
    assert (told.costs, told.wall_s, told.troubles) == ((), None, ())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("00001.caption_words.parquet", "caption_words"),
        ("00001.select.parquet", "1 shards have no decision"),
        ("00001.parquet", "00001.parquet was not counted"),
        ("00001.fetch.parquet", "00001.fetch.parquet was not counted"),
    ],
)
@pytest.mark.parametrize("how", ["gone", "cut", "text", "short"])
def test_a_broken_file_is_a_trouble_and_the_rest_is_told(copy: Path, name: str, words: str, how: str) -> None:
    path = copy / name
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif how == "text":
        path.write_bytes(b"PAR1 <script>alert(1)</script> PAR1")
    else:
        pq.write_table(pq.read_table(path).slice(0, 20), path)
    told = collect(Storage(str(copy)), Look(tiles=0))
    (unit,) = told.units
    assert unit.rows == 96
    assert len(unit.histograms) > 8
    if how != "gone" or "decision" in words:
        assert any(words in line for line in told.troubles), told.troubles
    assert not any(str(copy) in line for line in told.troubles)
    others = next(own for own in unit.histograms if own.name == "original_bytes")
    assert sum(others.rows) + others.without >= 72


def test_a_shard_that_is_not_decided_on_yet(copy: Path) -> None:
    for path in [*copy.glob("00003.select.parquet"), *copy.glob("commits/select/00003-*"), copy / "manifest.parquet"]:
        path.unlink()
    told = collect(Storage(str(copy)), Look(tiles=1))
    (unit,) = told.units
    assert unit.rows == 72
    assert told.looked_at == (4, 4)
    words = next(own for own in unit.histograms if own.name == "caption_words")
    assert sum(words.rows) + words.without == 96
    assert left(words) == unit.kept
    assert told.troubles[0].startswith("1 shards have no decision on their samples")


def test_an_object_store_is_read_as_a_disk() -> None:
    made = Made()
    made.shards([pairs(30, a_score=pa.array([float(n) for n in range(30)])), pairs(10, a_score=pa.array([50.0] * 10))])
    made.decide((("held", Held("a_score", 3, 20)),), 2)
    told = collect(made.storage, Look(tiles=1, title="In memory"))
    (unit,) = told.units
    assert (told.title, unit.rows, unit.kept) == ("In memory", 40, 18)
    own = next(h for h in unit.histograms if h.filter)
    assert (left(own), left(own, low=0), left(own, high=60)) == (18, 21, 37)


def test_a_column_of_the_source_gives_way_to_a_stages() -> None:
    made = Made()
    made.shards([pairs(4, a_score=pa.array([9.0] * 4))])
    made.shards([pa.table({"a_score": [1.0, 2.0, 3.0, 4.0]})], "scored")
    made.decide((("held", Held("a_score", 3)),), 1)
    own = next(h for h in collect(made.storage, Look(tiles=0)).units[0].histograms if h.filter)
    assert (sum(own.rows), left(own), own.edges[-1] < 9) == (4, 2, True)


HOSTILE = ["<script>alert(1)</script>", "\u202egnp.exe", "a" * 100_000, "'\"; --", "", None, "x\0y", "\ud7ff"]


def test_what_strangers_wrote_is_counted_as_text() -> None:
    made = Made()
    table = pa.table({"url": HOSTILE, "caption": HOSTILE, "license": HOSTILE, "language": HOSTILE})
    raw = pa.array([b"\xff\xfe"] * len(HOSTILE)).view(pa.string())
    made.shards([table.append_column("html_language", raw)])
    told = collect(made.storage, Look(tiles=1))
    counted = {own.title: own for own in told.units[0].counted}
    values = {value for value, _, _ in counted["licences"].values}
    assert "<script>alert(1)</script>" in values
    assert "a" * 200 in values
    assert max(map(len, values)) == 200
    assert counted["licences"].without == 2
    assert counted["languages that pages say"].values == (("\ufffd\ufffd", 8, 8),)
    assert told.troubles == ()


def test_documents_and_their_parts(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    pages = [
        Page([Words("one two three"), Slot("http://a.test/1", jpeg(1)), Words("four")], more={"page_status": "ok"}),
        Page([Words("five"), Slot("http://a.test/2", status="not_found")], keep=False, more={"page_status": "timeout"}),
    ]
    put_pages(storage, "00000", pages)
    told = collect(storage, Look(tiles=1))
    documents, parts = told.units
    assert (documents.name, documents.rows, documents.kept) == ("documents", 2, 1)
    assert (parts.name, parts.rows) == ("parts", 5)
    kinds = next(own for own in parts.counted if own.title == "kinds")
    assert {(value, rows) for value, rows, _ in kinds.values} == {("text", 3), ("image", 2)}
    assert told.downloads is not None
    assert {*told.downloads.statuses} == {
        ("success", "success", 1),
        ("http", "not_found", 1),
        ("pages: success", "ok", 1),
        ("pages: network", "timeout", 1),
    }
    (tmp_path / "00000_parts.fetch.parquet").write_bytes(b"nothing")
    assert "00000_parts.fetch.parquet was not counted" in collect(storage, Look(tiles=1)).troubles[0]


def test_of_two_files_with_other_rows_the_sample_table_counts() -> None:
    made = Made()
    made.shards([pairs(4)])
    made.shards([pa.table({"a_score": [1.0, 2.0]})], "scored")
    told = collect(made.storage, Look(tiles=0))
    assert told.units[0].rows == 4
    assert told.troubles == (
        "00000.scored.parquet was not counted: it has 2 rows where other files of its shard have 4",
    )


def test_rounds_of_documents_have_columns_of_their_own() -> None:
    made = Made()
    made.shards([pairs(6, a_score=pa.array([1.0, 2, 3, 4, 5, 6]))])
    record = made.decide((("held", Held("a_score", 3)),), 1, record=False)
    select = pq.read_table(made.storage.open("00000.select.parquet"))
    made.put(
        "00000.select.parquet", select.rename_columns([f"read_{n}" if n != "key" else n for n in select.column_names])
    )
    write_record(made.storage, replace(record, decisions=(replace(record.decisions[0], keep="read_keep"),)))
    (unit,) = collect(made.storage, Look(tiles=0)).units
    assert unit.kept == left(next(h for h in unit.histograms if h.filter)) == 4


def test_a_set_without_rows() -> None:
    made = Made()
    made.shards([pairs(0, a_score=pa.array([], pa.float32()))])
    made.decide((("held", Held("a_score", 3)),), 1)
    (unit,) = collect(made.storage, Look(tiles=1)).units
    assert (unit.rows, unit.kept, unit.funnel, unit.overlap, unit.counted) == (0, 0, (), None, ())
    assert all(sum(own.rows) == 0 for own in unit.histograms)


@pytest.mark.parametrize("files", [{}, {"notes.txt": b"a"}, {"manifest.parquet": b"a"}])
def test_a_folder_that_is_no_data_set(tmp_path: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ShardError, match=r"has no shard; name the folder"):
        collect(Storage(str(tmp_path)))


@pytest.mark.parametrize("wrong", [{"shards": 0}, {"seed": -1}, {"tiles": 101}, {"cpu_hour": -1.0}, {"gpu_hour": -1.0}])
def test_a_look_is_in_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} = "):
        Look(**wrong)  # type: ignore[arg-type]
