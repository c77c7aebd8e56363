"""Rows of packed examples: none too long, none lost, nearly full."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_stages import flat, keys_of, numbers_only, plan, planned, stage

from curate.handover.stages import MixtureSource
from curate.train.data.packing import Packer
from curate.train.data.window import Item

T = MixtureSource("t", "text")


def item(number, tokens):
    return Item(0, 0, number, tokens, None, number)


def pack(lengths, limit, open_rows):
    packer = Packer(limit, open_rows)
    rows = [row for n, tokens in enumerate(lengths) for row in packer.add(item(n, tokens))]
    return rows, packer


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=80), st.integers(40, 60), st.integers(1, 9))
def test_no_row_is_above_the_limit_and_every_example_is_in_one(lengths, limit, open_rows):
    rows, packer = pack(lengths, limit, open_rows)
    assert len(packer.open_rows()) <= open_rows
    rows += packer.flush()
    assert all(len(row) > 0 and sum(i.tokens for i in row) <= limit for row in rows)
    assert sorted(i.place for row in rows for i in row) == list(range(len(lengths)))
    assert packer.open_rows() == []


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=60), st.integers(0, 60), st.integers(1, 9))
def test_open_rows_that_were_put_down_are_filled_as_before(lengths, cut, open_rows):
    whole, packer = pack(lengths, 50, open_rows)
    before, first = pack(lengths[:cut], 50, open_rows)
    second = Packer(50, open_rows)
    second.restore(first.open_rows())
    after = [row for n, tokens in enumerate(lengths[cut:], cut) for row in second.add(item(n, tokens))]
    assert before + after == whole
    assert second.flush() == packer.flush()


def test_a_full_row_is_closed_at_once():
    packer = Packer(10, 4)
    assert [len(packer.add(item(n, tokens))) for n, tokens in enumerate([7, 10, 3])] == [0, 1, 1]
    assert packer.open_rows() == []


def web_lengths(n, seed=0):
    """Lengths of web documents in tokens: log-normal, median 400, cut at 2,048."""
    drawn = np.random.default_rng(seed).lognormal(np.log(400), 1.1, n)
    return np.clip(drawn, 5, 2048).astype(int).tolist()


@pytest.mark.parametrize(("open_rows", "least", "most"), [(64, 0.95, 1.0), (1, 0.5, 0.9)])
def test_64_open_rows_fill_more_than_95_of_100(open_rows, least, most):
    lengths = web_lengths(4000)
    rows, _ = pack(lengths, 2048, open_rows)
    fill = sum(i.tokens for row in rows for i in row) / (2048 * len(rows))
    assert least < fill <= most


@pytest.fixture(scope="module")
def handover(tmp_path_factory):
    """60 texts of 1 to 60 tokens."""
    return numbers_only(tmp_path_factory.mktemp("packed") / "set", {"t": ("text", list(range(1, 61)))}, 20)


def packed(**settings):
    return stage(T, packing=True, **{"sequence_tokens": 100, "epochs": 1, **settings})


def test_an_epoch_of_packed_rows_has_every_example_once(handover):
    batches = planned(handover, packed(), open_rows=4, batch=3)
    assert set(Counter(flat(batches)).values()) == {1}
    assert len(flat(batches)) == 60
    assert sum(len(batch) for batch in batches) < 25, "1,830 tokens in rows of 100"


def test_the_rows_that_are_left_at_the_end_are_put_down_too(handover):
    whole = planned(handover, packed(), open_rows=20, batch=2)
    running = plan(handover, packed(), open_rows=20, batch=2)
    states = [running.state() for _ in running.batches()]
    for number, state in enumerate(states, 1):
        rest = plan(handover, packed(), open_rows=20, batch=2)
        rest.restore(state)
        assert [[keys_of(row) for row in batch.rows] for batch in rest.batches()] == whole[number:]


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize(
    ("longer", "count", "examples", "longest"),
    [("cut", "longer_cut", 60, 50), ("leave_out", "longer_left_out", 50, 50), ("keep", "longer_kept", 60, 60)],
)
def test_an_example_longer_than_a_row_is_counted(handover, packing, longer, count, examples, longest):
    chosen = stage(T, packing=packing, sequence_tokens=50, epochs=1)
    drawn = plan(handover, chosen, longer=longer, open_rows=4)
    rows = [row for batch in drawn.batches() for row in batch.rows]
    assert drawn.counts()["t"][count] == 10
    assert sum(len(row) for row in rows) == drawn.counts()["t"]["examples"] == examples
    assert max(sum(item.tokens for item in row) for row in rows) == longest


def test_a_source_may_have_a_shorter_row_of_its_own(handover):
    chosen = stage(MixtureSource("t", "text", sequence_tokens=20), packing=True, sequence_tokens=100, epochs=1)
    drawn = plan(handover, chosen, open_rows=4)
    rows = [row for batch in drawn.batches() for row in batch.rows]
    assert max(item.tokens for row in rows for item in row) == 20
    assert drawn.counts()["t"]["longer_cut"] == 40


def test_a_longer_row_of_a_source_ends_with_the_packed_one(handover):
    chosen = stage(MixtureSource("t", "text", sequence_tokens=50), packing=True, sequence_tokens=40, epochs=1)
    rows = [row for batch in plan(handover, chosen, open_rows=4).batches() for row in batch.rows]
    assert max(sum(item.tokens for item in row) for row in rows) == 40


def test_a_batch_of_tokens_has_so_many_rows(handover):
    batches = planned(handover, packed(batch_unit="tokens", epochs=0, steps=5), batch=450, open_rows=4)
    assert [len(batch) for batch in batches] == [4] * 5


def test_tokens_that_a_trainer_adds_count(handover):
    drawn = plan(handover, packed(), extra_tokens=2, open_rows=4)
    assert sum(1 for _ in drawn.batches())
    assert drawn.counts()["t"]["tokens"] == 1830 + 120
