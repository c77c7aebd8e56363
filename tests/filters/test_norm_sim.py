"""NormSim against sums over the target set written out, in any packing; a target set that does not fit is told."""

import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_shards import (
    SAMPLE,
    Given,
    ScoredBy,
    by_row,
    embedded,
    handles,
    pack,
    packings,
    pairs,
    run_steps,
    unit_rows,
)

import filters.norm_sim as norm_sim
from curate.config import build_filters
from curate.errors import ConfigError, ShardError
from curate.manifest import Attempt
from curate.models.settings import build_models
from curate.select import Select
from curate.signals import signal_steps
from curate.stage import Runtime
from filters.norm_sim import CompareWithTargets, NormSim

IMAGE = "clip_image_embedding"
LOW, HIGH, UNKNOWN = "unlike_targets", "too_like_targets", "targets_similarity_unknown"
TARGETS = unit_rows(23, 8, 9)


@pytest.fixture
def targets(tmp_path):
    np.save(tmp_path / "targets.npy", TARGETS)
    return str(tmp_path / "targets.npy")


def reference(rows: np.ndarray, targets: np.ndarray, p: str) -> np.ndarray:
    """The largest similarity, or the root of the sum of squares, in float64."""
    products = rows.astype(np.float64) @ targets.astype(np.float64).T
    return products.max(axis=1) if p == "inf" else np.sqrt((products**2).sum(axis=1))


def scored(step: CompareWithTargets, column: pa.Array) -> list[float | None]:
    answer = step.scores(column)
    assert answer.type == pa.float32()
    assert step.scores(pa.chunked_array([column.slice(0, 1), column.slice(1)])) == answer
    return answer.to_pylist()


@pytest.mark.parametrize("p", ["2", "inf"])
@pytest.mark.parametrize("block", [1, 4 * 8 * 5, 1 << 25])
def test_as_the_sum_over_all_targets(targets, monkeypatch, p, block):
    monkeypatch.setattr(norm_sim, "BLOCK_BYTES", block)
    norm_sim._products.cache_clear()
    rows = unit_rows(40, 8, 1)
    found = scored(CompareWithTargets(targets, p=p), embedded(rows, missing=[3, 39]))
    expected = reference(rows.astype(np.float16), TARGETS, p)
    assert [found.pop(39), found.pop(3)] == [None, None]
    np.testing.assert_allclose(found, np.delete(expected, [3, 39]), rtol=1e-6, atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.sampled_from(["2", "inf"]))
@settings(deadline=None, max_examples=25)
def test_any_rows_and_any_targets(tmp_path_factory, seed, count, others, p):
    path = tmp_path_factory.mktemp("targets") / "t.npy"
    random = np.random.default_rng(seed)
    rows, wanted = random.normal(size=(count, 3)).astype(np.float16), random.normal(size=(others, 3))
    np.save(path, wanted.astype(np.float16))
    found = scored(CompareWithTargets(str(path), p=p), embedded(rows.astype(np.float32)))
    expected = reference(rows, wanted.astype(np.float16), p)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("p", ["2", "inf"])
def test_what_is_not_finite_has_no_score_and_zeros_have_one(targets, p):
    rows = unit_rows(5, 8, 1)
    rows[0, 3], rows[1, 0], rows[2], rows[3] = np.nan, np.inf, 0, np.float32(3e38) * np.sign(TARGETS[0])
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), 8)
    found = scored(CompareWithTargets(targets, p=p), column)
    assert found[:4] == [None, None, 0, None]
    assert found[4] == pytest.approx(reference(rows[4:], TARGETS, p)[0], rel=1e-6)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_targets_of_any_width_and_order(tmp_path, kind, order):
    np.save(tmp_path / "t.npy", np.asarray(TARGETS.astype(kind), order=order))
    rows = unit_rows(5, 8, 1).astype(np.float16)
    for p in ("2", "inf"):
        found = scored(CompareWithTargets(str(tmp_path / "t.npy"), p=p), embedded(rows))
        np.testing.assert_allclose(found, reference(rows, TARGETS.astype(kind), p), rtol=1e-6, atol=1e-6)


