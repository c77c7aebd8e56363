"""Rules that judge texts: tables on both sides of each bound, against a loop in Python, and columns that do not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from caption_tables import KINDS, caption_table, plain
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.caption.rule import Rule
from curate.caption.rules.cascade_rank import CascadeRank
from curate.caption.rules.classifier import Classifier
from curate.caption.rules.itm_threshold import ItmThreshold
from curate.caption.rules.raw_else_synthetic import RawElseSynthetic
from curate.caption.rules.topk_rank import TopkRank
from curate.errors import ShardError

BLIP = ItmThreshold("synthetic", "itm")
NO_WEB, NO_SYNTHETIC = "web_text_does_not_match", "synthetic_text_does_not_match"


def choose(rule: Rule, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    """The choice, the same for the table in one piece and in several, and with a neighbour or alone."""
    table = caption_table(rows).select(dict.fromkeys(("key", *rule.reads)))
    found = plain(rule.choose(table))
    halves = [plain(rule.choose(table.slice(n, 1)))[0] for n in range(len(table))]
    assert halves == found
    assert plain(rule.choose(pa.concat_tables([table.slice(0, 1), table.slice(1)]))) == found
    assert plain(rule.choose(table.slice(0, 0))) == []
    for row in found:
        assert abs(sum(row["weights"]) - bool(row["texts"])) < 1e-4
    return found


def judged(caption: str | None, web: float | None, texts: Any, scores: Any, **more: Any) -> dict[str, Any]:
    return {
        "caption": caption,
        "itm_probability": web,
        "synthetic_captions": texts,
        "itm_synthetic_probability": scores,
        **more,
    }


def test_blip_judges_both_texts_apart_and_includes_its_bound() -> None:
    low = math.nextafter(0.5, 0)
    both, one, other, none = choose(
        BLIP,
        judged("web", 0.5, ["made"], [0.5]),
        judged("web", 0.6, ["made"], [0.49999]),
        judged("web", float(np.float32(low - 1e-7)), ["made"], [1.0]),
        judged("web", 0.0, ["made"], [0.0]),
    )
    assert (both["texts"], both["origins"]) == (["web", "made"], ["web", "synthetic"])
    assert (both["scores"], both["weights"]) == ([0.5, 0.5], [0.5, 0.5])
    assert (both["why_web"], both["why"]) == (None, {"synthetic": [None]})
    assert (one["texts"], one["weights"], one["why"]) == (["web"], [1.0], {"synthetic": [NO_SYNTHETIC]})
    assert (other["texts"], other["why_web"]) == (["made"], NO_WEB)
    assert (none["texts"], none["scores"], none["weights"]) == ([], [], [])
    assert (none["why_web"], none["why"]["synthetic"]) == (NO_WEB, [NO_SYNTHETIC])


def test_a_bound_is_taken_in_the_precision_of_the_column() -> None:
    rule = ItmThreshold("synthetic", "itm", min=0.7)  # which float32 has below .7
    (found,) = choose(rule, judged("web", 0.7, ["made"], [0.7]))
    assert found["texts"] == ["web", "made"]


def test_what_is_missing_is_never_good() -> None:
    found = choose(
        BLIP,
        judged(None, None, None, None),
        judged(None, 0.9, [], []),
        judged("", 0.9, [None, "", " \t\n", "made"], [0.9, 0.9, 0.9, None]),
        judged("web", None, ["a", "b"], None),
        judged("web", math.nan, ["a", "b"], [math.nan, 0.9]),
    )
    assert [row["texts"] for row in found] == [[], [], [], [], ["b"]]
    assert [row["why_web"] for row in found] == [None, None, "no_text", "text_not_judged", "text_not_judged"]
    unjudged = "text_not_judged"
    assert [row["why"]["synthetic"] for row in found] == [
        None,
        [],
        ["no_text", "no_text", "no_text", unjudged],
        [unjudged, unjudged],
        [unjudged, None],
    ]


def test_faults_are_reasons_unless_they_are_allowed() -> None:
    row = judged("web", 0.1, ["dai dai dai", "sound", "cut"], [0.9, 0.9, 0.1])
    row["synthetic_faults"] = ["repetition_loop", None, "truncated"]
    (strict,) = choose(BLIP, row)
    assert strict["texts"] == ["sound"]
    assert strict["why"]["synthetic"] == ["repetition_loop", None, "truncated"]
    (lenient,) = choose(ItmThreshold("synthetic", "itm", refuse_faulty=False), row)
    assert lenient["texts"] == ["dai dai dai", "sound"]
    assert lenient["why"]["synthetic"] == [None, None, NO_SYNTHETIC]
    assert "synthetic_faults" not in ItmThreshold("synthetic", "itm", refuse_faulty=False).reads
    row["synthetic_faults"] = None
    assert choose(BLIP, row)[0]["texts"] == ["dai dai dai", "sound"]


def test_a_text_is_kept_once() -> None:
    again = "repeated_text"
    one, other = choose(
        BLIP,
        judged("a dog", 0.9, ["a dog", "a cat", "a cat", "a dog ", "A cat"], [0.9] * 5),
        judged("a dog", 0.1, ["a dog", "a dog"], [0.9, 0.9]),
    )
    assert one["texts"] == ["a dog", "a cat", "a dog ", "A cat"]
    assert one["why"]["synthetic"] == [again, None, again, None, None]
    assert (other["texts"], other["origins"]) == (["a dog"], ["synthetic"])
    assert other["why"]["synthetic"] == [None, again]


def ranked(caption: str | None, web: float | None, texts: Any, scores: Any, big: Any = None) -> dict[str, Any]:
    return {
        "caption": caption,
        "clip_similarity": web,
        "synthetic_captions": texts,
        "clip_synthetic_similarity": scores,
        "big_synthetic_similarity": big,
    }


def test_blip2_ranks_the_webs_text_with_the_others() -> None:
    not_best = "text_not_among_best"
    rule = TopkRank("synthetic", "clip")
    found = choose(
        rule,
        ranked("web", 0.2, ["a", "b", "c"], [0.1, 0.3, 0.4]),
        ranked("web", 0.9, ["a", "b", "c"], [-0.1, 0.3, 0.4]),
        ranked("web", 0.3, ["a", "b", "c"], [0.3, 0.3, 0.3]),
        ranked("web", -0.9, None, None),
        ranked("c", 0.5, ["c", "c", "b"], [0.5, 0.5, 0.1]),
        ranked("web", None, ["a", "b", "c"], [None, math.nan, 0.0]),
    )
    assert [row["texts"] for row in found] == [["c", "b"], ["web", "c"], ["web", "a"], ["web"], ["c", "b"], ["c"]]
    assert found[0]["scores"] == [0.4, 0.3]
    assert found[0]["weights"] == [0.5, 0.5]
    assert (found[0]["why_web"], found[0]["why"]["synthetic"]) == (not_best, [not_best, None, None])
    assert found[4]["origins"] == ["web", "synthetic"]
    assert found[5]["why"]["synthetic"] == ["text_not_judged", "text_not_judged", None]
    alone = choose(TopkRank("synthetic", "clip", k=1, include_web=False), ranked("web", 0.9, ["a", "b"], [0.1, 0.2]))
    assert (alone[0]["texts"], alone[0]["why_web"]) == (["b"], "web_text_not_wanted")


def test_laion_coco_asks_the_second_scorer_about_the_best_of_the_first() -> None:
    rule = CascadeRank("synthetic", "clip", "big", keep_first=2)
    found = choose(
        rule,
        ranked("web", 0.9, ["a", "b", "c"], [0.5, 0.4, 0.3], [0.1, 0.2, 0.9]),
        ranked("web", 0.9, ["a", "a", "b"], [0.5, 0.5, 0.1], [0.1, 0.1, 0.9]),
        ranked(None, None, ["a", "b", "c"], [0.5, 0.4, 0.3], [None, None, 0.9]),
        ranked(None, None, ["a", "b", "c"], [0.5, None, 0.3], [0.1, 0.9, 0.2]),
    )
    assert [row["texts"] for row in found] == [["b"], ["b"], [], ["c"]]
    assert [row["scores"] for row in found] == [[0.2], [0.9], [], [0.2]]
    assert [row["why_web"] for row in found] == ["web_text_not_wanted"] * 2 + [None] * 2
    best, once, unjudged = "text_not_among_best", "repeated_text", "text_not_judged"
    assert [row["why"]["synthetic"] for row in found] == [
        [best, None, best],
        [best, once, None],
        [unjudged, unjudged, best],
        [best, unjudged, None],
    ]


@pytest.mark.parametrize("by", ["value", "fraction"])
def test_nguyen_takes_a_synthetic_text_where_the_webs_is_not_good_enough(by: str) -> None:
    rule = RawElseSynthetic("synthetic", "clip", **{"min": 0.28} if by == "value" else {"fraction": 0.5})
    bound = {} if by == "value" else {"clip_similarity_of_best_0_5": float(np.float32(0.28))}
    found = choose(
        rule,
        *(
            row | bound
            for row in (
                ranked("web", 0.28, ["a"], [0.9]),
                ranked("web", 0.2799, ["a"], [0.28]),
                ranked("web", 0.2799, ["a"], [0.2799]),
                ranked("web", None, ["a", "b", "c"], [0.3, 0.5, 0.5]),
                ranked(None, None, None, None),
                ranked("web", 0.9, ["a", "b"], [None, 0.9]),
            )
        ),
    )
    assert [row["texts"] for row in found] == [["web"], ["a"], [], ["b"], [], ["web"]]
    good, low, low_web = (
        "web_text_is_good_enough",
        "synthetic_text_not_similar_enough",
        "web_text_not_similar_enough",
    )
    assert [row["why_web"] for row in found] == [None, low_web, low_web, "text_not_judged", None, None]
    best = "text_not_among_best"
    assert [row["why"]["synthetic"] for row in found] == [[good], [None], [low], [best, None, best], None, [good, good]]


def test_nguyen_without_a_threshold_keeps_nothing() -> None:
    row = ranked("web", None, ["a"], [0.9]) | {"clip_similarity_of_best_0_3": None}
    (found,) = choose(RawElseSynthetic("synthetic", "clip"), row)
    assert (found["texts"], found["why"]["synthetic"]) == ([], ["synthetic_text_not_similar_enough"])


def test_a_classifier_judges_what_it_has_a_score_for() -> None:
    row = {"caption": "web", "good": 0.5, "synthetic_captions": ["a", "b"], "synthetic_good": [0.5, 0.4999999999]}
    (both,) = choose(Classifier("synthetic", "good", "synthetic_good"), row)
    assert (both["texts"], both["why"]["synthetic"]) == (["web", "a"], [None, "synthetic_text_scores_too_low"])
    (made,) = choose(Classifier("synthetic", synthetic_score="synthetic_good", min=0.1), row)
    assert (made["texts"], made["why_web"]) == (["a", "b"], "web_text_not_wanted")
    (web,) = choose(Classifier("synthetic", web_score="good", min=0.6), row)
    assert (web["texts"], web["why_web"]) == ([], "web_text_scores_too_low")
    assert web["why"]["synthetic"] == ["synthetic_text_not_wanted"] * 2


SCORE = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nan, -1.0]))
WORDS = st.sampled_from([None, "", " ", "a", "b", "cc", "a longer text", "a longer test", "ein längerer Text, 長い"])


@st.composite
def any_rows(draw: Callable[..., Any]) -> list[dict[str, Any]]:
    """Rows with anything missing, and scores that are as long as the captions or null."""
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        texts = draw(st.one_of(st.none(), st.lists(WORDS, max_size=5)))
        size = len(texts or ())

        def scores(size: int = size, texts: Any = texts) -> Any:
            return (
                draw(st.one_of(st.none(), st.lists(SCORE, min_size=size, max_size=size))) if texts is not None else None
            )

        row = ranked(draw(WORDS), draw(SCORE), texts, scores(), scores())
        row |= {"itm_probability": draw(SCORE), "itm_synthetic_probability": scores()}
        fault = st.sampled_from([None, None, "refusal"])
        row["synthetic_faults"] = None if texts is None else draw(st.lists(fault, min_size=size, max_size=size))
        rows.append(row)
    return rows


def sound(row: dict[str, Any], web: str | None, made: str) -> list[tuple[str, str, float]]:
    """Origin, text and score of what has all three, faulty ones left out."""
    found = []
    if row["caption"] and row["caption"].strip() and web is not None:
        found.append(("web", row["caption"], row[web]))
    texts = row["synthetic_captions"] or []
    own = zip(texts, row["synthetic_faults"] or [None] * len(texts), row[made] or [None] * len(texts), strict=True)
    found += [("synthetic", text, score) for text, fault, score in own if text and text.strip() and fault is None]
    return [(o, t, s) for o, t, s in found if s is not None and not math.isnan(s)]


def once(texts: Sequence[tuple[str, str, float]]) -> list[tuple[str, str, float]]:
    return [own for n, own in enumerate(texts) if own[1] not in [other[1] for other in texts[:n]]]


def best(texts: Sequence[tuple[str, str, float]], most: int) -> list[tuple[str, str, float]]:
    return sorted(texts, key=lambda own: -own[2])[:most]


def by_blip(row: dict[str, Any]) -> list[tuple[str, str, float]]:
    return once([own for own in sound(row, "itm_probability", "itm_synthetic_probability") if own[2] >= 0.5])


def by_blip2(row: dict[str, Any]) -> list[tuple[str, str, float]]:
    return best(once(sound(row, "clip_similarity", "clip_synthetic_similarity")), 2)


def by_nguyen(row: dict[str, Any]) -> list[tuple[str, str, float]]:
    good = [own for own in sound(row, "clip_similarity", "clip_synthetic_similarity") if own[2] >= 0.5]
    web = [own for own in good if own[0] == "web"]
    return web or best(good, 1)


def by_laion_coco(row: dict[str, Any]) -> list[tuple[str, str, float]]:
    texts = list(row["synthetic_captions"] or [])
    second = row["big_synthetic_similarity"] or [None] * len(texts)
    numbered = row | {"synthetic_captions": [t and f"{t}|{n}" if t and t.strip() else t for n, t in enumerate(texts)]}
    first = sound(numbered, None, "clip_synthetic_similarity")
    first = [o for n, o in enumerate(first) if o[1].split("|")[0] not in [p[1].split("|")[0] for p in first[:n]]]
    left = [(o, t.split("|")[0], second[int(t.split("|")[1])]) for o, t, _ in best(first, 2)]
    return best([own for own in left if own[2] is not None and not math.isnan(own[2])], 1)


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        (BLIP, by_blip),
        (TopkRank("synthetic", "clip"), by_blip2),
        (RawElseSynthetic("synthetic", "clip", min=0.5), by_nguyen),
        (CascadeRank("synthetic", "clip", "big", keep_first=2), by_laion_coco),
    ],
    ids=lambda value: getattr(type(value), "__name__", ""),
)
@given(rows=any_rows())
@settings(max_examples=30, deadline=None)
def test_a_rule_is_what_a_loop_would_be(rule: Rule, reference: Any, rows: list[dict[str, Any]]) -> None:
    found = choose(rule, *rows)
    for row, own in zip(rows, found, strict=True):
        expected = reference(row)
        assert list(zip(own["origins"], own["texts"], strict=True)) == [(o, t) for o, t, _ in expected]
        assert own["scores"] == [round(s, 5) for _, _, s in expected]
        assert (own["why_web"] is None) == ("web" in own["origins"] or row["caption"] is None)
        captions, why = row["synthetic_captions"], own["why"]["synthetic"]
        assert (why is None) == (captions is None)
        if captions is not None:
            kept = [text for text, reason in zip(captions, why, strict=True) if reason is None]
            assert sorted(kept) == sorted(t for o, t, _ in expected if o == "synthetic")


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("itm_synthetic_probability", [[0.5, 0.5, 0.5], [0.5]], "has 3 values for the 2 texts of synthetic_captions"),
        ("itm_synthetic_probability", [[0.5], [0.5]], "has 1 values for the 2 texts"),
        ("synthetic_faults", [[None, None], []], "row 'b'; let both be computed anew"),
        ("synthetic_captions", [["x", "y"], None], "has 1 values for the 0 texts"),
    ],
)
def test_lists_of_other_lengths_are_told_by_their_column(column: str, values: Any, words: str) -> None:
    rows = [judged("web", 0.9, ["x", "y"], [0.9, 0.9], key="a"), judged("web", 0.9, ["x"], [0.9], key="b")]
    for row, value in zip(rows, values, strict=True):
        row[column] = value
    with pytest.raises(ShardError, match=words):
        BLIP.choose(caption_table(rows))


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("itm_probability", pa.array(["high"]), "itm_probability is a column of string, and a rule needs numbers"),
        ("itm_probability", pa.array([[0.5]]), "needs one value a row, as in caption"),
        ("itm_synthetic_probability", pa.array([0.5]), "needs lists, as in synthetic_captions"),
        ("itm_synthetic_probability", pa.array([["x"]]), "needs numbers"),
        ("synthetic_captions", pa.array([[[1]]]), "needs text"),
        ("synthetic_captions", pa.array(["made"]), "needs one value a row, as in synthetic_captions"),
        ("caption", pa.array([["web"]]), "caption is a column of list"),
    ],
)
def test_columns_of_another_kind_are_told(column: str, values: pa.Array, words: str) -> None:
    table = caption_table([judged("web", 0.9, ["x"], [0.9])])
    table = table.set_column(table.schema.get_field_index(column), column, values)
    with pytest.raises(ShardError, match=words):
        BLIP.choose(table)


def test_columns_of_nulls_and_of_wider_kinds_are_read() -> None:
    table = caption_table([judged("web", 0.9, ["x", "y"], [0.9, 0.1])] * 2)
    wide = {
        "caption": pa.array(["web", None]).dictionary_encode(),
        "synthetic_captions": table["synthetic_captions"].combine_chunks().cast(pa.large_list(pa.large_string())),
        "itm_synthetic_probability": pa.array([[0.5, 0.1]] * 2, pa.list_(pa.float64(), 2)),
        "synthetic_faults": pa.nulls(2),
    }
    for name, values in wide.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    assert [row["texts"] for row in plain(BLIP.choose(table))] == [["web", "x"], ["x"]]
    for name in ("synthetic_captions", "itm_synthetic_probability"):
        table = table.set_column(table.schema.get_field_index(name), name, pa.nulls(2))
    assert [row["texts"] for row in plain(BLIP.choose(table))] == [["web"], []]


def test_bytes_that_are_no_utf8_become_characters() -> None:
    """Whoever reads a view decodes its texts; two that differ in such bytes alone are one."""
    raw = pa.array([b"half \xed\xa0\x80", b"\xff", b"\xfe"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    table = caption_table([judged("web", 0.9, ["x", "y"], [0.9, 0.9])])
    for name, values in (("caption", texts[:1]), ("synthetic_captions", pa.ListArray.from_arrays([0, 2], texts[1:]))):
        table = table.set_column(table.schema.get_field_index(name), name, values)
    (row,) = plain(BLIP.choose(table))
    assert row["texts"] == ["half \ufffd\ufffd\ufffd", "\ufffd"]
    assert row["why"] == {"synthetic": [None, "repeated_text"]}


def test_scores_finer_than_float32_are_still_told_apart() -> None:
    table = caption_table([ranked("web", 0.0, ["a", "b"], [0.5, 0.5]), ranked("web", 0.0, ["c", "d"], [0.5, 0.5])])
    fine = pa.array([[0.5, 0.5 + 1e-12], [0.5 + 2e-12, 0.5 + 1e-12]], pa.list_(pa.float64()))
    name = "clip_synthetic_similarity"
    table = table.set_column(table.schema.get_field_index(name), name, fine)
    found = plain(TopkRank("synthetic", "clip").choose(table))
    assert [row["texts"] for row in found] == [["b", "a"], ["c", "d"]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ItmThreshold("synthetic", "itm", min=1.01), r"min = 1.01 is out of range: from 0 to 1"),
        (lambda: ItmThreshold("synthetic", "itm", min=math.nan), "out of range"),
        (lambda: ItmThreshold("web", "itm"), "captioner = 'web' is what captions of the web are called"),
        (lambda: ItmThreshold("Syn", "itm"), "captioner = 'Syn'"),
        (lambda: TopkRank("synthetic", "clip", k=0), "k = 0 is out of range"),
        (lambda: CascadeRank("synthetic", "clip", "big", keep_first=2, keep=3), "keep = 3 is out of range"),
        (lambda: RawElseSynthetic("synthetic", "clip", fraction=0.3, min=0.2), "both given; keep one"),
        (lambda: RawElseSynthetic("synthetic", "clip", fraction=0.0), "fraction = 0.0 is out of range"),
        (lambda: Classifier("synthetic"), "judges by nothing"),
    ],
)
def test_settings_that_cannot_be(make: Callable[[], Rule], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_rule_reads_what_its_settings_name() -> None:
    assert set(BLIP.reads) <= set(KINDS)
    assert TopkRank("a", "b").reads == ("caption", "b_similarity", "a_captions", "b_a_similarity", "a_faults")
    assert RawElseSynthetic("a", "b").reads[-1] == "b_similarity_of_best_0_3"
    assert RawElseSynthetic("a", "b", min=0.1).reads == TopkRank("a", "b").reads
