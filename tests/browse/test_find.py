"""What is found is what the condition says, page by page, whatever the shards; hidden rows are in no answer."""

import time

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from column_sets import in_shards, keys, put_files
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.browse.find import Finder
from curate.browse.recent import FRESH_S
from curate.browse.scan import Scan, interrupted_at
from curate.duck import open_views, sealed_connection
from curate.errors import ConfigError, ShardError
from curate.shard import Shard
from curate.storage import Storage
from curate.tombstones import write_dead

N = 23
RNG = np.random.default_rng(3)
ROWS = pa.table(
    {
        "caption": [f"picture {n}" if n % 5 else None for n in range(N)],
        "width": pa.array([n * 37 % 11 * 100 for n in range(N)], pa.int32()),
        "score": pa.array([None if n % 7 == 3 else n / N for n in range(N)], pa.float32()),
        "drop_reasons": pa.array(
            [["dark", "small"][: n % 3] for n in range(N)], pa.list_(pa.dictionary(pa.int16(), pa.string()))
        ),
        "embedding": pa.array(RNG.normal(size=(N, 4)).astype(np.float16).tolist(), pa.list_(pa.float16(), 4)),
    }
)


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    return Finder(in_shards(ROWS, [5, 1, 9, 8], tmp_path_factory.mktemp("rows")))


def found_rows(finder, condition, **options):
    """The numbers of the rows that are found, over all pages."""
    numbers, page = [], 0
    while True:
        found = finder.find("samples", condition, page=page, size=4, **options)
        first = {"00000": 0, "00001": 5, "00002": 6, "00003": 15}
        numbers += [first[row.shard] + int(row.key[5:]) for row in found.rows]
        page += 1
        if not found.more:
            assert found.total == found.at_least == len(numbers)
            assert found.looked_at == (4, 4)
            return numbers


def test_every_row_without_a_condition(finder):
    assert found_rows(finder, "") == list(range(N))
    assert finder.catalog.rows("samples") == N
    assert finder.catalog.units() == ("samples",)


def test_columns_of_several_families_are_aligned(finder):
    mask = pc.and_(pc.greater(ROWS["score"], 0.3), pc.greater(ROWS["width"], 400))
    expected = np.flatnonzero(np.asarray(pc.fill_null(mask, False))).tolist()
    assert expected
    assert found_rows(finder, "score > 0.3 and width > 400 and (caption like 'p%' or caption is null)") == expected


def test_an_order_is_kept_over_all_pages(finder):
    widths = ROWS["width"].to_pylist()
    by_width = sorted(range(N), key=lambda n: (-widths[n], n))
    assert found_rows(finder, "", order="width desc") == by_width
    scores = ROWS["score"].to_pylist()
    by_score = sorted((n for n in range(N) if widths[n] > 300), key=lambda n: (scores[n] is None, scores[n], n))
    assert found_rows(finder, "width > 300", order="score") == by_score


def test_what_is_shown_of_a_row(finder):
    row = finder.find("samples", "score > 0.9", size=1).rows[0]
    assert row.columns == {
        "caption": "picture 21",
        "width": 700,
        "drop_reasons": [],
        "score": pytest.approx(21 / N),
    }
    whole = finder.row("samples", row.shard, row.key)
    assert whole["embedding"] == "4 numbers"
    assert whole["key"] == row.key
    assert "score" not in finder.row("samples", "00000", "000000003")
    for key in ("nothing", "\ud800", ""):
        with pytest.raises(ShardError, match="no key"):
            finder.row("samples", "00000", key)
    with pytest.raises(ShardError, match="no shard"):
        finder.row("samples", "../00000", "000000003")


def test_what_is_only_shown_is_not_kept(tmp_path):
    finder = Finder(in_shards(ROWS, [N], tmp_path))
    assert finder.find("samples", "score > 0.9").rows[0].columns["caption"]
    kept = finder.catalog.files("samples").kept
    assert kept.get(("00000", "score")) is not None
    assert kept.get(("00000", "caption")) is None


@pytest.mark.parametrize(
    ("condition", "order", "words"),
    [
        ("scroe > 1", "", "did you mean 'score'"),
        ("embedding is null", "", "embedding"),
        ("caption::int > 1", "", "TRY_CAST"),
        ("score > 1", "widht", "did you mean 'width'"),
        ("score > 1", "drop_reasons", "list"),
        ("score > 1", "width; drop table rows", "no column"),
    ],
)
def test_what_cannot_be_asked_is_told_in_words(finder, condition, order, words):
    with pytest.raises(ConfigError, match=words):
        finder.find("samples", condition, order=order)
    with pytest.raises(ConfigError, match="no 'documents'"):
        finder.find("documents", "")
    with pytest.raises(ConfigError, match="page"):
        finder.find("samples", "", page=-1)


