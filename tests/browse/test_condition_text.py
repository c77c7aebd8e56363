"""What may stand in a condition, and what may not: tables of both, and that nothing but the columns is read."""

import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.column_files import plain_column
from curate.condition import MOST_LETTERS, holds, read_condition
from curate.duck import PIECE_BYTES, in_pieces, sealed_connection
from curate.errors import ConfigError
from curate.pattern_size import pattern_size

if TYPE_CHECKING:
    import duckdb

ROWS = pa.table(
    {
        "width": pa.array([100, 512, None, 1024], pa.int32()),
        "height": pa.array([100, 256, 10, 2048], pa.int64()),
        "score": pa.array([0.1, 0.5, None, float("nan")], pa.float32()),
        "half": pa.array(np.array([0.5, 1, 2, 4], np.float16)),
        "caption": ["a dog", "A Cat's 100%", None, "x_y \u202e \U0001f600"],
        "digits": ["12", "no", "7", None],
        "keep": [True, False, None, True],
        "drop_reason": pa.array(["blurred", None, None, "too_few_words"]).dictionary_encode(),
        "drop_reasons": pa.array(
            [["blurred"], [], None, ["blurred", "too_few_words"]], pa.list_(pa.dictionary(pa.int16(), pa.string()))
        ),
        "sizes": pa.array([[1, 5], [], None, [9]], pa.list_(pa.int64())),
        "hash": pa.array([b"\x0f\xa0", b"\x00\x01", None, b"\xff\xff"], pa.binary(2)),
        "days": ["2024-01-02", "2025-03-04", None, "2024-12-31"],
        'odd "name"; --': pa.array([1, 2, 3, 4]),
        "a.b": pa.array([1, 2, 3, 4]),
        "select": pa.array([4, 3, 2, 1]),
    }
)

ACCEPTED = [
    ("width >= 512", [1, 3]),
    ("width = 512 or height < 50", [1, 2]),
    ("not (width >= 512)", [0]),
    ("width is null", [2]),
    ("width is not null and height != 100", [1, 3]),
    ("width between 100 and 512", [0, 1]),
    ("width in (100, 1024)", [0, 3]),
    ("width not in (100, 1024)", [1]),
    ("width * height > 50000", [1, 3]),
    ("(width + 1) % 2 = 1 and -width < +1", [0, 1, 3]),
    ("width // 100 = 5", [1]),
    ("width / 1000 < 0.2", [0]),
    ("width <> -1 and height = 1e2", [0]),
    ("score > 0.4", [1, 3]),  # in DuckDB not-a-number is above all numbers
    ("score >= 0.5 and not isnan(score)", [1]),
    ("half between .5 and 1", [0, 1]),
    ("keep", [0, 3]),
    ("keep is not true", [1, 2]),
    ("keep is distinct from null", [0, 1, 3]),
    ("case when keep then width > 500 else true end", [1, 2, 3]),
    ("coalesce(width, 0) = 0", [2]),
    ("nullif(width, 100) is null", [0, 2]),
    ("if(keep, 1, 2) = 2", [1, 2]),
    ("case width when 100 then true when 512 then true end", [0, 1]),
    ("width in (height, 512)", [0, 1]),
    ("caption like 'a%'", [0]),
    ("caption ilike 'a%'", [0, 1]),
    ("caption not like '%dog'", [1, 3]),
    ("caption like '%100!%' escape '!'", [1]),
    ("caption = 'A Cat''s 100%'", [1]),
    ("caption = $$a dog$$", [0]),
    ("caption = 'a dog' -- a remark )", [0]),
    ("caption /* a remark */ = 'a dog'", [0]),
    ("regexp_matches(caption, '^[aA] ')", [0, 1]),
    ("caption similar to 'a d.g'", [0]),
    ("caption ~ 'a dog'", [0]),
    ("length(caption) = 5", [0]),
    ("lower(caption) = 'a cat''s 100%'", [1]),
    ("contains(caption, 'x_')", [3]),
    ("starts_with(caption, 'a') or suffix(caption, '%')", [0, 1]),
    ("caption ^@ 'a '", [0]),
    ("len(string_split(caption, ' ')) = 2", [0]),
    ("digits::int = 12 and digits <> 'no'", None),
    ("try_cast(digits as int) > 6", [0, 2]),
    ("list_contains(drop_reasons, 'blurred')", [0, 3]),
    ("'blurred' in drop_reasons", [0, 3]),
    ("drop_reason = 'blurred'", [0]),
    ("len(drop_reasons) = 0", [1]),
    ("drop_reasons[1] = 'blurred' and len(drop_reasons) > 1", [3]),
    ("list_has_any(drop_reasons, ['too_few_words', 'x'])", [3]),
    ("drop_reasons @> ['blurred', 'too_few_words']", [3]),
    ("len(list_filter(sizes, lambda x: x > 4)) = 1", [0, 3]),
    ("list_sum(sizes) = 6", [0]),
    ("hash = '0fa0'", [0]),
    ("year(cast(days as date)) = 2024", [0, 3]),
    ("days::date >= date '2025-01-01'", [1]),
    ("extract(month from days::date) = 3", [1]),
    ('"odd ""name""; --" = 2', [1]),
    ('"a.b" = 3 or a.b = 4', [2, 3]),
    ('"select" > 3', [0]),
]


