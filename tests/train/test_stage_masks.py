"""Who sees whom: the masks by hand, and that nothing else leaks, to the bit, in a model of either way of fusion."""

import dataclasses

import pytest
import torch
from handover_sets import jpeg, page, pair, talk
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_tables import Bench, source, stage, stages

from curate.sample import Document, Picture, Text
from curate.train.data import block_mask, block_positions
from curate.train.stages.masks import (
    ALL_PREVIOUS,
    LAST_IMAGE,
    NEXT_IMAGE,
    cross_mask,
    last_picture,
    next_picture,
    self_mask,
)

DOCUMENTS = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1, -1]])
PICTURES = torch.tensor([[-1, 0, -1, 1, -1, -1, 2, -1, -1]])


def rules(rule):
    return torch.full_like(DOCUMENTS, rule)


def test_the_last_and_the_next_picture_of_each_place():
    assert last_picture(PICTURES, DOCUMENTS).tolist() == [[-1, 0, 0, 1, 1, -1, 2, 2, -1]]
    assert next_picture(PICTURES, DOCUMENTS).tolist() == [[0, 0, 1, 1, -1, 2, 2, -1, -1]]


@pytest.mark.parametrize(
    ("rule", "seen"),
    [
        (ALL_PREVIOUS, [[], [0], [0], [0, 1], [0, 1], [], [2], [2], []]),
        (LAST_IMAGE, [[], [0], [0], [1], [1], [], [2], [2], []]),
        (NEXT_IMAGE, [[0], [0], [1], [1], [], [2], [2], [], []]),
    ],
)
def test_which_pictures_a_word_looks_at(rule, seen):
    mask = cross_mask(DOCUMENTS, PICTURES, rules(rule), 3)[0]
    assert [row.nonzero().flatten().tolist() for row in mask] == seen


def test_a_token_sees_its_own_document_before_it_and_only_the_last_picture_where_that_is_the_rule():
    every = self_mask(DOCUMENTS, PICTURES, rules(ALL_PREVIOUS))[0]
    last = self_mask(DOCUMENTS, PICTURES, rules(LAST_IMAGE))[0]
    assert every[4].nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    assert last[4].nonzero().flatten().tolist() == [0, 2, 3, 4]
    assert every[7].nonzero().flatten().tolist() == last[7].nonzero().flatten().tolist() == [5, 6, 7]
    assert every[8].nonzero().flatten().tolist() == [8]


def test_without_pictures_the_mask_is_the_loaders():
    lengths = [3, 1, 4]
    documents = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))[None]
    text = torch.full_like(documents, -1)
    assert torch.equal(self_mask(documents, text, torch.zeros_like(documents))[0], block_mask(lengths))
    bench = make("prefix")
    packed = bench.unit([Document("a", (Text("ab"),)), Document("b", (Text("c"),))])
    assert packed.rows.positions[0].tolist() == block_positions([4, 3]).tolist()


def make(fusion, mask="all_previous"):
    sources = [source("docs", image_mask=mask), source("pairs"), source("chats", image_mask=mask), source("plain")]
    table = stage("a", sources, objectives={"lm": 1.0})
    bench = Bench(stages(table, fusion=fusion, projector="perceiver", latents=4, layers=2))
    open_gates(bench.model)
    return bench


def open_gates(model):
    with torch.no_grad():
        for layer in model.cross:
            layer.gate.fill_(0.7)
            layer.mlp_gate.fill_(0.4)


BENCHES = {
    (fusion, mask): make(fusion, mask)
    for fusion in ("prefix", "cross_attention")
    for mask in ("all_previous", "last_image")
}


def repainted(document, number):
    """The document with another picture at one of its slots."""
    parts = list(document.parts)
    slots = [place for place, part in enumerate(parts) if isinstance(part, Picture)]
    parts[slots[number]] = dataclasses.replace(parts[slots[number]], image=jpeg(999 + number))
    return dataclasses.replace(document, parts=tuple(parts))


def first_place(unit, row, document, picture):
    """The first place of the row that a picture of a document fills."""
    inside = (unit.rows.documents[row] == document) & (unit.rows.pictures[row] >= 0)
    numbers = unit.rows.pictures[row][inside].unique()
    return int((unit.rows.pictures[row] == numbers[picture]).nonzero()[0])


@settings(max_examples=12, deadline=None)
@given(
    way=st.sampled_from(sorted(BENCHES)),
    images=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    data=st.data(),
)
def test_another_picture_changes_nothing_before_it_and_no_other_document(way, images, data):
    bench = BENCHES[way]
    documents = [page(number, count, 2) for number, count in enumerate(images)]
    which = data.draw(st.integers(0, len(images) - 1))
    picture = data.draw(st.integers(0, images[which] - 1))
    unit = bench.unit(documents, [page(7, 1, 2)])
    documents[which] = repainted(documents[which], picture)
    other = bench.unit(documents, [page(7, 1, 2)])
    before, after = bench.logits(unit), bench.logits(other)
    start = first_place(unit, 0, which, picture)
    own = unit.rows.documents[0] == which
    assert torch.equal(before[0, :start], after[0, :start])
    assert torch.equal(before[0, ~own], after[0, ~own])
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0, own], after[0, own])


@pytest.mark.parametrize("way", sorted(BENCHES))
def test_other_words_of_a_document_in_the_pack_change_nothing_outside_it(way):
    bench = BENCHES[way]
    packed = bench.unit([page(1, 1, 3), page(2, 2, 3), talk(3)])
    changed = bench.unit([page(1, 1, 3), page(5, 2, 3), talk(3)])
    outside = packed.rows.documents[0] != 1
    before, after = bench.logits(packed)[0], bench.logits(changed)[0]
    assert torch.equal(before[outside], after[outside])
    assert not torch.equal(before[~outside], after[~outside])


@pytest.mark.parametrize("way", sorted(BENCHES))
def test_a_document_in_a_pack_is_computed_as_if_it_stood_alone(way):
    bench = BENCHES[way]
    packed = bench.unit([page(1, 1, 3), page(2, 2, 3), pair(3)])
    alone = bench.unit([page(2, 2, 3)])
    own = bench.logits(packed)[0][packed.rows.documents[0] == 1]
    assert torch.allclose(own, bench.logits(alone)[0], atol=1e-5)


def test_only_the_last_picture_counts_for_words_by_that_rule():
    """One layer, so that no word brings on what it saw."""
    for rule in ("last_image", "all_previous"):
        bench = Bench(stages(stage("a", [source("docs", image_mask=rule)]), layers=1))
        document = page(1, 2, 2)
        unit, other = bench.unit([document]), bench.unit([repainted(document, 0)])
        second = first_place(unit, 0, 0, 1)
        words = (unit.rows.pictures[0] < 0) & (torch.arange(unit.rows.pictures.shape[1]) > second)
        before, after = bench.logits(unit)[0], bench.logits(other)[0]
        assert torch.equal(before[words], after[words]) is (rule == "last_image")
        assert not torch.equal(before, after)


def test_the_next_picture_is_seen_where_it_was_drawn_so():
    table = stage("a", [source("docs", image_mask="last_image", next_image_probability=0.5)])
    bench = Bench(stages(table, fusion="cross_attention", layers=1))
    open_gates(bench.model)
    document = page(1, 1, 2)
    changed = repainted(document, 0)
    start = first_place(bench.unit([document]), 0, 0, 0)
    for ahead in (False, True):
        before, after = (bench.logits(bench.unit([own], next_image=ahead))[0] for own in (document, changed))
        assert torch.equal(before[:start], after[:start]) is not ahead
        assert not torch.equal(before, after)
