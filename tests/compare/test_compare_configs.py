"""What a config would decide in a data set is what running it decides; what cannot be judged is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from comparison_sets import KEPT, Row, by_words, decide_by, write_set

from curate.cli import main
from curate.compare.compare import compare
from curate.compare.judging import LeftOut, judgeable
from curate.compare.shown import shown
from curate.compare.sides import Side, config_side, data_side
from curate.compare.told import told
from curate.config import build_filters
from curate.errors import ConfigError, ShardError
from curate.job import load_job
from curate.manifest import write_parquet
from curate.report.pictures.drawing import Draw
from curate.select import Select
from curate.shard import Shard, list_shards
from curate.storage import Storage

Filters = dict[str, dict[str, object]]
A: Filters = {"caption_words": {"min": 3}, "image_size": {"min_side_px": 100}}
ROWS = [
    Row(f"http://h.test/{n}", f"picture {n}", f"{n:064x}", None, 10 * n, n % 7, n / 25 if n % 4 else None)
    for n in range(25)
]

PAGES = """
pipeline = "interleaved"
fetch_images = false
[source]
kind = "toy_pages"
count = 6
seed = 5
[shards]
rows = 4
[text_filters.region]
[text_filters.text_words]
min = {words}
[image_filters.region]
[document_filters.text_count]
min = {texts}
"""


def of_config(filters: Filters, storage: Storage, name: str = "B") -> Side:
    step = Select(tuple(build_filters(filters).items()))
    return config_side(name, {"pipeline": "image_text_pairs", "filters": filters}, (step,), storage)


@pytest.fixture(scope="module")
def by_a(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "a"
    decide_by(write_set(folder, ROWS, 10, decided=False), A)
    return folder


@pytest.fixture
def decided(by_a: Path, tmp_path: Path) -> Storage:
    return Storage(str(shutil.copytree(by_a, tmp_path / "a")))


@pytest.mark.parametrize(
    "filters",
    [
        A,
        {**A, "caption_words": {"min": 5}},
        {**A, "image_size": {"min_side_px": 50, "max_side_px": 180}, "clip_similarity": {"min": 0.5}},
        {"image_size": {"min_side_px": 100}, "caption_words": {"min": 3}},
        {"clip_similarity": {"min": 0.3}, "clip_similarity-high": {"max": 0.9}},
    ],
)
def test_a_config_is_judged_as_a_run_of_it_decides(tmp_path: Path, decided: Storage, filters: Filters) -> None:
    files = decided.files()
    judged = compare(data_side("A", decided), of_config(filters, decided))
    assert decided.files() == files
    ran = write_set(tmp_path / "b", ROWS, 6, decided=False)
    decide_by(ran, filters)
    really = compare(data_side("A", decided), data_side("B", ran))
    assert by_words(judged.units[0]) == by_words(really.units[0])
    assert judged.settings == really.settings
    assert judged.differs == (list(filters.items()) != list(A.items()))


def test_a_moved_bound_gains_and_loses_exactly_the_rows_between(decided: Storage) -> None:
    low, high = (of_config({"image_size": {"min_side_px": side}}, decided, str(side)) for side in (60, 130))
    lost = compare(low, high).units[0]
    assert by_words(lost)[KEPT, "side_too_short"] == lost.lost == sum(60 <= (row.width or 0) < 130 for row in ROWS)
    gained = compare(high, low).units[0]
    assert (gained.gained, gained.lost) == (lost.lost, 0)


def test_a_filter_without_its_columns_is_left_out_and_named(decided: Storage) -> None:
    more = {**A, "blur": {"min_variance": 10.0}, "imported": {"column": "beauty", "min": 0.5}}
    rules = build_filters(more)
    steps = (_Writes("score_blur", ("laplacian_variance",)), Select(tuple(rules.items())))
    side = config_side("B", {"filters": more}, steps, decided, ["score_blur"])  # type: ignore[arg-type]
    assert side.left_out == (
        LeftOut("select", "blur", ("laplacian_variance",), ("score_blur",)),
        LeftOut("select", "imported", ("beauty",), ()),
    )
    assert side.outdated == ()
    found = compare(data_side("A", decided), side)
    assert not found.differs
    rows = told(found)["not_judged"]
    assert [row["would_run"] for row in rows] == [["score_blur"], ["the source has to have them"]]
    assert rows[0]["side"] == "B"


def test_a_column_that_some_shards_have_judges_these(decided: Storage, tmp_path: Path) -> None:
    (tmp_path / "a" / "00001.clip.parquet").unlink()
    side = of_config({"clip_similarity": {"min": 0.5}}, decided)
    assert side.left_out == ()
    found = compare(data_side("A", decided), side)
    assert found.units[0].rows(1, 1) == 10
    assert "B: shard 00001" in found.troubles[0]
    assert "clip_similarity" in found.troubles[0]


def test_a_column_that_no_filter_can_judge_is_told(decided: Storage, tmp_path: Path) -> None:
    for shard in list_shards(decided):
        path = tmp_path / "a" / shard.table_name("clip")
        write_parquet(pq.read_table(path).set_column(1, "clip_similarity", pa.array(["x"] * shard.rows())), path)
    with pytest.raises(ShardError, match=r"no samples of B are decided.*step select cannot judge shard 00000"):
        compare(data_side("A", decided), of_config({"clip_similarity": {"min": 0.5}}, decided))


def test_a_config_that_decides_nothing_is_refused(decided: Storage) -> None:
    with pytest.raises(ConfigError, match=r"new\.toml decides nothing"):
        config_side("new.toml", {}, (), decided)


def test_settings_are_told_filter_by_filter(decided: Storage) -> None:
    other = {"image_size": {"min_side_px": 120}, "caption_words": {"min": 3}, "clip_similarity": {"min": 0.25}}
    found = compare(data_side("A", decided), of_config(other, decided))
    rows = {(row["where"], row["setting"]): row for row in told(found)["settings"]}
    assert rows["filter image_size (samples)", "min_side_px"]["change"] == "changed"
    assert (
        rows["filter image_size (samples)", "min_side_px"]["a"],
        rows["filter image_size (samples)", "min_side_px"]["b"],
    ) == ("100", "120")
    assert rows["filter clip_similarity (samples)", ""]["change"] == "added"
    assert "min = 0.25" in rows["filter clip_similarity (samples)", ""]["b"]
    assert rows["filters (samples)", "order"]["a"] == "caption_words, image_size"
    assert len(rows) == 3


def test_a_data_set_without_a_record_says_so(decided: Storage, tmp_path: Path) -> None:
    (tmp_path / "a" / "run.json").unlink()
    found = compare(data_side("A", decided), of_config(A, decided))
    assert found.settings is None
    assert not found.differs
    assert "A has no run.json" in told(found)["settings"][0]["where"]


def test_tables_and_versions_of_two_configs_are_compared(decided: Storage) -> None:
    step = Select(tuple(build_filters(A).items()))
    one = {"models": {"clip": {"name": "a", "seed": 1}}, "image": {"size_px": 256}, "limit": 3}
    other = {"models": {"clip": {"name": "b"}}, "limit": 3}
    a, b = (config_side(name, config, (step,), decided) for name, config in (("A", one), ("B", other)))
    newer = replace(b, record=replace(b.record, versions={"numpy": "9"}))  # type: ignore[type-var]
    rows = [(one.where, one.setting, one.change, one.a, one.b) for one in compare(a, newer).settings or ()]
    assert ("models", "clip.name", "changed", '"a"', '"b"') in rows
    assert ("models", "clip.seed", "removed", "1", "") in rows
    assert ("image", "size_px", "removed", "256", "") in rows
    assert ("versions", "numpy", "changed", f'"{a.record.versions["numpy"]}"', '"9"') in rows  # type: ignore[union-attr]
    assert not [row for row in rows if row[1] == "limit"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of documents, decided by a config `a.toml` beside it."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "a.toml").write_text(PAGES.format(words=1, texts=1))
    assert main(["run", str(folder / "a.toml"), "--out", str(folder / "a"), "--on", "inline"]) == 0
    return folder


def test_rounds_of_documents_are_judged_as_a_run_decides_them(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pages / "b.toml").write_text(PAGES.format(words=20, texts=4))
    shutil.copytree(pages / "a", pages / "b")
    assert main(["run", str(pages / "b.toml"), "--out", str(pages / "b"), "--on", "inline"]) == 0
    capsys.readouterr()
    answers = []
    for other in ("b.toml", "b"):
        assert main(["compare", str(pages / "a"), str(pages / other), "--exit-code"]) == 1
        answers.append(json.loads(capsys.readouterr().out))
    judged, ran = answers
    assert [row["unit"] for row in judged["summary"]] == ["parts", "documents"]
    assert [row["lost"] for row in judged["summary"]] == [row["lost"] for row in ran["summary"]]
    assert all(row["lost"] for row in judged["summary"])
    for name in ("summary", "reasons", "changes", "settings"):
        assert judged[name] == ran[name]


def test_a_document_with_a_picture_that_must_not_be_shown_has_no_tile(pages: Path, tmp_path: Path) -> None:
    shutil.copytree(pages / "a", tmp_path / "a")
    parts = Shard(Storage(str(tmp_path / "a")), "00000").parts
    rows = parts.columns(["key", "document", "kind"]).to_pylist()
    flagged = [0.9 if row["document"] == 0 and row["kind"] == "image" else 0.0 for row in rows]
    table = pa.table({"key": [row["key"] for row in rows], "nsfw_probability": pa.array(flagged, pa.float32())})
    write_parquet(table, tmp_path / "a" / parts.table_name("safety"))
    (tmp_path / "b.toml").write_text(PAGES.format(words=20, texts=4))
    loaded = load_job(tmp_path / "b.toml")
    side = config_side("B", loaded.config, loaded.job.steps, parts.storage)
    _, documents = shown(compare(data_side("A", parts.storage), side, 12), Draw())
    (gallery,) = documents.lost
    assert (gallery.of, len(gallery.tiles), gallery.withheld) == (6, 5, 1)


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ("seed = 5", []),
        ("seed = 6", ["extract", "score_parts_text_words"]),
        ("seed = 5\n[document]\nmax_depth = 1999", ["extract", "score_parts_text_words"]),
    ],
)
def test_steps_that_a_run_would_do_anew_are_named(
    pages: Path, capsys: pytest.CaptureFixture[str], change: str, steps: list[str]
) -> None:
    (pages / "c.toml").write_text((pages / "a.toml").read_text().replace("seed = 5", change))
    capsys.readouterr()
    assert main(["compare", str(pages / "a"), str(pages / "c.toml"), "--exit-code"]) == 0
    assert [row["step"] for row in json.loads(capsys.readouterr().out)["outdated"]] == steps


def test_documents_and_samples_are_not_compared(pages: Path, decided: Storage) -> None:
    with pytest.raises(ConfigError, match="A on parts, documents and B on samples were decided"):
        compare(data_side("A", Storage(str(pages / "a"))), data_side("B", decided))


def test_parts_that_belong_to_no_document_are_told(pages: Path, tmp_path: Path) -> None:
    shutil.copytree(pages / "a", tmp_path / "b")
    path = tmp_path / "b" / "00000_parts.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("document")
    write_parquet(table.set_column(place, "document", pa.array([99] * len(table), pa.int32())), path)
    found = compare(data_side("A", Storage(str(pages / "a"))), data_side("B", Storage(str(tmp_path / "b"))))
    assert any("belong to no row" in text for text in found.troubles)


def test_two_configs_are_compared_where_nothing_was_decided_yet(tmp_path: Path) -> None:
    scored = write_set(tmp_path / "a", ROWS, 10, decided=False)
    sides = [of_config({"image_size": {"min_side_px": side}}, scored, str(side)) for side in (60, 130)]
    assert compare(*sides).units[0].lost == sum(60 <= (row.width or 0) < 130 for row in ROWS)


def test_what_an_earlier_round_decides_is_there_for_the_next(pages: Path) -> None:
    _, left_out = judgeable(load_job(pages / "a.toml").job.steps, [])
    assert [(one.step, one.filter) for one in left_out] == [
        ("select_parts_read", "region"),
        ("select_parts_read", "text_words"),
        ("select_parts_read", "region"),
        ("select_documents_read", "document_status"),
    ]


def test_what_is_judged_reads_no_more_than_it_must(decided: Storage) -> None:
    steps = (Select(tuple(build_filters(A).items())),)
    decisions, left_out = judgeable(steps, [Shard(decided, "00000")])
    assert (decisions, left_out) == (steps, ())


class _Writes:
    """A step that is asked for nothing but its name and its columns."""

    def __init__(self, label: str, writes: tuple[str, ...]) -> None:
        self.label, self.writes = label, writes