def inside(pattern: str, innermost: str, times: int) -> str:
    """A condition in itself, so many times."""
    for _ in range(times):
        innermost = pattern.format(innermost)
    return innermost


REFUSED = [
    ("select 1", "no condition"),
    ("(select 1)", "a query"),
    ("exists (select 1)", "a query"),
    ("width in (select 1)", "a query"),
    ("width = any([1])", "a query"),
    ("width in (select x from read_csv('/etc/passwd'))", "a query"),
    ("exists (from 'shards.parquet')", "a query"),
    ("read_text('/etc/passwd') is null", "read_text"),
    ("read_csv('/etc/passwd')", "read_csv"),
    ("glob('*')", "glob"),
    ("caption glob 'a*'", "~~~"),
    ("getenv('HOME') = 'x'", "getenv"),
    ("current_setting('threads') = '1'", "current_setting"),
    ("getvariable('x') = 1", "getvariable"),
    ("current_user = 'x'", "current_user"),
    ("current_date > '2020-01-01'", "current_date"),
    ("now() > '2020-01-01'", "now"),
    ("random() < 0.5", "random"),
    ("uuid() = 'x'", "uuid"),
    ("nextval('x') = 1", "nextval"),
    ("sleep_ms(1000)", "sleep_ms"),
    ("error('x')", "error"),
    ("pg_typeof(width) = 'x'", "pg_typeof"),
    ("sum(width) > 1", "sum"),
    ("count(*) over () > 1", "window"),
    ("row_number() over (order by width) < 3", "window"),
    ("sum(distinct width) > 1", "form"),
    ("sum(width) filter (width > 1) > 1", "form"),
    ("list_reduce(sizes, lambda x, y: x + y) > 1", "list_reduce"),
    ("list_transform(sizes, lambda x: x + 1)[1] > 1", "list_transform"),
    ("[x for x in sizes if x > 1][1] = 2", "list_apply"),
    ("list_filter(sizes, lambda x: len(list_filter(sizes, lambda y: y > x)) > 1)[1] = 1", "lambda"),
    ("list_filter(sizes, lambda x: (select 1) = x)[1] = 1", "a query"),
    ("list_filter(sizes, lambda x: list_contains(drop_reasons, x))[1] = 1", "'drop_reasons' in a lambda"),
    ("lambda x: x", "lambda"),
    ("repeat(caption, 1000000000) = 'x'", "repeat"),
    ("replace(caption, 'a', 'aaaa') = 'x'", "replace"),
    ("lpad(caption, 1000000000, 'x') = 'x'", "lpad"),
    ("printf('%1000000000d', width) = 'x'", "printf"),
    ("range(1000000000)[1] = 1", "range"),
    ("caption || caption = 'x'", "||"),
    ("concat(caption, caption) = 'x'", "concat"),
    ("levenshtein(caption, caption) = 0", "levenshtein"),
    ("regexp_matches(caption, caption)", "constant"),
    ("list_has_any(sizes, [width])", "constant"),
    ("unnest(sizes) = 1", "unnest"),
    ("struct_pack(a := 1) is null", "form"),
    ("{'a': 1} is null", "form"),
    ("row(1, 2) is null", "row"),
    ("caption.upper() = 'X'", "form"),
    ("main.abs(width) = 1", "form"),
    ("caption collate nocase = 'x'", "collation"),
    ("width = $1", "parameter"),
    ("width = ?", "parameter"),
    ("width = $x", "parameter"),
    ("#1 = 1", "number"),
    ("* = 1", "star"),
    ("columns('w.*') > 1", "star"),
    ("columns(*) > 1", "star"),
    ("width = default", "DEFAULT"),
    ("width = x'ff'", "constant"),
    ("width = interval 1 day", "to_days"),
    ("caption::json is null", "JSON"),
    ("caption::blob is null", "BLOB"),
    ("width::decimal(1, 0) = 1", "DECIMAL"),
    ("width::int[] is null", "cast"),
    ("caption::struct(a int) is null", "cast"),
    ("rows.width = 1", "rows.width"),
    ("rows is null", "rows"),
    ("rowid = 1", "rowid"),
    ("c0 = 1", "c0"),
    ("wdith > 1", "did you mean 'width'"),
    ('caption = "dog"', "single quotes"),
    ("WIDTH > 1", "WIDTH"),
    ("width > 1) or (true", "no condition"),
    ("width > 1 union select 1 from rows where true", "more than that"),
    ("width > 1 order by width", "more than that"),
    ("width > 1 limit 1", "more than that"),
    ("width > 1 group by width", "more than that"),
    ("width > 1 having true", "more than that"),
    ("width > 1 qualify true", "more than that"),
    ("width > 1; select 1", "more than that"),
    ("width > 1; attach 'x.db' as y; select 1", "no condition"),
    ("width > 1; copy rows to 'x.csv'; select 1", "no condition"),
    ("width > 1; install httpfs; select 1", "no condition"),
    ("width > 1; load httpfs; select 1", "no condition"),
    ("width > 1; pragma version; select 1", "no condition"),
    ("width > 1; set threads = 1; select 1", "no condition"),
    ("width > 1; create macro f() as 1; select 1", "no condition"),
    ("true /*", "no condition"),
    ("width > 1 -- )\n) or (true", "no condition"),
    ("width >", "no condition"),
    ("caption = 'x", "no condition"),
    ("width > 1 as x", "no condition"),
    ("caption = 'a\0b'", ""),
    ("caption = '\ud800'", "Unicode"),
    ("", "empty"),
    (" \n", "empty"),
    ("(" * 500 + "keep" + ")" * 500 + " or wdth", "wdth"),
    ("not " * 200 + "keep", "levels"),
    ("abs(" * 120 + "width" + ")" * 120 + " > 1", "levels"),
    ("width > 1" + " or abs(width) > 1" * 120, "functions"),
    ("caption ~ '((a{100}){10}){11}'", "regular expressions"),
    (" or ".join(["caption ~ '(a{40}b){30}'"] * 9), "regular expressions"),
    (inside("nullif({}, 7)", "width", 18) + " = 1", "functions"),
    (inside("({} between false and true)", "keep", 18), "pieces"),
    (inside("({} in (true, false))", "keep", 18), "pieces"),
    (inside("({} in (true, keep, true, true, true, true))", "keep", 6), "pieces"),
    (inside("case {} when 7 then 1 when 8 then 2 end", "width", 18) + " = 1", "18 CASE and 36 WHEN"),
    ("width" + " + width" * 900 + " = 1", "levels"),
    ("width in (" + "1," * 4_900 + "1)" + " " * 10, ""),
    ("caption = '" + "x" * MOST_LETTERS + "'", "letters"),
]


