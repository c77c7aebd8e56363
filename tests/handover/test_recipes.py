"""The published recipes in configs/stages: every file is read, has a source, and says what it does not know."""

import re
from pathlib import Path

import numpy as np
import pytest

from curate.errors import ConfigError
from curate.handover.layout import KINDS
from curate.handover.stages import Stages, TrainingStage, build_stages, read_stages

FOLDER = Path(__file__).parents[2] / "configs" / "stages"
FILES = sorted(FOLDER.glob("*.toml"))
# fmt: off
FAMILIES = {
    "clip", "llip", "coca", "albef", "flava", "maskvlm", "simvlm", "blip", "blip2", "instructblip", "flamingo",
    "openflamingo", "idefics1", "idefics2", "idefics3", "llava1", "llava15", "llava_next", "llava_onevision",
    "llama_adapter", "minigpt4", "cogvlm1", "cogvlm2", "kosmos2", "paligemma", "phi3_vision", "llama32_vision",
    "pixtral", "qwen_vl", "qwen2_vl", "internvl", "minicpm_v", "deepseek_vl", "moondream2", "yi_vl", "fuyu", "beit3",
    "chameleon", "cm3leon",
}
# fmt: on
LENGTHS = ("steps", "epochs", "samples", "tokens")
UNPUBLISHED = {"length", "batch", "learning_rate", "examples", "resolution", "rank", "schedule"}


@pytest.fixture(scope="module")
def recipes() -> dict[str, Stages]:
    return {path.stem: read_stages(path) for path in FILES}


def test_all_families_are_there() -> None:
    assert {path.stem for path in FILES} == FAMILIES


def stages_of(recipes: dict[str, Stages]) -> list[tuple[str, TrainingStage]]:
    return [(f"{name}.{stage.name}", stage) for name, file in recipes.items() for stage in file.stages]


def test_a_file_tells_its_family_and_where_its_recipe_is_published(recipes: dict[str, Stages]) -> None:
    for name, recipe in recipes.items():
        head = (FOLDER / f"{name}.toml").read_text().split("\n\n")[0]
        assert recipe.family == name
        assert recipe.about
        assert recipe.source
        assert head.startswith("# ")
        papers = [source for source in recipe.source if source.startswith("arXiv:")]
        assert all(re.fullmatch(r"arXiv:\d{4}\.\d{5}", paper) and paper in head for paper in papers), name
        assert papers or "paper   none" in head, name
        assert all(source.startswith("arXiv:") or "." in source.split("/")[0] for source in recipe.source), name


def test_what_a_stage_does_not_say_it_admits(recipes: dict[str, Stages]) -> None:
    for name, stage in stages_of(recipes):
        sources = stage.mixture.sources
        silent = {
            "length": not any(getattr(stage, length) for length in LENGTHS),
            "batch": not stage.batch,
            "learning_rate": not stage.learning_rate,
            "examples": not all(source.examples for source in sources),
            "rank": any(getattr(part, "rank", 1) == 0 for part in vars(stage.trainable).values()),
        }
        assert {key for key, is_silent in silent.items() if is_silent} == set(stage.unpublished) & set(silent), name
        assert {key.split(".")[0] for key in stage.unpublished} <= UNPUBLISHED | {"trainable"}, name


def test_each_stage_has_what_it_trains_and_from_what(recipes: dict[str, Stages]) -> None:
    for name, stage in stages_of(recipes):
        parts = [*vars(stage.trainable).values(), *stage.trainable_by_module.values()]
        assert any(part not in ("none", "") for part in parts), name
        assert all(source.kind in KINDS for source in stage.mixture.sources), name
        assert "resolution" in stage.unpublished or stage.resolution.size >= 224, name
        tokens = stage.resolution.image_tokens(np.array([640]), np.array([480]))
        assert 4 <= tokens[0] <= 16_384, name
        if stage.learning_rates:
            assert set(stage.learning_rates) <= {"vision", "projector", "language_model", "embeddings"}, name


@pytest.mark.parametrize(
    ("name", "stage", "width", "height", "tokens"),
    [
        ("llava1", 0, 640, 480, 256),
        ("llava15", 1, 640, 480, 576),
        ("llava_next", 1, 672, 672, 2928),
        ("llava_onevision", 1, 768, 768, 729 + 54 * 55),
        ("llava_onevision", 2, 384, 384, 1485),
        ("blip2", 0, 640, 480, 32),
        ("flamingo", 0, 640, 480, 64),
        ("idefics2", 2, 640, 480, 320),
        ("idefics3", 0, 1820, 1820, 26 * 169),
        ("kosmos2", 0, 640, 480, 64),
        ("paligemma", 1, 640, 480, 1024),
        ("phi3_vision", 0, 336, 336, 2509),
        ("llama32_vision", 1, 1120, 1120, 6404),
        ("pixtral", 0, 1024, 1024, 4160),
        ("qwen_vl", 1, 640, 480, 256),
        ("qwen2_vl", 0, 224, 224, 64),
        ("internvl", 0, 448, 448, 256),
        ("minicpm_v", 2, 1344, 1344, 960),
        ("deepseek_vl", 0, 640, 480, 576),
        ("cogvlm1", 1, 640, 480, 1225),
        ("cogvlm2", 0, 640, 480, 2304),
        ("yi_vl", 1, 640, 480, 1024),
        ("fuyu", 0, 1920, 1080, 2340),
        ("chameleon", 0, 640, 480, 1024),
        ("moondream2", 0, 640, 480, 729),
    ],
)
def test_tokens_of_a_picture_as_published(
    recipes: dict[str, Stages], name: str, stage: int, width: int, height: int, tokens: int
) -> None:
    found = recipes[name].stages[stage].resolution.image_tokens(np.array([width]), np.array([height]))
    assert found.tolist() == [tokens]


def test_llava_15_as_its_scripts_say(recipes: dict[str, Stages]) -> None:
    align, instruct = recipes["llava15"].stages
    assert (align.batch, align.learning_rate, align.epochs, align.sequence_tokens) == (256, 1e-3, 1, 2048)
    assert (instruct.batch, instruct.learning_rate, instruct.epochs) == (128, 2e-5, 1)
    assert [stage.mixture.sources[0].examples for stage in (align, instruct)] == [558_000, 665_000]


@pytest.mark.parametrize("rows", [1, "align", {"name": "align"}, [1], [{"name": "align"}, None]])
def test_stages_that_are_no_tables_are_told(rows: object) -> None:
    with pytest.raises(ConfigError, match=r"\[\[stages\]\]"):
        build_stages({"stages": rows})
