"""Reads what a language model answered as turns of a conversation, and says what is wrong with it.

A model that was asked for turns sends JSON, mostly: with thoughts before it, in a fence of code, cut off in the middle,
with a role twice, or a refusal in its place. What is read is strict, so that nothing has to be guessed, and bounded:
20,000 characters, 40 turns. Two faults are those of this task alone. A model that was given captions speaks of "the
caption" or says that a colour "is not mentioned", and a trained model would learn to do so; and a small one gives the
worked example back. Words are looked for in English, in which the prompts are; 10,000 answers take 6 s of one core.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from curate.caption.answers import Answer, AnswerStatus, Verdict, fault_name, judge, usable, without_thoughts
from curate.caption.faults import FAULTS as TEXT_FAULTS
from curate.caption.faults import fault_of
from curate.instruct.prompts import EXAMPLE_ANSWERS

__all__ = ["FAULTS", "ROLES", "Bounds", "Dialogue", "dialogue_of"]

ROLES = ("user", "assistant")
MOST_TURNS = 40
FAULTS: Mapping[str, str] = {
    **TEXT_FAULTS,
    "not_asked": "no conversation was asked for: the picture is dropped, has no caption, or was not drawn",
    "bad_answer": "an answer with control characters, thoughts without an end, or too many characters",
    "unparsable": "an answer that is not the JSON that was asked for",
    "roles_out_of_order": "turns that are not those of user and assistant, one after the other",
    "too_few_turns": "fewer turns than were asked for",
    "too_many_turns": "more turns than were asked for",
    "tells_of_notes": "talk about captions, descriptions or boxes instead of the picture",
    "example_echo": "the worked example of the prompt, given back",
}
"""Values of `NAME_fault`, beside those for questions without an answer: timeout, too_many_requests, server_error,
no_connection, bad_request."""

_FENCE = re.compile(r"```[a-zA-Z]{0,10}[ \t]*\n(.*?)\n?```", re.DOTALL)
_PREFACE = re.compile(r"[^\n\[\]{}]{0,200}:\s*(?=[\[`])")
_NOTES = re.compile(
    r"\b(?:the|this|these|those|your|my|given|provided|above|each|both|all|first|second|last|other|according to) "
    r"(?:\w+ )?(?:captions?|bounding box(?:es)?|coordinates|annotations?)\b"
    r"|\bbounding box(?:es)?\b|\bcoordinates \[?[0-9.]|\[ ?0?\.\d+, ?[0-9.]+"
    r"|\b(?:provided|given|based on the|according to the|from the|in the|by the|per the) "
    r"(?:descriptions?|notes?|context|information)\b"
    r"|\b(?:the|these) (?:descriptions?|notes) (?:do(?:es)?|mentions?|says?|states?|indicates?|suggests?|specif\w+)\b"
    r"|(?:\bnot|n['’]t) (?:explicitly |directly |specifically |further )?(?:mentioned|specified|stated|provided)\b"
    r"|\bas (?:mentioned|stated|described) (?:in|by|above)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Bounds:
    """Turns of an answer, those of both speakers counted, `min` and `max` included; characters of all of it."""

    min_turns: int
    max_turns: int
    max_chars: int


@dataclass(frozen=True)
class Dialogue:
    """Turns, each a role of ROLES and a text; none where there is a `fault`, which `detail` tells in words."""

    turns: tuple[tuple[str, str], ...] = ()
    fault: str | None = None
    detail: str = ""


def dialogue_of(answer: Answer, kind: str, bounds: Bounds, question: str = "", instruction: str = "") -> Dialogue:
    """The turns of an answer of this kind. `question`: what the user says where the answer is a description alone;
    `instruction`: words of the prompt, which an answer that only repeats it has in it. Never raises."""
    if kind == "detail":
        return _described(judge(answer, bounds.max_chars, instruction), question)
    plain = usable(answer, without_thoughts(answer.text), bounds.max_chars)
    if plain.status is not AnswerStatus.OK:
        return Dialogue(fault=fault_name(plain), detail=plain.detail)
    turns = _parsed(plain.text)
    if isinstance(turns, Dialogue):
        refused = fault_of(plain.text, None) == "refusal"
        return Dialogue(fault="refusal", detail="refusal") if refused else turns
    number = len(turns)
    if number < bounds.min_turns:
        return Dialogue(fault="too_few_turns", detail=f"{number} turns; at least {bounds.min_turns} are wanted")
    if number > bounds.max_turns:
        return Dialogue(fault="too_many_turns", detail=f"{number} turns; at most {bounds.max_turns} are wanted")
    return _judged(turns, instruction)


def _described(verdict: Verdict, question: str) -> Dialogue:
    if verdict.status is not AnswerStatus.OK:
        return Dialogue(fault=fault_name(verdict), detail=verdict.detail)
    if verdict.text[0] in "[{`":
        return Dialogue(fault="unparsable", detail="JSON or code in place of a description")
    return _judged((("user", question), ("assistant", verdict.text)), "")


def _parsed(text: str) -> tuple[tuple[str, str], ...] | Dialogue:
    """The turns of an answer in JSON, or what keeps it from having any."""
    preface = _PREFACE.match(text)
    bare = text[preface.end() if preface else 0 :].strip()
    fence = _FENCE.fullmatch(bare)
    try:
        found = json.loads(fence[1] if fence else bare)
    except (ValueError, RecursionError):
        return Dialogue(fault="unparsable", detail=f"no JSON; it begins with {bare[:40]!r}")
    if not isinstance(found, list):
        return Dialogue(fault="unparsable", detail=f"JSON, but no array of turns: {type(found).__name__}")
    if len(found) > MOST_TURNS:
        return Dialogue(fault="too_many_turns", detail=f"{len(found)} turns; at most {MOST_TURNS} are looked at")
    turns = [_turn(item) for item in found]
    if None in turns:
        return Dialogue(fault="unparsable", detail=f"turn {turns.index(None)} is not an object of role and text")
    sound = tuple(turn for turn in turns if turn is not None)
    wrong = next((n for n, (role, _) in enumerate(sound) if role != ROLES[n % 2]), None)
    if wrong is not None or len(sound) % 2:
        where = len(sound) if wrong is None else wrong
        return Dialogue(fault="roles_out_of_order", detail=f"turn {where} is not that of the {ROLES[where % 2]}")
    return sound


def _turn(item: Any) -> tuple[str, str] | None:
    if not isinstance(item, dict) or item.keys() != {"role", "text"}:
        return None
    if not all(isinstance(value, str) for value in item.values()):
        return None
    return item["role"], item["text"].strip()


def _judged(turns: tuple[tuple[str, str], ...], instruction: str) -> Dialogue:
    """The turns, or the first fault that one of them has."""
    for number, (role, text) in enumerate(turns):
        fault = _fault_in(role, text, instruction)
        if fault:
            return Dialogue(fault=fault, detail=f"{fault} in turn {number}: {text[:60]!r}")
    return Dialogue(turns)


def _fault_in(role: str, text: str, instruction: str) -> str | None:
    if role == "user":
        found = fault_of(text, None, instruction)
        own = None if found == "refusal" else found
    else:
        own = fault_of(text, None, instruction) or ("example_echo" if text in _examples() else None)
    verdict = usable(Answer(text), text, len(text))
    if own is None and verdict.status is not AnswerStatus.OK:
        return fault_name(verdict)
    return own or ("tells_of_notes" if _NOTES.search(text) else None)


@cache
def _examples() -> frozenset[str]:
    """What the assistant says in the worked examples, but for short answers, which other pictures may have too."""
    answers = (answer for kind in EXAMPLE_ANSWERS.values() for answer in kind)
    return frozenset(text for answer in answers for text in _said(answer) if len(text) > 60)


def _said(answer: str) -> Sequence[str]:
    if not answer.startswith("["):
        return [answer]
    return [turn["text"] for turn in json.loads(answer) if turn["role"] == "assistant"]
