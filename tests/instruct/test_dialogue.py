"""What a model answered, read as turns: what is sound, and each fault on both sides of its bound."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.caption.answers import Answer, AnswerStatus, Verdict, fault_name
from curate.instruct.dialogue import FAULTS, MOST_TURNS, ROLES, Bounds, dialogue_of
from curate.instruct.prompts import CONTEXT, EXAMPLE_ANSWERS, INSTRUCTIONS, KINDS, PROMPTS, filled_prompt

BOUNDS = Bounds(2, 8, 4_000)
TURNS = [
    ("user", "What stands on the table?"),
    ("assistant", "A blue vase with three tulips stands on it."),
    ("user", "Is anybody in the room?"),
    ("assistant", "No, the room is empty."),
]
SOUND = tuple(TURNS)


def said(*turns: tuple[Any, Any], **more: Any) -> str:
    return json.dumps([{"role": role, "text": text} | more for role, text in turns])


def answered(text: str, kind: str = "conversation", finish: str = "stop", bounds: Bounds = BOUNDS) -> Any:
    return dialogue_of(Answer(text, finish), kind, bounds, "What is here?", INSTRUCTIONS[kind].split(". ")[2])


@pytest.mark.parametrize(
    "text",
    [
        said(*TURNS),
        json.dumps([{"role": r, "text": f" {t}\n"} for r, t in TURNS], indent=2),
        f"```json\n{said(*TURNS)}\n```",
        f"```\n{said(*TURNS)}\n```",
        f"Here is the conversation:\n\n{said(*TURNS)}",
        f"Sure! Here you are: ```json\n{said(*TURNS)}\n```",
        f"<think>I see [a vase].</think>\n{said(*TURNS)}",
    ],
)
def test_turns_are_read(text: str) -> None:
    found = answered(text)
    assert (found.turns, found.fault, found.detail) == (SOUND, None, "")


Q, A = TURNS[:2]
FAULTY: list[tuple[str, str]] = [
    ("", "empty_text"),
    ("no JSON at all", "unparsable"),
    ("User: What?\nAssistant: This.", "unparsable"),
    (said(*TURNS)[:-1], "unparsable"),
    (said(*TURNS) + " I hope this helps!", "unparsable"),
    (f"One.\n{said(*TURNS)}", "unparsable"),
    (json.dumps({"turns": [{"role": "user", "text": "What?"}]}), "unparsable"),
    (json.dumps([["user", "What?"], ["assistant", "That."]]), "unparsable"),
    (said(Q, A, rating=3), "unparsable"),
    (said(Q, A, name="Ann"), "unparsable"),
    (json.dumps([{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}]), "unparsable"),
    (said(Q, ("assistant", 7)), "unparsable"),
    (said(Q, ("assistant", ["A vase."])), "unparsable"),
    ("[" * 3_000, "unparsable"),
    ("[NaN]", "unparsable"),
    (said(Q, Q), "roles_out_of_order"),
    (said(A, Q), "roles_out_of_order"),
    (said(*TURNS[:3]), "roles_out_of_order"),
    (said(("system", "Be kind."), A), "roles_out_of_order"),
    (said(("human", "What?"), ("gpt", "That.")), "roles_out_of_order"),
    (said(), "too_few_turns"),
    (said(*TURNS * 5), "too_many_turns"),
    (said(Q, ("assistant", "")), "empty_text"),
    (said(("user", " ?"), A), "empty_text"),
    (said(Q, ("assistant", "I'm sorry, but I can't see the picture.")), "refusal"),
    ("I'm sorry, but I can't help with that.", "refusal"),
    (said(Q, ("assistant", "A vase a vase a vase a vase")), "repetition_loop"),
    (said(Q, ("assistant", "Tulips.<|im_end|>")), "artefact"),
    (said(Q, ("assistant", "nul \x00 byte")), "bad_answer"),
    (said(Q, ("assistant", "half \ud83d")), "bad_answer"),
    ("<think>no end " + said(*TURNS), "bad_answer"),
    (said(Q, A, ("user", "And?"), ("assistant", "It is " + "x y z " * 3)), "repetition_loop"),
    (said(("user", INSTRUCTIONS["conversation"]), A), "prompt_echo"),
    (EXAMPLE_ANSWERS["conversation"][0], "example_echo"),
]


@pytest.mark.parametrize(("text", "fault"), FAULTY, ids=range(len(FAULTY)))
def test_faults(text: str, fault: str) -> None:
    found = answered(text)
    assert (found.fault, found.turns) == (fault, ())
    assert found.detail
    assert len(found.detail) < 200
    assert fault in FAULTS


def test_a_user_who_is_sorry_is_no_refusal() -> None:
    asked = "Sorry, I can't see the vase well. What is in it?"
    assert answered(said(("user", asked), A)).fault is None


@pytest.mark.parametrize(
    ("text", "of_notes"),
    [
        ("The caption says that a dog runs.", True),
        ("According to the captions, a dog runs.", True),
        ("Both captions name a dog.", True),
        ("As the second caption states, it is red.", True),
        ("The bounding boxes show it on the left.", True),
        ("It is at [0.12, 0.30].", True),
        ("The provided description mentions a dog.", True),
        ("The description does not tell.", True),
        ("Based on the information, it is noon.", True),
        ("Its colour is not specified.", True),
        ("The breed isn't mentioned.", True),
        ("It is a dog, as described in the text.", True),
        ("It is a dog, as stated above.", True),
        ("A dog runs over a meadow.", False),
        ("A man writes a caption for his photo album.", False),
        ("Boxes of fruit stand on the left.", False),
        ("The sign gives no description of the way.", False),
        ("The man takes notes at his desk.", False),
        ("There are 2, maybe 3 dogs.", False),
        ("Information boards stand by the path.", False),
        ("She did not notice the ball.", False),
    ],
)
def test_talk_of_notes_instead_of_the_picture(text: str, of_notes: bool) -> None:
    assert answered(said(Q, ("assistant", text))).fault == ("tells_of_notes" if of_notes else None)


@pytest.mark.parametrize(
    ("turns", "fault"), [(2, "too_few_turns"), (4, None), (6, None), (8, None), (10, "too_many_turns")]
)
def test_the_bounds_of_turns_are_included(turns: int, fault: str | None) -> None:
    text = said(*[(ROLES[n % 2], f"This is sentence {n} of them.") for n in range(turns)])
    assert answered(text, bounds=Bounds(4, 8, 4_000)).fault == fault


def test_more_turns_than_are_looked_at() -> None:
    text = said(*[(ROLES[n % 2], f"Sentence {n}.") for n in range(MOST_TURNS + 2)])
    assert answered(text, bounds=Bounds(2, 1_000, 20_000)).fault == "too_many_turns"


def test_the_longest_answer_is_included() -> None:
    text = said(*TURNS)
    assert answered(text, bounds=Bounds(2, 8, len(text))).fault is None
    assert answered(text, bounds=Bounds(2, 8, len(text) - 1)).fault == "bad_answer"


def test_a_cut_and_a_filter() -> None:
    assert answered(said(*TURNS), finish="length").fault == "truncated"
    assert answered(said(*TURNS), finish="content_filter").fault == "refusal"
    assert dialogue_of(Answer(said(*TURNS), "stop", "", True), "conversation", BOUNDS).fault == "refusal"


DETAIL = "A blue vase with three tulips stands on a round table. Behind it is a window."


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (DETAIL, None),
        (f"Here is the description: {DETAIL}", None),
        (said(*TURNS), "unparsable"),
        (f"```\n{DETAIL}\n```", "unparsable"),
        (f"{DETAIL} The caption does not say more.", "tells_of_notes"),
        ("I cannot describe this picture.", "refusal"),
        ("", "empty_text"),
        (EXAMPLE_ANSWERS["detail"][1], "example_echo"),
    ],
)
def test_a_description_answers_the_question_that_was_drawn(text: str, fault: str | None) -> None:
    found = answered(text, "detail")
    assert found.fault == fault
    assert found.turns == ((("user", "What is here?"), ("assistant", DETAIL)) if fault is None else ())


@given(st.text(max_size=60) | st.recursive(st.none() | st.text() | st.floats(), st.lists, max_leaves=6).map(json.dumps))
def test_no_answer_raises_and_turns_are_those_of_a_talk(text: str) -> None:
    for kind in KINDS:
        found = answered(text, kind)
        assert (found.fault is None) == bool(found.turns)
        assert [role for role, _ in found.turns] == [ROLES[n % 2] for n in range(len(found.turns))]


def test_why_there_is_no_answer() -> None:
    assert fault_name(Verdict(AnswerStatus.TIMEOUT, "", "no whole answer in time")) == "timeout"
    assert fault_name(Verdict(AnswerStatus.REFUSED)) == "refusal"
    assert fault_name(Verdict(AnswerStatus.BAD_ANSWER, "", "repetition_loop")) == "repetition_loop"
    assert fault_name(Verdict(AnswerStatus.BAD_ANSWER, "", "more than 9 characters")) == "bad_answer"


@pytest.mark.parametrize("kind", KINDS)
def test_the_worked_examples_are_such_as_are_asked_for(kind: str) -> None:
    for answer in EXAMPLE_ANSWERS[kind]:
        changed = re.sub(r"(?<=[.?])(?=[\"\n ]|$)", " Yes.", answer)
        found = dialogue_of(Answer(changed, "stop"), kind, Bounds(2, 2 if kind == "reasoning" else 8, 4_000), "What?")
        assert found.fault is None, found.detail
    assert PROMPTS[kind].count(CONTEXT) == 1


def test_what_looks_like_a_place_in_the_notes_stays_text() -> None:
    assert filled_prompt("a {context} b", "{context} {} \\1") == "a {context} {} \\1 b"
