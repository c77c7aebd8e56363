"""Copies by their pictures: what a set is, and who is compared."""

import pytest
from document_shards import Doc, column, image, run_barrier, text, write_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup.image_sets import ImageSets

KEYS = ["00000000000", "00000000001"]


def found(folder, *shards, **options):
    handles = write_shards(folder, shards)
    run_barrier(ImageSets(**options), handles, folder)
    return column(handles, "image_set_duplicate_of")


def of(*urls):
    return Doc(parts=[image(url) for url in urls])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (of("a"), of("a"), True),
        (of("a", "b"), of("b", "a"), True),
        (of("a", "a", "b"), of("a", "b", "b"), True),
        (of("a"), of("a", "b"), False),
        (of("a", "bc"), of("ab", "c"), False),
        (of("a", "b"), of("ab"), False),
        (of(), of(), False),
        (of("a"), Doc(parts=[image("a"), image("b", keep=False)]), True),
        (of("a"), Doc(parts=[image("a"), image("b", unique=False)]), True),
        (of("a"), Doc(parts=[image("a"), image(None), text("b")]), True),
        (of("a"), Doc(parts=[text("a")]), False),
        (Doc(parts=[text("a")]), Doc(parts=[text("a")]), False),
        (of("a"), Doc(parts=[image("a")], keep=False), False),
        (of("a"), Doc(parts=[image("a")], copy_of="00000000000"), False),
    ],
)
def test_which_documents_have_the_same_pictures(tmp_path, one, other, same):
    assert found(tmp_path, [one, other]) == [[KEYS[1] if same else None, None]]


def test_without_the_column_of_copies_by_url_all_kept_documents_are_compared(tmp_path):
    copy = Doc(parts=[image("a")], copy_of="00000000000")
    assert found(tmp_path, [of("a"), copy], distinct_urls=False) == [[KEYS[1], None]]
    assert "url_duplicate_of" not in ImageSets(distinct_urls=False).reads


def test_the_rounds_name_the_columns():
    assert ImageSets().reads == (
        "crawl_date",
        "source_file",
        "key",
        "read_keep",
        "url_duplicate_of",
        "part.document",
        "part.kind",
        "part.unique_keep",
        "part.url",
    )
    assert {"keep", "part.read_keep"} <= set(ImageSets(documents_round="", parts_round="read").reads)


def test_the_latest_is_kept_over_all_shards(tmp_path):
    late = Doc(parts=[image("b"), image("a")], date="2025-01-01T00:00:00Z")
    assert found(tmp_path, [of("a", "b")], [], [of("c"), late], [of("a", "b")]) == [
        ["00002000001"],
        [],
        [None, None],
        ["00002000001"],
    ]


DOCS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3).map(lambda urls: of(*urls))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(DOCS, max_size=5), max_size=5), st.sampled_from([1, 4, 1000]))
def test_equal_to_a_dictionary(tmp_path_factory, shards, bin_rows):
    last, expected = {}, []
    keyed = [
        (f"{n:05d}{row:06d}", frozenset(p.value for p in doc.parts))
        for n, s in enumerate(shards)
        for row, doc in enumerate(s)
    ]
    last = {urls: key for key, urls in keyed}
    expected = [last[urls] if urls and last[urls] != key else None for key, urls in keyed]
    answers = found(tmp_path_factory.mktemp("set"), *shards, bin_rows=bin_rows)
    assert [answer for shard in answers for answer in shard] == expected