def test_targets_that_were_exchanged_are_read_anew_and_are_another_identity(targets):
    rows, seen, marks = embedded(unit_rows(3, 8, 1)), [], []
    for scale in (1, 2):
        np.save(targets, TARGETS * np.float32(scale))
        os.utime(targets, ns=(scale, scale))  # a file system's clock may stand still for 10 ms
        seen.append([scored(CompareWithTargets(targets, p=p), rows) for p in ("2", "inf")])
        marks.append(CompareWithTargets(targets).identity())
    assert np.allclose(np.array(seen[0]) * 2, seen[1])
    assert marks[0] != marks[1]
    assert CompareWithTargets(targets, p="2").identity() != marks[1] != CompareWithTargets(targets, "b32").identity()


@pytest.mark.parametrize("p", ["2", "inf"])
def test_any_packing_gives_a_row_the_same_score(tmp_path, targets, p):
    count = 50
    rows, found = pairs(count, **{IMAGE: embedded(unit_rows(count, 8, 1), missing=[7])}), []
    for number, (sizes, order) in enumerate(packings(count)):
        folder = tmp_path / str(number)
        for shard in pack(folder, rows, sizes, order):
            attempt = Attempt(shard.storage, "norm_sim", shard.id, "f" * 16)
            CompareWithTargets(targets, p=p).run(shard, attempt, Runtime())
            attempt.commit()
        found.append({uid: score for uid, (score,) in by_row(handles(folder, len(sizes)), ["norm_sim"]).items()})
    assert found[0] == found[1] == found[2]
    assert {uid for uid, score in found[0].items() if score is None} == {rows["uid"][7].as_py()}


@pytest.mark.parametrize("p", ["2", "inf"])
def test_a_row_scores_the_same_whatever_stands_beside_it(tmp_path, p):
    """To the last bit, which a product of matrices does not give: one row in 50 came out another."""
    np.save(tmp_path / "t.npy", unit_rows(301, 96, 3).astype(np.float16))
    scorer, rows = CompareWithTargets(str(tmp_path / "t.npy"), p=p), unit_rows(500, 96, 1)
    whole = scored(scorer, embedded(rows))
    random = np.random.default_rng(0)
    for count in (1, 2, 3, 17, 100, 499):
        some = random.permutation(500)[:count]
        assert scored(scorer, embedded(rows[some])) == [whole[row] for row in some]


