"""The losses of a stage by hand: what is learned of each kind of example, what divides it, and that units change
nothing but the last bits."""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from handover_sets import page, pair, prose, talk
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_tables import Bench, source, stage, stages
from torch.nn import functional

from curate.sample import Conversation, Document, Picture, Sample, Text, Turn
from curate.train.contrastive import contrastive_loss
from curate.train.lm import IGNORED
from curate.train.spread_training import Alone
from curate.train.stages.objectives import sigmoid_loss
from curate.train.stages.ordered_sum import OrderedSum, by_unit, unit_order

EVERY = [source("pairs"), source("docs"), source("chats"), source("plain")]


def bench_of(sources=EVERY, most=200, tokenizer="bytes", model=None, **table):
    return Bench(stages(stage("a", sources, **table), tokenizer=tokenizer, **(model or {})), most)


def learned(bench, example):
    """The text that is learned of an example, "|" for the end."""
    targets = bench.unit([example]).rows.targets[0]
    return "".join("|" if t == bench.words.end else chr(t) for t in targets.tolist() if t != IGNORED)


TALK = Conversation(
    "t",
    (
        Turn("system", (Text("be good"),)),
        Turn("user", (Text("hi?"),)),
        Turn("assistant", (Text("yes"),)),
        Turn("user", (Text("so?"),)),
        Turn("assistant", (Text("no"),)),
    ),
)
PAGE = Document("p", (Text("ab"), Picture("", pair(1).image, "jpg", "success"), Text("cd"), Text("ef", separator="\n")))


@pytest.mark.parametrize(
    ("loss_on", "example", "text"),
    [
        ("text", Sample("s", pair(1).image, "jpg", "a cat"), "a cat|"),
        ("answers", Sample("s", pair(1).image, "jpg", "a cat"), "a cat|"),
        ("all", Sample("s", pair(1).image, "jpg", "a cat"), "see: a cat|"),
        ("text", PAGE, "abcd\nef|"),
        ("text", TALK, "be goodhi?yes|so?no|"),
        ("answers", TALK, "yes|no|"),
        ("all", TALK, "be goodUSER: hi?ASSISTANT: yes|USER: so?ASSISTANT: no|"),
        ("text", Document("d", (Text("xy"),)), "xy|"),
    ],
)
def test_what_is_learned_of_an_example(loss_on, example, text):
    bench = bench_of([source("pairs", prompt="see: "), *EVERY[1:]], loss_on=loss_on)
    assert learned(bench, example) == text


def test_a_place_predicts_what_stands_behind_it_in_its_own_document():
    bench = bench_of()
    rows = bench.unit([Document("a", (Text("x"),)), Document("b", (Text("y"),))]).rows
    start, end = bench.words.start, bench.words.end
    assert rows.tokens.tolist() == [[start, ord("x"), end, start, ord("y"), end]]
    assert rows.targets.tolist() == [[ord("x"), end, IGNORED, ord("y"), end, IGNORED]]
    assert rows.positions.tolist() == [[0, 1, 2, 0, 1, 2]]


@pytest.mark.parametrize(("most", "pictures", "cut"), [(40, 2, 0), (39, 2, 1), (36, 1, 1), (19, 1, 1), (18, 0, 1)])
def test_what_does_not_fit_is_cut_a_picture_as_a_whole(most, pictures, cut):
    """Start, 2 + 16 + 2 + 16 + 2 places and the end."""
    picture = PAGE.parts[1]
    bench = bench_of(most=most)
    unit = bench.unit([Document("p", (Text("ab"), picture, Text("cd"), picture, Text("ef")))])
    assert int(unit.rows.pictures.max()) + 1 == pictures
    assert int((unit.rows.pictures >= 0).sum()) == 16 * pictures
    assert unit.rows.tokens.shape[1] <= most
    assert bench.collator.counted["cut"] == cut


def test_a_picture_that_cannot_be_decoded_leaves_the_others_their_places():
    bench = bench_of()
    broken = Picture("", b"no picture", "jpg", "success")
    missing = Picture("", None, "", "failed")
    page_ = Document("p", (broken, Text("a"), missing, PAGE.parts[1], Text("b")))
    unit = bench.unit([page_], [Sample("s", b"no picture", "jpg", "a cat")])
    assert len(unit.views) == 1
    assert unit.rows.slots[0].tolist()[2:18] == list(range(16))
    assert len(unit.rows.tokens) == 1
    assert bench.collator.counted["unreadable_pictures"] == 3
    assert bench.collator.counted["pairs_left_out"] == 1


