"""Lists of concepts built from a corpus: words and pairs against plain counting, synsets of a small WordNet."""

import argparse
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.balance import corpus, ngrams
from curate.balance.corpus import read_texts
from curate.balance.matching import Matcher
from curate.balance.metadata import Metadata
from curate.balance.ngrams import count_pairs, count_words
from curate.balance.vocabulary import Vocabulary, build_entries, likely_pairs, synset_names
from curate.cli import _train_metadata
from curate.errors import ConfigError, SourceError


def plain(texts):
    """Words and pairs of neighbours, a text at a time."""
    words, pairs = Counter(), Counter()
    for text in texts:
        for mark in ",.;:?!`":
            text = text.replace(mark, f" {mark} ")
        own = text.replace("\t", " ").replace("\n", " ").replace("\r", " ").split(" ")
        good = [any(c.isalnum() for c in word) for word in own]
        words.update(word for word, is_word in zip(own, good, strict=True) if is_word)
        both = zip(own, own[1:], good, good[1:], strict=False)
        pairs.update((a, b) for a, b, one, other in both if one and other)
    return words, pairs


TEXTS = st.lists(st.text("ab ,.\té1-", max_size=15), max_size=6)


@given(TEXTS, st.sampled_from([1, 2]))
@settings(deadline=None)
def test_words_and_pairs_as_counted_one_by_one(texts, least):
    blocks = [pa.array(texts[:2], pa.large_string()), pa.array(texts[2:], pa.large_string())]
    words, pairs = plain(texts)
    found = count_words(blocks, least)
    assert dict(zip(found.words.to_pylist(), found.counts.tolist(), strict=True)) == {
        word: n for word, n in words.items() if n >= least
    }
    assert found.words.to_pylist() == [
        w for w, n in sorted(words.items(), key=lambda e: (-e[1], e[0].encode())) if n >= least
    ]
    assert found.total == words.total()
    known = found.words.to_pylist()
    counted = count_pairs(blocks, found)
    assert {
        (known[a], known[b]): n
        for a, b, n in zip(counted.first.tolist(), counted.second.tolist(), counted.counts.tolist(), strict=True)
    } == {(a, b): n for (a, b), n in pairs.items() if a in known and b in known}


def test_what_is_counted_can_be_found():
    texts = ["a dog, a hot dog.", "hot  dog", "Dog house\thot dog"]
    found = count_words([pa.array(texts, pa.large_string())])
    pairs = count_pairs([pa.array(texts, pa.large_string())], found)
    entries = found.words.to_pylist() + likely_pairs(found, pairs, 0)
    assert "hot dog" in entries
    matched = Matcher(Metadata.of(entries)).match(pa.array(texts))
    assert set(matched.flatten().to_pylist()) == set(range(len(entries)))


def test_likely_pairs_are_those_beyond_chance():
    texts = ["new york"] * 10 + ["the new", "the york", "the a the a"] + ["the"] * 6
    words = count_words([pa.array(texts, pa.large_string())])
    assert words.total == 34
    pairs = count_pairs([pa.array(texts, pa.large_string())], words)
    ratio = {"new york": 10 * 34 / (11 * 11), "the new": 34 / (10 * 11), "the york": 34 / (10 * 11)}
    ratio |= {"the a": 2 * 34 / (10 * 2), "a the": 34 / (10 * 2)}
    ordered = sorted(ratio, key=lambda pair: (-ratio[pair], pair))
    assert likely_pairs(words, pairs, 0) == ordered == ["the a", "new york", "a the", "the new", "the york"]
    assert likely_pairs(words, pairs, ratio["new york"]) == ["the a", "new york"]
    assert likely_pairs(words, pairs, ratio["new york"] + 1e-9) == ["the a"]
    often = count_pairs([pa.array(texts, pa.large_string())], words, 2)
    assert likely_pairs(words, often, 0) == ["the a", "new york"]


def test_memory_is_bounded_and_what_is_frequent_is_counted_well(monkeypatch):
    monkeypatch.setattr(ngrams, "PENDING", 20)
    blocks = [pa.array([f"hot dog w{n} v{n}"], pa.large_string()) for n in range(300)]
    words = count_words(blocks, 50, most=50)
    assert words.words.to_pylist() == ["dog", "hot"]
    assert words.total == 1_200
    assert words.forgotten >= 1
    assert min(words.counts) >= 300 - words.forgotten * 20
    everything = count_words(blocks)
    pairs = count_pairs(blocks, everything, 50, most=50)
    assert len(pairs.counts) == 1
    assert pairs.forgotten >= 1