BAD = {
    "text": (lambda p: p.write_text("no array"), "is no readable .npy"),
    "cut": (lambda p: (np.save(p, TARGETS), p.write_bytes(p.read_bytes()[:-9])), "is no readable .npy"),
    "empty": (lambda p: p.write_bytes(b""), "is no readable .npy"),
    "folder": (lambda p: p.mkdir(), "cannot be read|is no readable .npy"),
    "missing": (lambda p: None, "targets.npy' cannot be read|is no readable .npy"),
    "objects": (lambda p: np.save(p, np.array([{}]), allow_pickle=True), "is no readable .npy"),
    "archive": (lambda p: (np.savez(f"{p}.npz", a=TARGETS), p.with_name(p.name + ".npz").rename(p)), "is an archive"),
    "flat": (lambda p: np.save(p, TARGETS[0]), r"has the shape \(8,\)"),
    "deep": (lambda p: np.save(p, TARGETS[None]), r"has the shape \(1, 23, 8\)"),
    "none": (lambda p: np.save(p, TARGETS[:0]), r"has the shape \(0, 8\)"),
    "words": (lambda p: np.save(p, np.array([["a", "b"]])), "holds <U1"),
    "whole": (lambda p: np.save(p, np.ones((2, 8), int)), "holds int64"),
    "not finite": (lambda p: np.save(p, np.full((2, 8), np.nan)), "values that are not finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_targets_that_will_not_do_are_told_before_the_run(tmp_path, name):
    make, words = BAD[name]
    make(tmp_path / "targets.npy")
    step = CompareWithTargets(str(tmp_path / "targets.npy"))
    with pytest.raises(ConfigError, match=words) as error:
        step.require(Runtime())
    assert str(error.value).startswith("[filters.norm_sim] targets = ")


def test_targets_of_another_model_are_told_with_the_first_pictures_too(targets):
    with pytest.raises(ConfigError, match="embeddings of 8 numbers, and clip_image_embedding has 5; take those of the"):
        scored(CompareWithTargets(targets), embedded(unit_rows(1, 5)))


def test_the_length_of_the_models_embeddings_is_known_before_the_run(targets):
    rules, models = build_filters({"norm_sim": {"targets": targets, "fraction": 0.2}}), build_models({"clip": {}})
    with pytest.raises(ConfigError, match=r"of 8 numbers, and \[models.clip\] has 96"):
        signal_steps(rules, models, set())
    np.save(targets, unit_rows(3, 96))
    steps = signal_steps(rules, models, set())
    steps[1].require(Runtime())
    assert [step.label for step in steps] == ["score_clip", "norm_sim", "rank_norm_sim"]
    Path(targets).unlink()
    assert signal_steps(rules, models, set()) == steps, "a plan needs no file"
    with pytest.raises(ConfigError, match=r"needs its embeddings; write embeddings = true in \[models.clip\]"):
        rules["norm_sim"].scorers(build_models({"clip": {"embeddings": False}}))
    with pytest.raises(ConfigError, match=re.escape("the config has no [models.clip]; add that table")):
        rules["norm_sim"].scorers({})


def ran(folder, rows, targets, about=None, **settings):
    """The shard with NormSim's column file, what was counted, and how often the targets were read."""
    (shard,) = pack(folder, rows, [len(rows)], about=about)
    attempt = Attempt(shard.storage, "norm_sim", shard.id, "f" * 16)
    passes, blocks = [], norm_sim._blocks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(norm_sim, "_blocks", lambda path: passes.append(path) or blocks(path))
        CompareWithTargets(targets, **settings).run(shard, attempt, Runtime())
    return handles(folder, 1)[0], attempt.commit().counts, len(passes)


def test_the_targets_are_read_once_a_shard_and_memory_is_bounded(tmp_path, targets, monkeypatch):
    count = 5_000
    rows = pairs(count, **{IMAGE: embedded(unit_rows(count, 8, 1), missing=[7])})
    whole, counts, passes = ran(tmp_path / "whole", rows, targets)
    assert (counts, passes) == ({"in": count, "compared": count - 1}, 1)
    monkeypatch.setattr(norm_sim, "MOST_ROWS", 1_999)
    parts, counts, passes = ran(tmp_path / "parts", rows, targets)
    assert (counts, passes) == ({"in": count, "compared": count - 1}, 3)
    assert parts.columns(["norm_sim"]).equals(whole.columns(["norm_sim"]))


def test_a_shard_without_rows_and_one_without_embeddings(tmp_path, targets):
    none, counts, passes = ran(tmp_path / "none", pairs(0, **{IMAGE: embedded(unit_rows(0, 8))}), targets)
    assert (none.columns(["norm_sim"]).num_rows, counts, passes) == (0, {"in": 0, "compared": 0}, 0)
    with pytest.raises(ShardError, match="shard 00000: clip_image_embedding: a column of float has no embeddings"):
        ran(tmp_path / "text", pairs(2, **{IMAGE: pa.array([1.0, 2.0], pa.float32())}), targets)


def test_the_column_says_which_model_and_which_targets_made_it(tmp_path, targets):
    rows = pairs(3, **{IMAGE: embedded(unit_rows(3, 8, 1))})

    def told(name, model="aa", **settings):
        about = {IMAGE: [{"model": "B/32", "model_fingerprint": model}]}
        return ran(tmp_path / name, rows, targets, about, **settings)[0].provenance("norm_sim")

    first = told("a")
    assert (first["model"], first["targets"]) == ("B/32", "targets.npy")
    others = [told("b", model="bb"), told("p", p="2")]
    assert told("again") == first
    np.save(targets, TARGETS[:3])
    marks = {about["model_fingerprint"] for about in (first, *others, told("c"))}
    assert len(marks) == 4


def test_bounds_are_included_and_an_unknown_score_is_never_good(reasons):
    values = [0.19, 0.2, 0.9, 0.91, None, float("nan")]
    found = reasons(NormSim(targets="t.npy", min=0.2, max=0.9), norm_sim=values)
    assert found == [LOW, None, None, HIGH, UNKNOWN, UNKNOWN]


def test_the_nearest_among_those_left(reasons):
    rule = NormSim(targets="t.npy", fraction=0.5, among="earlier")
    places = {"norm_sim_left_rank": [0, 1, 2, None], "norm_sim_left_above": [0, 1, 2, None]}
    found = reasons(rule, norm_sim=[0.9, 0.8, 0.7, 0.95], norm_sim_left_total=[4] * 4, **places)
    assert found == [None, None, "targets_not_among_nearest", None], "what others drop gets no reason here"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"min": 0.2}, "needs a value for 'targets'"),
        ({"targets": "t.npy"}, "no bound"),
        ({"targets": "t.npy", "min": 0.2, "p": "1"}, "p = '1'"),
        ({"targets": "t.npy", "min": 0.2, "p": 2}, "p = 2"),
        ({"targets": "t.npy", "min": 0.2, "model": "B/32"}, "model = 'B/32'"),
    ],
)
def test_settings_out_of_range(table, words):
    with pytest.raises(ConfigError, match=words):
        build_filters({"norm_sim": table})


