"""DataComp's text filter on a WordNet of a dozen words: by nltk's own reader, and where nltk has changed by a table."""

import warnings
from pathlib import Path

import nltk.data
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from wordnet_files import write_wordnet

from curate.errors import ConfigError
from curate.filter import Batch
from curate.grammar.wordnet import FILES, read_wordnet
from filters import text_synset
from filters.text_synset import FindSynset, TextSynset, read_synsets


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Offsets of the synsets, and the two paths: listed are dog, church and le."""
    root = tmp_path_factory.mktemp("nltk_data")
    offsets = write_wordnet(root / "corpora" / "wordnet")
    listed = root / "ids.txt"
    listed.write_text("".join(f"n{offsets['noun'][word]:08d}\n" for word in ("dog", "church", "le")))
    return offsets, str(root / "corpora" / "wordnet"), str(listed)


@pytest.fixture(scope="module")
def wordnet(files):
    """nltk's reader; it opens only what lies under its data path."""
    old, nltk.data.path[:] = list(nltk.data.path), [files[1].removesuffix("/corpora/wordnet")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield WordNetCorpusReader(files[1], None)
    nltk.data.path[:] = old


def published(text, wordnet, entity_ids):
    """DataComp's rule as its description says it: the offset of the first synset of any word is on the list."""
    for word in text.split():
        synsets = wordnet.synsets(word)
        if synsets and synsets[0].offset() in entity_ids:
            return True
    return False


CAPTIONS = [  # caption, the word whose synset is found
    ("a dog", "dog"),
    ("a DOG", "dog"),
    ("a dog,", None),
    ("(dog)", None),
    ("dog's", None),
    ("a\tdog\tthere", "dog"),
    ("a\u00a0dog\u00a0there", "dog"),
    ("a\u3000dog", "dog"),
    ("a\ndog", "dog"),
    ("a\u200bdog", None),
    ("hotdog", None),
    ("hot_dog", None),
    ("hot dog", "dog"),
    ("dogs", "dog"),
    ("churches", "church"),
    ("cats", None),
    ("men", None),
    ("a hound", "dog"),
    ("a scoundrel", None),
    ("to run", None),
    ("it ran", None),
    ("they bark", "dog"),  # a verb with the offset of the noun
    ("barks", "dog"),
    ("barking", "dog"),
    ("barked", None),  # irregular here: run
    ("big", "dog"),
    ("bigger", None),
    ("bigest", "dog"),
    ("fast", "dog"),
    ("geese", None),
    ("mice", None),
    ("less", "church"),
    ("CAFÉ", "church"),
    ("cafe\u0301", None),
    ("a cat and a church and a dog", "church"),
    ("", None),
    (" \n", None),
    (None, None),
]


def found(captions, files):
    answer = FindSynset(*files[1:]).score(Batch(pa.table({"caption": pa.array(captions, pa.string())})))
    return answer["caption_synset"].to_pylist()


def test_the_first_synset_of_any_word(files, wordnet):
    offsets = files[0]["noun"]
    wnids = [None if word is None else f"n{offsets[word]:08d}" for _, word in CAPTIONS]
    captions = [caption for caption, _ in CAPTIONS]
    assert found(captions, files) == wnids
    entity_ids = [int(line.strip()[1:]) for line in Path(files[2]).read_text().splitlines()]
    assert [w is not None for w in wnids] == [c is not None and published(c, wordnet, entity_ids) for c in captions]


@pytest.mark.parametrize(
    ("word", "synset"),
    [
        ("les", "le"),
        ("lesss", "le"),  # nltk since 3.9 takes one ending off, DataComp's 3.8.1 one after the other
        ("dogsses", "dog"),
        ("runnings", None),
        ("glass", "glass"),
        ("glasses", "glass"),
        ("handles", "handle"),
        ("handless", "handle"),
        ("s", None),
        ("ing", None),
    ],
)
def test_endings_are_taken_off_until_a_word_is_known(files, word, synset):
    assert read_wordnet(Path(files[1])).offset(word) == (files[0]["noun"][synset] if synset else None)


def stripped(form, rules):
    return [form[: -len(old)] + new for old, new in rules if form.endswith(old)]


def by_nltk(word, wordnet):
    """What nltk 3.8.1 finds, by the tables that nltk has read, and how many endings came off for it."""
    form, index = word.lower(), wordnet._lemma_pos_offset_map
    for part in "nvar":
        forms, irregular = [form], wordnet._exception_map[part].get(form)
        for endings in range(len(form) + 1):
            for candidate in [*forms, *(irregular or ())]:
                if part in index.get(candidate, ()):
                    return index[candidate][part][0], endings
            if irregular is not None:
                break
            forms = [
                shorter
                for one in dict.fromkeys(forms)
                for shorter in stripped(one, wordnet.MORPHOLOGICAL_SUBSTITUTIONS[part])
            ]
    return None, 0


PIECES = "dog cat church bark run big fast le glass s es ed ing er est ses men ies , A"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES.split()), max_size=4).map("".join))
def test_any_word_is_found_as_by_nltk(files, wordnet, word):
    offset, endings = by_nltk(word, wordnet)
    assert read_wordnet(Path(files[1])).offset(word) == offset
    synsets = wordnet.synsets(word)
    if synsets and endings < 2:
        assert offset == synsets[0].offset()


