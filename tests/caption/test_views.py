"""Tables of views become rules and steps, and what is wrong in them is told by the table's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from curate.caption.choose import Choose
from curate.caption.rule import Rule
from curate.caption.rules.itm_threshold import ItmThreshold
from curate.caption.rules.raw_else_synthetic import RawElseSynthetic
from curate.caption.threshold import Threshold
from curate.caption.views import build_views, rule_class, rule_names, view_steps
from curate.errors import ConfigError
from curate.models.settings import build_models
from curate.stage import Work

ROOT = Path(__file__).resolve().parents[2]
BLIP = {"rule": "itm_threshold", "captioner": "synthetic", "matcher": "itm"}
NGUYEN = {"rule": "raw_else_synthetic", "captioner": "synthetic", "clip": "clip"}
MODELS = build_models(
    {
        "synthetic": {"kind": "captioner"},
        "itm": {"kind": "matcher", "captions": ["synthetic"]},
        "alone": {"kind": "matcher"},
        "clip": {"captions": ["synthetic"]},
        "big": {"captions": ["synthetic"]},
    }
)
EVERY: Mapping[str, dict[str, Any]] = {
    "itm_threshold": BLIP,
    "topk_rank": {"captioner": "synthetic", "clip": "clip"},
    "cascade_rank": {"captioner": "synthetic", "first": "clip", "second": "big"},
    "raw_else_synthetic": NGUYEN,
    "column_probabilities": {"probabilities": {"caption": 1, "synthetic": 4}},
    "sub_caption": {"captioner": "synthetic"},
    "classifier": {"captioner": "synthetic", "web_score": "good"},
    "fuse": {"base_url": "http://127.0.0.1:8000/v1", "model": "m"},
    "reword": {"base_url": "http://127.0.0.1:8000/v1", "model": "m"},
}


def test_the_folder_is_the_list() -> None:
    assert set(EVERY) == set(rule_names())


def test_the_docs_name_every_rule_and_reason() -> None:
    told = (ROOT / "docs" / "views.md").read_text("utf-8")
    assert [name for name in rule_names() if f"| `{name}` |" not in told] == []
    code = "".join(p.read_text("utf-8") for p in (ROOT / "curate" / "caption" / "rules").glob("*.py"))
    reasons = set(re.findall(r'"((?:web_|synthetic_)?(?:no_|repeated_)?text(?:_[a-z]+)*)"', code)) - {"text"}
    assert {"no_text", "web_text_not_wanted", "synthetic_text_does_not_match"} <= reasons
    assert [reason for reason in reasons if f"`{reason}`" not in told] == []


@pytest.mark.parametrize("name", EVERY)
def test_every_rule_is_built_from_a_config(name: str) -> None:
    views = build_views({"v": EVERY[name] | {"rule": name}})
    assert isinstance(views["v"], rule_class(name))
    assert views["v"].source
    assert isinstance(hash(str(views["v"].identity())), int)
    (*_, last) = view_steps(views, MODELS)
    assert last == Choose("v", views["v"])
    assert set(views["v"].reads) <= set(last.reads)


def test_steps_of_all_views_each_once() -> None:
    views = build_views({"a": BLIP, "b": NGUYEN, "c": NGUYEN, "d": NGUYEN | {"fraction": 0.1}})
    labels = [step.label for step in view_steps(views, MODELS)]
    assert labels == [
        "view_a",
        "threshold_clip_similarity_of_best_0_3",
        "view_b",
        "view_c",
        "threshold_clip_similarity_of_best_0_1",
        "view_d",
    ]
    assert view_steps(build_views({"m": NGUYEN | {"min": 0.3}}), MODELS) == [
        Choose("m", RawElseSynthetic("synthetic", "clip", min=0.3))
    ]


@dataclass(frozen=True)
class Other(ItmThreshold):
    """Asks for a step of a name that another view's step has."""

    def steps(self, name: str) -> tuple[Work, ...]:
        return (Choose("a", Rare()),) if name == "b" else (Unfit(),)  # type: ignore[arg-type]


class Rare:
    """No rule at all: it is only compared."""


class Unfit(Work):
    """Neither a stage nor a barrier."""

    name = "unfit"
    reads = writes = ()


def test_steps_that_do_not_go_together() -> None:
    views: dict[str, Rule] = {"a": ItmThreshold("synthetic", "itm"), "b": Other("synthetic", "itm")}
    with pytest.raises(ConfigError, match=r"\[views.a\] and \[views.b\] ask for 'view_a' in two ways"):
        view_steps(views, MODELS)
    with pytest.raises(ConfigError, match=r"\[views.c\] asks for 'unfit', which is no step"):
        view_steps({"c": Other("synthetic", "itm")}, MODELS)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"v": 1}, r"\[views\] v must be a table; write \[views.v\]"),
        ({"v": {}}, r"\[views.v\] does not say its rule; add `rule = ...`, one of .*itm_threshold"),
        ({"v": BLIP | {"rule": "itm_treshold"}}, r"\[views.v\] no rule 'itm_treshold'; did you mean 'itm_threshold'\?"),
        ({"v": BLIP | {"rule": "_candidates"}}, r"\[views.v\] no rule '_candidates'"),
        ({"v": BLIP | {"rule": 3}}, r"\[views.v\] no rule '3'"),
        ({"V w": BLIP}, r"\[views.V w\]"),
        ({"v": BLIP | {"mn": 0.4}}, r"\[views.v\] has no key 'mn'; did you mean 'min'\?"),
        ({"v": BLIP | {"min": 2}}, r"\[views.v\] min = 2.0 is out of range: from 0 to 1"),
        ({"v": BLIP | {"min": "high"}}, r"views.v.min = 'high' must be a number"),
        ({"v": {"rule": "itm_threshold", "captioner": "synthetic"}}, r"\[views.v\] needs a value for 'matcher'"),
    ],
)
def test_a_table_that_cannot_be(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_views(table)


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (BLIP | {"captioner": "synthetik"}, r"\[views.v\] captioner = 'synthetik': .* did you mean 'synthetic'\?"),
        (
            BLIP | {"captioner": "clip"},
            r"captioner = 'clip': \[models.clip\] is of kind 'clip', and must be 'captioner'",
        ),
        (BLIP | {"matcher": "clip"}, r"matcher = 'clip': \[models.clip\] is of kind 'clip', and must be 'matcher'"),
        (
            BLIP | {"matcher": "alone"},
            r"matcher = 'alone' does not judge the captions of 'synthetic'; "
            r'write captions = \["synthetic"\] in \[models.alone\]',
        ),
        (NGUYEN | {"clip": "itm"}, r"clip = 'itm': \[models.itm\] is of kind 'matcher', and must be 'clip'"),
        (EVERY["cascade_rank"] | {"rule": "cascade_rank", "second": "no"}, r"second = 'no': the config has no"),
    ],
)
def test_models_that_do_not_write_what_is_read(view: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        view_steps(build_views({"v": view}), MODELS)


def test_without_models_nothing_is_suggested() -> None:
    with pytest.raises(ConfigError, match=r"has no \[models.synthetic\]; add that table$"):
        view_steps(build_views({"v": BLIP}), {})


def test_a_threshold_is_of_the_webs_score() -> None:
    (step, _) = view_steps(build_views({"v": NGUYEN}), MODELS)
    assert step == Threshold("clip_similarity", 0.3)
