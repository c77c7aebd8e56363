"""Verbs, nouns and relations: captions on both sides of each rule, real ones labelled by hand, and a parse's."""

import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ConfigError
from curate.filter import Batch
from curate.grammar import spacy_parser, words
from curate.grammar.rules import tally_by_rules
from curate.grammar.score import CountGrammar
from curate.grammar.spacy_parser import tally_parsed
from curate.grammar.words import VERB, Bit, bits_of

DATA = Path(__file__).resolve().parents[1] / ".." / "shared/data"

CAPTIONS = [  # caption, verbs, relations, nouns
    ("a dog is sitting on a mat", 1, 1, 2),
    ("a dog is on a mat", 0, 1, 2),
    ("the car is red", 0, 0, 1),
    ("a red car", 0, 0, 1),
    ("A dog sits on a mat.", 1, 1, 2),
    ("A dog sits.", 1, 0, 1),
    ("dog on a mat", 0, 1, 2),
    ("dog, mat", 0, 0, 2),
    ("dog | on a mat", 0, 0, 2),
    ("on the mat", 0, 0, 1),
    ("dog on the", 0, 0, 1),
    ("He is a doctor", 0, 1, 1),
    ("A woman holding an umbrella", 1, 1, 2),
    ("A man wearing jeans", 1, 1, 2),
    ("running shoes", 0, 0, 1),
    ("a running man", 0, 0, 1),
    ("Surfing in Hawaii", 1, 0, 1),
    ("a painting of a building", 0, 1, 2),
    ("a woman painting a wall", 1, 1, 2),
    ("baked potatoes", 0, 0, 1),
    ("a wall painted by Klee", 1, 1, 2),
    ("The wall was painted.", 1, 0, 1),
    ("Made in China", 1, 0, 1),
    ("she painted a wall", 1, 1, 1),
    ("Chocolate covered strawberries", 0, 0, 2),
    ("The map shows three rivers", 1, 1, 2),
    ("a garden show", 0, 0, 2),
    ("Car shows", 0, 0, 2),
    ("Soldiers gather around a cannon", 1, 1, 2),
    ("Trust your enemies", 1, 0, 1),
    ("a trust", 0, 0, 1),
    ("How to prune roses", 1, 0, 1),
    ("things to do in Oslo", 1, 1, 2),
    ("a man has a beard", 1, 1, 2),
    ("it has been done", 1, 0, 0),
    ("don't walk", 1, 0, 0),
    ("Men standing and talking", 2, 0, 1),
    ("dog's bowl", 0, 0, 1),
    ("the walk and the run", 0, 0, 2),
    ("officer Leaning on the fence", 1, 1, 2),
    ("officer Beijing on the fence", 0, 1, 3),
    ("a photo overlooking Oslo", 1, 1, 2),
    ("a dog following Rosa", 1, 1, 2),
    ("before baking", 1, 0, 0),
    ("before running shoes", 0, 0, 1),
    ("A map of Oslo, showing green parks", 1, 2, 3),
    ("perfect for hanging on the wall", 1, 0, 1),
    ("oil painting in a frame", 0, 1, 3),
    ("a poster labeled Property", 1, 1, 2),
    ("two windows covered.", 1, 0, 1),
    ("Curtains covered.", 1, 0, 1),
    ("curtain covered", 0, 0, 1),
    ("Rosa went home.", 1, 1, 2),
    ("Week 2014 presented by Rosa", 1, 1, 2),
    ("A portrait, labeled “Ohio”", 1, 1, 2),
    ("the people who painted walls", 1, 1, 2),
    ("the people painted walls", 0, 0, 2),
    ("A dog, with no hair, sits near a wall", 1, 2, 3),
    ("Provides shelter", 1, 0, 1),
    ("Provides", 0, 0, 0),
    ("Sarava up wins the race", 1, 1, 2),
    ("Dog Shows The Way", 1, 1, 2),
    ("A crowd climbs walls", 1, 1, 2),
    ("A flag waves.", 1, 0, 1),
    ("Flag waves.", 0, 0, 2),
    ("A dog toys in a box", 0, 1, 3),
    ("A car parks in a street", 0, 1, 3),
    ("(a) shows a portrait", 1, 0, 1),
    ("they walk", 1, 0, 0),
    ("her walk", 0, 0, 1),
    ("where people walk", 0, 0, 2),
    ("how walk", 1, 0, 0),
    ("Bush and Tom Carter talk closely.", 1, 0, 3),
    ("Dogs run a race", 1, 1, 2),
    ("Friends Sit At A Table", 1, 1, 2),
    ("a company like HP introduce a printer", 1, 2, 3),
    ("Three people with a dog stand in a field", 1, 2, 3),
    ("a dog stand in a field", 0, 1, 3),
    ("friends open a box", 0, 0, 2),
    ("to open a box", 1, 0, 1),
    ("a man sits, lighting in a room", 1, 1, 3),
    ("", 0, 0, 0),
    ("...", 0, 0, 0),
    ("123 45mm", 0, 0, 0),
    ("kjhgf", 0, 0, 1),
    ("犬", 0, 0, 1),
]


