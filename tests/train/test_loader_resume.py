"""A stage that was interrupted goes on exactly: 100 batches are 37, a state as JSON, and 63, at any number of ranks."""

import json
from dataclasses import replace
from functools import cache

import pytest
from handover_sets import make_handover, page, pair, prose
from loader_stages import stage
from torch.utils.data import DataLoader

from curate.errors import ConfigError
from curate.handover.stages import MixtureSource
from curate.train.data import HandoverDataset, Loader, open_handover

PAIRS = MixtureSource("pairs", "pairs", captions={"web": 0.5, "synthetic": 0.5})
PAGES = MixtureSource("pages", "interleaved", next_image_probability=0.5)
TEXT = MixtureSource("text", "text")


def weighed(weights):
    return [
        MixtureSource(s.name, s.kind, weight=w, captions=s.captions, next_image_probability=s.next_image_probability)
        for s, w in zip((PAIRS, PAGES, TEXT), weights, strict=True)
    ]


STAGES = {
    "repeat": stage(PAIRS, PAGES, TEXT),
    "sample": stage(*weighed([0.6, 0.3, 0.1])),
    "token": stage(*weighed([1.0, 2.0, 1.0]), unit="token"),
    "gradient": stage(*weighed([3.0, 1.0, 2.0]), unit="gradient"),
    "packed": stage(*weighed([1.0, 1.0, 1.0]), unit="token", packing=True, sequence_tokens=60),
    "packed by gradient": stage(*weighed([1.0, 1.0, 1.0]), unit="gradient", packing=True, sequence_tokens=60),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """45 pairs, 22 pages and 13 texts, in shards of 10."""
    pairs = [pair(n, ["a web text", f"one of {n} made by a model"], ["web", "synthetic"]) for n in range(45)]
    pages = [page(n, n % 4 + 1, n % 7 + 2) for n in range(22)]
    sources = {"pairs": pairs, "pages": pages, "text": [prose(n, 5 + n) for n in range(13)]}
    return make_handover(tmp_path_factory.mktemp("resumed") / "set", sources)


@pytest.fixture(scope="module")
def handover(folder):
    return open_handover(str(folder))


@pytest.fixture(scope="module")
def wholes(handover):
    """The first 100 batches of a stage, by its name."""
    return cache(lambda name: take(loader(handover, name), 100))


def loader(handover, name, rank=0, world=1, **settings):
    chosen = {"seed": 5, "batch": 6, "window": 2, "open_rows": 5, "decode": False, "threads": 0, **settings}
    return Loader(handover, STAGES[name], rank=rank, world=world, **chosen)


def drawn(batch):
    """All that tells an example as it was drawn from another draw."""
    return [
        [(d.source, d.key, d.run, d.place, d.caption, d.next_image, d.tokens, d.cut) for d in row] for row in batch.rows
    ]


def take(own, n):
    """n batches; the loader is put down behind the last of them."""
    return [drawn(batch) for _, batch in zip(range(n), own, strict=False)]


def together(handover, name, world, states, n):
    """n batches of all ranks, their rows in order again."""
    own = [loader(handover, name, rank, world) for rank in range(world)]
    for one in own:
        one.resume(states)
    parts = zip(*(take(one, n) for one in own), strict=True)
    return [[part[row % world][row // world] for row in range(sum(map(len, part)))] for part in parts]


@pytest.mark.parametrize(
    ("name", "world"),
    [(name, 2) for name in STAGES] + [("packed", 1), ("repeat", 1), ("repeat", 3), ("gradient", 5)],
)
def test_100_batches_are_37_and_63_at_another_number_of_ranks(handover, wholes, name, world):
    whole = wholes(name)
    first = loader(handover, name)
    assert take(first, 37) == whole[:37]
    state = json.loads(json.dumps(first.state()))
    assert state["batches"] == 37
    assert together(handover, name, world, state, 63) == whole[37:]


def test_from_two_ranks_to_one_and_what_they_count_goes_on(handover):
    whole = loader(handover, "repeat")
    expected = take(whole, 20)
    one = loader(handover, "repeat", 0, 2)
    take(one, 8)
    again = loader(handover, "repeat")
    again.resume(one.state())
    assert take(again, 12) == expected[8:]
    assert again.state()["place"] == whole.state()["place"]


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_read_ahead_and_change_nothing(handover, wholes, threads):
    own = loader(handover, "packed", threads=threads)
    expected = wholes("packed")[:30]
    assert take(own, 11) == expected[:11]
    assert take(own, 19) == expected[11:], "iterating again goes on, and nothing that was read ahead is lost"


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_of_a_data_loader_give_the_same_batches(handover, wholes, workers):
    expected = wholes("packed")[:14]
    own = loader(handover, "packed")
    batches = iter(DataLoader(HandoverDataset(own), batch_size=None, num_workers=workers))
    found = [next(batches) for _ in range(9)]
    again = loader(handover, "packed")
    again.resume(json.loads(json.dumps(own.state(found[6]))))
    rest = DataLoader(HandoverDataset(again), batch_size=None, num_workers=workers)
    assert [drawn(b) for b in found] == expected[:9]
    assert [drawn(b) for _, b in zip(range(7), rest, strict=False)] == expected[7:]
    assert [batch.number for batch in found] == list(range(9))


def test_more_ranks_than_rows_get_batches_without_a_row(handover):
    batches = [batch for _, batch in zip(range(3), loader(handover, "sample", 7, 8), strict=False)]
    assert [(batch.rows, batch.whole_rows) for batch in batches] == [((), 6)] * 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 6}, "seed = 5, and this stage has 6"),
        ({"batch": 8}, "batch = 6, and this stage has 8"),
        ({"window": 3}, "window = 2, and this stage has 3"),
        ({"name": "token"}, r"sources.pages.weight = 0.3, and this stage has 2"),
        ({"extra_tokens": 1}, "extra_tokens = 0"),
        ({"stage": replace(STAGES["sample"], name="two")}, "stage = one, and this stage has two"),
        ({"name": "packed"}, "packing = False, and this stage has True"),
    ],
)
def test_a_state_of_other_settings_is_refused(handover, change, words):
    state = loader(handover, "sample").state()
    own = loader(handover, **{"name": "sample", **{key: change[key] for key in change if key != "stage"}})
    own.stage = change.get("stage", own.stage)
    with pytest.raises(ConfigError, match=words):
        own.resume(state)


def test_a_state_of_another_hand_over_is_refused(handover, tmp_path):
    other = open_handover(
        str(make_handover(tmp_path / "set", {"pairs": [pair(1)], "pages": [page(1)], "text": [prose(1)]}))
    )
    with pytest.raises(ConfigError, match="is of another hand-over"):
        loader(other, "repeat").resume(loader(handover, "repeat").state())
    with pytest.raises(ConfigError, match="version None"):
        loader(other, "repeat").resume({})


@pytest.mark.parametrize(("rank", "world", "threads"), [(-1, 1, 0), (1, 1, 0), (0, 0, 0), (0, 1, -1)])
def test_ranks_and_threads_have_bounds(handover, rank, world, threads):
    with pytest.raises(ConfigError, match=r"rank|threads"):
        loader(handover, "repeat", rank, world, threads=threads)