@pytest.mark.parametrize(
    "name", ["place", "o", "c0", "c1", "rows", "KEY", "x'); --", 'a"b', "a.b", "<b>", "\u202e", "b desc"]
)
def test_a_column_may_be_called_anything(tmp_path, name):
    table = pa.table({"caption": ["a", "b"], name: [2, 1]})
    finder = Finder(put_files(tmp_path, {"00000": {"": table}}))
    quoted = name.replace('"', '""')
    found = finder.find("samples", f'"{quoted}" >= 1 and caption is not null', order=f"{name} asc")
    assert [row.columns[name] for row in found.rows] == [1, 2]
    assert finder.row("samples", "00000", "000000000")[name] == 2


values = st.fixed_dictionaries(
    {
        "a": st.none() | st.integers(-3, 3),
        "b": st.none() | st.floats(-2, 2, width=32),
        "c": st.none() | st.sampled_from(["", "x", "xy", "it's", "\u202e%_"]),
    }
)


@settings(deadline=None, max_examples=15)
@given(st.lists(values, min_size=1, max_size=12), st.integers(1, 5), st.integers(-3, 3))
def test_the_rows_are_those_that_arrow_finds(tmp_path_factory, rows, size, bound):
    schema = pa.schema({"a": pa.int8(), "b": pa.float32(), "c": pa.string()})
    table = pa.Table.from_pylist(rows, schema)
    sizes = [size] * (len(rows) // size) + ([len(rows) % size] if len(rows) % size else [])
    storage = in_shards(table, sizes, tmp_path_factory.mktemp("drawn"))
    either = pc.or_kleene(pc.greater_equal(table["a"], bound), pc.less(table["b"], 0.5))
    mask = pc.fill_null(pc.and_kleene(either, pc.not_equal(table["c"], "it's")), False)
    found = Finder(storage).find("samples", f"(a >= {bound} or b < 0.5) and c != 'it''s'", size=50)
    names = [key for number, n in enumerate(sizes) for key in keys(f"{number:05d}", n)]
    assert [row.key for row in found.rows] == [name for name, yes in zip(names, mask.to_pylist(), strict=True) if yes]


def test_hidden_rows_are_in_no_answer_and_tell_nothing(tmp_path):
    listed = pa.table({"hash_list_match": pa.array([None, "md5", None, None], pa.string())})
    copies = pa.table({"bytes_duplicate_of": pa.array([None, None, "000000001", None], pa.string())})
    own = pa.table({"caption": ["1", "secret", "3", "4"]})
    others = pa.table({"caption": ["5", "6", "7", "secret"]})
    first = {"": own, "hash_list": listed, "bytes_clusters": copies}
    storage = put_files(tmp_path, {"00000": first, "00001": {"": others}})
    write_dead(Shard(storage, "00001"), {"000010003": "url"})
    finder = Finder(storage)
    found = finder.find("samples", "caption::int > 0 or caption is null")
    assert [row.key for row in found.rows] == ["000000000", "000000003", "000010000", "000010001", "000010002"]
    assert found.hidden == 3
    assert found.total == 5
    for shard, key in (("00000", "000000001"), ("00000", "000000002"), ("00001", "000010003")):
        for ask in (lambda s, k: finder.row("samples", s, k), finder.history, finder.near):
            with pytest.raises(ShardError, match="shown to nobody"):
                ask(shard, key)
    assert finder.near("00000", "000000000") == ()
    with open_views(storage) as views:
        shown = views.sql("select key from samples order by key").fetchall()
    assert [key for (key,) in shown] == ["000000000", "000000003", "000010000", "000010001", "000010002"]


def test_what_is_taken_back_meanwhile_is_hidden_within_a_minute(tmp_path):
    storage, now = in_shards(ROWS, [5, 9, 9], tmp_path), [0.0]
    finder = Finder(storage, clock=lambda: now[0])
    assert finder.find("samples", "width >= 0").total == N
    write_dead(Shard(storage, "00001"), {"000010003": "url"})
    now[0] = FRESH_S + 1
    assert finder.find("samples", "width >= 0").total == N - 1
    with pytest.raises(ShardError, match="shown to nobody"):
        finder.row("samples", "00001", "000010003")


def test_a_broken_shard_is_told_and_the_rest_is_found(tmp_path):
    storage = in_shards(ROWS, [5, 9, 9], tmp_path)
    (tmp_path / "00001.score.parquet").write_bytes(b"broken")
    (tmp_path / "00002.width.parquet").unlink()
    finder = Finder(storage)
    found = finder.find("samples", "score >= 0")
    assert {row.shard for row in found.rows} == {"00000", "00002"}
    assert found.looked_at == (3, 3)
    assert "00001.score.parquet" in " ".join(found.troubles)
    assert {row.shard for row in finder.find("samples", "width is null").rows} == {"00002"}


@pytest.mark.parametrize(("stored", "together"), [(1, [1, 1, 1, 1, 1]), (1 << 20, [2, 3])])
def test_large_files_are_read_one_by_one(tmp_path, monkeypatch, stored, together):
    monkeypatch.setattr("curate.browse.scan.MOST_STORED", stored)
    read, asked = Scan._read, []
    monkeypatch.setattr(
        Scan, "_read", lambda scan, readers, ids, hard: asked.append(len(ids)) or read(scan, readers, ids, hard)
    )
    assert Finder(in_shards(ROWS, [5] * 4 + [3], tmp_path)).find("samples", "width >= 0").total == N
    assert asked == together


def test_the_time_limit_ends_a_search_which_the_next_page_takes_up(tmp_path, monkeypatch):
    finder = Finder(in_shards(ROWS, [1] * N, tmp_path), timeout_s=60)
    files, now, left = finder.catalog.files("samples"), [0.0], [100.0]
    read = files.table

    def table(id, *rest, **options):
        now[0] += left.pop() if id == "00009" and left else 0
        return read(id, *rest, **options)

    monkeypatch.setattr(files, "table", table)
    for module in ("find", "scan"):
        monkeypatch.setattr(f"curate.browse.{module}.monotonic", lambda: now[0])
    found = finder.find("samples", "width >= 0")
    assert (found.total, found.more, found.seconds) == (None, True, 100)
    assert 0 < found.at_least == found.looked_at[0] < N
    assert finder.find("samples", "width >= 0").total == N


def test_a_question_that_begins_when_its_time_is_up_is_interrupted():
    connection, used = sealed_connection(), time.process_time()
    long = "select count(*) from range(100000000) a, range(1000) b where a.range % 7 = b.range"
    with interrupted_at(connection, time.monotonic() - 1):
        time.sleep(0.1)
        with pytest.raises(duckdb.InterruptException):
            connection.execute(long).fetchall()
    assert time.process_time() - used < 5


def test_what_takes_long_is_interrupted_within_a_few_long_texts(tmp_path):
    """A full piece of them takes 10 s of these patterns."""
    texts = pa.table({"caption": ["a\u00f6\u65e5" * 700] * 150})
    finder = Finder(in_shards(texts, [150], tmp_path), timeout_s=0.4)
    finder.find("samples", "caption is null")  # reads the column
    used = time.process_time()
    patterns = " or ".join(f"caption ~ '(.{{1,30}}){{1,30}}{end}'" for end in "bcdef")
    found = finder.find("samples", patterns)
    assert (found.total, found.looked_at) == (None, (0, 1))
    assert time.process_time() - used < 3


def test_values_that_python_cannot_hold_are_missing_and_not_the_end_of_a_page(tmp_path):
    odd = {"far": pa.array([2**45, 0], pa.timestamp("s")), "zone": pa.array([1, 2], pa.timestamp("s", "+25:99"))}
    mixed = {"": pa.table({"mixed": pa.array([2**31 - 1, 0], pa.date32())})}
    files = {"00000": {"": pa.table({**odd, "mixed": ["a", "b"]})}, "00001": mixed}
    finder = Finder(put_files(tmp_path, files))
    found = finder.find("samples", "far is not null and zone is not null", order="far desc")
    assert [row.columns["far"] is None for row in found.rows] == [True, False]
    assert finder.row("samples", "00000", "000000000").keys() == {"key", "mixed"}
    assert finder.row("samples", "00001", "000010001")["mixed"] == "1970-01-01"
    events = finder.history("00000", "000000001")
    assert dict(pair for event in events for pair in event.what)["far"] == '"1970-01-01 00:00:00"'


def test_keys_may_be_numbers_and_rows_are_still_hidden(tmp_path):
    copies = pa.table({"bytes_duplicate_of": [1, 1, 1]})
    storage = put_files(tmp_path, {"00000": {"": pa.table({"key": [1, 2, 3]}), "bytes_clusters": copies}})
    write_dead(Shard(storage, "00000"), {"2": "url"})
    finder = Finder(storage)
    assert [row.key for row in finder.find("samples", "key <> '9'").rows] == ["1", "3"]
    assert finder.near("00000", "1") == ()
    with pytest.raises(ShardError, match="shown to nobody"):
        finder.row("samples", "00000", "2")


def test_documents_and_their_parts(tmp_path):
    pages = pa.table({"url": ["http://a.test", "http://b.test"], "keep": [True, False]})
    parts = pa.table(
        {
            "key": ["000000000.0", "000000000.1", "000000001.0"],
            "document": pa.array([0, 0, 1], pa.int32()),
            "kind": ["text", "image", "text"],
        }
    )
    storage = put_files(tmp_path, {"00000": {"": pages}, "00000_parts": {"": parts}})
    finder = Finder(storage)
    assert finder.catalog.units() == ("documents", "parts")
    assert finder.catalog.shards() == ("00000",)
    found = finder.find("parts", "kind = 'text'")
    assert [(row.shard, row.key, row.document) for row in found.rows] == [
        ("00000", "000000000.0", "000000000"),
        ("00000", "000000001.0", "000000001"),
    ]
    assert [row.key for row in finder.find("documents", "not keep").rows] == ["000000001"]
    with open_views(storage) as views:
        assert views.sql("select count(*) from documents").fetchall() == [(2,)]
        assert views.sql("select document from parts where kind = 'image'").fetchall() == [(0,)]
    write_dead(Shard(storage, "00000"), {"000000001": "url"})
    assert [row.key for row in Finder(storage).find("parts", "").rows] == ["000000000.0", "000000000.1"]


def test_copies_of_a_row(tmp_path):
    def shard(first, of, size):
        return {
            "": pa.table({"url": first}),
            "bytes_clusters": pa.table({"bytes_duplicate_of": of, "bytes_cluster_size": size}),
        }

    one = shard(["a", "b"], pa.array([None, None], pa.string()), [3, 1])
    two = shard(["a", "a"], pa.array(["000000000", "000000000"]), [3, 3])
    finder = Finder(put_files(tmp_path, {"00000": one, "00001": two}))
    found = [(n.kind, n.shard, n.key, n.keep) for n in finder.near("00001", "000010001")]
    rest = [("bytes", "00001", "000010000", False), ("bytes", "00001", "000010001", False)]
    assert found == [("bytes", "00000", "000000000", True), *rest]
    assert finder.near("00000", "000000001") == ()


def test_copies_are_looked_for_no_longer_than_there_is_time(tmp_path, monkeypatch):
    alone = {"": pa.table({"caption": ["a"]}), "bytes_clusters": pa.table({"bytes_duplicate_of": ["000000000"]})}
    others = {"": pa.table({"caption": ["b"]}), "bytes_clusters": pa.table({"bytes_duplicate_of": ["x"]})}
    shards = {f"{n:05d}": others if n else alone for n in range(12)}
    finder = Finder(put_files(tmp_path, shards), timeout_s=0.1)
    files, looked = finder.catalog.files("samples"), []
    read = files.table

    def table(id, *rest, **options):
        looked.append(id)
        time.sleep(0.05)
        return read(id, *rest, **options)

    monkeypatch.setattr(files, "table", table)
    assert finder.near("00000", "000000000") == ()
    assert len(looked) < 8


def test_views_open_only_the_files_that_are_asked_for(tmp_path):
    storage = in_shards(ROWS, [5, 9, 9], tmp_path)
    with open_views(storage) as views:
        (tmp_path / "00001.score.parquet").write_bytes(b"broken")
        asked = "select count(*) from samples where width > 400 and caption is not null"
        wide = [n for n in range(N) if ROWS["width"][n].as_py() > 400 and n % 5]
        assert views.sql(asked).fetchall() == [(len(wide),)]
        reasons = "select count(*) from samples where list_contains(drop_reasons, 'dark')"
        assert views.sql(reasons).fetchall() == [(sum(n % 3 > 0 for n in range(N)),)]


def test_a_data_set_in_a_bucket(s3, tmp_path):
    local = in_shards(ROWS, [5, 9, 9], tmp_path)
    for name in local.files():
        s3.write(name, local.read(name))
    found = Finder(Storage(s3.root)).find("samples", "width > 400 and score > 0.3")
    assert found.total == Finder(local).find("samples", "width > 400 and score > 0.3").total > 0