@pytest.mark.parametrize(("text", "rows"), ACCEPTED, ids=[text for text, _ in ACCEPTED])
def test_accepted(text: str, rows: list[int] | None) -> None:
    condition = read_condition(text, ROWS.column_names)
    if rows is None:
        with pytest.raises(ConfigError, match="digits"):
            holds(condition, ROWS)
        return
    assert np.flatnonzero(holds(condition, ROWS)).tolist() == rows
    halves = pa.concat_tables([ROWS.slice(0, 1), ROWS.slice(1)])
    assert np.flatnonzero(holds(condition, halves)).tolist() == rows


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[text[:40] for text, _ in REFUSED])
def test_refused(text: str, words: str) -> None:
    if len(text) > 9_000 and words == "":
        read_condition(text, ROWS.column_names)  # a list of values is as long as the letters allow
        return
    with pytest.raises(ConfigError) as refused:
        read_condition(text, ROWS.column_names)
    assert words in str(refused.value)


def test_a_place_is_told_in_letters() -> None:
    with pytest.raises(ConfigError, match=r"at letter 21\b"):
        read_condition("caption = '\u00e9\u00e9\u00e9' and foo(width)", ROWS.column_names)


def test_names_of_columns_never_become_sql() -> None:
    hostile = "x); drop table rows; --"
    condition = read_condition('"x); drop table rows; --" > 1', [hostile])
    assert condition.columns == (hostile,)
    assert "drop" not in condition.sql