@pytest.mark.parametrize(("caption", "verbs", "relations", "nouns"), CAPTIONS)
def test_each_rule_on_both_sides(caption, verbs, relations, nouns):
    found = tally_by_rules([caption])
    assert (found.verbs[0], found.relations[0], found.nouns[0]) == (verbs, relations, nouns)


def counts(captions):
    found = tally_by_rules(captions)
    return list(zip(found.nouns.tolist(), found.verbs.tolist(), found.relations.tolist(), strict=True))


SAMPLE = "a the dog dogs man walks walk walking sat painted red quickly on of to is has and , | “ that Rosa 3 by"
WORDS = st.sampled_from(SAMPLE.split())


@settings(deadline=None)
@given(st.lists(st.text(max_size=40) | st.lists(WORDS, max_size=9).map(" ".join), max_size=6))
def test_a_caption_is_judged_by_itself(captions):
    assert counts(captions) == [one for caption in captions for one in counts([caption])]


@pytest.mark.parametrize(
    "text",
    ["a man walks on a mat " * 5_000, "-" * 100_000, "a-" * 50_000, "A." * 50_000 + "x", "\n" * 100_000, "x" * 10**5],
)
def test_a_hundred_thousand_characters_are_counted(text):
    assert len(counts([text, "a dog sits"])) == 2
    assert counts([text, "a dog sits"])[1] == (1, 1, 0)


def test_no_captions():
    assert counts([]) == []


@pytest.mark.parametrize(
    ("base", "forms"),
    [
        ("walk", "walks walked walking"),
        ("carry", "carries carried carrying"),
        ("play", "plays played playing"),
        ("stop", "stops stopped stopping"),
        ("offer", "offers offered offering"),
        ("admit", "admits admitted admitting"),
        ("smile", "smiles smiled smiling"),
        ("tie", "ties tied tying"),
        ("agree", "agrees agreed agreeing"),
        ("watch", "watches watched watching"),
        ("mix", "mixes mixed mixing"),
        ("squat", "squats squatted squatting"),
        ("run", "runs ran running"),
        ("write", "writes wrote written writing"),
    ],
)
def test_forms_of_verbs(base, forms):
    for form in (base, *forms.split()):
        assert bits_of(form) & Bit.KNOWN, form
        assert bits_of(form) & VERB, form


def test_long_words_are_not_remembered():
    before = words._remembered.cache_info().currsize
    bits_of("y" * (words.LONG_CHARS + 1))
    assert words._remembered.cache_info().currsize == before


