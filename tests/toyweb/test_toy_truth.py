"""Precision and recall counted by hand, and the table of labels held to what exists."""

import pyarrow as pa
import pytest

from curate.fetch.status import FetchStatus
from curate.registry import filter_names
from curate.toyweb.defects import CLEAN, DEFECTS, shares
from curate.toyweb.truth import PICTURE_FILTERS, contamination, score, surprises

FILTERS = {"language": ["wrong_language", "language_unknown"], "image_size": ["side_too_short"], "blur": ["blurred"]}


def test_every_filter_named_is_a_filter():
    named = set().union(*(defect.must | defect.may for defect in DEFECTS.values())) | PICTURE_FILTERS
    assert named <= set(filter_names())


def test_labels_are_of_one_kind():
    for name, defect in DEFECTS.items():
        if defect.kind != "bad":
            assert not defect.must | defect.may, name
            assert defect.fetch == (FetchStatus.SUCCESS,), name
        if FetchStatus.SUCCESS not in defect.fetch:
            assert "fetch_status" in defect.must, name
    assert sum(shares({}).values()) == pytest.approx(1)
    assert shares({})[CLEAN] > 0.25


def test_score_counts():
    rows = [
        ("other_language", ["wrong_language"], "success"),
        ("other_language", None, "success"),
        ("symbols", ["language_unknown", "too_few_letters"], "success"),
        (CLEAN, ["wrong_language"], "success"),
        ("icon", ["side_too_short", "blurred"], "success"),
        ("icon", ["image_too_small"], "image_too_small"),
        ("icon", [], "success"),
        ("blurred", [], "success"),
    ]
    language, size, blur = score(*zip(*rows, strict=True), FILTERS)
    assert (language.filter, language.dropped, language.right, language.wanted, language.caught) == (
        "language",
        3,
        2,
        2,
        1,
    )
    assert (language.precision, language.recall) == (pytest.approx(2 / 3), 0.5)
    assert (size.dropped, size.right, size.wanted, size.caught) == (1, 1, 2, 1)  # the lost icon was never measured
    assert (blur.precision, blur.recall) == (1.0, 0.0)


def test_score_without_anything_to_count():
    (found,) = score([CLEAN], [[]], ["success"], {"blur": ["blurred"]})
    assert found.precision is None
    assert found.recall is None


def test_score_takes_arrow_columns():
    table = pa.table(
        {
            "toy_defect": ["other_language", CLEAN],
            "reasons": pa.array([["wrong_language"], None], pa.list_(pa.string())),
            "fetch_status": pa.array(["success", "success"]).dictionary_encode(),
        }
    )
    (found, *_) = score(table["toy_defect"], table["reasons"], table["fetch_status"], FILTERS)
    assert (found.precision, found.recall) == (1.0, 1.0)


def test_columns_of_different_length_are_an_error():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        score([CLEAN], [], ["success"], FILTERS)


def test_surprises_are_rows_that_ended_otherwise():
    defects = [CLEAN, CLEAN, "not_found", "gone", "trickle", "redirect"]
    statuses = ["success", "timeout", "not_found", "not_found", "timeout", None]
    assert surprises(defects, statuses) == [(1, CLEAN, "timeout"), (3, "gone", "not_found"), (5, "redirect", None)]


def test_contamination_counts_bad_rows_that_were_kept():
    found = contamination(["icon", "icon", CLEAN, "orientation", "watermark"], [True, False, True, True, True])
    assert found == {"icon": 1, "watermark": 1}