def by_hand(bench, unit):
    """The losses of the places that are learned, by row, with a gradient."""
    seen = bench.model.look(unit.views)[0]
    logits = bench.model.logits(bench.model.read(unit.rows, seen))
    rows = zip(logits, unit.rows.targets, strict=True)
    return [functional.cross_entropy(own[at >= 0], at[at >= 0], reduction="none") for own, at in rows]


@pytest.mark.parametrize("norm", ["token", "sample", "square"])
def test_a_loss_is_a_mean_over_tokens_over_samples_or_between(norm):
    bench = bench_of(loss_norm=norm, batch=2)
    bench.model.requires_grad_(True)
    unit = bench.unit([page(1, 1, 1)], [prose(2, 9)])
    short, long = by_hand(bench, unit)
    roots = math.sqrt(len(short)), math.sqrt(len(long))
    expected = {
        "token": torch.cat([short, long]).mean(),
        "sample": (short.mean() + long.mean()) / 2,
        "square": (short.sum() / roots[0] + long.sum() / roots[1]) / sum(roots),
    }
    words = bench.model.language_model.words.weight
    (slope,) = torch.autograd.grad(expected[norm], [words])
    told = bench.objectives().gradient(0, [unit])
    assert torch.allclose(words.grad, slope, atol=1e-6)
    assert told == pytest.approx({"lm": float(torch.cat([short, long]).detach().mean())}, rel=1e-5)


def test_by_gradient_each_source_has_a_mean_and_a_weight_of_its_own():
    sources = [source("docs", loss_weight=0.2), source("plain")]
    table = stage("a", sources, objectives={"lm_interleaved": 2.0})
    table["mixture"]["unit"] = "gradient"
    bench = Bench(stages(table))
    unit = bench.unit([page(1, 1, 3)], [prose(2, 9)], [prose(3, 2)])
    shares = unit.shares / unit.norms[unit.groups]
    counts = [(row != IGNORED).sum() for row in unit.rows.targets]
    weighed = [float((own * (target != IGNORED)).sum()) for own, target in zip(shares, unit.rows.targets, strict=True)]
    prose_tokens = float(counts[1] + counts[2])
    assert weighed == pytest.approx([0.4, 2 * float(counts[1]) / prose_tokens, 2 * float(counts[2]) / prose_tokens])


ALL_LOSSES = {"contrastive": 1.0, "lm": 0.5, "lm_interleaved": 1.0, "sft": 2.0}


def gradient(units_of, objectives, contrast="softmax"):
    bench = bench_of(objectives=objectives, batch=8, model={"units": len(units_of), "contrast": contrast})
    units = [bench.unit(*packs) for packs in units_of]
    bench.model.requires_grad_(True)
    told = bench.objectives().gradient(0, units)
    return told, {name: t.grad.clone() for name, t in bench.model.named_parameters()}


@pytest.mark.parametrize("contrast", ["softmax", "sigmoid"])
def test_in_units_the_gradient_is_that_of_the_whole_batch(contrast):
    packs = [[pair(n)] for n in range(4)] + [[page(1, 1, 2)], [prose(2, 3)], [talk(3)], [talk(4)]]
    whole, slopes = gradient([packs], ALL_LOSSES, contrast)
    for count in (2, 4):
        told, own = gradient([packs[unit::count] for unit in range(count)], ALL_LOSSES, contrast)
        assert told == pytest.approx(whole, rel=1e-4)
        for name, slope in slopes.items():
            assert torch.allclose(own[name], slope, atol=2e-5), name


def test_both_contrastive_losses_are_those_of_their_papers():
    torch.manual_seed(0)
    bench = bench_of([source("pairs")], objectives={"contrastive": 1.0})
    bench.model.requires_grad_(True)
    unit = bench.unit([pair(1)], [pair(2)], [pair(3)])
    pictures, texts, _ = bench.objectives().embeddings(unit)
    assert torch.allclose(pictures.norm(dim=1), torch.ones(3))
    told = bench.objectives().gradient(0, [unit])
    same = torch.zeros(3, 3, dtype=torch.bool)
    expected = contrastive_loss(pictures, texts, bench.model.heads.log_scale.detach(), same)
    assert told["contrastive"] == pytest.approx(float(expected))
    scale, bias = torch.tensor(1.3), torch.tensor(-2.0)
    sums = 0.0
    for row in range(3):
        for column in range(3):
            logit = math.exp(1.3) * float(pictures[row] @ texts[column]) - 2.0
            sums += math.log1p(math.exp(-logit if row == column else logit))
    assert float(sigmoid_loss(pictures, texts, scale, bias, same)) == pytest.approx(sums / 3, rel=1e-5)


