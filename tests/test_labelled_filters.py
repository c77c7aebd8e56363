"""A filter that stands in a config more than once: reasons of its own, the rest as without a label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pytest

from curate.config import build_filters
from curate.errors import ConfigError
from curate.filter import Filter, Labelled, Verdict, between
from curate.rank import Rank
from curate.registry import filter_class
from curate.select import Select, columns_of, count_reasons, decide
from filters.clip_similarity import ClipSimilarity

BOTH = {"clip_similarity": {"min": 0.3}, "clip_similarity-l14": {"model": "l14", "min": 0.25}}


@dataclass(frozen=True)
class Silent(Filter):
    """Answers with a dictionary that holds more than it declares."""

    reads: ClassVar[tuple[str, ...]] = ("size",)
    reasons: ClassVar[Mapping[str, str]] = {"too_small": "small"}

    def judge(self, columns: pa.Table) -> Verdict:
        return between(columns["size"], 1, None, "too_small", "")


def columns(b32, l14) -> pa.Table:
    return pa.table({"clip_similarity": pa.array(b32, pa.float32()), "l14_similarity": pa.array(l14, pa.float32())})


def test_both_decide_and_each_reason_tells_whose_it_is():
    rules = tuple(build_filters(BOTH).items())
    assert [name for name, _ in rules] == ["clip_similarity", "clip_similarity-l14"]
    assert columns_of(rules) == ("clip_similarity", "l14_similarity")
    decided = decide(columns([0.4, 0.2, 0.4, 0.2], [0.3, 0.3, 0.2, None]), rules)
    assert decided["keep"].to_pylist() == [True, False, False, False]
    assert decided["drop_reasons"].to_pylist() == [
        [],
        ["similarity_too_low"],
        ["similarity_too_low_l14"],
        ["similarity_too_low", "similarity_unknown_l14"],
    ]
    assert count_reasons(decided) == {
        "in": 4,
        "kept": 1,
        "dropped.similarity_too_low": 2,
        "dropped.similarity_too_low_l14": 1,
        "flagged.similarity_too_low": 2,
        "flagged.similarity_too_low_l14": 1,
        "flagged.similarity_unknown_l14": 1,
    }


def test_the_words_of_a_report_tell_the_label():
    rule = build_filters(BOTH)["clip_similarity-l14"]
    assert rule.reasons["similarity_too_low_l14"] == "picture and caption do not fit (l14)"
    assert len(rule.reasons) == len(ClipSimilarity.reasons)
    assert Select(tuple(build_filters(BOTH).items())).story["clip_similarity-l14"] == tuple(rule.reasons)


def test_the_rest_is_as_without_a_label():
    plain = ClipSimilarity(fraction=0.3, among="earlier")
    rule = Labelled(plain, "x")
    earlier = (("first", ClipSimilarity(min=0.1)),)
    assert (rule.reads, rule.columns) == (plain.reads, plain.columns)
    assert rule.steps(earlier) == plain.steps(earlier) == (Rank("clip_similarity", earlier),)
    blur = filter_class("blur")()
    assert Labelled(blur, "x").scorer() == blur.scorer()
    assert Labelled(blur, "x").scorers({}) == (blur.scorer(),)
    with pytest.raises(ConfigError, match="model = 'clip'"):
        rule.scorers({})


def test_a_label_and_a_setting_change_the_identity():
    rules = [ClipSimilarity(min=0.1), Labelled(ClipSimilarity(min=0.1), "a"), Labelled(ClipSimilarity(min=0.1), "b")]
    rules += [Labelled(ClipSimilarity(min=0.2), "a")]
    assert len({str(rule.identity()) for rule in rules}) == 4
    assert Labelled(ClipSimilarity(min=0.1), "a").identity() == rules[1].identity()


def test_reasons_that_are_not_given_need_no_name():
    rule = Labelled(Silent(), "x")
    table = pa.table({"size": pa.array([0, 1, None], pa.int32())})
    assert decide(table, (("silent-x", rule),))["drop_reason"].to_pylist() == ["too_small_x", None, None]
    assert rule.judge(table.slice(0, 0)).to_pylist() == []


def test_one_label_alone_is_a_filter_too():
    (rule,) = build_filters({"clip_similarity-strict": {"min": 0.35}}).values()
    assert rule == Labelled(ClipSimilarity(min=0.35), "strict")
    assert list(build_filters({"url_host-2": {"hosts": ["a.test"]}}, "document_filters")) == ["url_host-2"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("clip_similarity-", r"\[filters.clip_similarity-\]: what follows the dash is of small letters, digits and _"),
        ("clip_similarity-B32", "what follows the dash"),
        ("clip_similarity-a-b", "what follows the dash"),
        ("clip_similarity-é", "what follows the dash"),
        ("clip_similarity-a b", "what follows the dash"),
        ("clip_similarity-a\n", "what follows the dash"),
        ("clip_similarty-b32", r"\[filters.clip_similarty-b32\] no filter 'clip_similarty'; did you mean"),
        ("-b32", "no filter ''"),
    ],
)
def test_names_that_will_not_do(name, words):
    with pytest.raises(ConfigError, match=words):
        build_filters({name: {"min": 0.3}})


def test_errors_name_the_table_with_its_label():
    with pytest.raises(ConfigError, match=r"^\[filters.clip_similarity-b\] has no key 'mim'; did you mean 'min'"):
        build_filters({"clip_similarity-b": {"mim": 0.3}})
    with pytest.raises(ConfigError, match=r"^filters.clip_similarity-b.min = 'x' must be a number"):
        build_filters({"clip_similarity-b": {"min": "x"}})
