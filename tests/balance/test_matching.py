"""Matching against the plain search that MetaCLIP's paper describes, on any texts and any entries."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.balance.matching import LISTS, MatchConcepts, Matcher
from curate.balance.metadata import Metadata
from curate.errors import ConfigError
from curate.filter import Batch

PAIRS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "pairs"


def plain(text: str, entries: tuple[str, ...]) -> list[int]:
    """Pad, then look for each entry: the naive loop."""
    text = f" {text} "
    for mark in [",", ".", ";", ":", "?", "!", "`"]:
        text = text.replace(mark, f" {mark} ")
    text = text.replace("\t", " ").replace("\n", " ").replace("\r", " ")
    return [number for number, entry in enumerate(entries) if f" {entry} " in text]


def found(texts: list[str | None], entries: list[str]) -> list[list[int] | None]:
    answer = Matcher(Metadata.of(entries)).match(pa.array(texts, pa.string()))
    assert answer.type == LISTS
    return answer.to_pylist()


ENTRIES = ["dog", "hot dog", "dog house", "a hot dog stand", "hot", "U.S.", "Café", "'s", "a  b", "don't", "1", "` x"]


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("a dog", ["dog"]),
        ("dog", ["dog"]),
        ("dogs", []),
        ("Dog", []),
        ("dog.", ["dog"]),
        ("dog,house", ["dog"]),
        ("dog\thouse", ["dog", "dog house"]),
        ("dog\r\nhouse", ["dog"]),  # two spaces, so no "dog house"
        ("dog  house", ["dog"]),
        ("dog\u00a0house", []),
        ("(dog)", []),
        ("dog-house", []),
        ("`dog`", ["dog"]),
        ("a hot dog stand", ["dog", "hot dog", "a hot dog stand", "hot"]),
        ("hot hot dog house", ["dog", "hot dog", "dog house", "hot"]),
        ("dog dog dog", ["dog"]),
        ("the U.S.", []),  # its points are padded in the text and not in the entry
        ("a Café!", ["Café"]),
        ("a Cafe\u0301", []),
        ("dog's", []),
        ("dog 's", ["dog", "'s"]),
        ("a  b", ["a  b"]),
        ("a b", []),
        ("a, b", []),
        ("don't 1?", ["don't", "1"]),
        ("", []),
        (" ", []),
        ("\n\n", []),
        ("`` x", []),
        ("` x", []),  # what is padded has two spaces behind the mark
    ],
)
def test_the_spacing_rules(text, entries):
    assert found([text], ENTRIES) == [[ENTRIES.index(entry) for entry in sorted(entries, key=ENTRIES.index)]]
    assert plain(text, tuple(ENTRIES)) == found([text], ENTRIES)[0]


LETTERS = st.text("ab ,.`\t\né世😀", max_size=12)
TOKENS = st.lists(st.sampled_from(["a", "b", "ab", "", ",", "é"]), min_size=1, max_size=5).map(" ".join)


@given(st.lists(LETTERS | TOKENS, max_size=5), st.lists(LETTERS | TOKENS, min_size=1, max_size=12))
@settings(deadline=None, max_examples=300)
def test_any_texts_and_entries_as_the_plain_search(texts, entries):
    metadata = Metadata.of([*entries, "ab"])
    answer = Matcher(metadata).match(pa.array(texts, pa.string())).to_pylist()
    assert answer == [plain(text, metadata.entries) for text in texts]


def test_many_entries_of_few_words_overlap():
    random = np.random.default_rng(1)
    entries = [" ".join(random.choice(list("abcd"), n)) for n in random.integers(1, 7, 2_000)]
    texts = [" ".join(random.choice(list("abcde,"), n)) for n in random.integers(0, 40, 100)]
    metadata = Metadata.of(entries)
    answer = Matcher(metadata).match(pa.array(texts)).to_pylist()
    assert answer == [plain(text, metadata.entries) for text in texts]
    assert sum(map(len, answer)) > 1_000


def test_one_text_in_another_row_or_chunk_has_the_same_concepts():
    column = pa.chunked_array([["x", None, "a dog"], [], ["dog hot dog", ""]])
    expected = [[], None, [0], [0, 1, 4], []]
    matched = Matcher(Metadata.of(ENTRIES))
    assert matched.match(column).to_pylist() == expected
    assert matched.match(column.combine_chunks()[2:]).to_pylist() == expected[2:]
    assert matched.match(pa.array([None, None], pa.string())).to_pylist() == [None, None]
    assert matched.match(pa.chunked_array([], pa.string())).to_pylist() == []
    assert matched.match(pa.array(["a dog"], pa.large_string())).to_pylist() == [[0]]


@pytest.mark.parametrize("text", ["a " * 200_000, "," * 200_000, "a" * 400_000, "a b " * 100_000])
def test_no_text_takes_long(text):
    entries = ["a " * n + "a" for n in range(200)] + ["a b " * n + "a" for n in range(200)] + ["b"]
    (answer,) = found([text], entries)
    assert answer is not None
    assert len(answer) == {"a ": 200, "a b ": 201}.get(text[: 4 if "b" in text else 2], 0)


def test_words_with_one_hash_are_told_apart():
    """Made to have the same upper half of the hash, length, and slot in a table of 16."""
    assert found(["ngmdf iythc", "iythc", "nscag"], ["ngmdf"]) == [[0], [], []]
    assert found(["iythc", "ngmdf iythc", "imbmb"], ["ngmdf", "iythc", "nscag"]) == [[1], [0, 1], []]


def test_more_matches_than_room_was_made_for():
    entries = [f"w{n}" for n in range(5_000)]
    answer = found([" ".join(reversed(entries)), "w3", " ".join(entries)], entries)
    assert answer == [list(range(5_000)), [3], list(range(5_000))]


@pytest.mark.skipif(not (PAIRS / "openstax.jsonl").is_file(), reason="the shared data are not beside the checkout")
def test_real_captions_as_the_plain_search():
    lines = [json.loads(line) for line in (PAIRS / "openstax.jsonl").read_text("utf-8").splitlines()[:300]]
    texts = [line[name] for line in lines for name in ("alt", "caption")]
    words = [text.split() for text in texts if text]
    pieces = [" ".join(w[i : i + n]) for w in words for n in (1, 2, 3) for i in range(0, len(w) - n, 7)]
    metadata = Metadata.of(pieces[:3_000])
    answer = Matcher(metadata).match(pa.array(texts, pa.string())).to_pylist()
    assert answer == [None if text is None else plain(text, metadata.entries) for text in texts]


def test_the_scorer_writes_a_column_and_tells_the_list(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("dog\nhot dog\n")
    scorer = MatchConcepts(str(path))
    answer = scorer.score(Batch(pa.table({"caption": pa.array(["hot dog", None, "x"])})))
    assert {name: values.type for name, values in answer.items()} == scorer.writes
    assert answer["concepts"].to_pylist() == [[0, 1], None, []]
    before = scorer.identity()
    assert scorer.provenance()["model_fingerprint"] == before["metadata"][:16]
    (tmp_path / "list.json").write_text(json.dumps(["dog", "hot dog", ".", "dog"]))
    assert MatchConcepts(str(tmp_path / "list.json")).identity() == before
    path.write_text("dog\nhot dogs\n\n\n\n")
    assert scorer.identity() != before
    with pytest.raises(ConfigError, match="metadata = 'nowhere' cannot be read: No such file"):
        MatchConcepts("nowhere").require()