def test_the_papers_recipe_keeps_a_share_of_the_whole_among_the_best_by_another(tmp_path):
    """The best 30 % by negCLIPLoss, then by NormSim down to 20 % of the whole: A.9."""
    count = 40
    images, texts = unit_rows(count, 8, 1), unit_rows(count, 8, 2)
    np.save(tmp_path / "t.npy", TARGETS)
    rows = pairs(count, **{IMAGE: embedded(images), "clip_text_embedding": embedded(texts)})
    pack(tmp_path / "in", rows, [15, 25])
    rules = build_filters(
        {
            "neg_clip_loss": {"fraction": 0.3, "batch": 16, "rounds": 3},
            "norm_sim": {"targets": str(tmp_path / "t.npy"), "fraction": 0.2, "among": "earlier"},
        }
    )
    given = Given(str(tmp_path / "in")), ScoredBy(str(tmp_path / "in"), (IMAGE, "clip_text_embedding"))
    first, last = rules.values()
    steps = [*first.steps(()), *last.steps(tuple(rules.items())[:1])]
    run_steps(tmp_path / "out", 2, [*given, *steps, Select(tuple(rules.items()))])
    found = by_row(handles(tmp_path / "out", 2), ["clip_neg_clip_loss", "norm_sim", "keep", "drop_reason"])
    best = sorted(found, key=lambda uid: -found[uid][0])[:12]
    kept = sorted(best, key=lambda uid: -found[uid][1])[:8]
    assert {uid for uid, row in found.items() if row[2]} == set(kept)
    assert {row[3] for uid, row in found.items() if uid not in best} == {"neg_clip_loss_not_among_best"}
    assert {found[uid][3] for uid in set(best) - set(kept)} == {"targets_not_among_nearest"}
    assert set(SAMPLE) <= set(handles(tmp_path / "out", 2)[0].column_files)