LABELS = {  # by hand, before there was a parser: has a verb, a relation, a noun; row numbers of the files
    "pairs/openstax.jsonl": {
        "011": "109 115 133 146 162 240 253 392 461 469 485 515 584 586 612 720 757 773 939",
        "111": """2 15 156 180 211 279 335 369 406 410 416 594 610 613 619 639 640 668 694 701 768 794 816 837 870 886
            897 901 936 938 950 962 972 973 989 1009 1020 1067 1131 1135 1142""",
    },
    "pairs/recipes.jsonl": {
        "001": "2 9 15 32 50 51 56 60 64 70 87 90 99 113 114 116 123 139 148 153 159",
        "011": "8 10 11 26 110 126 155",
        "100": "91",
        "101": "84",
    },
    "web/urllists/img2dataset/tests/test_files/test_10000.parquet": {
        "001": """71 143 479 1687 1898 2153 2657 3093 3347 3758 4141 4264 4528 4847 5116 5197 6510 7386 7867 8359 8536
            8740 8876 8954 8974 8977 9081 9217 9590 9819""",
        "011": """188 737 2053 2248 2506 2735 3349 3517 4250 4394 5068 5301 5693 5904 6060 6165 6638 6663 6772 7042 7279
            9402""",
        "101": "441 1408 4246 4592 7149 7738",
        "111": "562 728 981 1167 2043 2616 3650 3939 5842 6151 7015 8341",
    },
}


def real_captions(path):
    if path.suffix == ".parquet":
        return pq.read_table(path)["TEXT"].to_pylist()
    return [json.loads(line)["alt"] for line in path.read_text("utf-8").splitlines()]


def test_captions_labelled_by_hand():
    hits = Counter()
    for name, labels in LABELS.items():
        if not (DATA / name).is_file():
            pytest.skip(f"{name} is not beside this checkout")
        captions = real_captions(DATA / name)
        for label, rows in labels.items():
            found = tally_by_rules([captions[int(row)] for row in rows.split()])
            for kind, want, values in zip("vrn", label, (found.verbs, found.relations, found.nouns), strict=True):
                hits.update((kind, want == "1", value > 0) for value in values.tolist())

    def precision_recall(kind):
        right, wrong, missed = (hits[kind, *pair] for pair in ((True, True), (False, True), (True, False)))
        return right / (right + wrong), right / (right + missed)

    assert sum(hits.values()) == 3 * 160
    assert precision_recall("v")[0] >= 0.98
    assert precision_recall("v")[1] >= 0.86
    assert min(precision_recall("r")) >= 0.98
    assert precision_recall("n") == (1, 1)


def parse(*rows):
    """Tokens as spaCy has them: `word/POS/dependency/head`."""
    tokens = [SimpleNamespace(i=i, pos_=row.split("/")[1], dep_=row.split("/")[2]) for i, row in enumerate(rows)]
    for token, row in zip(tokens, rows, strict=True):
        token.head = tokens[int(row.split("/")[3])]
    return tokens


PARSES = [  # tokens, nouns, verbs, relations
    (["dog/NOUN/nsubj/1", "sits/VERB/ROOT/1", "on/ADP/prep/1", "mats/NOUN/pobj/2"], 2, 1, 1),
    (["dog/NOUN/nsubj/1", "sits/VERB/ROOT/1"], 1, 1, 0),
    (["dog/NOUN/ROOT/0", "on/ADP/prep/0", "mats/NOUN/pobj/1"], 2, 0, 1),
    (["red/ADJ/amod/1", "car/NOUN/ROOT/1"], 1, 0, 0),
    (["baked/VERB/amod/1", "potatoes/NOUN/ROOT/1"], 1, 0, 0),
    (["dog/NOUN/nsubj/2", "is/AUX/aux/2", "chasing/VERB/ROOT/2", "Tom/PROPN/dobj/2"], 2, 1, 1),
    (["he/PRON/nsubj/1", "is/AUX/ROOT/1", "doctor/NOUN/attr/1"], 1, 0, 1),
    (["buy/VERB/ROOT/0", "shoes/NOUN/dobj/0"], 1, 1, 0),
    (["men/NOUN/ROOT/0", "riding/VERB/acl/0", "horses/NOUN/dobj/1"], 2, 1, 1),
    (["men/NOUN/nsubj/1", "sit/VERB/ROOT/1", "and/CCONJ/cc/1", "eat/VERB/conj/1", "fish/NOUN/dobj/3"], 2, 2, 1),
    (["walls/NOUN/ROOT/0", "painted/VERB/acl/0", "by/ADP/agent/1", "Klee/PROPN/pobj/2"], 2, 1, 1),
    (["go/VERB/ROOT/0", "to/ADP/prep/0", "Oslo/PROPN/pobj/1"], 1, 1, 0),
    (["view/NOUN/ROOT/0", "from/ADP/prep/0", "above/ADV/pcomp/1"], 1, 0, 0),
    # the scheme of Universal Dependencies, where the preposition hangs on its noun
    (["Hund/NOUN/nsubj/1", "sitzt/VERB/ROOT/1", "auf/ADP/case/3", "Matten/NOUN/obl/1"], 2, 1, 1),
    (["auf/ADP/case/1", "Matten/NOUN/ROOT/1"], 1, 0, 0),
    (["Hund/NOUN/nsubj/1", "jagt/VERB/ROOT/1", "Tom/PROPN/obj/1"], 2, 1, 1),
    (["loop/VERB/conj/0"], 0, 1, 0),
    ([], 0, 0, 0),
]


