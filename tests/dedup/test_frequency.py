"""How often pictures and paragraphs occur: over all shards, by occurrence and by document."""

from collections import Counter, defaultdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from document_shards import Doc, Part, bytes_of, column, image, run_barrier, text, write_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup.image_urls import ImageUrlFrequency
from curate.dedup.paragraphs import ParagraphFrequency, netlocs, normal_texts, registered_domain


def counts(folder, barrier, *shards):
    """(occurrences, documents) of every part, shard by shard."""
    handles = write_shards(folder, shards)
    run_barrier(barrier, handles, folder)
    both = [column(handles, name) for name in barrier.writes]
    return [list(zip(*pair, strict=True)) for pair in zip(*both, strict=True)]


NONE = (None, None)


def test_pictures_are_counted_by_slot_and_by_document(tmp_path):
    first = [Doc(parts=[image("u"), text("u"), image("u"), image("v")]), Doc(parts=[image("u")])]
    second = [Doc(parts=[]), Doc(parts=[image("u"), image("U"), image(None)])]
    assert counts(tmp_path, ImageUrlFrequency(), first, [], second) == [
        [(4, 3), NONE, (4, 3), (1, 1), (4, 3)],
        [],
        [(4, 3), (1, 1), NONE],
    ]


def test_only_kept_slots_of_kept_documents_that_are_no_copies_count(tmp_path):
    shard = [
        Doc(parts=[image("u"), image("u", keep=False)]),
        Doc(parts=[image("u")], keep=False),
        Doc(parts=[image("u")], copy_of="00000000000"),
    ]
    assert counts(tmp_path / "one", ImageUrlFrequency(), shard) == [[(1, 1), NONE, NONE, NONE]]
    everyone = ImageUrlFrequency(distinct_urls=False)
    assert counts(tmp_path / "all", everyone, shard) == [[(2, 2), NONE, NONE, (2, 2)]]


def test_a_shard_without_pictures_has_its_file_all_the_same(tmp_path):
    assert counts(tmp_path, ImageUrlFrequency(), [Doc(parts=[text("u")])], [Doc()]) == [[NONE], []]
    assert sorted(p.name for p in tmp_path.glob("*.image_url_frequency.parquet")) == [
        "00000_parts.image_url_frequency.parquet",
        "00001_parts.image_url_frequency.parquet",
    ]


def test_no_shards_no_files(tmp_path):
    assert run_barrier(ImageUrlFrequency(), [], tmp_path).files == ()


def test_a_url_or_text_on_a_part_of_the_other_kind_does_not_count(tmp_path):
    handles = write_shards(tmp_path, [[Doc(parts=[image("u"), text("u")])]])
    parts = handles[0].parts.table()
    both = pa.array(["u", "u"])
    for name in ("url", "text"):
        parts = parts.set_column(parts.column_names.index(name), name, both)
    pq.write_table(parts, tmp_path / "00000_parts.parquet")
    for barrier, expected in ((ImageUrlFrequency(), [1, None]), (ParagraphFrequency(), [None, 1])):
        run_barrier(barrier, handles, tmp_path)
        assert column(handles, barrier.writes[0]) == [expected]


def test_what_was_counted_is_counted(tmp_path):
    handles = write_shards(tmp_path, [[Doc(parts=[image("u"), image("v")])], [Doc(parts=[image("u"), text("t")])]])
    commit = run_barrier(ImageUrlFrequency(), handles, tmp_path)
    assert commit.counts == {"counted": 3, "distinct": 2}


def test_key_and_types_of_the_file(tmp_path):
    handles = write_shards(tmp_path, [[Doc(parts=[image("u")])]])
    run_barrier(ImageUrlFrequency(), handles, tmp_path)
    schema = handles[0].parts.schema("image_url_frequency")
    assert schema.names == ["key", "image_url_count", "image_url_documents"]
    assert schema.types == [pa.string(), pa.int64(), pa.int64()]


PARAGRAPHS = [
    # domain, text, one URL and text, another, counted together
    (
        "registered",
        "normal",
        ("http://a.bbc.co.uk/1", "Sign up"),
        ("https://B.bbc.co.uk:443/2", "  sign\u00a0\nUP "),
        True,
    ),
    ("registered", "normal", ("http://bbc.co.uk/", "x"), ("http://itv.co.uk/", "x"), False),
    ("registered", "normal", ("http://a.blogspot.com/", "x"), ("http://b.blogspot.com/", "x"), True),
    ("registered", "normal", ("http://127.0.0.1:80/", "x"), ("http://127.0.0.1:81/", "x"), True),
    ("registered", "normal", ("http://a.test/", "x"), ("http://a.test/", "y"), False),
    ("registered", "normal", ("http://a.test/", "ÀÉ"), ("http://a.test/", "àé"), True),
    ("registered", "exact", ("http://a.test/", "x"), ("http://a.test/", "X"), False),
    ("registered", "exact", ("http://a.test/", "x y"), ("http://a.test/", "x  y"), False),
    ("registered", "exact", ("http://www.a.com/", "x"), ("http://a.com/", "x"), True),
    ("netloc", "exact", ("http://www.a.com/", "x"), ("http://a.com/", "x"), False),
    ("netloc", "exact", ("http://a.com/1?a#b", "x"), ("https://a.com", "x"), True),
    ("netloc", "exact", ("http://a.com/", "x"), ("http://A.com/", "x"), False),
    ("netloc", "exact", ("http://a.com/", "x"), ("http://a.com:80/", "x"), False),
    ("netloc", "normal", ("http://a.com/", "x"), ("http://a.com/", " X"), True),
    ("registered", "normal", ("ab", "c"), ("a", "bc"), None),
    ("registered", "normal", (None, "c"), ("http:///x", "c"), None),
]


