"""A recipe against what is there: which stages can be fed, tokens, steps and passes, what is missing."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from document_sets import Page, Slot, Words, put_pages, put_table
from handover_sets import TOKENIZER, make_handover, page, pair, prose, talk

from curate.errors import ConfigError, ShardError
from curate.export._document_order import find_documents
from curate.handover.needs import KindNeed, Length, StageNeed, _suited, batch_of, measure_needs
from curate.handover.needs_rows import explained, missing, needs_tables
from curate.handover.needs_there import Found, TrainingSet, open_training_set
from curate.handover.resolution import Resolution
from curate.handover.stages import Stages, TrainingStage, build_stages
from curate.shard import Shard
from curate.storage import Storage
from curate.tombstones import write_dead


def stage(**more: Any) -> TrainingStage:
    """A stage that reads pairs, changed as told."""
    table = {
        "name": "one",
        "objective": "lm",
        "mixture": {"sources": [{"name": "web", "kind": "pairs", "examples": 1000}]},
        "resolution": {"policy": "fixed", "size": 28},
    }
    return build_stages({"stages": [table | more]}).stages[0]


def everything(**more: Any) -> Stages:
    """Stages that read each kind, and one that names a source."""
    size = {"policy": "native", "size": 28}
    kinds = {"first": "pairs", "second": "interleaved", "third": "chat", "fourth": "text"}
    rows = [
        {
            "name": name,
            "objective": "lm",
            "resolution": size,
            "mixture": {"sources": [{"name": f"their_{kind}", "kind": kind}]},
            **more,
        }
        for name, kind in kinds.items()
    ]
    named = rows[0] | {"name": "named", "mixture": {"sources": [{"name": "mine", "kind": "pairs"}]}}
    return build_stages({"stages": [*rows, named]})


@pytest.fixture(scope="module")
def handover(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    folder = make_handover(
        tmp_path_factory.mktemp("needs") / "all",
        {
            "mine": [pair(number) for number in range(3)],
            "other": [pair(number) for number in range(12)],
            "pages": [page(number, images=2, words=6) for number in range(4)],
            "talks": [talk(number) for number in range(5)],
            "prose": [prose(number, words=12) for number in range(2)],
        },
    )
    return open_training_set(str(folder))


def test_a_hand_over_feeds_by_kind_and_by_name(handover: TrainingSet) -> None:
    needs = measure_needs(everything(), [handover])
    first, second, third, fourth, named = (need.kinds[0] for need in needs)
    token = math.ceil(32 / 14) * math.ceil(24 / 14)
    assert handover.tokenizer == TOKENIZER
    assert (first.examples, first.pictures, first.image_tokens) == (12, 12, 12 * token)  # "mine" is named elsewhere
    assert named.examples == 3
    assert (second.examples, second.pictures, second.text_tokens) == (4, 8, 4 * 3 * 6)
    assert (second.image_tokens, second.tokens) == (8 * token, 8 * token + 72)
    assert (third.examples, third.pictures) == (5, 5)
    assert (fourth.examples, fourth.pictures, fourth.text_tokens) == (2, 0, 24)
    assert first.text_tokens == sum(len(f"picture number {n}".split()) for n in range(12))


def test_examples_that_a_row_cuts(handover: TrainingSet) -> None:
    tokens = 3 * 6 + 2 * 6
    for row, cut in ((tokens, 0), (tokens - 1, 4)):
        assert measure_needs(everything(sequence_tokens=row), [handover])[1].kinds[0].cut == cut
    for apart in ({"objective": "contrastive"}, {"trainable_by_module": {"gated_cross_attention": "full"}}):
        for row, cut in ((18, 0), (17, 4)):  # words alone
            stages = everything(sequence_tokens=row, **apart)
            assert measure_needs(stages, [handover])[1].kinds[0].cut == cut


def test_a_source_that_is_named_is_read_as_often_as_it_repeats(handover: TrainingSet) -> None:
    def planned(**more: Any) -> tuple[StageNeed, KindNeed]:
        sources = [{"name": "mine", "kind": "pairs", **more}]
        (need,) = measure_needs(Stages((stage(epochs=2, batch=1, mixture={"sources": sources}),)), [handover])
        return need, need.kinds[0]

    once, tokens = planned()[1], planned()[0].length().tokens
    assert once.examples == 3
    assert tokens == 2 * once.tokens
    for repeat, steps in ((1.0, 6), (3.0, 18), (0.5, 4), (0.0, None)):  # 1.5 examples are 2, twice
        need, kind = planned(repeat=repeat)
        assert (kind.examples, need.length().steps) == (3, steps)
        assert need.passes(kind) == (2 * repeat if steps else None)
    assert planned(repeat=3.0)[0].length().tokens == 3 * tokens
    need, kind = planned(repeat=3.0, weight=1.0)  # weights go before
    assert (need.passes(kind), need.length().steps) == (2, 6)


@pytest.mark.parametrize(
    ("bounds", "examples"), [({}, 4), ({"min_images": 2}, 4), ({"min_images": 3}, 0), ({"max_images": 1}, 0)]
)
def test_pages_with_too_few_or_too_many_pictures(handover: TrainingSet, bounds: dict[str, int], examples: int) -> None:
    sources = [{"name": "pages", "kind": "interleaved", **bounds}]
    (need,) = measure_needs(Stages((stage(mixture={"sources": sources}),)), [handover])
    assert (need.kinds[0].examples, need.kinds[0].unsuited) == (examples, 4 - examples)
    assert need.kinds[0].pictures == 2 * examples


def test_pages_of_different_lengths_and_their_pictures() -> None:
    owner, side = np.array([0, 1, 1, 3, 3, 3]), np.arange(1, 7)
    found = Found("", "interleaved", np.array([10, 20, 30, 40]), owner, side, side)
    sources = (
        build_stages(
            {
                "stages": [
                    {
                        "name": "a",
                        "objective": "lm",
                        "resolution": {},
                        "mixture": {
                            "sources": [
                                {"name": "x", "kind": "interleaved", "min_images": 2, "max_images": 2},
                                {"name": "y", "kind": "interleaved", "min_images": 3},
                            ]
                        },
                    }
                ]
            }
        )
        .stages[0]
        .mixture.sources
    )
    one_of_two = _suited(found, sources)
    assert (one_of_two.tokens.tolist(), one_of_two.owner.tolist()) == ([20, 40], [0, 0, 1, 1, 1])
    assert one_of_two.width.tolist() == one_of_two.height.tolist() == [2, 3, 4, 5, 6]
    assert _suited(found, sources[:1]).tokens.tolist() == [20]


def test_a_hand_over_without_tokenizers(tmp_path: Path) -> None:
    folder = make_handover(tmp_path / "set", {"prose": [prose(1, words=12)]})
    manifest = folder / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace(f'"{TOKENIZER}": {{\n   "about": "words between spaces"\n  }}', "")
    )
    training_set = open_training_set(str(folder))
    assert training_set.tokenizer == ""
    (found,) = training_set.found()
    assert found.tokens.tolist() == [math.ceil((12 * 2 + 11) / 6 * 1.3)]
    assert "estimated, 1.3 a word" in explained(everything(), [training_set])["tokens"]


def test_a_tokenizer_that_is_not_there(handover: TrainingSet) -> None:
    with pytest.raises(ConfigError, match="has no tokenizer 'nowhere'"):
        open_training_set(handover.storage.root, "nowhere")


ROWS = {
    "key": ["0", "1", "2", "3", "4"],
    "caption": ["two words", "one two three four", "a", None, "never seen here"],
    "width": [640, 28, None, 56, 10],
    "height": [480, 28, None, 14, 10],
    "status": ["success", "success", "success", "success", "failed_to_download"],
}


def put_pairs(storage: Storage, shard: str, **families: pa.Table) -> None:
    sizes = {name: pa.int32() if name in ("width", "height") else pa.string() for name in ROWS}
    put_table(storage, f"{shard}.parquet", pa.table({name: pa.array(ROWS[name], sizes[name]) for name in ROWS}))
    for family, columns in families.items():
        put_table(storage, f"{shard}.{family}.parquet", columns.add_column(0, "key", pa.array(ROWS["key"])))


def one(need: Stages | TrainingStage, storage: Storage) -> KindNeed:
    stages = need if isinstance(need, Stages) else Stages((need,))
    return measure_needs(stages, [open_training_set(storage.root)])[0].kinds[0]


def test_pairs_of_a_data_set(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    put_pairs(storage, "00000")
    found = one(stage(resolution={"policy": "fixed", "size": 28}), storage)
    assert (found.examples, found.pictures, found.image_tokens) == (4, 4, 16)
    assert found.text_tokens == math.ceil(2 * 1.3) + math.ceil(4 * 1.3) + math.ceil(1.3) + 0
    assert (found.unknown, found.smaller) == (1, 1)  # 56 x 14 is squeezed up; the one without a size is not judged


def test_pairs_that_were_dropped_or_repeated(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    keep = pa.table({"keep": [True, False, True, None, True]})
    put_pairs(storage, "00000", select=keep, mix=pa.table({"multiplicity": [3, 1, 1, 1, 1]}))
    put_pairs(storage, "00001")
    training_set = open_training_set(storage.root)
    assert training_set.undecided == 1
    found = one(stage(), storage)
    assert (found.examples, found.text_tokens) == (4, 3 * 3 + 2)


def test_rows_that_were_taken_back(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    put_pairs(storage, "00000")
    write_dead(Shard(storage, "00000"), {"1": "url"})
    assert one(stage(), storage).examples == 3


def test_conversations_about_pairs(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    turns = [{"role": "user", "text": "What is this?"}, {"role": "assistant", "text": "A circle."}]
    talks = pa.array(
        [turns, None, turns, turns, turns], pa.list_(pa.struct({"role": pa.string(), "text": pa.string()}))
    )
    put_pairs(storage, "00000", instructions_x=pa.table({"x_conversation": talks}))
    need = measure_needs(everything(), [open_training_set(storage.root)])[2].kinds[0]
    assert (need.examples, need.pictures, need.text_tokens, need.unknown) == (3, 3, 3 * (4 + 3), 1)


@pytest.fixture
def pages(tmp_path: Path) -> Storage:
    """Four pages: two pictures of three and a dropped text; no picture; dropped; one picture, three times."""
    storage = Storage(str(tmp_path))
    first = [
        Words("one two three"),
        Slot("a", b"x"),
        Words("no", keep=False),
        Slot("b", None, "gone"),
        Slot("c", b"y"),
        Slot("d"),
    ]
    contents = [first, [Words("four five")], [Words("six"), Slot("d", b"z")], [Slot("e", b"w"), Words("seven")]]
    put_pages(storage, "00000", [Page(parts, keep=n != 2) for n, parts in enumerate(contents)])
    times = pa.table({"key": [f"00000{n:06d}" for n in range(4)], "multiplicity": [1, 1, 1, 3]})
    put_table(storage, "00000.mix.parquet", times)
    sides = [28 if isinstance(part, Slot) else None for parts in contents for part in parts]
    sides[1] = 56
    keys = [f"{n}" for n in range(len(sides))]
    size = pa.table({"key": keys, "width": pa.array(sides, pa.int32()), "height": pa.array(sides, pa.int32())})
    put_table(storage, "00000_parts.sizes.parquet", size)
    return storage


def test_pages_of_a_data_set(pages: Storage) -> None:
    _, interleaved, _, text, _ = (
        need.kinds[0] for need in measure_needs(everything(), [open_training_set(pages.root)])
    )
    assert (interleaved.examples, interleaved.pictures) == (4, 5)  # two in the first, one in each copy of the last
    assert interleaved.image_tokens == 16 + 4 + 3 * 4
    assert interleaved.text_tokens == math.ceil(3 * 1.3) + 3 * math.ceil(1.3)
    assert (text.examples, text.text_tokens) == (1, math.ceil(2 * 1.3))
    assert len(find_documents([Shard(pages, "00000")], None)) == 5  # as an export would


def test_pages_before_any_decision(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    put_pages(storage, "00000", [Page([Words("one"), Slot("a", b"x"), Slot("b", None, "gone")])], decided=False)
    need = measure_needs(everything(), [open_training_set(storage.root)])[1].kinds[0]
    assert (need.examples, need.pictures, need.unknown) == (1, 1, 1)  # no table says how large it is


def test_a_folder_without_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no data set and no hand-over"):
        open_training_set(str(tmp_path))
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(ShardError, match=r"manifest\.json"):
        open_training_set(str(tmp_path))


def test_a_composition_is_no_data_set(tmp_path: Path) -> None:
    folder = make_handover(tmp_path / "set", {"prose": [prose(1, words=12)]})
    (folder / "manifest.json").unlink()
    with pytest.raises(ConfigError, match=r'composition without its manifest.json.* with pipeline = "handover"'):
        open_training_set(str(folder))


def test_pictures_that_are_refused() -> None:
    found = Found("", "pairs", np.array([1, 1, 1]), np.arange(3), np.array([2001, 2000, 100]), np.array([10, 10, 100]))
    need = KindNeed("pairs", ("web",), None)
    need.add(found, Resolution(policy="native", size=448, merge=2, min_pixels=20_001, max_aspect=200.0), 0)
    assert (need.refused, need.smaller, need.examples) == (1, 2, 3)


def length(need: TrainingStage, examples: int, tokens: int) -> Length:
    own = StageNeed(need, [KindNeed("pairs", ("web",), 1000, examples=examples, text_tokens=tokens)])
    return own.length()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"epochs": 1, "batch": 100}, Length(10, 3, 1, 5000)),
        ({"epochs": 2, "batch": 100}, Length(20, 5, 2, 10_000)),
        ({"epochs": 1}, Length(None, None, 1, 5000)),
        ({"steps": 50, "batch": 100}, Length(50, 50, 20, 100_000)),
        ({"steps": 50}, Length(50, 50, None, None)),
        ({"samples": 500, "batch": 100}, Length(5, 5, 2, 10_000)),
        ({"tokens": 20_000, "batch": 100}, Length(None, 10, 4, 20_000)),
        ({"tokens": 20_000, "batch": 1000, "batch_unit": "tokens"}, Length(20, 20, 4, 20_000)),
        ({"steps": 10, "batch": 1000, "batch_unit": "tokens"}, Length(10, 10, 2, 10_000)),
        ({"epochs": 1, "batch": 2, "packing": True, "sequence_tokens": 1000}, Length(None, 3, 1, 5000)),
        ({"steps": 5, "batch": 2, "packing": True, "sequence_tokens": 1000}, Length(5, 5, 2, 10_000)),
        ({}, Length(None, None, None, None)),
    ],
)
def test_lengths(settings: dict[str, Any], expected: Length) -> None:
    assert length(stage(**settings), 250, 5000) == expected


def test_lengths_without_data() -> None:
    assert length(stage(epochs=1, batch=100), 0, 0) == Length(10, None, None, None)


def test_a_batch_by_sources() -> None:
    sources = [{"name": "a", "kind": "pairs", "batch": 64}, {"name": "b", "kind": "text", "batch": 8}]
    assert batch_of(stage(mixture={"sources": sources})) == 72
    assert batch_of(stage(mixture={"sources": sources}, unpublished=["batch"])) == 0
    assert batch_of(stage(mixture={"sources": [*sources, {"name": "c", "kind": "text"}]})) == 0


@pytest.mark.parametrize(
    ("unit", "weights", "expected"),
    [
        ("sample", (0, 0), (2, 2)),
        ("sample", (3, 1), (7.5, 0.625)),
        ("token", (3, 1), (1.875, 2.5)),
    ],
)
def test_passes_by_weight(unit: str, weights: tuple[int, int], expected: tuple[float, float]) -> None:
    sources = [
        {"name": "a", "kind": "pairs", "weight": weights[0]},
        {"name": "b", "kind": "text", "weight": weights[1]},
    ]
    need = StageNeed(stage(epochs=2, mixture={"unit": unit, "sources": sources}))
    need.kinds = [
        KindNeed("pairs", ("a",), None, 10, text_tokens=800),
        KindNeed("text", ("b",), None, 40, text_tokens=200),
    ]
    assert [need.passes(kind) for kind in need.kinds] == [pytest.approx(value) for value in expected]


def test_what_is_missing_is_told(handover: TrainingSet) -> None:
    needs = measure_needs(everything(), [handover])
    assert [line for need in needs for line in missing(need)] == []
    (nothing,) = measure_needs(Stages((stage(),)), [])
    (line,) = missing(nothing)
    assert line.startswith("one needs 1,000 captioned pictures (pairs), and cannot run without: make pairs of web")
    nothing.kinds[0].examples = 10
    assert missing(nothing) == [
        "one has 10 of 1,000 captioned pictures (pairs): it runs, and learns less than the recipe's model did"
    ]
    nothing.kinds[0].examples = 1000
    assert missing(nothing) == []
    for steps, lines in ((400, 0), (401, 1)):
        often = StageNeed(stage(steps=steps, batch=100), nothing.kinds)
        assert len(missing(often)) == lines
    assert missing(often) == ["one would read your data 40 times: give it fewer steps, or more data"]


def test_what_does_not_fit_is_told() -> None:
    need = StageNeed(stage(sequence_tokens=2000), [KindNeed("pairs", ("web",), None, 10, pictures=10)])
    for name, value, words in (
        ("smaller", 5, ""),
        ("smaller", 6, "one sees 6 of 10 pictures (pairs) enlarged, squeezed to 28 px: they have less detail"),
        ("refused", 1, "one refuses 1 of 10 pictures (pairs), which are too long"),
        ("cut", 1, "one cuts 1 of 10 captioned pictures (pairs) short, at 2,000 tokens"),
        ("unsuited", 1, "one leaves out 1 captioned pictures (pairs) that have fewer pictures than min_images"),
    ):
        need.kinds[0] = KindNeed("pairs", ("web",), None, 10, pictures=10, **{name: value})
        lines = missing(need)
        assert len(lines) == bool(words)
        assert not words or lines[0].startswith(words)


def test_every_table_has_a_sentence(handover: TrainingSet) -> None:
    stages = Stages((stage(epochs=1, batch=4, unpublished=["learning_rate"]),), family="toy", source=("arXiv:1",))
    for sets in ([], [handover]):
        plan = needs_tables(stages, measure_needs(stages, sets), sets)
        assert set(plan) <= set(explained(stages, sets))
    assert plan["needs"] == [
        {
            "stage": "one",
            "kind": "pairs",
            "what": "pictures, each with a text",
            "recipe": 1000,
            "yours": 15,
            "fed": "in part",
            "sources": ["web"],
        }
    ]
    assert plan["length"] == [
        {
            "stage": "one",
            "recipe_steps": 250,
            "your_steps": 4,
            "your_passes": 1.0,
            "your_tokens": plan["tokens"][0]["tokens"],
        }
    ]


def test_stages_in_words() -> None:
    told = stage(
        trainable={"vision": "last_2", "projector": "none", "language_model": {"rank": 8}},
        trainable_by_module={"q_former": "full"},
        steps=5000,
    )
    (row,) = needs_tables(Stages((told,)), [], [])["stages"]
    assert row["learns"] == "vision (last 2 layers), language model (adapters), q former"
    assert (row["task"], row["pictures"], row["length"]) == (
        "write the text of a picture",
        "squeezed to 28 px",
        "5,000 steps",
    )
