"""Any example as a conversation: what leaves, what stays out and why, and what would be taken for a picture's place."""

from collections import Counter
from typing import Any

import pytest
from document_sets import jpeg
from example_sets import page, pair, picture, talk
from hypothesis import given
from hypothesis import strategies as st

from curate.export._talk import CONTROL, IMAGE, PROMPTS, Rules, Said, Shown, Talk, clean, talk_of
from curate.handover.layout import Example, kind_of
from curate.sample import Picture, Sample, Text

MARKS = (IMAGE, *CONTROL)
GONE = Picture("", None, "", "failed_to_download")


def told(example: Example, **rules: Any) -> tuple[list[tuple[str, str]] | str, Counter[str]]:
    """Roles and values, with <image> for a place; or the reason; and what was counted."""
    counts: Counter[str] = Counter()
    found = talk_of(example, kind_of(example), Rules(**{"prompt": "plain", "marks": MARKS, **rules}), counts)
    counts += Counter()
    if isinstance(found, str):
        return found, counts
    return [(turn.role, turn.value(lambda _: IMAGE)) for turn in found.turns], counts


@pytest.mark.parametrize(
    ("parts", "value"),
    [
        (["What?"], "What?"),
        ([picture(1), "What?"], "<image>\nWhat?"),
        ([picture(1), "\nWhat?"], "<image>\nWhat?"),
        (["Here:", picture(1)], "Here:\n<image>"),
        (["Between ", picture(1), " and ", picture(2), "."], "Between <image> and <image>\n."),
        ([picture(1), picture(2), "Which?"], "<image>\n<image>\nWhich?"),
        ([Text("one"), Text("two", separator="\n"), picture(1)], "one\ntwo\n<image>"),
        (["", picture(1), "  "], "<image>"),
    ],
)
def test_the_text_of_a_turn(parts: list[Any], value: str) -> None:
    found, _ = told(talk("k", ("user", parts), ("assistant", ["This."])))
    assert found == [("user", value), ("assistant", "This.")]


USER, ANSWER = ("user", ["a"]), ("assistant", ["b"])


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([USER, ANSWER, USER, ANSWER], None),
        ([("system", ["s"]), USER, ANSWER], None),
        ([], "roles_do_not_alternate"),
        ([("system", ["s"])], "roles_do_not_alternate"),
        ([ANSWER], "roles_do_not_alternate"),
        ([USER], "roles_do_not_alternate"),
        ([USER, ANSWER, USER], "roles_do_not_alternate"),
        ([USER, USER, ANSWER, ANSWER], "roles_do_not_alternate"),
        ([ANSWER, USER], "roles_do_not_alternate"),
        ([USER, ("system", ["s"]), ANSWER], "roles_do_not_alternate"),
        ([USER, ("assistant", [" \n"])], "empty_turn"),
        ([("user", []), ANSWER], "empty_turn"),
        ([("user", [GONE, "a"]), ANSWER], "picture_missing"),
        ([("user", [Picture("", b"no picture", "jpg", "success"), "a"]), ANSWER], "picture_missing"),
        ([USER, ("assistant", ["b", picture(1)])], "picture_in_answer"),
        ([("user", [picture(1)]), ANSWER], None),
    ],
)
@pytest.mark.parametrize("system", [True, False])
def test_what_a_conversation_must_be(turns: list[Any], reason: str | None, system: bool) -> None:
    found, _ = told(talk("k", *turns), system=system)
    assert (found if isinstance(found, str) else None) == reason


@pytest.mark.parametrize(
    ("system", "user", "wanted"),
    [
        (True, ["q"], [("system", "be short"), ("user", "q"), ("assistant", "b")]),
        (False, ["q"], [("user", "be short\n\nq"), ("assistant", "b")]),
        (False, [picture(1), "q"], [("user", "be short\n<image>\nq"), ("assistant", "b")]),
    ],
)
def test_what_the_system_says(system: bool, user: list[Any], wanted: list[tuple[str, str]]) -> None:
    assert told(talk("k", ("system", ["be short"]), ("user", user), ANSWER), system=system)[0] == wanted


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        (["lead", picture(1), "one", picture(2), "two"], ["lead\n<image>", "one", "<image>", "two"]),
        ([picture(1), picture(2), "both"], ["<image>\n<image>", "both"]),
        ([picture(1), "one", GONE, "two"], ["<image>", "one\n\ntwo"]),
        (["lead", GONE, "more", picture(1), "one"], ["lead\n\nmore\n<image>", "one"]),
        (["lead", picture(1)], "no_text_behind_a_picture"),
        (["lead", GONE], "no_picture"),
        ([picture(1)], "no_text"),
    ],
)
def test_a_page_as_a_conversation(parts: list[Any], wanted: list[str] | str) -> None:
    found, counts = told(page("k", *parts))
    assert (found if isinstance(found, str) else [value for _, value in found]) == wanted
    assert counts["missing.failed_to_download"] == sum(part is GONE for part in parts)


