"""Masks of packed rows, and how texts of a pair are drawn."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from curate.dedup.digest import digest_strings
from curate.handover.resolution import Resolution
from curate.handover.shards import Places
from curate.handover.stages import MixtureSource
from curate.train.data import block_mask, block_positions
from curate.train.data.draws import Uniforms, order_of, row_uniforms, stream_seed
from curate.train.data.texts import FIRST, choose_texts
from curate.train.data.window import Counting, draw_window


@pytest.mark.parametrize(
    ("lengths", "row_tokens", "lines", "positions"),
    [
        ([2, 1], 0, ["x..", "xx.", "..x"], [0, 1, 0]),
        ([1, 2], 5, ["x....", ".x...", ".xx..", "...x.", "....x"], [0, 0, 1, 0, 0]),
        ([0, 2, 0], 2, ["x.", "xx"], [0, 1]),
        ([], 2, ["x.", ".x"], [0, 0]),
        ([], 0, [], []),
    ],
)
def test_a_token_looks_back_within_its_own_example(lengths, row_tokens, lines, positions):
    mask = block_mask(lengths, row_tokens)
    assert mask.dtype == torch.bool
    assert ["".join("x" if may else "." for may in line) for line in mask.tolist()] == lines
    assert block_positions(lengths, row_tokens).tolist() == positions


@pytest.mark.parametrize("make", [block_mask, block_positions])
def test_a_row_too_short_for_its_examples_is_refused(make):
    with pytest.raises(ValueError, match="a row of 3 tokens cannot hold examples of 4"):
        make([2, 2], 3)


def pairs(n, captions, weights=None, columns=None):
    """n pairs with the same texts: `captions` are their origins."""
    nothing = np.zeros(n + 1, np.int64)
    table = {"caption_origins": pa.array([captions] * n, pa.list_(pa.string()))}
    if weights is not None:
        table["caption_weights"] = pa.array([weights] * n, pa.list_(pa.float32()))
    for name, value in (columns or {}).items():
        table[name] = pa.array([value] * n, pa.string())
    keys = pa.array([f"k{number}" for number in range(n)])
    tokens = pa.array([list(range(10, 10 + len(captions)))] * n, pa.list_(pa.int32()))
    return Places(
        keys=keys,
        identity=digest_strings(keys),
        first=nothing,
        offset=nothing,
        size=nothing,
        extension=np.zeros(0, np.int32),
        extensions=(),
        tokens=np.full(n, 5),
        images=np.ones(n, np.int64),
        width=nothing,
        height=nothing,
        picture=nothing,
        texts=pa.table(table),
        text_tokens=tokens,
    )


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        ({"web": 1.0}, {0: 1.0}),
        ({"synthetic": 1.0}, {1: 0.25, 2: 0.75}),
        ({"web": 0.5, "synthetic": 0.5}, {0: 0.5, 1: 0.125, 2: 0.375}),
        ({"web": 0.2, "human": 0.8}, {0: 1.0}),
        ({"human": 1.0}, {FIRST: 1.0}),
        ({"caption": 0.5, "web": 0.5}, {FIRST: 0.5, 0: 0.5}),
        ({"web": 0.25, "alt": 0.75}, {0: 0.25, -3: 0.75}),
        ({"web": 0.25, "empty": 0.75}, {0: 1.0}),
        ({"fused": 1.0}, {3: 0.5, 4: 0.5}),
        ({}, {FIRST: 1.0}),
    ],
)
def test_a_text_is_drawn_by_name_and_within_a_name_by_weight(captions, expected):
    origins, weights = ["web", "synthetic", "synthetic", "fused", "fused"], [0.4, 0.1, 0.3, 0.0, 0.0]
    places = pairs(4000, origins, weights, {"alt": "a text", "empty": ""})
    found = choose_texts(places, captions, 3)
    shares = {int(text): float((found.text == text).mean()) for text in np.unique(found.text)}
    assert shares == pytest.approx(expected, abs=0.04)
    assert found.fell_back.all() == (captions == {"human": 1.0})
    assert (found.tokens == np.where(found.text >= 0, 10 + found.text, 5)).all()


def test_a_text_that_has_no_weight_is_never_drawn():
    found = choose_texts(pairs(3000, ["web", "web", "web"], [0.0, 1.0, 0.0]), {"web": 1.0}, 0)
    assert set(found.text.tolist()) == {1}
    assert choose_texts(pairs(2, []), {"web": 1.0}, 0).fell_back.all()


def test_a_column_goes_before_an_origin_of_its_name():
    found = choose_texts(pairs(3000, ["web", "alt"], None, {"alt": "a text"}), {"web": 0.5, "alt": 0.5}, 0)
    assert set(found.text.tolist()) == {0, -3}
    assert abs((found.text == 0).mean() - 0.5) < 0.04


def test_copies_of_a_row_have_texts_of_their_own():
    places = pairs(2000, ["web", "synthetic"])
    copies = replace(places, identity=np.repeat(places.identity[::2], 2, axis=0))
    source = MixtureSource("p", "pairs", captions={"web": 0.5, "synthetic": 0.5})
    window = draw_window(source, Counting(0, 16, "", Resolution(size=28)), [None], [copies], 0)
    text = np.empty(2000, int)
    text[window.row] = window.text
    assert abs((text[::2] == text[1::2]).mean() - 0.5) < 0.06
    alone = draw_window(source, Counting(0, 16, "", Resolution(size=28)), [None], [places], 0)
    assert np.array_equal(alone.text[np.argsort(alone.row)][::2], text[::2]), "the first of them draws as if alone"


def test_draws_belong_to_rows_and_places():
    rows = digest_strings(pa.array([f"row {n}" for n in range(3000)]))
    drawn = row_uniforms(rows, 7)
    assert np.array_equal(row_uniforms(rows[::2], 7), drawn[::2])
    assert abs(drawn.mean() - 0.5) < 0.02
    assert sorted(order_of(rows, 7).tolist()) == list(range(3000))
    forth, back = Uniforms(1), Uniforms(1)
    assert [forth.at(n) for n in (0, 4095, 4096, 9000)] == [back.at(n) for n in (9000, 4096, 4095, 0)][::-1]
    assert abs(np.mean([forth.at(n) for n in range(9000)]) - 0.5) < 0.02
    assert len({forth.at(n) for n in (0, 4096, 8192)}) == 3
    assert len({stream_seed(0, "a", 1), stream_seed(0, "a1"), stream_seed(1, "a", 1), stream_seed(0, "a", 2)}) == 4
