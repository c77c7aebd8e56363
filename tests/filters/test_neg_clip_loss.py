"""negCLIPLoss: its formula over keyed batches in numpy, in any packing; what is missing or broken spoils no other."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_shards import (
    Given,
    ScoredBy,
    by_row,
    bytes_of,
    digests,
    embedded,
    handles,
    pack,
    packings,
    pairs,
    run_barrier,
    run_steps,
    unit_rows,
)

from curate.config import build_filters
from curate.errors import ConfigError, ShardError
from curate.models.settings import build_models
from curate.select import Select
from curate.signals import signal_steps
from filters.neg_clip_loss import CompareInBatches, NegClipLoss, scores_of

IMAGE, TEXT, SCORE = "clip_image_embedding", "clip_text_embedding", "clip_neg_clip_loss"
LOW, HIGH = "neg_clip_loss_too_low", "neg_clip_loss_too_high"
UNKNOWN, OTHERS = "neg_clip_loss_unknown", "neg_clip_loss_not_among_best"


def of_batch(images: np.ndarray, texts: np.ndarray, temperature: float) -> np.ndarray:
    """score_i = s_ii - t/2 (log sum_j exp(s_ij/t) + log sum_j exp(s_ji/t)), naively, in float64."""
    s = images.astype(np.float64) @ texts.astype(np.float64).T
    ways = sum(np.log(np.exp(m / temperature).sum(axis=1)) for m in (s, s.T))
    return np.diag(s) - temperature / 2 * ways


def finish(value: int) -> int:
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def drawn(digest: tuple[int, int], number: int) -> int:
    """The number that a round draws for a row."""
    salt = finish((number + 1) * 0x9E3779B97F4A7C15 % 2**64)
    return finish(finish(digest[0] ^ salt) ^ digest[1])


def reference(identity, images, texts, rule: CompareInBatches) -> dict[str, float]:
    """By uid, from its definition: rows in the order of what is drawn for them, cut into batches of equal size."""
    uids, total = list(identity), dict.fromkeys(identity, 0.0)
    for number in range(rule.rounds):
        order = sorted(uids, key=lambda uid: (drawn(identity[uid], rule.seed * 1_000_003 + number), identity[uid]))
        batches = -(-len(uids) // rule.batch)
        least, more = divmod(len(uids), batches)
        for place in range(batches):
            start = place * least + min(place, more)
            rows = order[start : start + least + (place < more)]
            at = [uids.index(uid) for uid in rows]
            for uid, score in zip(rows, of_batch(images[at], texts[at], rule.temperature), strict=True):
                total[uid] += score / rule.rounds
    return total


def made(count: int, length: int = 8, seed: int = 0, missing=((), ())) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    images, texts = (unit_rows(count, length, seed + n).astype(np.float16) for n in (1, 2))
    columns = {IMAGE: embedded(images, missing[0]), TEXT: embedded(texts, missing[1])}
    return pairs(count, **columns), images, texts


@pytest.mark.parametrize("temperature", [0.01, 0.07])
@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_one_batch_is_the_formula(count, temperature):
    images, texts = unit_rows(count, 8, 1), unit_rows(count, 8, 2)
    found = scores_of(images, texts, temperature)
    np.testing.assert_allclose(found, of_batch(images, texts, temperature), atol=2e-7)
    assert (found < 1e-6).all()


def test_a_caption_that_fits_everything_scores_low():
    images = unit_rows(6, 8, 1)
    texts = images.copy()
    texts[0] = images.sum(axis=0) / np.linalg.norm(images.sum(axis=0))
    found = scores_of(images, texts, 0.01)
    assert found.argmin() == 0
    assert found[1:].min() > -0.01 > found[0]


@pytest.mark.parametrize(
    ("count", "batch", "rounds", "seed"), [(1, 4, 3, 0), (12, 4, 3, 0), (13, 4, 2, 7), (30, 7, 4, 2**32), (5, 32, 1, 3)]
)
def test_batches_come_from_all_rows_in_any_packing(tmp_path, count, batch, rounds, seed):
    rows, images, texts = made(count)
    rule = CompareInBatches("clip", 0.01, batch, rounds, seed)
    expected = reference(digests(rows, tmp_path / "whole"), images, texts, rule)
    found = []
    for number, (sizes, order) in enumerate(packings(count)):
        folder = tmp_path / str(number)
        shards = pack(folder, rows, sizes, order)
        commit = run_barrier(rule, shards, folder)
        assert commit.counts == {"compared": count}
        assert [f.name for f in commit.files] == sorted(bytes_of(folder, "neg_clip_loss_clip"))
        found.append(by_row(shards, [SCORE]))
        assert not list(folder.rglob("*.f16"))
    assert found[0] == found[1] == found[2], "to the last bit: the batches and the order within them are the same"
    assert {uid: score for uid, (score,) in found[0].items()} == pytest.approx(expected, abs=3e-7)


@given(st.integers(1, 12), st.integers(2, 6), st.integers(1, 3), st.data())
@settings(deadline=None, max_examples=12)
def test_any_batches_and_any_gaps(tmp_path_factory, count, batch, rounds, data):
    folder = tmp_path_factory.mktemp("gaps")
    missing = [data.draw(st.lists(st.integers(0, count - 1))) for _ in range(2)]
    rows, images, texts = made(count, 3, count, missing)
    rule = CompareInBatches("clip", 0.07, batch, rounds, 1)
    there = [n for n in range(count) if n not in {*missing[0], *missing[1]}]
    identity = digests(rows.take(pa.array(there, pa.int64())), folder / "whole")
    expected = reference(identity, images[there], texts[there], rule) if there else {}
    shards = pack(folder, rows, *data.draw(st.sampled_from(packings(count))))
    run_barrier(rule, shards, folder)
    found = {uid: score for uid, (score,) in by_row(shards, [SCORE]).items()}
    assert {uid for uid, score in found.items() if score is None} == set(found) - set(expected)
    assert {uid: found[uid] for uid in expected} == pytest.approx(expected, abs=3e-7)


def test_another_seed_draws_other_batches_and_one_batch_needs_one_round(tmp_path):
    rows, _, _ = made(20)
    shards = pack(tmp_path, rows, [20])
    found = []
    for rule in (
        CompareInBatches(batch=5, rounds=1, seed=0),
        CompareInBatches(batch=5, rounds=1, seed=1),
        CompareInBatches(batch=20, rounds=1),
        CompareInBatches(batch=20, rounds=9),
    ):
        run_barrier(rule, shards, tmp_path)
        found.append(by_row(shards, [SCORE]))
    assert found[0] != found[1]
    assert found[2] == found[3]


def test_copies_of_a_pair_score_the_same_wherever_they_lie(tmp_path):
    rows, _, _ = made(6)
    twice, found = pa.concat_tables([rows, rows]), []
    for number, (sizes, order) in enumerate(packings(12)):
        shards = pack(tmp_path / str(number), twice, sizes, order)
        run_barrier(CompareInBatches(batch=5, rounds=3), shards, tmp_path / str(number))
        cells = [shard.columns(["uid", SCORE]).to_pylist() for shard in handles(tmp_path / str(number), len(sizes))]
        found.append(sorted(tuple(row.values()) for some in cells for row in some))
    assert found[0] == found[1] == found[2]


def test_an_embedding_that_is_no_number_spoils_no_other(tmp_path):
    rows, images, texts = made(9)
    good = digests(rows.slice(3), tmp_path / "whole")
    broken = images.astype(np.float32)
    broken[0, 0], broken[1, 1], broken[2, 2] = np.nan, np.inf, 1e6
    kind = pa.list_(pa.float32(), 8)
    column = pa.FixedSizeListArray.from_arrays(pa.array(broken.reshape(-1)), 8)
    rows = rows.set_column(rows.schema.get_field_index(IMAGE), IMAGE, column.cast(kind))
    shards = pack(tmp_path, rows, [4, 5])
    rule = CompareInBatches(batch=4, rounds=2)
    assert run_barrier(rule, shards, tmp_path).counts == {"compared": 6}
    found = {uid: score for uid, (score,) in by_row(shards, [SCORE]).items()}
    assert [score for uid, score in found.items() if uid not in good] == [None] * 3
    assert {uid: found[uid] for uid in good} == pytest.approx(reference(good, images[3:], texts[3:], rule), abs=3e-7)


def test_a_row_of_zeros_is_a_row(tmp_path):
    rows, images, texts = made(5)
    images[2] = 0
    rows = rows.set_column(rows.schema.get_field_index(IMAGE), IMAGE, embedded(images))
    shards = pack(tmp_path, rows, [5])
    run_barrier(CompareInBatches(batch=5), shards, tmp_path)
    found = [score for (score,) in by_row(shards, [SCORE]).values()]
    assert found == pytest.approx(of_batch(images, texts, 0.01), abs=3e-7)


@pytest.mark.parametrize("sizes", [[], [0], [0, 3, 0]])
def test_no_pairs_at_all(tmp_path, sizes):
    rows, _, _ = made(sum(sizes), missing=(range(sum(sizes)), ()))
    shards = pack(tmp_path, rows, sizes)
    assert run_barrier(CompareInBatches(), shards, tmp_path).counts == {"compared": 0}
    assert set(by_row(shards, [SCORE]).values()) <= {(None,)}


def test_embeddings_of_two_models_are_not_compared(tmp_path):
    rows, _, _ = made(4)
    marks = [{"model": "b32", "model_fingerprint": mark} for mark in ("aa", "bb")]
    for column in (IMAGE, TEXT):
        shards = pack(tmp_path, rows, [2, 2], about={column: marks})
        with pytest.raises(ShardError, match=f"{column} was made by model aa in shard 00000 and by bb in shard 00001"):
            run_barrier(CompareInBatches(), shards, tmp_path)
    shards = pack(tmp_path, rows, [2, 2], about={IMAGE: marks[:1] * 2, TEXT: marks[:1] * 2})
    run_barrier(CompareInBatches(), shards, tmp_path)
    assert all(shard.provenance(SCORE) == marks[0] for shard in handles(tmp_path, 2))


def test_embeddings_that_do_not_go_together_are_named(tmp_path):
    rows, images, _ = made(4)
    short = embedded(images[:, :5])
    both = pack(tmp_path / "a", rows, [4])
    other = pack(tmp_path / "b", pairs(4, **{IMAGE: short, TEXT: short}), [0, 4])
    with pytest.raises(ShardError, match="shard 00001 has embeddings of 5 numbers, and 8 before"):
        run_barrier(CompareInBatches(), [both[0], other[1]], tmp_path)
    uneven = pack(tmp_path / "c", rows.set_column(rows.schema.get_field_index(TEXT), TEXT, short), [4])
    with pytest.raises(ShardError, match="shard 00000: embeddings of pictures have 8 numbers, and those of texts 5"):
        run_barrier(CompareInBatches(), uneven, tmp_path)
    none = pack(tmp_path / "d", pairs(1, **{IMAGE: [0.5], TEXT: [0.5]}), [1])
    with pytest.raises(ShardError, match="shard 00000: a column of double has no embeddings"):
        run_barrier(CompareInBatches(), none, tmp_path)
    assert not list(tmp_path.rglob("*.f16")) or not (tmp_path / "00000.neg_clip_loss_clip.parquet").exists()


def test_bounds_are_included_and_an_unknown_score_is_never_good(reasons):
    values = [-0.11, -0.1, -0.05, -0.04, None, float("nan")]
    found = reasons(NegClipLoss(min=-0.1, max=-0.05), clip_neg_clip_loss=values)
    assert found == [LOW, None, None, HIGH, UNKNOWN, UNKNOWN]


def test_the_best_of_all(reasons):
    ranks = {f"{SCORE}_rank": [0, 1, 2, 3, None], f"{SCORE}_above": [0, 1, 1, 3, None], f"{SCORE}_total": [4] * 5}
    values = {SCORE: [0, -0.1, -0.1, -0.2, None], **ranks}
    assert reasons(NegClipLoss(fraction=0.5), **values) == [None, None, OTHERS, OTHERS, UNKNOWN]
    assert reasons(NegClipLoss(fraction=0.5, ties="datacomp"), **values) == [None, None, None, OTHERS, UNKNOWN]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "no bound"),
        ({"min": 0, "temperature": 0}, "temperature = 0.0 is out of range"),
        ({"min": 0, "batch": 1}, "batch = 1 is out of range"),
        ({"min": 0, "rounds": 0}, "rounds = 0 is out of range"),
        ({"min": 0, "seed": -1}, "seed = -1 is out of range"),
        ({"min": 0, "seed": 2**40}, "is out of range"),
        ({"min": 0, "model": "L/14"}, "model = 'L/14'"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(ConfigError, match=words):
        build_filters({"neg_clip_loss": settings})


def test_the_model_that_is_named_must_be_there_with_its_embeddings():
    rule = {"neg_clip_loss": {"model": "l14", "fraction": 0.3}}
    for models, words in (
        ({}, r"\[filters.neg_clip_loss\] model = 'l14': the config has no \[models.l14\]; add that table$"),
        ({"b32": {}}, "or name another: b32"),
        ({"l14": {"kind": "matcher"}}, "is of kind 'matcher', and this needs kind = 'clip'"),
        ({"l14": {"embeddings": False}}, "needs its embeddings; write embeddings = true"),
    ):
        with pytest.raises(ConfigError, match=words):
            signal_steps(build_filters(rule), build_models(models), set())


def test_another_share_costs_a_decision_and_another_temperature_the_comparison(tmp_path):
    rows, _, _ = made(12)
    pack(tmp_path / "in", rows, [5, 7])

    def run(**settings):
        rules = (("neg_clip_loss", NegClipLoss(batch=6, rounds=2, **settings)),)
        given = (Given(str(tmp_path / "in")), ScoredBy(str(tmp_path / "in"), (IMAGE, TEXT)))
        return run_steps(tmp_path / "out", 2, (*given, *rules[0][1].steps(()), Select(rules)))

    first = run(fraction=0.5)
    assert [c.stage for c in first.commits][4:] == [
        "neg_clip_loss_clip",
        f"rank_{SCORE}",
        "select",
        "select",
    ]
    assert sum(commit.counts.get("kept", 0) for commit in first.commits) == 6
    assert [c.stage for c in run(fraction=0.25).commits] == ["select", "select"]
    assert len(run(fraction=0.25, temperature=0.02).commits) == 4