def test_pairs_with_one_text_are_no_negatives_of_one_another():
    bench = bench_of([source("pairs")], objectives={"contrastive": 1.0})
    twice = Sample("s", pair(5).image, "jpg", pair(1).caption)
    bench.model.requires_grad_(True)
    told = bench.objectives().gradient(0, [bench.unit([pair(1)], [twice])])
    assert told["contrastive"] == pytest.approx(0.0, abs=1e-6)


def test_the_matching_loss_has_the_right_pair_and_two_wrong_ones():
    """With one pair there is no wrong one; the head's bias alone decides at the start."""
    bench = bench_of([source("pairs")], objectives={"itm": 1.0})
    bench.model.requires_grad_(True)
    with torch.no_grad():
        bench.model.heads.match.weight.zero_()
        bench.model.heads.match.bias.fill_(2.0)
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    alone = bench.objectives().gradient(0, [bench.unit([pair(1)])])
    assert alone["itm"] == pytest.approx(right / 3, rel=1e-4)
    three = bench.objectives().gradient(0, [bench.unit([pair(1)], [pair(2)], [pair(3)])])
    assert three["itm"] == pytest.approx((right + 2 * wrong) / 3, rel=1e-4)


class Meeting:
    """A worker among others in threads of this process, who wait for one another."""

    def __init__(self, rank, given, barrier):
        self.rank, self.world, self._given, self._barrier = rank, len(given), given, barrier

    def gather(self, own):
        self._given[self.rank] = own
        self._barrier.wait(30)
        every = torch.cat(self._given)
        self._barrier.wait(30)
        return every


def together(world, work):
    """What `work(peers)` answers in each of the workers."""
    given, barrier = [None] * world, Barrier(world)
    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(lambda rank: work(Meeting(rank, given, barrier)), range(world)))


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=8, max_size=8), world=st.sampled_from([2, 4, 8]))
def test_a_sum_has_the_same_bits_for_any_number_of_workers(values, world):
    def total(peers):
        found = OrderedSum(peers)
        for number in unit_order(8 // peers.world):
            found.add(torch.tensor([values[peers.rank + number * peers.world]]))
        return found.total()

    alone = total(Alone())
    assert float(alone) == pytest.approx(sum(values), rel=1e-3, abs=4.0)
    assert all(torch.equal(found, alone) for found in together(world, total))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_pieces_of_all_workers_come_in_the_order_of_the_units(world):
    def pieces(peers):
        own = range(peers.rank, 4, peers.world)
        return by_unit([torch.full((unit, 2), float(unit)) for unit in own], peers)

    for found in together(world, pieces):
        assert [piece.tolist() for piece in found] == [[[float(unit)] * 2] * unit for unit in range(4)]


def test_two_workers_have_the_gradient_of_one_to_the_bit():
    """With every loss: what is compared over the whole batch, and negatives drawn within a unit."""
    packs = [[pair(n)] for n in range(8)] + [[page(1, 1, 2)], [talk(3)], [prose(2, 3)], [talk(4)]]

    objectives = {**ALL_LOSSES, "itm": 1.0}
    benches = [bench_of(objectives=objectives, batch=12, model={"units": 4}, tokenizer="toy") for _ in range(3)]

    def gradient(peers):
        bench = benches[peers.rank + peers.world - 1]
        bench.model.requires_grad_(True)
        units = [bench.unit(*packs[unit::4]) for unit in range(peers.rank, 4, peers.world)]
        told = dataclasses.replace(bench.objectives(), peers=peers).gradient(0, units)
        return told, torch.cat([tensor.grad.flatten() for tensor in bench.model.parameters()])

    (alone, slopes), *both = gradient(Alone()), *together(2, gradient)
    for told, own in both:
        assert told == alone
        assert torch.equal(own, slopes)