@pytest.mark.parametrize(("domain", "rule", "one", "other", "together"), PARAGRAPHS)
def test_which_paragraphs_are_counted_together(tmp_path, domain, rule, one, other, together):
    docs = [Doc(url, [text(words)]) for url, words in (one, other)]
    expected = NONE if together is None else (2, 2) if together else (1, 1)
    assert counts(tmp_path, ParagraphFrequency(domain=domain, text=rule), docs) == [[expected] * 2]


def test_repetitions_in_a_document_count_as_occurrences_only(tmp_path):
    shard = [Doc(parts=[text("x"), image("x"), text("y"), text("x"), text("x", keep=False), text(None)])]
    assert counts(tmp_path, ParagraphFrequency(), shard) == [[(2, 1), NONE, (1, 1), (2, 1), NONE, NONE]]


@pytest.mark.parametrize(
    ("netloc", "domain"),
    [
        ("www.bbc.co.uk", "bbc.co.uk"),
        ("WWW.Example.COM:8080", "example.com"),
        ("user:pw@www.example.com", "example.com"),
        ("localhost:8000", "localhost"),
        ("[::1]:80", "::1"),
        ("co.uk", "co.uk"),
        ("www.example.com.", "example.com"),
        ("bücher.example.de", "example.de"),
        ("Not A Host", "not a host"),
        ("a" * 300 + ".com", "a" * 300 + ".com"),
    ],
)
def test_the_domain_of_a_host(netloc, domain):
    assert registered_domain(netloc) == domain


@pytest.mark.parametrize(
    "url",
    [
        "http://a.b:80/x",
        "//a.b/x",
        "HTTP://u:p@A.b?q",
        "http://a.b#f",
        "a.b/x",
        "http:/a.b",
        "http:///x",
        "x:y",
        "",
        " http://a/",
    ],
)
def test_netlocs_are_those_of_the_standard_library(url):
    from urllib.parse import urlsplit

    assert netlocs(pa.chunked_array([[url, None]])).to_pylist() == [urlsplit(url).netloc or None, None]


@settings(deadline=None)
@given(
    st.lists(
        st.text(
            st.sampled_from("aB \t\n\u00a0\u3000\x1fİé\u212a") | st.characters(exclude_categories=["Cs"]), max_size=12
        )
    )
)
def test_the_normal_form_is_lower_case_and_single_spaces(texts):
    found = normal_texts(pa.chunked_array([pa.array(texts, pa.string())])).to_pylist()
    assert [" ".join(t.split()) for t in found] == found
    by_arrow = pa.compute.utf8_lower(pa.array([" ".join(t.split()) for t in texts], pa.string())).to_pylist()
    assert found == by_arrow


PARTS = st.builds(
    Part,
    st.sampled_from(["text", "image"]),
    st.sampled_from([None, "a", "A", "b "]),
    st.sampled_from([True, True, False]),
)
DOCS = st.builds(
    Doc,
    st.sampled_from([None, "http://x.test/1", "http://www.y.com/", "http://y.com/"]),
    st.lists(PARTS, max_size=4),
    keep=st.sampled_from([True, True, False]),
    copy_of=st.sampled_from([None, None, "00000000000"]),
)
SHARDS = st.lists(st.lists(DOCS, max_size=4), max_size=5)
DOMAINS = {"http://x.test/1": "x", "http://www.y.com/": "y", "http://y.com/": "y"}


def oracle(shards, kind, equal):
    """The same by dictionaries; `equal` is what two parts are compared by, None where a part does not count."""
    number, documents, seen = Counter(), defaultdict(set), []
    for n, shard in enumerate(shards):
        for row, doc in enumerate(shard):
            for part in doc.parts:
                counts_here = doc.keep and doc.copy_of is None and part.keep and part.kind == kind
                name = equal(doc, part) if counts_here and part.value is not None else None
                number[name] += 1
                documents[name].add((n, row))
                seen.append(name)
    return [NONE if name is None else (number[name], len(documents[name])) for name in seen]


@settings(deadline=None, max_examples=40)
@given(SHARDS, st.sampled_from([1, 2, 5, 1000]))
def test_pictures_are_equal_to_a_dictionary(tmp_path_factory, shards, bin_rows):
    found = counts(tmp_path_factory.mktemp("set"), ImageUrlFrequency(bin_rows=bin_rows), *shards)
    assert [part for shard in found for part in shard] == oracle(shards, "image", lambda doc, part: part.value)


@settings(deadline=None, max_examples=40)
@given(SHARDS, st.sampled_from([1, 2, 5, 1000]))
def test_paragraphs_are_equal_to_a_dictionary(tmp_path_factory, shards, bin_rows):
    found = counts(tmp_path_factory.mktemp("set"), ParagraphFrequency(bin_rows=bin_rows), *shards)

    def equal(doc, part):
        return doc.url and (DOMAINS[doc.url], part.value.strip().lower())

    assert [part for shard in found for part in shard] == oracle(shards, "text", equal)


def test_twice_and_in_any_number_of_bins_the_bytes_are_the_same(tmp_path):
    shards = [[Doc(parts=[text(str(n * k % 3)) for k in range(9)]) for _ in range(3)] for n in range(4)]
    seen = set()
    for number, bin_rows in enumerate([1_000_000, 1_000_000, 7, 1]):
        counts(tmp_path / str(number), ParagraphFrequency(bin_rows=bin_rows), *shards)
        seen.add(tuple(bytes_of(tmp_path / str(number), "paragraph_frequency").items()))
    assert len(seen) == 1
