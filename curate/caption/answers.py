"""What a language model answered: how it is read, judged, and kept so that nothing is asked twice.

An answer is kept as it came and judged anew whenever it is read, so that another bound on its length asks nobody. It
costs money or GPU time (some 200 tokens each), so it is written down the moment it is there: a line of JSON in a file
of the attempt's own, by one unbuffered write, which outlives a killed process, and synced to the disk once a second,
which is what a power cut may cost. An object store cannot append: there 64 answers or 10 seconds of them go into a file
each, and a killed run asks for the last of them again.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import IO, Any, Self

from curate.caption.faults import FAULTS, fault_of
from curate.manifest import Attempt
from curate.storage import Storage, plain_errors

__all__ = [
    "Answer",
    "AnswerStatus",
    "Journal",
    "Verdict",
    "fault_name",
    "judge",
    "read_answer",
    "usable",
    "without_thoughts",
]

KEPT_CHARS = 20_001
"""What is kept of an answer: one more than the most that `max_chars` may be."""
NAME_CHARS = 200
MOST_LINE_BYTES = 1 << 18
"""Of a line in a journal: an answer of 20,001 characters takes 240,012 bytes at most."""
SYNC_S = 1.0
STORE_ANSWERS, STORE_S = 64, 10.0
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffd\ufffe\uffff]")
"""Control characters but tab and line feed, halves of characters, and what stands for bytes that were none."""
_THOUGHTS = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_PREFACE = re.compile(
    r"(?:(?:sure|certainly|of course|okay|ok)\b[^:\n]{0,40}?[!,.]\s*)?"
    r"(?:here(?:['’]s| is| are)\b[^:\n]{0,80}:"
    r"|(?:merged |combined |fused |new |final )?(?:caption|description)\s*:)\s*",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "“": "”", "'": "'", "«": "»", "*": "*", "`": "`"}


class AnswerStatus(StrEnum):
    """What became of a row; the values of `fused_status`. From `timeout` to `bad_request` the endpoint failed, and a
    new run asks again; from `bad_answer` on the model said something that is of no use."""

    OK = "ok"
    NOT_ASKED = "not_asked"
    TIMEOUT = "timeout"
    TOO_MANY_REQUESTS = "too_many_requests"
    SERVER_ERROR = "server_error"
    NO_CONNECTION = "no_connection"
    BAD_REQUEST = "bad_request"
    BAD_ANSWER = "bad_answer"
    REFUSED = "refused"
    TRUNCATED = "truncated"
    EMPTY = "empty"


@dataclass(frozen=True)
class Answer:
    """What a model said, as it said it, cut after 20,001 characters. `finish`: `stop`, `length`, `content_filter` or
    what else the server calls it; "" where it does not tell. `model`: as the server names itself."""

    text: str
    finish: str = ""
    model: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Verdict:
    """A row's end: the text where the status is `ok`, else why there is none."""

    status: AnswerStatus
    text: str = ""
    detail: str = ""


def read_answer(body: bytes) -> Answer | str:
    """The first choice of a chat completion; a string says what is wrong with a body that is none."""
    try:
        found = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return f"the answer is no JSON; it begins with {_shown(body)!r}"
    if not isinstance(found, dict):
        return f"the answer is no JSON object; it begins with {_shown(body)!r}"
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return f"the answer has no choices[0].message; it begins with {_shown(body)!r}"
    content, refusal = message.get("content"), message.get("refusal")
    if content is not None and not isinstance(content, str):
        return f"choices[0].message.content is no text but a {type(content).__name__}"
    return Answer((content or "")[:KEPT_CHARS], _name(choice.get("finish_reason")), _model(found), bool(refusal))


def judge(answer: Answer, max_chars: int, instruction: str = "") -> Verdict:
    """Whether an answer is a caption. `max_chars` is included; `instruction`: words of the prompt, which an answer that
    only repeats what it was asked has in it."""
    text = _bare(answer.text)
    found = usable(answer, text, max_chars)
    if found.status is not AnswerStatus.OK:
        return found
    fault = fault_of(text, answer.finish or None, instruction)
    if fault is None:
        return Verdict(AnswerStatus.OK, text)
    return Verdict(_FAULTS.get(fault, AnswerStatus.BAD_ANSWER), "", fault)


def usable(answer: Answer, text: str, max_chars: int) -> Verdict:
    """Whether `text`, the part of an answer that is of use, came whole and in characters that a file can hold."""
    if answer.refused or answer.finish == "content_filter":
        return Verdict(AnswerStatus.REFUSED, "", "the model or its filter refused")
    if answer.finish == "length":
        return Verdict(AnswerStatus.TRUNCATED, "", "cut off at max_tokens")
    if not text:
        return Verdict(AnswerStatus.EMPTY, "", "an answer without text")
    if _FORBIDDEN.search(text):
        return Verdict(AnswerStatus.BAD_ANSWER, "", "control characters or broken characters")
    if len(text) > max_chars:
        return Verdict(AnswerStatus.BAD_ANSWER, "", f"more than {max_chars} characters")
    if text.startswith("<think>"):
        return Verdict(AnswerStatus.BAD_ANSWER, "", "thoughts without an end, and no answer")
    return Verdict(AnswerStatus.OK, text)


_FAULTS = {
    "empty_text": AnswerStatus.EMPTY,
    "refusal": AnswerStatus.REFUSED,
    "truncated": AnswerStatus.TRUNCATED,
}