def test_blocks_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 32)
    lines = ["a dog", "", "a very long line of words", "ä", "the end"]
    (tmp_path / "a.txt").write_text("\n".join(lines), "utf-8")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9\n")
    pq.write_table(pa.table({"caption": ["x", None, "y"], "n": [1, 2, 3]}), tmp_path / "c.parquet")
    found = [
        t for block in read_texts([tmp_path / n for n in ("a.txt", "b.txt", "c.parquet")]) for t in block.to_pylist()
    ]
    assert [text for text in found if text] == [
        "a dog",
        "a very long line of words",
        "ä",
        "the end",
        "caf\ufffd",
        "x",
        "y",
    ]
    (tmp_path / "long.txt").write_text("word " * 1_000)
    assert sum(t.count("word") for block in read_texts([tmp_path / "long.txt"]) for t in block.to_pylist()) > 900
    assert max(len(t) for block in read_texts([tmp_path / "long.txt"]) for t in block.to_pylist()) <= 64
    with pytest.raises(SourceError, match=r"c\.parquet has no column 'text'; it has caption, n"):
        list(read_texts([tmp_path / "c.parquet"], "text"))
    with pytest.raises(SourceError, match=r"none\.txt cannot be read: .*No such file"):
        list(read_texts([tmp_path / "none.txt"]))
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceError, match=r"d\.parquet cannot be read"):
        list(read_texts([tmp_path / "d.parquet"]))


def write_synsets(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    data = {
        "noun": "00000010 05 n 02 Hot_Dog 0 frank 0 000 | food\n00000060 05 n 01 dog 0 000 | an animal\n",
        "verb": "00000010 29 v 01 dog 0 000 01 + 02 00 | go after\n",
        "adj": "00000010 00 s 01 galore(ip) 0 000 | in plenty\n",
        "adv": "",
    }
    for part, lines in data.items():
        (folder / f"data.{part}").write_text("  1 a licence\n" + lines)


def test_synsets_are_their_first_lemma(tmp_path):
    write_synsets(tmp_path)
    assert synset_names(tmp_path) == ("dog", "galore", "hot dog")
    (tmp_path / "data.adv").write_text("what\n")
    with pytest.raises(ConfigError, match=r"data.adv, line 1 is no line of WordNet's data: 'what"):
        synset_names(tmp_path)
    (tmp_path / "data.adv").unlink()
    with pytest.raises(ConfigError, match=r"data.adv cannot be read as a file of WordNet: .*No such file"):
        synset_names(tmp_path)


def test_all_sources_in_their_order_each_entry_once(tmp_path):
    write_synsets(tmp_path / "wn")
    (tmp_path / "corpus.txt").write_text("a cat, a dog.\n" * 3 + "a big elephant\n" * 3 + "rare\n")
    (tmp_path / "titles.txt").write_text("New York\n dog \n!\n7\n")
    asked = Vocabulary(
        (tmp_path / "corpus.txt",),
        tmp_path / "wn",
        (tmp_path / "titles.txt",),
        min_count=3,
        min_pair_count=3,
        min_pmi=3,
    )
    entries, counts = build_entries(asked)
    numbers = [str(n) for n in range(100) if n != 7]
    expected = ["dog", "galore", "hot dog", "a", "big", "cat", "elephant", "big elephant", "New York", "7", *numbers]
    assert list(entries) == expected
    assert counts == {"synsets": 3, "words": 4, "pairs": 1, "more": 2, "numbers": 99}


@pytest.mark.parametrize("bad", [{}, {"min_count": 0}, {"min_pair_count": 0}, {"min_pmi": -1.0}])
def test_what_cannot_be_built_is_told(bad):
    with pytest.raises(ValueError, match=r"needs a corpus|is out of range"):
        Vocabulary(**({"corpus": (Path("x"),)} | bad if bad else {}))


def test_the_command(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    _train_metadata.add_arguments(parser)
    parser.add_argument("--format", default="json")
    (tmp_path / "corpus.txt").write_text("a dog\n" * 100)
    options = parser.parse_args([str(tmp_path / "corpus.txt"), "--out", str(tmp_path / "list.txt")])
    assert _train_metadata.train(options) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["entries"], told["words"], told["pairs"]) == (102, 2, 0)
    assert (tmp_path / "list.txt").read_text().splitlines()[:3] == ["a", "dog", "0"]
    with pytest.raises(ConfigError, match=r"list\.txt is there already"):
        _train_metadata.train(options)
    with pytest.raises(ConfigError, match="needs a corpus"):
        _train_metadata.train(parser.parse_args(["--out", str(tmp_path / "other.txt")]))