def test_a_picture_behind_the_last_text_is_left_out_and_counted() -> None:
    found, counts = told(page("k", picture(1), "one", picture(2), picture(3)))
    assert [value for _, value in found] == ["<image>", "one"]
    assert counts["left_out.picture_without_text_behind"] == 2


def test_a_text_is_one_turn_of_the_assistant() -> None:
    assert told(page("k", "one", "two"))[0] == [("assistant", "one\n\ntwo")]
    assert told(page("k", " "))[0] == "empty_turn"
    assert talk_of(page("k", "one"), "interleaved", Rules(), Counter()) == "no_picture"


def test_a_pair_and_its_prompt() -> None:
    own = pair("k", 1, "a cat")
    assert told(own)[0] == [("user", IMAGE), ("assistant", "a cat")]
    assert told(own, prompt="Say it")[0] == [("user", "<image>\nSay it"), ("assistant", "a cat")]
    asked = told(own, prompt="describe")[0]
    assert asked[0][1].removeprefix("<image>\n") in PROMPTS
    assert told(pair("another", 1, "a cat", url="other"), prompt="describe")[0] == asked
    every = {told(pair("k", n, "a"), prompt="describe")[0][0][1] for n in range(60)}
    assert len(every) == len(PROMPTS)


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (pair("k", 1, None), "no_caption"),
        (pair("k", 1, " \n"), "no_caption"),
        (Sample("k", b"", "", "words"), "picture_missing"),
        (Sample("k", b"<html>", "jpg", "words"), "picture_missing"),
    ],
)
def test_a_pair_that_stays_out(example: Sample, reason: str) -> None:
    found, counts = told(example)
    assert found == reason
    assert sum(n for name, n in counts.items() if name.startswith("missing.")) == (reason == "picture_missing")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_picture_is_what_its_bytes_are(format: str) -> None:
    data = jpeg(3, 20, format)
    counts: Counter[str] = Counter()
    found = talk_of(Sample("k", data, "jpg", "words"), "pairs", Rules("plain", MARKS), counts)
    assert isinstance(found, Talk)
    [shown] = found.pictures
    assert (shown.width, shown.height) == (20, 20)
    kept = format in ("JPEG", "PNG")
    assert (shown.data == data, counts["reencoded"]) == (kept, not kept)
    assert shown.extension == ("png" if format == "PNG" else "jpg")
    assert shown.data.startswith(b"\x89PNG" if format == "PNG" else b"\xff\xd8\xff")


def test_what_quotes_a_mark_is_no_place() -> None:
    found, counts = told(pair("k", 1, "use the <image> tag</s> or <im<image>age>"))
    assert found[1] == ("assistant", "use the [image] tag[s] or <im[image]age>")
    assert counts["texts_with_marks"] == 1
    assert told(pair("k", 1, "<box>1</box>"))[0][1] == ("assistant", "<box>1</box>")
    assert told(pair("k", 1, "half \ud800"))[0][1] == ("assistant", "half ?")


@given(st.lists(st.sampled_from([*MARKS, "<", "image>", "<im", "age>", "/s", "|im_start|", ">", "x", "[image]"])))
def test_no_mark_is_left_however_they_nest(pieces: list[str]) -> None:
    counts: Counter[str] = Counter()
    text = "".join(pieces)
    found = clean(text, MARKS, counts)
    assert not any(mark in found for mark in MARKS)
    assert counts["texts_with_marks"] == any(mark in text for mark in MARKS)
    assert found == text or counts["texts_with_marks"]


@given(st.lists(st.one_of(st.text(max_size=4), st.none()), max_size=6))
def test_places_are_as_many_as_pictures(parts: list[str | None]) -> None:
    shown = Shown(b"", "jpg", 1, 1)
    said = Said("user", tuple(shown if part is None else part.replace("<", "") for part in parts))
    assert said.value(lambda _: IMAGE).count(IMAGE) == sum(part is None for part in parts)
