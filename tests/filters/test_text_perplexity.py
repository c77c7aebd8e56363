"""Perplexity as OBELICS and CCNet define it, by a plain double of the model, and by KenLM where it is installed."""

import sys

import pyarrow as pa
import pytest

from curate.errors import ConfigError
from curate.filter import Batch
from filters import text_perplexity
from filters.text_perplexity import TextPerplexity, normal_line, perplexity

ARPA = """\\data\\
ngram 1=4
ngram 2=3

\\1-grams:
-2.0\t<unk>
0\t<s>\t-0.3
-1.0\t</s>
-0.8\tdog\t-0.2

\\2-grams:
-0.2\t<s> dog
-0.6\tdog dog
-0.4\tdog </s>

\\end\\
"""


class Double:
    """Gives each piece 1/10 and the end of a line 1/100, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def score(self, sentence):
        self.asked.append(sentence)
        return -1.0 * len(sentence.split()) - 2.0


@pytest.mark.parametrize(
    ("text", "lines", "value", "asked"),
    [
        ("a b", "apart", 10 ** (4 / 3), ["a b"]),
        ("a b\n\n c", "apart", 10 ** (7 / 5), ["a b", "c"]),
        ("a b\nc", "glued", 10 ** (4 / 3), ["a bc"]),
        ("", "apart", 100, [""]),
        ("\n", "glued", 100, [""]),
    ],
)
def test_ten_to_the_mean_negative_log10_of_pieces_and_line_ends(text, lines, value, asked):
    model = Double()
    assert perplexity(text, model, str.split, lines) == round(value, 1)
    assert model.asked == asked


def test_too_much_for_a_number_is_infinite(reasons):
    class Worst(Double):
        def score(self, sentence):
            return -1e6

    assert perplexity("a", Worst(), str.split) == float("inf")


@pytest.mark.parametrize(
    ("line", "normal"),
    [
        (" In 1984\u00a0he paid £3.50\x07 ", "In 0000 he paid £0.00"),
        ("“Yes” — it’s ‘ok’…", "\"Yes\"  -  it's ‘ok'..."),
        ("١２", "00"),
        ("（Ａ）：“。”", '(Ａ):"."'),
        ("\t\x00", ""),
    ],
)
def test_lines_are_made_as_the_models_were_trained(line, normal):
    assert normal_line(line) == normal


@pytest.fixture
def rule(tmp_path):
    path = tmp_path / "toy.arpa"
    path.write_text(ARPA)
    return TextPerplexity(model=str(path), max=3)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(3.0, None), (3.1, "perplexity_too_high"), (float("inf"), "perplexity_too_high"), (None, None)],
)
def test_the_bound_is_included(reasons, rule, value, reason):
    assert reasons(rule, text_perplexity=[value]) == [reason]


def test_a_scorer_asks_the_model_for_each_text(rule, monkeypatch):
    monkeypatch.setitem(sys.modules, "kenlm", text_perplexity)
    monkeypatch.setattr(text_perplexity, "Model", lambda path: Double(), raising=False)
    text_perplexity.load_model.cache_clear()
    answer = rule.scorer().score(Batch(pa.table({"text": ["a b", None]})))
    text_perplexity.load_model.cache_clear()
    assert answer["text_perplexity"].to_pylist() == [21.5, None]


def test_without_kenlm_the_package_is_named(rule, monkeypatch):
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(ConfigError, match="run `pip install kenlm`"):
        rule.scorer()


def test_the_real_one(rule):
    pytest.importorskip("kenlm", reason="the package kenlm is not installed")
    answer = rule.scorer().score(Batch(pa.table({"text": ["dog dog", "dog\ndog", "cat"]})))
    # the end of "cat" is at -1.0, with nothing to back off from behind an unknown word
    assert answer["text_perplexity"].to_pylist() == [
        round(10 ** (1.2 / 3), 1),
        round(10 ** (1.2 / 4), 1),
        round(10 ** (3.3 / 2), 1),
    ]


def test_a_model_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"model = 'none\.arpa' is no file here"):
        TextPerplexity(model="none.arpa")
