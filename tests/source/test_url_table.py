"""Lists of URLs as people have them: every format, odd bytes, odd rows; a value never ends the job."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import SourceError
from curate.source.url_table import UrlTable

LISTS = (
    Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "web" / "urllists" / "img2dataset" / "tests"
) / "test_files"
real_lists = pytest.mark.skipif(not LISTS.exists(), reason="the shared lists of URLs are not beside this checkout")


def rows(table: UrlTable) -> list[dict[str, Any]]:
    return [row for part in table.parts() for batch in part for row in batch.to_pylist()]


def urls(path: Path | str, **settings: Any) -> list[str | None]:
    return [row["url"] for row in rows(UrlTable(str(path), **settings))]


def write(path: Path, text: str | bytes) -> Path:
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


ROWS = [
    {"url": "http://h/a,b.jpg", "caption": 'said "no",\ntwice', "n": "1"},
    {"url": "http://h/ü.jpg", "caption": "", "n": "2"},
    {"url": "", "caption": "no address", "n": "3"},
]


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl"])
def test_every_text_format_gives_the_same_rows(tmp_path: Path, kind: str, packed: str) -> None:
    frame = pandas.DataFrame(ROWS)
    text = {
        "csv": lambda: frame.to_csv(index=False),
        "tsv": lambda: frame.to_csv(index=False, sep="\t"),
        "json": lambda: json.dumps(ROWS, indent=2),
        "jsonl": lambda: "\n".join(map(json.dumps, ROWS)),
    }[kind]()
    path = write(tmp_path / f"list.{kind}{packed}", text)
    table = UrlTable(str(path), caption_column="caption", columns=("n",))
    assert rows(table) == [{"n": r["n"], "caption": r["caption"], "url": r["url"]} for r in ROWS]
    assert [list(r) for r in rows(table)] == [["n", "caption", "url"]] * 3


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "list.parquet")
    table = UrlTable(str(tmp_path / "list.parquet"), caption_column="caption", columns=("n",))
    assert rows(table) == [{"n": r["n"], "caption": r["caption"], "url": r["url"]} for r in ROWS]


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_txt_is_one_url_per_line(tmp_path: Path, packed: str) -> None:
    lines = ["http://h/a,b.jpg", 'http://h/"q".jpg', "  http://h/spaces.jpg  ", "", "http://h/last.jpg"]
    path = write(tmp_path / f"list.txt{packed}", "\r\n".join(lines))
    assert urls(path) == [line.strip() for line in lines if line]


@real_lists
def test_real_lists_agree_with_one_another() -> None:
    table = UrlTable(str(LISTS / "test_10000.parquet"), url_column="URL", caption_column="TEXT")
    frame = pandas.read_parquet(LISTS / "test_10000.parquet")
    found = rows(table)
    assert [r["url"] for r in found] == frame["URL"].tolist()
    assert [r["caption"] for r in found] == frame["TEXT"].tolist()
    lines = (LISTS / "test_10000.txt").read_text().splitlines()
    assert sum("," in line for line in lines) > 200
    assert urls(LISTS / "test_10000.txt") == lines


@real_lists
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
def test_a_real_list_survives_every_format(tmp_path: Path, kind: str) -> None:
    frame = pandas.read_parquet(LISTS / "test_10000.parquet")
    path = tmp_path / f"list.{kind}"
    if kind in ("csv", "tsv"):
        frame.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    else:
        frame.to_json(path, orient="records", lines=kind == "jsonl")
    found = rows(UrlTable(str(path), url_column="URL", caption_column="TEXT"))
    assert [(r["url"], r["caption"]) for r in found] == list(zip(frame["URL"], frame["TEXT"], strict=True))


@real_lists
def test_folders_and_globs_of_real_lists() -> None:
    counts = [sum(b.num_rows for b in part) for part in UrlTable(str(LISTS), format="txt").parts()]
    assert counts == [1, 1000, 10000, 54]
    assert len(urls(LISTS / "test_1000*.txt")) == 11_000
    with pytest.raises(SourceError, match=r"holds json and parquet and txt files; say which in \[source\] format"):
        urls(LISTS)


@pytest.mark.parametrize(
    ("raw", "url"),
    [
        ("url\nhttp://h/\ufeff.jpg".encode("utf-8-sig"), "http://h/\ufeff.jpg"),
        ("url\nhttp://h/é.jpg".encode("utf-16"), "http://h/é.jpg"),
        ("url\nhttp://h/é.jpg".encode("latin-1"), "http://h/\ufffd.jpg"),
        (b"url\nhttp://h/\0.jpg", "http://h/\0.jpg"),
        (b"url\r\nhttp://h/a.jpg\r\n", "http://h/a.jpg"),
        (b"url\rhttp://h/a.jpg\r", "http://h/a.jpg"),
        (b"\n\r\nurl\nhttp://h/a.jpg", "http://h/a.jpg"),
    ],
)
def test_encodings_and_line_ends(tmp_path: Path, raw: bytes, url: str) -> None:
    assert urls(write(tmp_path / "list.csv", raw)) == [url]


def test_rows_that_cannot_be_read_keep_their_place(tmp_path: Path) -> None:
    wide = "x" * 200_000
    text = f'url,caption\nhttp://h/0,a\nhttp://h/1,b,c,d\nhttp://h/2\n"{wide},e\nhttp://h/4,f\n\nhttp://h/5,g,\n'
    found = rows(UrlTable(str(write(tmp_path / "a.csv", text)), caption_column="caption"))
    assert [(r["url"], r["caption"]) for r in found] == [
        ("http://h/0", "a"),
        (None, None),
        ("http://h/2", None),
        (None, None),
        ("http://h/4", "f"),
        ("http://h/5", "g"),
    ]
    lines = ['{"url": "http://h/0"}', "{broken", "[1]", '{"other": 1}', '{"url": null}', "[" * 100_000, '{"url": 5}']
    assert urls(write(tmp_path / "a.jsonl", "\n".join(lines))) == ["http://h/0", None, None, None, None, None, "5"]


def test_lone_surrogates_and_bad_utf8_become_replacements(tmp_path: Path) -> None:
    assert urls(write(tmp_path / "a.jsonl", r'{"url": "http://h/\ud800"}')) == ["http://h/?"]
    bad = pa.array([b"http://h/\xff", None, b"http://h/ok"]).cast(pa.binary())
    broken = pa.StringArray.from_buffers(3, bad.buffers()[1], bad.buffers()[2], bad.buffers()[0])
    pq.write_table(pa.table({"url": broken}), tmp_path / "a.parquet")
    assert urls(tmp_path / "a.parquet") == ["http://h/\ufffd", None, "http://h/ok"]
    pq.write_table(pa.table({"url": bad}), tmp_path / "b.parquet")
    assert urls(tmp_path / "b.parquet") == ["http://h/\ufffd", None, "http://h/ok"]


def test_a_json_file_of_lines_is_read_as_lines(tmp_path: Path) -> None:
    assert urls(write(tmp_path / "a.json", ' {"url": "a"}\n{"url": "b"}')) == ["a", "b"]


def test_a_json_array_is_read_piece_by_piece(tmp_path: Path) -> None:
    objects = [{"url": f"http://h/{n}", "pad": "ä" * 300} for n in range(9000)]  # crosses several chunks
    assert urls(write(tmp_path / "a.json", json.dumps(objects, ensure_ascii=False))) == [o["url"] for o in objects]


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")), st.text(max_size=5))))
@settings(max_examples=60)
def test_what_pandas_writes_as_csv_is_read_back(tmp_path_factory: pytest.TempPathFactory, pairs: Any) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    frame = pandas.DataFrame([("http://h/first", "x"), *pairs], columns=["url", "caption"])
    frame = frame[frame["caption"].str.isalnum()]
    frame.to_csv(path, index=False)
    found = rows(UrlTable(str(path), caption_column="caption"))
    assert [(r["url"], r["caption"]) for r in found] == list(frame.itertuples(index=False, name=None))


def test_columns_of_text_are_text_unless_told_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "url,id,score,flag\nhttp://h/0,007,0.5,true\nhttp://h/1,x,,maybe\n")
    assert rows(UrlTable(str(path), columns="all"))[0] == {
        "id": "007",
        "score": "0.5",
        "flag": "true",
        "url": "http://h/0",
    }
    typed = UrlTable(str(path), columns="all", types={"id": "int", "score": "float", "flag": "bool"})
    assert rows(typed) == [
        {"id": 7, "score": 0.5, "flag": True, "url": "http://h/0"},
        {"id": None, "score": None, "flag": None, "url": "http://h/1"},
    ]


def test_columns_of_json_have_the_type_of_their_first_values(tmp_path: Path) -> None:
    first = {"url": "u", "n": 1, "x": 0.5, "s": "a", "o": {"k": 1}, "boxes": [[0, 0, 1, 1]], "mixed": 1}
    lines = [first, {**first, "mixed": "b", "s": 5}]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    (batch,) = next(iter(UrlTable(str(path), columns="all").parts()))
    kinds = {f.name: str(f.type) for f in batch.schema}
    assert kinds == {
        "n": "int64",
        "x": "double",
        "s": "string",
        "o": "string",
        "boxes": "list<item: list<item: int64>>",
        "mixed": "string",
        "url": "string",
    }
    assert batch.to_pylist()[0]["o"] == '{"k": 1}'
    assert [(r["mixed"], r["s"]) for r in batch.to_pylist()] == [("1", "a"), ("b", "5")]


def test_a_later_value_of_another_type_becomes_null(tmp_path: Path) -> None:
    lines = [{"url": str(n), "n": n} for n in range(10_001)]
    lines[10_000]["n"] = "many"
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    found = rows(UrlTable(str(path), columns=("n",)))
    assert (found[9_999]["n"], found[10_000]["n"]) == (9_999, None)


def test_parquet_columns_keep_their_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "url": pa.array(["a", "b"], pa.large_string()),
            "blob": pa.array([b"\xff" * 1000, None]),
            "nested": pa.array([[{"x": 1}], []]),
            "word": pa.array(["p", "q"]).dictionary_encode(),
            "nothing": pa.nulls(2),
            "__index_level_0__": [0, 1],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (batch,) = next(iter(UrlTable(str(tmp_path / "a.parquet"), columns="all").parts()))
    assert batch.schema.names == ["blob", "nested", "word", "nothing", "url"]
    assert [str(t) for t in batch.schema.types[2:]] == ["string"] * 3
    assert batch.to_pylist()[0] == {
        "blob": b"\xff" * 1000,
        "nested": [{"x": 1}],
        "word": "p",
        "nothing": None,
        "url": "a",
    }


def test_all_files_have_the_schema_of_the_first(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["a"], "n": pa.array([1], pa.int64())}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"n": pa.array([2], pa.int32()), "url": ["b"]}), tmp_path / "1.parquet")
    parts = [list(part) for part in UrlTable(str(tmp_path), columns=("n",)).parts()]
    assert parts[0][0].schema == parts[1][0].schema
    pq.write_table(pa.table({"url": ["b"]}), tmp_path / "2.parquet")
    with pytest.raises(SourceError, match=r"2.parquet has no column 'n', unlike the first file"):
        rows(UrlTable(str(tmp_path), columns=("n",)))


def test_parquet_is_read_by_pieces(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["u"] * 25_000}), tmp_path / "a.parquet", row_group_size=25_000)
    (part,) = UrlTable(str(tmp_path / "a.parquet")).parts()
    assert [b.num_rows for b in part] == [10_000, 10_000, 5_000]


@pytest.mark.parametrize(
    ("name", "raw", "settings", "words"),
    [
        ("a.csv", "URL,x\nu,1", {}, "has no column 'url'; known: URL, x"),
        ("a.csv", "link,txt\nu,1", {"url_column": "lnik"}, "has no column 'lnik'; did you mean 'link'"),
        ("a.csv", "url,x\nu,1", {"caption_column": "alt"}, "has no column 'alt'"),
        ("a.csv", "url,width\nu,1", {"columns": "all"}, "a column 'width', which a later stage writes"),
        ("a.csv", "", {}, "has no rows"),
        ("a.csv", "x" * 200_000, {}, "cannot be read as csv: it does not begin with the names of columns"),
        ("a.jsonl", "\n\n", {}, "has no rows"),
        ("a.parquet", "no parquet", {}, "cannot be read as parquet"),
        ("a.json", "5", {}, "cannot be read as json: not an array of objects"),
        ("a.json", '[{"url": "a"}, {"url"', {}, "cannot be read as json: broken JSON at"),
        ("a.json", "[1, 2]", {}, "an element of the array is no object"),
        ("a.xlsx", "PK", {}, "no parquet or csv or tsv or json or jsonl or txt file at"),
        ("_SUCCESS.txt", "u", {"path": ""}, "file at"),
    ],
)
def test_an_input_that_is_not_what_the_config_says(
    tmp_path: Path, name: str, raw: str, settings: dict[str, Any], words: str
) -> None:
    path = write(tmp_path / name, raw)
    with pytest.raises(SourceError) as told:
        rows(UrlTable(**{"path": str(path), **{k: v if k != "path" else str(tmp_path) for k, v in settings.items()}}))
    assert words in str(told.value)
    assert str(tmp_path) in str(told.value)


def test_a_damaged_gzip_is_told_after_its_whole_rows(tmp_path: Path) -> None:
    raw = gzip.compress("\n".join(f"http://h/{zlib.crc32(b'%d' % n)}" for n in range(60_000)).encode())
    (tmp_path / "a.txt.gz").write_bytes(raw[: len(raw) // 2])
    (part,) = UrlTable(str(tmp_path / "a.txt.gz")).parts()
    assert next(part).num_rows == 10_000
    with pytest.raises(SourceError, match=r"a.txt.gz cannot be read as txt: Compressed file ended"):
        list(part)
    (tmp_path / "b.txt.gz").write_bytes(b"no gzip")
    with pytest.raises(SourceError, match=r"b.txt.gz cannot be read as txt: Not a gzipped file"):
        urls(tmp_path / "b.txt.gz")


def test_a_missing_path_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.csv", tmp_path / "*.csv", tmp_path):
        with pytest.raises(SourceError, match=r"check \[source\] path"):
            urls(path)
    with pytest.raises(SourceError, match="cannot look into nosuch://x"):
        urls("nosuch://x/a.csv")


@pytest.mark.parametrize(
    "settings",
    [
        {"columns": ("status",)},
        {"columns": ("a", "sha256")},
        {"columns": ("fetch_status",)},
        {"format": "txt", "caption_column": "x"},
        {"format": "txt", "columns": "all"},
        {"columns": ("a", "b", "a")},
        {"columns": ("a",), "types": {"A": "int"}},
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"by a later stage|a txt list has URLs alone|named twice|'A' is not among"):
        UrlTable("p", **settings)


def test_two_columns_of_one_name_are_told(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["url", "url"]), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"a\.parquet has several columns 'url'; rename all but one"):
        urls(tmp_path / "a.parquet")


def test_a_long_line_is_a_row_and_not_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"http://h/0\n" + b"x" * (17 << 20) + b"\nhttp://h/2\n")
    first, long, last = urls(path)
    assert (first, last) == ("http://h/0", "http://h/2")
    assert long is not None
    assert len(long) == 16 << 20


def test_identity_changes_with_files_and_settings_and_not_with_the_folder(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    path = write(tmp_path / "a" / "0.txt", "u")
    first = UrlTable(str(tmp_path / "a")).identity()
    assert json.loads(json.dumps(first)) == json.loads(json.dumps(UrlTable(str(tmp_path / "a")).identity()))
    assert UrlTable(str(tmp_path / "a"), url_column="x").identity() != first
    path.rename(tmp_path / "b" / "0.txt")
    assert UrlTable(str(tmp_path / "b")).identity() == first
    write(tmp_path / "b" / "0.txt", "longer")
    assert UrlTable(str(tmp_path / "b")).identity() != first


def test_any_fsspec_url(tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://lists/0.txt.gz", "wb") as target:
        target.write(gzip.compress(b"http://h/0\nhttp://h/1"))
    assert urls("memory://lists") == ["http://h/0", "http://h/1"]
    assert urls("memory://lists/*.gz", format="txt") == ["http://h/0", "http://h/1"]
    assert UrlTable("memory://lists").identity()["files"][0][0] == "0.txt.gz"
    write(tmp_path / "1.txt", "http://h/2")
    assert urls(f"file://{tmp_path}/1.txt") == ["http://h/2"]
