"""SIEVE's score by a double of the encoder and by a tiny one, and the bounds on it."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_encoder_files import write_encoder

from curate.filter import Batch
from filters import sieve
from filters.sieve import CompareCaptions, Sieve, best_of, without_medium


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
