"""Copies by URL: which URLs are one, and which of the documents stays."""

import pytest
from document_shards import Doc, bytes_of, column, run_barrier, write_shards
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.dedup.urls import UrlDuplicates, normal_url

ONE = "http://a.test/x"
OLD, NEW = "2023-01-01T00:00:00Z", "2024-01-01T00:00:00Z"


def found(folder, *shards, **settings):
    """`url_duplicate_of` shard by shard."""
    handles = write_shards(folder, shards)
    run_barrier(UrlDuplicates(**settings), handles, folder)
    return column(handles, "url_duplicate_of")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("HTTP://A.Test/x", True),
        ("http://a.test:80/x", True),
        ("http://a.test/x#top", True),
        ("http://a.test/y/../x", True),
        (" http://a.test/x\n", True),
        ("https://a.test/x", False),
        ("http://a.test:8080/x", False),
        ("http://www.a.test/x", False),
        ("http://a.test/X", False),
        ("http://a.test/x/", False),
        ("http://a.test/x?", True),
        ("http://a.test/x?a=1", False),
        ("a.test/x", False),
    ],
)
def test_which_urls_are_one(tmp_path, other, same):
    answer = found(tmp_path, [Doc(ONE, date=OLD), Doc(other, date=NEW)])
    assert answer == [["00000000001" if same else None, None]]


@settings(deadline=None)
@example(".?")
@given(st.text(st.sampled_from("aZ0/.?&=%#@:;[]|~! é\\"), max_size=12))
def test_the_case_of_the_scheme_never_counts(rest):
    assert normal_url(f"http://a.test/{rest}") == normal_url(f"HTTP://A.test:80/{rest}")


def test_what_is_no_url_is_compared_as_written(tmp_path):
    assert found(tmp_path, [Doc("mailto:x"), Doc("MAILTO:x"), Doc("mailto:x")]) == [["00000000002", None, None]]
    assert normal_url("mailto:X#y") == "mailto:X#y"


@pytest.mark.parametrize(
    ("keep", "kept", "documents"),
    [
        ("latest", 1, [Doc(date=OLD), Doc(date=NEW)]),
        ("earliest", 0, [Doc(date=OLD), Doc(date=NEW)]),
        ("latest", 0, [Doc(date=OLD), Doc(date=None)]),
        ("earliest", 0, [Doc(date=OLD), Doc(date=None)]),
        ("latest", 1, [Doc(file="b"), Doc(file="c"), Doc(file="a")]),
        ("earliest", 2, [Doc(file="b"), Doc(file="c"), Doc(file="a")]),
        ("latest", 0, [Doc(file="b"), Doc(file=None)]),
        ("earliest", 0, [Doc(file="b"), Doc(file=None)]),
        ("latest", 0, [Doc(date=NEW, file="a"), Doc(date=OLD, file="z")]),
        ("latest", 2, [Doc(), Doc(), Doc()]),
        ("earliest", 0, [Doc(), Doc(), Doc()]),
        ("latest", 1, [Doc(date=None, file=None), Doc(date=None, file=None)]),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_which_document_stays(tmp_path, keep, kept, documents, apart):
    shards = [[doc] for doc in documents] if apart else [documents]
    key = f"{kept:05d}000000" if apart else f"00000{kept:06d}"
    answers = [key_of for shard in found(tmp_path, *shards, keep=keep) for key_of in shard]
    assert answers == [None if number == kept else key for number in range(len(documents))]


def test_only_documents_that_the_round_kept_compete_and_none_without_url(tmp_path):
    shard = [Doc(date=NEW, keep=False), Doc(date=OLD), Doc(url=None), Doc(url=None)]
    assert found(tmp_path, shard) == [[None] * 4]


def test_empty_shards_have_empty_files_and_no_shards_none(tmp_path):
    assert found(tmp_path / "some", [], [Doc()], [], [Doc()]) == [[], ["00003000000"], [], [None]]
    assert found(tmp_path / "empty", []) == [[]]
    assert found(tmp_path / "none") == []


def test_what_was_compared_and_found_is_counted(tmp_path):
    handles = write_shards(tmp_path, [[Doc(), Doc(), Doc(keep=False)], [Doc(), Doc("http://b.test/")]])
    commit = run_barrier(UrlDuplicates(), handles, tmp_path)
    assert commit.counts == {"compared": 4, "copies": 2}
    assert [f.name for f in commit.files] == ["00000.url_duplicates.parquet", "00001.url_duplicates.parquet"]


DOCS = st.builds(
    Doc,
    st.sampled_from([None, "http://a.test/", "HTTP://a.test", "http://b.test/", "no url"]),
    date=st.sampled_from([None, OLD, NEW]),
    file=st.sampled_from([None, "a", "b"]),
    keep=st.sampled_from([True, True, False]),
)


def oracle(shards, keep):
    """The same by a dictionary and Python's order of tuples."""
    best, sign = {}, 1 if keep == "latest" else -1
    rank = {value: sign * number for number, value in enumerate([OLD, NEW])} | {None: -9}
    files = {value: sign * number for number, value in enumerate(["a", "b"])} | {None: -9}
    members = {}
    for number, shard in enumerate(shards):
        for row, doc in enumerate(shard):
            if doc.keep and doc.url is not None:
                place = (rank[doc.date], files[doc.file], sign * number, sign * row)
                members.setdefault(normal_url(doc.url), []).append((place, f"{number:05d}{row:06d}"))
    for group in members.values():
        kept = max(group)[1]
        best.update({key: kept for _, key in group if key != kept})
    return [[best.get(f"{n:05d}{row:06d}") for row in range(len(shard))] for n, shard in enumerate(shards)]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(DOCS, max_size=6), max_size=6),
    st.sampled_from([1, 3, 1000]),
    st.sampled_from(["latest", "earliest"]),
)
def test_equal_to_a_dictionary(tmp_path_factory, shards, bin_rows, keep):
    folder = tmp_path_factory.mktemp("set")
    assert found(folder, *shards, bin_rows=bin_rows, keep=keep) == oracle(shards, keep)


def test_twice_and_in_any_number_of_bins_the_bytes_are_the_same(tmp_path):
    shards = [[Doc(f"http://a.test/{(n * row) % 5}", file=str(n)) for row in range(9)] for n in range(5)]
    seen = set()
    for number, bin_rows in enumerate([1_000_000, 1_000_000, 7, 1]):
        found(tmp_path / str(number), *shards, bin_rows=bin_rows)
        seen.add(tuple(bytes_of(tmp_path / str(number), "url_duplicates").items()))
    assert len(seen) == 1


def test_a_number_of_rows_in_memory_is_positive_and_no_part_of_the_identity():
    with pytest.raises(ValueError, match="bin_rows = 0 is out of range"):
        UrlDuplicates(bin_rows=0)
    assert UrlDuplicates(bin_rows=5).identity() == UrlDuplicates().identity()
    assert UrlDuplicates("earliest").identity() != UrlDuplicates().identity()
