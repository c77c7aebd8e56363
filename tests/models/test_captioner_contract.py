"""The numbers that captions are drawn by, and the settings of captioners and matchers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.models.captioner import Sampling, seeds_of, uniforms
from curate.models.settings import build_models
from curate.stage import settings_of


def test_numbers_are_uniform() -> None:
    drawn = uniforms(range(500), 4, 50)
    assert drawn.shape == (500, 4, 50)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    assert abs(counts - drawn.size / 20).max() < 4 * np.sqrt(drawn.size / 20)
    for axis in range(3):  # neighbours in no direction go together
        a, b = (np.delete(drawn, place, axis=axis).ravel() for place in (-1, 0))
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.02


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5, unique=True), st.integers(1, 4), st.integers(1, 30))
def test_a_number_depends_on_its_place_alone(seeds: list[int], n: int, length: int) -> None:
    drawn = uniforms(seeds, n, length)
    assert (uniforms(seeds, n + 1, length + 2)[:, :n, :length] == drawn).all()
    for row, seed in enumerate(seeds):
        assert (uniforms([seed], n, length)[0] == drawn[row]).all()


def test_seeds_depend_on_the_name_and_the_run() -> None:
    names = [f"{number:064x}" for number in range(1000)]
    seeds = seeds_of(names, 0)
    assert len({*seeds}) == 1000
    assert seeds_of(names[::-1], 0) == seeds[::-1]
    assert not {*seeds} & {*seeds_of(names, 1)}
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert seeds_of([], 0) == []


@pytest.mark.parametrize(
    ("table", "settings"),
    [
        ({"kind": "captioner"}, CaptionerSettings()),
        (
            {"kind": "captioner", "method": "beam", "captions": 3, "beams": 3, "prompt": "a picture of "},
            CaptionerSettings(method="beam", captions=3, beams=3, prompt="a picture of "),
        ),
        ({"kind": "captioner", "weights": "x/y", "engine": "vllm"}, CaptionerSettings(weights="x/y", engine="vllm")),
        ({"kind": "matcher"}, MatcherSettings()),
        ({"kind": "matcher", "weights": "x/y", "head": "vqa"}, MatcherSettings(weights="x/y", head="vqa")),
    ],
)
def test_tables_become_settings(table: dict[str, Any], settings: Any) -> None:
    assert build_models({"one": table}) == {"one": settings}


def test_the_decoding_is_the_tables() -> None:
    settings = CaptionerSettings(
        method="top_k", top_p=0.5, top_k=7, temperature=0.7, beams=2, max_tokens=9, min_tokens=3,
        repetition_penalty=1.3, stop_probability=0.179, prompt="a picture of",
    )  # fmt: skip
    assert settings.sampling == Sampling("top_k", 0.5, 7, 0.7, 2, 9, 3, 1.3, 0.179, "a picture of")


def test_batch_and_device_are_no_part_of_what_is_said() -> None:
    assert settings_of(CaptionerSettings(batch=7, device="cpu")) == settings_of(CaptionerSettings())
    assert settings_of(CaptionerSettings(seed=1)) != settings_of(CaptionerSettings())
    assert settings_of(MatcherSettings(batch=7, device="cpu")) == settings_of(MatcherSettings())
