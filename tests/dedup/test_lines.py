"""How often a line occurs on a domain: over all shards, a line at a time, however documents are packed."""

from collections import defaultdict
from itertools import pairwise

import pyarrow as pa
import pytest
from document_shards import Doc, bytes_of, column, image, run_barrier, text, write_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup.lines import LineFrequency

A, B = "http://www.a.com/1", "http://b.com/"


def answers(folder, shards, **settings):
    """(documents, characters) of every part, shard by shard."""
    handles = write_shards(folder, shards)
    step = LineFrequency(**settings)
    run_barrier(step, handles, folder)
    both = [column(handles, name) for name in step.writes]
    return [list(zip(*pair, strict=True)) for pair in zip(*both, strict=True)]


NONE = (None, None)


def test_lines_are_counted_by_document_over_all_shards(tmp_path):
    first = [Doc(A, [text("Share\nA dog sat here"), image("u"), text("share\nShare ")]), Doc(A, [text("Tweet\nShare")])]
    second = [Doc("http://a.com/2", [text("SHARE\n\n \nA cat")]), Doc(B, [text("Share")])]
    assert answers(tmp_path, [first, [], second]) == [
        [([3, 1], [5, 14]), NONE, ([3, 3], [5, 5]), ([1, 3], [5, 5])],
        [],
        [([3, None, None, 1], [5, 0, 0, 5]), ([1], [5])],
    ]


@pytest.mark.parametrize(
    ("settings", "one", "other", "together"),
    [
        ({}, (A, "x y"), (A, " X\u00a0 y"), True),
        ({}, (A, "x"), (B, "x"), False),
        ({"text": "exact"}, (A, "x"), (A, "X"), False),
        ({"text": "exact"}, (A, "x"), (A, "x"), True),
        ({"domain": "netloc"}, (A, "x"), ("http://a.com/", "x"), False),
        ({}, (A, "x\r"), (A, "x"), True),
        ({}, (None, "x"), (None, "x"), None),
    ],
)
def test_which_lines_are_counted_together(tmp_path, settings, one, other, together):
    docs = [Doc(url, [text(words)]) for url, words in (one, other)]
    found = [part[0] for part in answers(tmp_path, [docs], **settings)[0]]
    assert found == ([None] * 2 if together is None else [[2 if together else 1]] * 2)


def test_only_kept_parts_of_kept_documents_that_are_no_copies_count(tmp_path):
    shard = [
        Doc(A, [text("x"), text("x", keep=False), text(None), text("")]),
        Doc(A, [text("x")], keep=False),
        Doc(A, [text("x")], copy_of="00000000000"),
    ]
    counted = ([1], [1])
    assert answers(tmp_path / "one", [shard]) == [[counted, NONE, NONE, ([None], [0]), NONE, NONE]]
    assert answers(tmp_path / "all", [shard], distinct_urls=False)[0][-1] == ([2], [1])


def test_no_shards_and_shards_without_text(tmp_path):
    assert run_barrier(LineFrequency(), [], tmp_path / "none").files == ()
    assert answers(tmp_path, [[Doc(A, [image("u")])], [Doc(A)], []]) == [[NONE], [], []]


def test_key_types_and_counts(tmp_path):
    handles = write_shards(tmp_path, [[Doc(A, [text("x\ny\n\nx"), image("u")])]])
    commit = run_barrier(LineFrequency(), handles, tmp_path)
    schema = handles[0].parts.schema("line_frequency")
    assert schema.names == ["key", "line_documents", "line_chars"]
    assert [schema.field(n).type.value_type for n in schema.names[1:]] == [pa.int64(), pa.int32()]
    assert commit.counts == {"counted": 3, "distinct": 2}


DOCS = st.lists(
    st.tuples(
        st.sampled_from([A, B, None]), st.lists(st.sampled_from(["x", "X\ny", "y\n\nz", "z\nx\nx", ""]), max_size=3)
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=40)
@given(DOCS, st.lists(st.integers(0, 12), max_size=4), st.sampled_from([1, 3, 1000]))
def test_any_packing_gives_the_same_counts(tmp_path_factory, documents, cuts, bin_rows):
    having = defaultdict(set)
    for number, (url, texts) in enumerate(documents):
        for line in "\n".join(texts).split("\n"):
            having[url, line.lower()].add(number)
    docs = [Doc(url, [text(words) for words in texts]) for url, texts in documents]
    ends = [0, *sorted(min(cut, len(docs)) for cut in cuts), len(docs)]
    shards = [docs[a:b] for a, b in pairwise(ends)]
    found = [part[0] for shard in answers(tmp_path_factory.mktemp("set"), shards, bin_rows=bin_rows) for part in shard]
    assert found == [
        url and [len(having[url, line.lower()]) if line else None for line in words.split("\n")]
        for url, texts in documents
        for words in texts
    ]


def test_in_any_number_of_bins_the_bytes_are_the_same(tmp_path):
    shards = [[Doc(A, [text(f"line {(n * row) % 5}\nx")]) for row in range(9)] for n in range(4)]
    seen = set()
    for number, bin_rows in enumerate([1_000_000, 7, 1]):
        answers(tmp_path / str(number), shards, bin_rows=bin_rows)
        seen.add(tuple(bytes_of(tmp_path / str(number), "line_frequency").items()))
    assert len(seen) == 1
