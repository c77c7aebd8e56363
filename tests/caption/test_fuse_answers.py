"""Answers of language models: how they are read and judged, and that what is kept is there after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.caption.answers import Answer, AnswerStatus, Journal, judge, read_answer
from curate.storage import Storage

CAPTION = "A brown dog runs along Omaha Beach."


def body(**message: Any) -> bytes:
    return json.dumps({"model": "m", "choices": [{"finish_reason": "stop", "message": message}]}).encode()


def test_the_first_choice_is_read_with_the_name_and_fingerprint_of_the_model() -> None:
    found = {
        "model": "gpt-x\n-2026",
        "system_fingerprint": "fp_1",
        "choices": [{"finish_reason": "stop", "message": {"content": CAPTION}}, {"message": {"content": "other"}}],
    }
    assert read_answer(json.dumps(found).encode()) == Answer(CAPTION, "stop", "gpt-x -2026@fp_1")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no JSON"),
        (b"<html><body>Bad gateway</body></html>", "no JSON; it begins with '<html>"),
        (b'{"choices": [', "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"9" * 10_000, "no JSON"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b"{}", "no choices[0].message"),
        (b'{"choices": []}', "no choices[0].message"),
        (b'{"choices": {"0": 1}}', "no choices[0].message"),
        (b'{"choices": ["text"]}', "no choices[0].message"),
        (b'{"choices": [{"text": "old style"}]}', "no choices[0].message"),
        (b'{"choices": [{"message": "text"}]}', "no choices[0].message"),
        (b'{"error": {"message": "overloaded"}}', "no choices[0].message; it begins with '{\"error"),
        (body(content=7), "no text but a int"),
        (body(content=[{"type": "text"}]), "no text but a list"),
    ],
)
def test_what_is_no_answer_is_told(raw: bytes, words: str) -> None:
    found = read_answer(raw)
    assert isinstance(found, str)
    assert words in found
    assert len(found) < 200


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_body_raises(raw: bytes | str) -> None:
    assert isinstance(read_answer(raw if isinstance(raw, bytes) else raw.encode()), Answer | str)


@pytest.mark.parametrize("name", [None, 7, {"a": 1}, "x" * 10_000, "\ud800"])
def test_odd_names_of_models_and_ends(name: Any) -> None:
    raw = json.dumps({"model": name, "choices": [{"message": {"content": "a"}, "finish_reason": name}]}).encode()
    found = read_answer(raw)
    assert isinstance(found, Answer)
    assert len(found.model) <= 200
    found.model.encode()
    found.finish.encode()


OK = AnswerStatus.OK
JUDGED: list[tuple[Answer, AnswerStatus, str]] = [
    (Answer(CAPTION, "stop"), OK, CAPTION),
    (Answer(CAPTION), OK, CAPTION),
    (Answer(CAPTION, "eos_token"), OK, CAPTION),
    (Answer(f"  {CAPTION}\n"), OK, CAPTION),
    (Answer(f'"{CAPTION}"'), OK, CAPTION),
    (Answer(f"“{CAPTION}”"), OK, CAPTION),
    (Answer('The "Zeta" at sea, once the "Eta"'), OK, 'The "Zeta" at sea, once the "Eta"'),
    (Answer('"Zeta" at sea, once "Eta"'), OK, '"Zeta" at sea, once "Eta"'),
    (Answer(f"**{CAPTION}**"), OK, CAPTION),
    (Answer(f"Caption: {CAPTION}"), OK, CAPTION),
    (Answer(f"Merged caption: {CAPTION}"), OK, CAPTION),
    (Answer(f"Here is the merged caption:\n\n{CAPTION}"), OK, CAPTION),
    (Answer(f"Sure! Here's one caption: {CAPTION}"), OK, CAPTION),
    (Answer("Here are two dogs."), OK, "Here are two dogs."),
    (Answer("Surely a dog."), OK, "Surely a dog."),
    (Answer(f"<think>the first says\nOmaha</think>\n\n{CAPTION}"), OK, CAPTION),
    (Answer("A dog.\r\nOn a beach."), OK, "A dog.\nOn a beach."),
    (Answer("Ein Hund – 犬 🐕"), OK, "Ein Hund – 犬 🐕"),
    (Answer("x" * 5 + " " + "yz " * 10), AnswerStatus.BAD_ANSWER, "repetition_loop"),
    (Answer("A" + "b c d e " * 8), AnswerStatus.BAD_ANSWER, "repetition_loop"),
    (Answer("<think>I should", "stop"), AnswerStatus.BAD_ANSWER, "thoughts"),
    (Answer("nul \x00 byte"), AnswerStatus.BAD_ANSWER, "control"),
    (Answer("escape \x1b[0m"), AnswerStatus.BAD_ANSWER, "control"),
    (Answer("c1 \x9b"), AnswerStatus.BAD_ANSWER, "control"),
    (Answer("half \ud83d"), AnswerStatus.BAD_ANSWER, "broken"),
    (Answer("bytes \ufffd"), AnswerStatus.BAD_ANSWER, "broken"),
    (Answer("", "stop"), AnswerStatus.EMPTY, "without text"),
    (Answer(" \n ", "stop"), AnswerStatus.EMPTY, "without text"),
    (Answer('""', "stop"), AnswerStatus.EMPTY, ""),
    (Answer("...", "stop"), AnswerStatus.EMPTY, "empty_text"),
    (Answer("<think>much</think>", "stop"), AnswerStatus.EMPTY, "without text"),
    (Answer(CAPTION, "length"), AnswerStatus.TRUNCATED, "max_tokens"),
    (Answer("", "length"), AnswerStatus.TRUNCATED, "max_tokens"),
    (Answer(CAPTION, "content_filter"), AnswerStatus.REFUSED, "refused"),
    (Answer(CAPTION, "stop", "", True), AnswerStatus.REFUSED, "refused"),
    (Answer("I'm sorry, but I can't help with that."), AnswerStatus.REFUSED, "refusal"),
    (Answer("As an AI language model, I do not see."), AnswerStatus.REFUSED, "refusal"),
    (Answer("He said he was sorry."), OK, "He said he was sorry."),
]


@pytest.mark.parametrize(("answer", "status", "words"), JUDGED, ids=range(len(JUDGED)))
def test_answers_are_judged(answer: Answer, status: AnswerStatus, words: str) -> None:
    found = judge(answer, 1_000)
    assert found.status is status
    assert (found.text == words and not found.detail) if status is OK else (not found.text and words in found.detail)


@pytest.mark.parametrize(("length", "status"), [(1, OK), (50, OK), (51, AnswerStatus.BAD_ANSWER)])
def test_the_longest_text_is_included(length: int, status: AnswerStatus) -> None:
    text = "".join(chr(0x4E00 + n) for n in range(length))
    assert judge(Answer(text), 50).status is status


def test_an_echo_of_the_prompt_is_no_caption() -> None:
    asked = "Build it as the second text is built"
    assert judge(Answer(f"Write one caption. {asked}, and so on."), 500, asked).detail == "prompt_echo"
    assert judge(Answer(CAPTION), 500, asked).status is OK


def test_a_refusal_in_the_field_for_it_is_one() -> None:
    found = read_answer(body(content=None, refusal="I will not."))
    assert isinstance(found, Answer)
    assert judge(found, 500).status is AnswerStatus.REFUSED


def test_of_a_long_answer_so_much_is_kept_that_it_stays_too_long() -> None:
    found = read_answer(body(content="word " * 100_000))
    assert isinstance(found, Answer)
    assert len(found.text) == 20_001
    assert judge(found, 20_000).status is AnswerStatus.BAD_ANSWER


TEXTS = ["", 'quotes " and \\', "line\nends\r\n\u2028", "nul \x00", "half \ud800", "🐕 犬", "x" * 20_001]


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    answers = {str(n): Answer(text, "stop", "m@f", n % 2 == 0) for n, text in enumerate(TEXTS)}
    with Journal(Storage(str(tmp_path)), "_answers/fuse/00000", "one") as journal:
        assert journal.read() == {}
        for key, answer in answers.items():
            journal.add(key, answer)
            assert journal.read()[key] == answer  # before any sync
    assert Journal(Storage(str(tmp_path)), "_answers/fuse/00000", "two").read() == answers


def test_two_attempts_write_beside_each_other_and_the_first_answer_counts(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with Journal(storage, "a", "2") as later, Journal(storage, "a", "1") as first:
        later.add("k", Answer("later"))
        first.add("k", Answer("first"))
        later.add("l", Answer("alone"))
    assert Journal(storage, "a", "3").read() == {"k": Answer("first"), "l": Answer("alone")}


@pytest.mark.parametrize(
    "rest",
    [
        b'["k2","half wri',
        b'["k2","no end of line","stop","",false]',
        b"\x00\x00\x00\x00\n",
        b"{}\n",
        b'["k2"]\n',
        b'["k2",1,"stop","",false]\n',
        b'["k2","a","stop","","no"]\n',
        b'["k2","\xff","stop","",false]\n',
        b"[" * 50_000 + b"\n",
        b"7\n",
    ],
)
def test_a_line_that_is_none_is_passed_over(tmp_path: Path, rest: bytes) -> None:
    storage = Storage(str(tmp_path))
    with Journal(storage, "a", "1") as journal:
        journal.add("k", Answer("kept"))
    with open(tmp_path / "a/1.jsonl", "ab") as handle:
        handle.write(rest)
    assert Journal(storage, "a", "2").read() == {"k": Answer("kept")}


def test_a_line_without_an_end_in_sight_is_never_held(tmp_path: Path) -> None:
    """64 MB of one, and the answers on both sides of it are read."""
    storage = Storage(str(tmp_path))
    longest = Answer("🐕" * 20_001, "stop", "m" * 200 + "@" + "f" * 200)
    with Journal(storage, "a", "1") as journal:
        journal.add("before", longest)
    with open(tmp_path / "a/1.jsonl", "ab") as handle:
        handle.write(b'["k2","' + b"x" * (64 << 20) + b'","stop","",false]\n["after","kept","","",false]\n')
    tracemalloc.start()
    found = Journal(storage, "a", "2").read()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == {"before": longest, "after": Answer("kept")}
    assert most < 4 << 20


def test_names_in_a_line_are_such_as_a_column_can_hold(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("a/1.jsonl", json.dumps(["k", "text", "st\x00op", "m\ud800" * 1_000, False]).encode() + b"\n")
    found = Journal(storage, "a", "2").read()["k"]
    assert (found.finish, found.model) == ("st op", ("m " * 201)[:401])
    pa.array([found.finish, found.model])


def test_a_killed_process_leaves_every_answer_that_it_added(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import itertools, sys
        from curate.caption.answers import Answer, Journal
        from curate.storage import Storage
        journal = Journal(Storage(sys.argv[1]), "a", "1")
        for number in itertools.count():
            journal.add(str(number), Answer("x" * 100))
            print(number, flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(200)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert set(map(str, told)) <= Journal(Storage(str(tmp_path)), "a", "2").read().keys()


def test_a_journal_that_is_left_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is left by an exception: what a power cut may cost is a second of answers."""
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), sync(handle)))
    with suppress(KeyError), Journal(Storage(str(tmp_path)), "a", "1") as journal:
        journal.add("k", Answer("kept"))
        raise KeyError
    assert synced[-1] == (tmp_path / "a/1.jsonl").stat().st_size


def test_an_object_store_gets_files_of_many_answers(s3: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.caption.answers.STORE_S", 600.0)  # by their number alone, however slow the store is
    with Journal(s3, "_answers/fuse/00000", "one") as journal:
        for number in range(130):
            journal.add(str(number), Answer("x"))
        assert len(s3.files("_answers/fuse/00000")) == 2
    assert len(s3.files("_answers/fuse/00000")) == 3
    assert len(Journal(s3, "_answers/fuse/00000", "two").read()) == 130