def fault_name(verdict: Verdict) -> str:
    """What a verdict is called in a column of faults: the words of `curate.caption.faults.FAULTS` where they fit, else
    the status."""
    if verdict.status is AnswerStatus.BAD_ANSWER and verdict.detail in FAULTS:
        return verdict.detail
    names = {AnswerStatus.REFUSED: "refusal", AnswerStatus.EMPTY: "empty_text"}
    return names.get(verdict.status, str(verdict.status))


def without_thoughts(text: str) -> str:
    """An answer without what a model thought before it, its lines ended by line feeds, white space around it gone."""
    thought = _THOUGHTS.match(text)
    return text[thought.end() if thought else 0 :].replace("\r\n", "\n").strip()


def _bare(text: str) -> str:
    """The caption without the thoughts, preface and quotes around it."""
    bare = without_thoughts(text)
    preface = _PREFACE.match(bare)
    bare = bare[preface.end() if preface else 0 :].strip()
    while len(bare) > 1 and _QUOTES.get(bare[0]) == bare[-1] and not {bare[0], bare[-1]} & set(bare[1:-1]):
        bare = bare[1:-1].strip()
    return bare.strip("*").strip() if bare.startswith("**") and bare.endswith("**") else bare


def _name(value: object, most_chars: int = NAME_CHARS) -> str:
    """A short name that came with an answer; "" for anything else."""
    return " ".join(_FORBIDDEN.sub(" ", value).split())[:most_chars] if isinstance(value, str) else ""


def _model(found: Mapping[str, Any]) -> str:
    made = (_name(found.get("model")), _name(found.get("system_fingerprint")))
    return "@".join(part for part in made if part)


def _shown(body: bytes) -> str:
    return _FORBIDDEN.sub(" ", body[:60].decode("utf-8", "replace"))


@dataclass
class Journal:
    """The answers that one attempt gets, and those that earlier ones of the same work got.

    `folder`: in the data set, of this work alone. Files are named by their attempt, so that two attempts at once do not
    write into each other's; a line that was half written when its process died is passed over. As a context it is
    synced when left, also by an exception. Raises StorageError.
    """

    storage: Storage
    folder: str
    attempt: str
    _handle: int | None = field(default=None, init=False)
    _held: list[bytes] = field(default_factory=list, init=False)
    _files: int = field(default=0, init=False)
    _synced_s: float = field(default_factory=time.monotonic, init=False)

    @classmethod
    def of(cls, attempt: Attempt) -> Journal:
        """The journal of an attempt at a stage on a shard."""
        return cls(attempt.storage, f"_answers/{attempt.stage}/{attempt.shard}", attempt.id)

    def read(self) -> dict[str, Answer]:
        """All answers by their keys; of two to one question the first, in order of the files' names."""
        found: dict[str, Answer] = {}
        for name in sorted(self.storage.files(self.folder)):
            for key, answer in self._lines(name) if name.endswith(".jsonl") else ():
                found.setdefault(key, answer)
        return found

    def add(self, key: str, answer: Answer) -> None:
        """Keep an answer."""
        record = [key, answer.text, answer.finish, answer.model, answer.refused]
        line = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
        if self.storage.local is not None:
            self._append(line)
            return
        self._held.append(line)
        if len(self._held) >= STORE_ANSWERS or time.monotonic() - self._synced_s > STORE_S:
            self.flush()

    def flush(self) -> None:
        """Make what was added survive a power cut."""
        with plain_errors(f"keep answers in {self.storage.root}/{self.folder}"):
            if self._handle is not None:
                os.fsync(self._handle)
        if self._held:
            self.storage.write(f"{self.folder}/{self.attempt}-{self._files:05d}.jsonl", b"".join(self._held))
            self._held.clear()
            self._files += 1
        self._synced_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        finally:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def _append(self, line: bytes) -> None:
        with plain_errors(f"keep answers in {self.storage.root}/{self.folder}"):
            if self._handle is None:
                path = self.storage.path(f"{self.folder}/{self.attempt}.jsonl")
                os.makedirs(os.path.dirname(path), exist_ok=True)
                self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            while line:
                line = line[os.write(self._handle, line) :]
        if time.monotonic() - self._synced_s > SYNC_S:
            self.flush()

    def _lines(self, name: str) -> Iterator[tuple[str, Answer]]:
        with self.storage.open(name) as handle:
            for line in _whole_lines(handle):
                record = _record(line)
                if record is not None:
                    yield record


def _whole_lines(handle: IO[bytes]) -> Iterator[bytes]:
    """Lines that have an end, without it; one that is longer than any of ours is passed over and never held."""
    begun = b""
    while block := handle.read(MOST_LINE_BYTES):
        *lines, begun = (begun + block).split(b"\n")
        yield from (line for line in lines if len(line) <= MOST_LINE_BYTES)
        begun = begun[: MOST_LINE_BYTES + 1]


def _record(line: bytes) -> tuple[str, Answer] | None:
    """The key and answer of a line; None for one that is none of ours."""
    try:
        key, text, finish, model, refused = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    if not (all(isinstance(part, str) for part in (key, text, finish, model)) and isinstance(refused, bool)):
        return None
    return key, Answer(text, _name(finish), _name(model, 2 * NAME_CHARS + 1), refused)
