"""Pieces of long captions: sentences and runs of words, drawn by what a row is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from caption_tables import caption_table, plain
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.caption.rules.sub_caption import SubCaption, sentences_of
from curate.errors import ShardError

LONG = "A dog runs. It is brown! Is it wet? The sea is behind it."
SENTENCES = ["A dog runs.", "It is brown!", "Is it wet?", "The sea is behind it."]


def row(number: int, caption: str | None = "web", texts: Any = (LONG,), **more: Any) -> dict[str, Any]:
    own = {"url": f"http://a.test/{number}", "sha256": f"{number:064x}", "caption": caption}
    return own | {"synthetic_captions": None if texts is None else list(texts)} | more


def choose(rule: SubCaption, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    return plain(rule.choose(caption_table(rows).select(dict.fromkeys(("key", *rule.reads)))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LONG, SENTENCES),
        ("no end", ["no end"]),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        ("Wait... what?! Yes.", ["Wait...", "what?!", "Yes."]),
        ("Dr. Smith met Mrs. J. Doe. They spoke.", ["Dr. Smith met Mrs. J. Doe.", "They spoke."]),
        ("It costs 3.50 or v1.2.", ["It costs 3.50 or v1.2."]),
        ("一只猫。它很黑！真的吗？", ["一只猫。", "它很黑！", "真的吗？"]),
        ("...", ["..."]),
        ("a dog runs. it jumps.", ["a dog runs.", "it jumps."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences_of(pa.array([text])).to_pylist() == [expected]
    assert sentences_of(pa.array(["x", text], pa.large_string())).to_pylist() == [["x"], expected]


@settings(deadline=None)
@given(st.lists(st.text("ab.!? 。\n\x1f", min_size=1, max_size=30), min_size=1))
def test_sentences_together_are_the_text(texts: list[str]) -> None:
    plain_texts = [" ".join(text.split()) or "." for text in texts]
    for text, parts in zip(plain_texts, sentences_of(pa.array(plain_texts)).to_pylist(), strict=True):
        assert parts
        assert "".join(parts).replace(" ", "") == text.replace(" ", "")


def test_one_sentence_beside_the_webs_text() -> None:
    found = choose(SubCaption("synthetic"), *(row(n) for n in range(200)))
    drawn = Counter(own["texts"][1] for own in found)
    assert sorted(drawn) == sorted(SENTENCES)
    assert all(25 <= times <= 75 for times in drawn.values()), drawn
    assert all(own["texts"][0] == "web" for own in found)
    assert found[0]["origins"] == ["web", "synthetic"]
    assert found[0]["weights"] == [0.5, 0.5]
    assert found[0]["scores"] == [None, None]
    assert (found[0]["why_web"], found[0]["why"]) == (None, {"synthetic": [None]})


def test_pieces_depend_on_the_row_and_the_seed_alone() -> None:
    rows = [row(n, texts=(LONG, "One. Two. Three.")) for n in range(20)]
    rule = SubCaption("synthetic", count=2)
    whole = choose(rule, *rows)
    assert choose(rule, *rows[::-1])[::-1] == whole
    assert [choose(rule, own)[0] for own in rows] == whole
    assert [own["texts"] for own in choose(rule, *({**own, "key": "other"} for own in rows))] == [
        own["texts"] for own in whole
    ]
    again = choose(SubCaption("synthetic", count=2, seed=1), *rows)
    assert again != whole
    assert len({tuple(own["texts"]) for own in whole}) > 5


def test_pieces_of_a_caption_are_different_ones() -> None:
    for own in choose(SubCaption("synthetic", count=3, include_web=False), *(row(n) for n in range(20))):
        assert len(set(own["texts"])) == 3
        assert set(own["texts"]) <= set(SENTENCES)
        assert own["why_web"] == "web_text_not_wanted"
    (all_of_it,) = choose(SubCaption("synthetic", count=9, include_web=False), row(0))
    assert sorted(all_of_it["texts"]) == sorted(SENTENCES)


def test_sentences_that_follow_one_another() -> None:
    runs = {" ".join(SENTENCES[n : n + 2]) for n in range(3)}
    found = choose(SubCaption("synthetic", sentences=2, include_web=False), *(row(n) for n in range(60)))
    assert {own["texts"][0] for own in found} == runs
    (short,) = choose(SubCaption("synthetic", sentences=9, include_web=False), row(0))
    assert short["texts"] == [LONG]


def test_runs_of_words() -> None:
    words = LONG.split()
    runs = {" ".join(words[n : n + 3]) for n in range(len(words) - 2)}
    rule = SubCaption("synthetic", words=3, include_web=False)
    found = choose(rule, *(row(n, texts=("\n" + LONG.replace(" ", " \u00a0"),)) for n in range(300)))
    assert {own["texts"][0] for own in found} == runs
    assert choose(rule, row(0, texts=["two words"]))[0]["texts"] == ["two words"]


def test_what_is_missing_faulty_or_repeated_gives_no_piece() -> None:
    rule = SubCaption("synthetic", count=5)
    found = choose(
        rule,
        row(0, None, None),
        row(1, None, [None, " ", ""]),
        row(2, "One.", ["One. One. Two."]),
        row(3, "web", ["One.", "One."]),
        row(4, None, ["Bad. Worse."], synthetic_faults=["refusal"]),
    )
    assert [sorted(own["texts"]) for own in found] == [[], [], ["One.", "Two."], ["One.", "web"], []]
    assert found[1]["why"] == {"synthetic": ["no_text"] * 3}
    assert found[3]["why"] == {"synthetic": [None, "repeated_text"]}
    assert found[4]["why"] == {"synthetic": ["refusal"]}
    assert choose(SubCaption("synthetic", refuse_faulty=False), row(4, None, ["Bad."], synthetic_faults=["refusal"]))


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.binary()])
def test_a_row_is_known_by_text(kind: pa.DataType) -> None:
    wrong = pa.array([[] if pa.types.is_list(kind) else b"\xff"], kind)
    for name in ("url", "sha256"):
        table = caption_table([{"caption": "c", "synthetic_captions": ["a"], "url": "u", "sha256": "s"}])
        table = table.set_column(table.schema.get_field_index(name), name, wrong)
        with pytest.raises(ShardError, match=f"{name} is a column of .*, and pieces are drawn by its text"):
            SubCaption("synthetic").choose(table)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="sentences = 1 and words = 3 are both given"):
        SubCaption("synthetic", sentences=1, words=3)
    with pytest.raises(ValueError, match="count = 0 is out of range"):
        SubCaption("synthetic", count=0)
    assert SubCaption("synthetic").reads == ("caption", "synthetic_captions", "synthetic_faults", "url", "sha256")