@pytest.mark.parametrize("word", ["s" * 100_000, "ses" * 33_000, "es" * 40, "a" * 100_000, "dog " * 25_000])
def test_no_caption_takes_long(files, word):
    assert len(found([word, "a dog"], files)) == 2


def test_words_remembered_are_bounded(files, monkeypatch):
    monkeypatch.setattr(text_synset, "CACHED_WORDS", 2)
    text_synset.finder.cache_clear()
    assert found(["cat dog x y z dog", "x", "dog"], files) == [found(["dog"], files)[0], None, found(["dog"], files)[0]]
    text_synset.finder.cache_clear()


def test_no_synset_is_dropped(reasons, files):
    rule = TextSynset(*files[1:])
    assert reasons(rule, caption_synset=["n00000001", None]) == [None, "no_listed_synset"]


def test_the_identity_has_what_is_in_the_files_and_not_where_they_are(tmp_path, files):
    write_wordnet(tmp_path / "copy")
    (tmp_path / "list").write_text(Path(files[2]).read_text())
    copy = FindSynset(str(tmp_path / "copy"), str(tmp_path / "list"))
    assert copy.identity() == FindSynset(*files[1:]).identity()
    for name in (*FILES, "../list"):
        before = copy.identity()
        with open(tmp_path / "copy" / name, "a") as file:
            file.write("\n")
        assert copy.identity() != before, name
    assert TextSynset("a", "b").identity() == TextSynset("c", "d").identity()


@pytest.mark.parametrize(
    ("lines", "offsets"),
    [
        ("n02084071\n", {2084071}),
        ("02084071 dog, domestic dog\n\n1\r\n", {2084071, 1}),
        ("n00000001", {1}),
    ],
)
def test_lists(tmp_path, lines, offsets):
    (tmp_path / "list").write_text(lines)
    assert read_synsets(tmp_path / "list") == offsets


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("dog\n", "line 1: 'dog' is no synset"),
        ("1\nv123\n", "line 2: 'v123'"),
        ("n123456789", "is no"),
        ("\n", "is empty"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path, files, lines, words):
    (tmp_path / "list").write_text(lines)
    with pytest.raises(ConfigError, match=words):
        FindSynset(files[1], str(tmp_path / "list")).require()


def test_what_is_no_wordnet_is_refused(tmp_path, files):
    with pytest.raises(ConfigError, match=r"index\.noun cannot be read as a file of WordNet: .*No such file"):
        FindSynset(str(tmp_path), files[2]).require()
    with pytest.raises(ConfigError, match=r"\[filters.text_synset\] wordnet = .*index.noun' cannot be read"):
        FindSynset(str(tmp_path), files[2]).identity()
    with pytest.raises(ConfigError, match="synsets = 'nowhere' cannot be read"):
        FindSynset(files[1], "nowhere").require()
    write_wordnet(tmp_path)
    for line in ("dog n 1\n", "dog n 1 x 1 0 00000001\n", "dog n 1 9 1 0 00000001\n", "\n"):
        (tmp_path / "index.noun").write_text(line)
        with pytest.raises(ConfigError, match=r"index\.noun, line 1 is no line of a WordNet index"):
            FindSynset(str(tmp_path), files[2]).require()


@pytest.mark.parametrize("settings", [("", "x"), ("x", "")])
def test_both_paths_are_needed(settings):
    with pytest.raises(ValueError, match="must be a path"):
        TextSynset(*settings)
