"""[stages] of a hand-over: a plan of one's own, or a recipe with our sources in place of its own; and its file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ConfigError
from curate.handover.plan_stages import check_origins, parse_stages, planned_stages, stages_bytes
from curate.handover.resolution import Resolution
from curate.handover.stages import Lora, Mixture, MixtureSource, Stages, Trainable, TrainingStage, read_stages

ROOT = Path(__file__).parents[2]
OURS = {"web": "pairs", "talk": "chat", "pages": "interleaved"}
RECIPE = """
family = "a-model"
[[stages]]
name = "align"
objective = "lm"
resolution = {size = 336}
[[stages.mixture.sources]]
name = "LAION"
kind = "pairs"
examples = 500
weight = 2
[[stages.mixture.sources]]
name = "CC"
kind = "pairs"
weight = 1
[[stages]]
name = "instruct"
objective = "sft"
init_from = "align"
resolution = {}
mixture = {sources = [{name = "GPT-4 talk", kind = "chat"}]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return str(tmp_path / "recipe.toml")


def plan(recipe: str, sources: dict[str, str], **more: Any) -> Stages:
    return planned_stages({"file": recipe, "sources": sources, **more}, OURS)


def test_a_recipe_gets_our_sources(recipe: str) -> None:
    stages = plan(recipe, {"LAION": "web", "CC": "", "GPT-4 talk": "talk"})
    (web,), (talk,) = (stage.mixture.sources for stage in stages.stages)
    assert (web.name, web.weight, web.examples) == ("web", 2.0, 0)
    assert (talk.name, talk.kind) == ("talk", "chat")
    assert (stages.family, stages.stages[1].init_from) == ("a-model", "align")


def test_two_of_its_sources_may_be_one_of_ours(recipe: str) -> None:
    stages = plan(recipe, {"LAION": "web", "CC": "web", "GPT-4 talk": "talk"})
    assert [(own.name, own.weight) for own in stages.stages[0].mixture.sources] == [("web", 3.0)]


def test_only_some_stages(recipe: str) -> None:
    (stage,) = plan(recipe, {"GPT-4 talk": "talk"}, only=["instruct"]).stages
    assert (stage.name, stage.init_from) == ("instruct", "")
    (stage,) = plan(recipe, {"LAION": "web", "CC": "", "GPT-4 talk": ""}, only=["align"]).stages
    assert stage.name == "align"


@pytest.mark.parametrize(
    ("sources", "more", "words"),
    [
        ({"LAION": "web"}, {}, "does not say what stands for CC, GPT-4 talk"),
        ({"LAION": "web", "CC": "web", "GPT-4 talk": ""}, {}, "leaves stage 'instruct' without a source"),
        ({"LAION": "web", "CC": "web", "GPT-4 talk": "tolk"}, {}, "'tolk', which is no source.*did you mean 'talk'"),
        ({"LAION": "pages", "CC": "", "GPT-4 talk": "talk"}, {}, "takes 'pages' as pairs, and it has interleaved"),
        ({"LION": "web"}, {}, "has no source 'LION'; did you mean 'LAION'"),
        ({}, {"only": ["instrukt"]}, "no such stage; did you mean 'instruct'"),
        ({}, {"onli": []}, "no key 'onli'; did you mean 'only'"),
    ],
)
def test_what_does_not_fit_is_an_error(recipe: str, sources: dict[str, str], more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(recipe, sources, **more)


def test_a_table_that_is_no_plan_says_where() -> None:
    with pytest.raises(ConfigError, match=r"^\[stages\] .*or name a recipe"):
        planned_stages({}, OURS)
    with pytest.raises(ConfigError, match="no config"):
        planned_stages({"file": "/nowhere.toml"}, OURS)


def of_captions(**captions: float) -> Stages:
    source = MixtureSource("web", "pairs", captions=captions)
    return Stages((TrainingStage("one", {"lm": 1.0}, Mixture((source,)), Resolution()),))


@pytest.mark.parametrize("name", ["web", "synthetic", "caption", "web_caption", "caption_synthetic"])
def test_captions_are_named_by_origin_or_column(name: str) -> None:
    check_origins(of_captions(**{name: 1.0}), {"web": ["web", "synthetic"]})


@pytest.mark.parametrize(
    ("name", "origins", "words"),
    [
        ("synthetik", {"web": ["web", "synthetic"]}, "did you mean 'synthetic'"),
        ("caption_other", {"web": ["web"]}, "'caption_other'.*known: web"),
        ("web", {}, "'web' has, which has none|which has none"),
    ],
)
def test_captions_that_no_text_is(name: str, origins: dict[str, list[str]], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_origins(of_captions(**{name: 1.0}), origins)


def test_the_file_tells_what_is_trained_also_where_it_is_the_default() -> None:
    text = stages_bytes(of_captions(), "toml").decode()
    for line in ('vision = "none"', 'projector = "full"', 'policy = "fixed"', "size = 224", 'unit = "sample"'):
        assert line in text
    assert "next_image_probability" not in text


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.floats(0, 1e6)
parts = st.sampled_from(["none", "full", "last_3"]) | st.builds(
    Lora, st.integers(1, 9), numbers, st.lists(words, max_size=2).map(tuple)
)
plain = st.recursive(
    words | st.integers(-9, 9) | st.booleans() | numbers,
    lambda own: st.lists(own, max_size=2) | st.dictionaries(words, own, max_size=2),
    max_leaves=5,
)


@st.composite
def stage_files(draw: st.DrawFn) -> Stages:
    captions = draw(st.dictionaries(words, st.floats(0.1, 1), max_size=3))
    repeat, about = draw(numbers), draw(words)
    sources = (
        MixtureSource(draw(words), "pairs", repeat=repeat, captions=captions, prompt=draw(words)),
        MixtureSource("another", "interleaved", image_mask="last_image", next_image_probability=0.5),
    )
    first = TrainingStage(
        "one",
        {"lm": draw(numbers)},
        Mixture(sources if sources[0].name != "another" else sources[:1], draw(st.sampled_from(["sample", "token"]))),
        Resolution("native", min_pixels=draw(st.integers(0, 9)), max_pixels=99_999),
        Trainable(draw(parts), draw(parts), draw(parts)),
        learning_rate=draw(numbers),
        learning_rates=draw(st.dictionaries(words, numbers, max_size=2)),
        packing=draw(st.booleans()),
        about=about,
        unpublished=tuple(draw(st.lists(words, max_size=2))),
    )
    second = TrainingStage("two", {"sft": 1.0}, Mixture(sources[1:]), Resolution(), init_from="one", steps=5)
    return Stages((first, second), draw(words), model=draw(st.dictionaries(words, plain, max_size=3)))


@settings(deadline=None)
@given(stage_files(), st.sampled_from(["toml", "json"]))
def test_what_is_written_is_read_back(stages: Stages, form: Any) -> None:
    assert parse_stages(stages_bytes(stages, form), f"stages.{form}") == stages


@pytest.mark.parametrize("name", ["stages.toml", "stages.json"])
def test_a_file_that_is_no_plan_is_an_error(name: str) -> None:
    for data in (b"\xff", b"[", b"1", b"{}"):
        with pytest.raises(ConfigError):
            parse_stages(data, name)


def test_the_recipe_of_the_docs_can_be_planned() -> None:
    text = (ROOT / "docs" / "handover_manifest.md").read_text()
    start = text.index("[stages]", text.index("[stages]") + 1)  # the second one
    example = "\n".join(line.strip() for line in text[start:].split("\n\n", 1)[0].splitlines())
    table = tomllib.loads(example)["stages"]
    table["file"] = str(ROOT / table["file"])
    stages = planned_stages(table, OURS)
    assert [stage.mixture.sources[0].name for stage in stages.stages] == ["web", "talk"]


RECIPES = sorted((ROOT / "configs" / "stages").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_published_recipe_can_be_handed_over(path: Path) -> None:
    """Written and read again, it is what it was."""
    stages = read_stages(path)
    assert parse_stages(stages_bytes(stages, "toml"), "stages.toml") == stages