def test_an_error_of_a_value_has_the_columns_own_name() -> None:
    with pytest.raises(ConfigError, match=r"digits.*TRY_CAST"):
        holds(read_condition("digits::int > 1", ROWS.column_names), ROWS)
    with pytest.raises(ConfigError, match="the condition fails"):
        holds(read_condition("caption + 1 > 1", ROWS.column_names), ROWS)


@pytest.mark.parametrize(
    "text",
    ["a::int = 1", "a::date is null", "a::time is null", "a::timestamp is null", "n::tinyint = 1", "n * n * n = 1"],
)
def test_an_error_does_not_tell_the_value(text: str) -> None:
    rows = pa.table({"a": ['\'"secret" when casting from source column c9'], "n": pa.array([31337313373133])})
    with pytest.raises(ConfigError, match="of a value") as told:
        holds(read_condition(text, rows.column_names), rows)
    assert "secret" not in str(told.value)
    assert "31337" not in str(told.value)
    assert "c9" not in str(told.value)


def test_long_texts_are_asked_in_pieces() -> None:
    whole = pa.table({"a": ["x" * n for n in (3 * PIECE_BYTES, 1, 2, PIECE_BYTES // 2, PIECE_BYTES // 2, 5)] * 12})
    pieces = in_pieces(whole)
    assert pieces.equals(whole)
    assert all(len(one) == 1 or one.nbytes <= PIECE_BYTES for one in pieces.to_batches())
    small = pa.table({"a": pa.array(range(5_000))})
    assert [len(one) for one in in_pieces(small).to_batches()] == [2_048, 2_048, 904]
    assert len(in_pieces(small.slice(0, 0))) == 0


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", 1),
        ("abc", 3),
        ("ab{3}", 4),
        ("ab{2,3}?|c*", 5),
        ("a{3,}", 4),
        ("a{0}", 1),
        ("(a{1,30}){1,30}b", 901),
        ("((ab){10}c){10}", 210),
        (r"[a{9}\]]{2}[^]]{3}", 5),
        ("[[:alpha:]]{7}", 7),
        (r"\p{Greek}{4}\x{1F600}\{9", 7),
        ("(a", 1),
        ("a)b[c", 4),
        ("a{" + "9" * 99 + "}", 999_999_999),
    ],
)
def test_the_size_of_a_pattern(pattern: str, size: int) -> None:
    assert pattern_size(pattern) == size


def test_large_patterns_are_asked_of_fewer_bytes_at_a_time() -> None:
    assert read_condition(f"caption ~ '{'word|' * 1_990}'").piece_bytes > 3_000
    assert read_condition("caption ~ 'a{5}' or width > 1").piece_bytes == PIECE_BYTES
    assert read_condition("caption ~ 'a{500}' and caption ~ '(b{25}){20}'").piece_bytes == PIECE_BYTES // 4


@pytest.mark.parametrize("opening", ["(", "[", "[:", r"\p{"])
def test_the_size_of_a_pattern_is_told_at_once(opening: str) -> None:
    used = time.process_time()
    pattern_size(opening * (MOST_LETTERS // len(opening)))
    assert time.process_time() - used < 1


TYPED = (
    "width caption sizes ( ) [ ] , . ; ' \" -- /* */ = < > and or not in between like select from rows where union "
    "read_text('/etc/passwd') getenv('HOME') (select 1) lambda x: x -> :: int case when then end null true 1 0.5 'a' "
    "$1 #1 * columns(*) attach copy pragma over () list_filter len abs"
)


@settings(deadline=None)
@given(st.lists(st.sampled_from(TYPED.split()), max_size=12).map(" ".join))
def test_whatever_is_typed_is_a_condition_or_an_error_in_words(text: str) -> None:
    try:
        condition = read_condition(text, ROWS.column_names)
    except ConfigError:
        return
    assert not {"select", "getenv", "read_text"} & set(condition.sql.lower().replace("(", " ").split())
    with suppress(ConfigError):
        holds(condition, ROWS)


NUMBERS = st.sampled_from(["width", "height", "len(sizes)", "-width", "3", "0.5", "-2", "null"])
SUMS = st.recursive(
    NUMBERS,
    lambda one: st.tuples(one, st.sampled_from("+-*"), one).map(" ".join) | one.map("({})".format),
    max_leaves=4,
)
TESTS = (
    st.tuples(SUMS, st.sampled_from(["<", ">=", "=", "<>", "is distinct from"]), SUMS).map(" ".join)
    | st.sampled_from(
        ["keep", "caption like '%a%'", "'blurred' in drop_reasons", "width between 1 and 600", "keep is null"]
    )
    | st.builds("case when keep then {} > 1 else {} < 9 end".format, SUMS, SUMS)
)
CONDITIONS = st.recursive(
    TESTS,
    lambda one: (
        st.tuples(one, st.sampled_from(["and", "or"]), one).map(" ".join)
        | one.map("not ({})".format)
        | one.map("not {}".format)
    ),
    max_leaves=6,
)


PLAIN = pa.table({name: plain_column(ROWS[name]) for name in ROWS.column_names} | {"place": pa.array(range(len(ROWS)))})


@cache
def plainly() -> "duckdb.DuckDBPyConnection":
    """A connection that runs what is typed."""
    import duckdb

    return duckdb.connect()


@settings(deadline=None, max_examples=40)
@given(CONDITIONS)
def test_what_is_written_anew_says_what_was_typed(text: str) -> None:
    import duckdb

    try:
        typed = plainly().from_arrow(PLAIN).filter(text).project("place").fetchall()
    except duckdb.Error:
        typed = None
    try:
        written = np.flatnonzero(holds(read_condition(text, ROWS.column_names), ROWS)).tolist()
    except ConfigError:
        written = None
    assert written == (None if typed is None else [place for (place,) in typed])


@pytest.mark.parametrize("text", ["caption like '%a%a_%a%a_%b%'", "caption ilike '%a%a%a_%b%'", "caption ~ '(a|aa)+b'"])
def test_patterns_take_no_exponential_time(text: str) -> None:
    used = time.process_time()
    assert not holds(read_condition(text), pa.table({"caption": ["a" * 20_000] * 20})).any()
    assert time.process_time() - used < 5


def test_the_connection_reads_no_file_even_if_it_is_asked(tmp_path: Path) -> None:
    import duckdb

    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    connection = sealed_connection()
    for query in (
        f"from '{secret}'",
        f"from read_text('{secret}')",
        f"from read_csv('{secret}')",
        f"from glob('{tmp_path}/*')",
        f"attach '{tmp_path}/x.db'",
        f"copy (select 1) to '{tmp_path}/out.csv'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "set memory_limit = '100GB'",
        "from outside",
    ):
        outside = pa.table({"a": [1]})  # a variable here must not be found as a table either
        with pytest.raises(duckdb.Error):
            connection.execute(query).fetchall()
        assert len(outside) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["secret.csv"]
    connection.close()


def test_without_duckdb_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.duck.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'curate-vl\[report\]'"):
        sealed_connection()


def test_a_duckdb_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.duck.version", lambda name: "1.4.2")
    with pytest.raises(ConfigError, match=r"DuckDB 2, and 1\.4\.2"):
        sealed_connection()
