"""SIEVE's score by a double of the encoder and by a tiny one, and the bounds on it."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_shards import Given, ScoredBy, by_row, handles, pack, packings, pairs, run_barrier, run_steps
from text_encoder_files import write_encoder

from curate.config import build_filters
from curate.errors import ConfigError, ShardError
from curate.filter import Batch
from curate.models.settings import build_models
from curate.select import Select
from curate.signals import signal_steps
from filters import sieve
from filters.sieve import CompareCaptions, FuseWithClip, Sieve, best_of, without_medium


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a photo of a dog", "a dog"),
        ("An Image Of a dog", "a dog"),
        ("stock photo - dog", "- dog"),
        ("dog, photo stock", "dog,"),
        ("a photo, an image", ","),
        ("photo image dog", "dog"),
        ("a photograph of images", "a photograph of images"),
        ("  a   dog ", "a dog"),
        ("a photo", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_medium_is_taken_out(text, left):
    assert without_medium(text) == left


class Double:
    """Embeds a text as a direction: its number of words, of a quarter turn; "nan" as no number."""

    fingerprint = "double"

    def __init__(self):
        self.asked = []

    def embed(self, texts):
        self.asked.append(list(texts))
        angles = np.array([np.nan if text == "nan" else len(text.split()) * np.pi / 8 for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.fixture
def double(monkeypatch):
    double = Double()
    monkeypatch.setattr(sieve, "open_text_encoder", lambda spec: double)
    monkeypatch.setattr(sieve, "text_encoder_fingerprint", lambda spec: f"{spec}@{double.fingerprint}")
    return double


def scored(captions, made, encoder="x", kind=None):
    table = pa.table(
        {
            "caption": pa.array(captions, pa.string()),
            "synthetic_captions": pa.array(made, kind or pa.list_(pa.string())),
        }
    )
    (column,) = CompareCaptions(encoder).score(Batch(table)).values()
    assert column.type == pa.float32()
    return column.to_pylist()


def test_the_score_is_the_highest_cosine(double):
    captions = ["a b", "a photo of a b", "a b", None, "", "a b", "a b", "a photo", "a b"]
    made = [["a", "c d e f"], ["an image of x y", "c"], ["c d"], ["c"], ["c"], None, [], ["c"], [None, "", "photo"]]
    cosine = np.cos(np.pi / 8)
    expected = [cosine, 1, 1, None, None, None, None, None, None]
    assert scored(captions, made) == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert double.asked == [["a b", "a", "c d e f", "a b", "x y", "c", "a b", "c d"]]


def test_opposite_captions_score_minus_one(double):
    assert scored(["a b c d e f g h"], [["", " ".join("abcdefghabcdefgh")]]) == pytest.approx([-1], abs=1e-6)


def test_what_is_no_number_is_no_score(double):
    assert scored(["nan", "a", "a"], [["a"], ["nan", "a"], ["a"]]) == [None, None, pytest.approx(1)]


def test_without_any_pair_the_encoder_is_not_asked(double):
    assert scored([None, "a"], [["a"], None]) == [None, None]
    assert scored([], []) == []
    assert double.asked == []


def test_other_lists_of_strings_will_do(double):
    assert scored(["a"], [["b"]], kind=pa.large_list(pa.large_string())) == pytest.approx([1])


@settings(deadline=None)
@given(st.lists(st.integers(2, 5), min_size=1, max_size=6), st.integers(0, 99))
def test_groups_are_kept_apart(sizes, seed):
    rows = np.random.default_rng(seed).normal(size=(sum(sizes), 3)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    expected = [max(float(part[0] @ other) for other in part[1:]) for part in parts]
    np.testing.assert_allclose(best_of(rows, sizes), expected, atol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_cosine_is_never_beyond_1(sign):
    assert best_of(np.array([[1.0001], [sign * 1.0001]], np.float32), [2]).tolist() == [sign]


def test_by_a_real_encoder(tmp_path):
    encoder = str(write_encoder(tmp_path))
    CompareCaptions(encoder).require()
    found = scored(["a dog on the mat", "a dog on the mat"], [["a photo of a dog on the mat"], ["cat"]], encoder)
    assert found[0] == pytest.approx(1, abs=1e-6)
    assert -1 <= found[1] < 0.999
    assert CompareCaptions(encoder).provenance()["encoder_fingerprint"] in CompareCaptions(encoder).identity().values()


def test_the_identity_has_the_encoders_fingerprint_and_not_its_place(double):
    assert CompareCaptions("x").identity()["encoder"] == "x@double"
    assert Sieve(min=0, encoder="x").identity() == Sieve(min=0, encoder="y").identity()
    assert Sieve(min=0, encoder="x").scorer() == CompareCaptions("x")


@pytest.mark.parametrize(
    ("similarity", "reason"),
    [
        (0.3, None),
        (0.29, "unlike_synthetic_captions"),
        (0.9, None),
        (0.91, "too_like_synthetic_captions"),
        (float("nan"), "synthetic_captions_similarity_unknown"),
        (None, "synthetic_captions_similarity_unknown"),
    ],
)
def test_both_bounds_are_included(reasons, similarity, reason):
    assert reasons(Sieve(min=0.3, max=0.9), sieve_similarity=[similarity]) == [reason]


def test_the_best_fifth_is_ranked_over_all_shards():
    rule = Sieve(fraction=0.2)
    assert rule.columns[0] == "sieve_similarity"
    assert [step.label for step in rule.steps(())] == ["rank_sieve_similarity"]


def test_a_bound_is_needed():
    with pytest.raises(ValueError, match="has no bound"):
        Sieve()


# fusion with CLIPScore

OWN = [0.9, 0.1, 0.5, 0.5, None, 0.7, np.nan, -0.3, 0.2]
CLIP = [0.3, 0.2, 0.25, 0.1, 0.4, None, 0.35, np.inf, 0.2]


def fused_pool(own=OWN, clip=CLIP):
    columns = {"sieve_similarity": pa.array(own, pa.float32()), "clip_similarity": pa.array(clip, pa.float32())}
    return pairs(len(own), **columns)


def run_fused(folder, rows, packing, weight=0.5, how="min_max"):
    """`sieve_score` by uid, after the ranks where they are asked for."""
    pack(folder, rows, *packing)
    rule = Sieve(min=0, fusion=how, weight=weight)
    for step in rule.steps(()):
        run_barrier(step, handles(folder, len(packing[0])), folder)
    return {uid: score for uid, (score,) in by_row(handles(folder, len(packing[0])), ["sieve_score"]).items()}


def by_hand(own, clip, how, weight):
    """The mean of both in 0 to 1, None for what has not both."""
    values = np.array([own, clip], float).astype(np.float32).astype(float)
    both = np.isfinite(values).all(axis=0)
    if how == "min_max":
        low, high = values[:, both].min(axis=1), values[:, both].max(axis=1)
        scaled = [(row - a) / (b - a or 1) for row, a, b in zip(values, low, high, strict=True)]
    else:
        numbers = [row[~np.isnan(row)] for row in values]
        scaled = [
            1 - (known[None] > row[:, None]).sum(1) / len(known) for row, known in zip(values, numbers, strict=True)
        ]
    found = weight * scaled[0] + (1 - weight) * scaled[1]
    return [score if has else None for score, has in zip(found.tolist(), both.tolist(), strict=True)]


@pytest.mark.parametrize("how", ["min_max", "rank"])
@pytest.mark.parametrize("weight", [0.2, 1.0])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_fused_score_is_the_mean_of_both_in_any_packing(tmp_path, how, weight):
    rows = fused_pool()
    expected = dict(zip(rows["uid"].to_pylist(), by_hand(OWN, CLIP, how, weight), strict=True))
    found = [run_fused(tmp_path / str(n), rows, p, weight, how) for n, p in enumerate(packings(len(rows)))]
    assert found[0] == found[1] == found[2]
    assert found[0].keys() == expected.keys()
    for uid, score in expected.items():
        assert (found[0][uid] is None) == (score is None)
        assert score is None or found[0][uid] == pytest.approx(score, abs=1e-6)
    assert sum(score is None for score in expected.values()) == 4


@pytest.mark.parametrize("how", ["min_max", "rank"])
@pytest.mark.parametrize(
    ("own", "clip"), [([], []), ([None], [0.3]), ([0.5], [0.3]), ([0.5, 0.5], [0.3, 0.3]), ([None, 0.4], [0.2, None])]
)
def test_pools_without_a_width(tmp_path, how, own, clip):
    found = list(run_fused(tmp_path, fused_pool(own, clip), ([len(own)], range(len(own))), how=how).values())
    alone = 0 if how == "min_max" else 1
    assert found == [None if None in pair else alone for pair in zip(own, clip, strict=True)]


def test_an_odd_row_moves_min_max_and_no_rank(tmp_path):
    own, clip = [0.1, 0.2, 0.3, 0.4], [0.2, 0.2, 0.3, 0.1]
    for how, moved in (("min_max", True), ("rank", False)):
        found = []
        for odd in (0.4, 0.9):
            rows = fused_pool([*own[:3], odd], clip)
            found.append(list(run_fused(tmp_path / f"{how}{odd}", rows, ([4], range(4)), how=how).values())[:3])
        assert (found[0] != found[1]) is moved


def test_scores_by_two_models_are_not_fused_and_the_column_tells_both(tmp_path):
    def told(name, *marks):
        about = {"sieve_similarity": [{"model_fingerprint": "s"}] * 2}
        about["clip_similarity"] = [{"model": "B/32", "model_fingerprint": mark} for mark in marks]
        shards = pack(tmp_path / name, fused_pool(), [4, 5], about=about)
        run_barrier(FuseWithClip("clip", "min_max", 0.5), shards, tmp_path / name)
        return handles(tmp_path / name, 1)[0].provenance("sieve_score")

    first = told("one", "aa", "aa")
    assert (first["clip_model"], first["clip_model_fingerprint"]) == ("B/32", "aa")
    assert first["model_fingerprint"] != told("other", "bb", "bb")["model_fingerprint"]
    with pytest.raises(
        ShardError, match="clip_similarity was made by model aa in shard 00000 and by bb in shard 00001"
    ):
        told("two", "aa", "bb")


def test_the_papers_rule_keeps_the_best_fifth_of_the_fused(tmp_path):
    random = np.random.default_rng(0)
    own, clip = random.uniform(-1, 1, 50).tolist(), random.uniform(0, 0.4, 50).tolist()
    rows = fused_pool(own, clip)
    pack(tmp_path / "in", rows, [20, 30])
    rules = build_filters({"sieve": {"fusion": "min_max", "fraction": 0.2}})
    given = Given(str(tmp_path / "in")), ScoredBy(str(tmp_path / "in"), ("sieve_similarity", "clip_similarity"))
    run_steps(tmp_path / "out", 2, [*given, *rules["sieve"].steps(()), Select(tuple(rules.items()))])
    kept = {uid for uid, (keep,) in by_row(handles(tmp_path / "out", 2), ["keep"]).items() if keep}
    expected = np.argsort(-np.array(by_hand(own, clip, "min_max", 0.5)))[:10]
    assert kept == {rows["uid"][int(row)].as_py() for row in expected}


def test_which_steps_fusion_asks_for(double):
    models = build_models({"l14": {"device": "cpu"}})
    table = {"model": "l14", "encoder": "x", "fraction": 0.2}
    fused = {how: build_filters({"sieve": {**table, "fusion": how}}) for how in ("none", "min_max", "rank")}
    labels = {how: [step.label for step in signal_steps(rules, models, set())] for how, rules in fused.items()}
    assert labels["none"] == ["score_l14", "score_sieve", "rank_sieve_similarity"]
    assert labels["min_max"] == ["score_l14", "score_sieve", "sieve_score", "rank_sieve_score"]
    ranks = ["rank_l14_similarity", "rank_sieve_similarity"]
    assert sorted(labels["rank"][2:4]) == ranks
    assert labels["rank"][4:] == ["sieve_score", "rank_sieve_score"]
    assert fused["rank"]["sieve"].columns[0] == "sieve_score"
    with pytest.raises(ConfigError, match=r"the config has no \[models.clip\]"):
        signal_steps(build_filters({"sieve": {"fusion": "rank", "min": 0.5}}), models, set())
    both = build_filters({"sieve": {**table, "fusion": "rank"}, "sieve-b": {**table, "fusion": "min_max"}})
    with pytest.raises(ConfigError, match="ask for 'sieve_score' in two ways"):
        signal_steps(both, models, set())


@pytest.mark.parametrize(
    ("settings", "words"), [({"weight": 1.1}, "weight = 1.1"), ({"weight": float("nan")}, "weight = nan"),
                            ({"model": "B/32"}, "model = 'B/32'")]
)  # fmt: skip
def test_bad_settings_of_a_fusion(settings, words):
    with pytest.raises(ValueError, match=words):
        Sieve(min=0.5, fusion="rank", **settings)
