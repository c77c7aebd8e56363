"""A picture and its column of turns as a conversation, and back through the tar of a hand-over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from curate.errors import ShardError
from curate.handover.layout import example_of, kind_of, members_of
from curate.instruct.leave import conversation_of
from curate.sample import Picture, Sample, Text

TURNS = [{"role": "user", "text": "What?"}, {"role": "assistant", "text": "A cat."}]


def sample(turns: Any, **columns: Any) -> Sample:
    return Sample("0001", b"\xff\xd8\xff", "jpg", "a cat", {"v_conversation": turns, "v_kind": "detail", **columns})


@pytest.mark.parametrize("turns", [TURNS, json.dumps(TURNS)])
def test_the_picture_stands_first_in_the_first_turn(turns: Any) -> None:
    found = conversation_of(sample(turns, url="http://a.test/1"), "v")
    assert found is not None
    assert kind_of(found) == "chat"
    assert found.key == "0001"
    assert found.turns[0].parts == (Picture("http://a.test/1", b"\xff\xd8\xff", "jpg", "success"), Text("What?"))
    assert [(turn.role, len(turn.parts)) for turn in found.turns] == [("user", 2), ("assistant", 1)]
    assert found.columns == {"v_kind": "detail", "url": "http://a.test/1"}


def test_it_comes_back_from_a_tar() -> None:
    made = conversation_of(sample(TURNS), "v")
    assert made is not None
    members = dict(members_of(made, "chat"))
    assert example_of("chat", "0001", members) == made
    assert json.loads(members["json"])["messages"][0]["content"][0] == {"type": "image", "image": "0.jpg"}


def test_a_picture_without_one_has_none() -> None:
    assert conversation_of(sample(None), "v") is None


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ("no JSON", "no list of turns"),
        ("{}", "no list of turns"),
        ([1], "no list of turns"),
        ([TURNS[1]], "turn 0 is not a text of the user"),
        ([TURNS[0], TURNS[0]], "turn 1 is not a text of the assistant"),
        ([TURNS[0], {"role": "assistant", "text": None}], "turn 1 is not"),
        ([TURNS[0]], "ends with a question"),
    ],
)
def test_what_is_no_conversation(turns: Any, words: str) -> None:
    with pytest.raises(ShardError, match=words):
        conversation_of(sample(turns), "v")


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(ShardError, match=r"0001 has no column w_conversation; run \[instructions.w\]"):
        conversation_of(sample(TURNS), "w")