@pytest.mark.parametrize(("rows", "nouns", "verbs", "relations"), PARSES)
def test_a_parse_of_spacy_is_counted(rows, nouns, verbs, relations):
    found = tally_parsed([parse(*rows)])
    assert (found.nouns[0], found.verbs[0], found.relations[0]) == (nouns, verbs, relations)


class Double:
    """Parses every caption as its rows of `PARSES`, and has files of a model."""

    def __init__(self, folder):
        self.path, self.meta, self.asked = folder, {"lang": "en", "name": "toy", "version": "1.0"}, []

    def pipe(self, texts, batch_size):
        self.asked.extend(texts)
        return (parse(*text.split()) if "/" in text else () for text in texts)


@pytest.fixture
def double(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "model").write_bytes(b"weights")
    model = Double(tmp_path)
    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=lambda name, exclude: model))
    clear()
    yield model
    clear()


def clear():
    spacy_parser._load.cache_clear()
    spacy_parser.model_name.cache_clear()


def test_a_model_of_spacy_scores(double):
    captions = [" ".join(PARSES[0][0]), None, "x" * (spacy_parser.PARSED_CHARS + 1)]
    scorer = CountGrammar("spacy:toy")
    scorer.require()
    found = scorer.score(Batch(pa.table({"caption": captions})))
    assert {name: column.to_pylist() for name, column in found.items()} == {
        "caption_nouns": [2, None, 0],
        "caption_verbs": [1, None, 0],
        "caption_relations": [1, None, 0],
    }
    assert len(double.asked[1]) == spacy_parser.PARSED_CHARS


def test_the_identity_has_the_digest_of_a_models_files(double):
    first = CountGrammar("spacy:toy").identity()
    assert first["parser"].startswith("en_toy-1.0@")
    (double.path / "sub" / "model").write_bytes(b"others")
    clear()
    assert CountGrammar("spacy:toy").identity() != first
    assert CountGrammar().identity()["parser"] == "rules"


def test_without_spacy_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    clear()
    with pytest.raises(ConfigError, match="run `pip install spacy`"):
        CountGrammar("spacy:en_core_web_sm").require()


def test_a_model_that_is_not_there_is_named(monkeypatch):
    def load(name, exclude):
        raise OSError(f"[E050] Can't find model {name!r}.")

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=load))
    clear()
    with pytest.raises(
        ConfigError, match=r"parser = 'spacy:nowhere' cannot be loaded: \[E050\] Can't find model 'nowhere'"
    ):
        CountGrammar("spacy:nowhere").require()


@pytest.mark.parametrize("parser", ["", "rule", "spacy", "spacy:", "nltk:x"])
def test_other_parsers_are_refused(parser):
    with pytest.raises(ValueError, match=f"parser = '{parser}' is neither 'rules' nor 'spacy:' and a model"):
        CountGrammar(parser)
