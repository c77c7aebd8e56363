"""Asks a model behind HTTP, as OpenAI has it and vLLM, llama.cpp, TGI, Ollama and LocalAI understand it: questions go
out as JSON, and answers come in the order of finishing. What is asked for stands in `chat_endpoint` and
`image_endpoint`.

The one place besides the crawl that opens the network, and another kind of client: a few dozen long requests to one
host that the user's own config names. So its address may be private or loopback, which the guard refuses to the URLs of
strangers; no redirect is followed and no proxy used, because a key travels with each request; and where every answer is
a refusal of the key or the model the asking ends after three of them instead of going through a shard of 10,000 texts.
A refusal of one question, for what it asks for, is another thing, and ends nothing. Until the first answer there is one
request at a time. What is asked and how an answer is read stands elsewhere: here a question is bytes and a key to draw
its waits by. A question of 1.5 kB costs .03 ms of CPU on loopback.
"""

from __future__ import annotations

import heapq
import itertools
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pycurl

from curate.errors import ConfigError, StageError
from curate.fetch.endpoint_key import key_pattern, without_key
from curate.fetch.endpoint_settings import EndpointSettings, require_base_url
from curate.fetch.retry import backoff_s, retry_after_s
from curate.fetch.settings import FetchSettings
from curate.fetch.transfer import certificates

__all__ = ["FIRST_FAILURES", "Endpoint", "Question", "Reply", "ReplyStatus"]

DETAIL_CHARS = 300
WAIT_S = 0.1
NAP_S = 0.005
FIRST_FAILURES = 3
"""Questions that may fail in a row before any was answered."""
LATER_FAILURES = 20
"""Questions that may fail in a row afterwards, beside two for each that may be under way at once."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_TAG = re.compile(r"<[^<>]{0,500}>")
_POLICY = re.compile(
    rb"content[_ ]?(?:policy|filter|moderation)|moderation_blocked|safety (?:system|filter|policy)", re.IGNORECASE
)
"""How servers word that they do not make what is asked for, in an error's code or message."""
_OF_ONE_QUESTION = (400, 413, 422)
"""Refusals of what one question holds, such as too many tokens, once others were answered."""
_ASK = {
    400: "the server does not understand the request; look at model, extra, leave_out and the settings beside them",
    401: "the key is not accepted; look at api_key_file",
    403: "the key may not ask for this; look at api_key_file and model",
    404: "there is no such model or address; look at model and base_url",
}


class ReplyStatus(StrEnum):
    """What became of a question. `answered`: a 2xx with a whole body, whatever is in it. `refused`: the server's policy
    says no to what is asked for, as its words tell."""

    ANSWERED = "answered"
    TIMEOUT = "timeout"
    TOO_MANY_REQUESTS = "too_many_requests"
    SERVER_ERROR = "server_error"
    NO_CONNECTION = "no_connection"
    REFUSED = "refused"
    BAD_REQUEST = "bad_request"
    TOO_MANY_BYTES = "too_many_bytes"


_HEALS = {
    ReplyStatus.TIMEOUT,
    ReplyStatus.TOO_MANY_REQUESTS,
    ReplyStatus.SERVER_ERROR,
    ReplyStatus.NO_CONNECTION,
}


@dataclass(frozen=True)
class Question:
    """A request's body (JSON, UTF-8) and the key that its reply carries; 1 MB at most is a sound size."""

    key: str
    body: bytes


@dataclass(frozen=True)
class Reply:
    """The answer to the question of that key. `body` is the server's where it was answered, else empty; `detail` says
    in words what was wrong. Neither holds the key of the endpoint. `http_status`: 0 where there was no HTTP answer."""

    key: str
    status: ReplyStatus
    detail: str = ""
    body: bytes = b""
    http_status: int = 0


@dataclass
class _Transfer:
    """One attempt at a question."""

    question: Question
    attempt: int
    most_bytes: int
    body: bytearray = field(default_factory=bytearray)
    retry_after: str | None = None
    too_long: bool = False

    def take_header(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"retry-after":
            self.retry_after = value.strip().decode("latin-1")[:100]

    def take_body(self, chunk: bytes) -> int:
        self.too_long = len(self.body) + len(chunk) > self.most_bytes
        if self.too_long:
            return -1
        self.body += chunk
        return len(chunk)


class Endpoint:
    """Asks one endpoint, at its `path`; keeps its connections from one question to the next. Not for two threads.

    `key` goes out as a bearer token, and into nothing else. `workers`: how many of a run ask beside this one.
    Raises ConfigError for a `ca_file` that is not there, ValueError for a `base_url` that is none.
    """

    path: ClassVar[str]
    """What is added to the base URL."""

    def __init__(
        self, base_url: str, settings: EndpointSettings | None = None, key: str = "", workers: int = 1
    ) -> None:
        require_base_url(base_url)
        self._url, self._key = f"{base_url.rstrip('/')}{self.path}", key
        self._secret = key_pattern(key)
        self._settings = settings or EndpointSettings()
        self._most = max(1, self._settings.concurrency // max(1, workers))
        self._options = self._curl_options()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, self._most)
        self._free: list[Any] = []
        self._busy: dict[Any, _Transfer] = {}
        self._waiting: list[tuple[float, int, Question, int]] = []
        self._tickets = itertools.count()
        self._closed_until_s = 0.0
        self._answered, self._failures = False, 0

    def ask(self, questions: Iterable[Question], answered: bool = False) -> Iterator[Reply]:
        """A reply to each question, in the order of finishing. Leaving the iterator drops what is under way.
        `answered`: this endpoint has answered questions of this kind before.

        Raises ConfigError where every answer is a refusal such as 401, and StageError where too many questions in a row
        went without an answer.
        """
        source = iter(questions)
        self._answered, self._failures = answered, 0
        try:
            while self._start_more(source) or self._busy or self._waiting:
                for reply in self._wait():
                    yield reply
                    self._watch(reply)
        finally:
            self._drop()

    def close(self) -> None:
        """Close all connections."""
        self._drop()
        for curl in self._free:
            curl.close()
        self._free.clear()
        self._multi.close()

    def _curl_options(self) -> list[tuple[int, Any]]:
        own = self._settings
        if own.ca_file and not Path(own.ca_file).is_file():
            raise ConfigError(f"ca_file = {own.ca_file!r} is not a file; name a bundle of certificates in PEM")
        headers = ["Content-Type: application/json", "Accept: application/json", "Expect:"]
        headers += [f"Authorization: Bearer {self._key}"] * bool(self._key)
        return [
            (pycurl.URL, self._url),
            (pycurl.HTTPHEADER, headers),
            (pycurl.USERAGENT, "curate-vl"),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PROXY, ""),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.NOSIGNAL, 1),
            (pycurl.CONNECTTIMEOUT_MS, int(own.connect_timeout_s * 1000)),
            (pycurl.TIMEOUT_MS, int(own.total_timeout_s * 1000)),
            (pycurl.SSL_VERIFYPEER, int(own.verify_tls)),
            (pycurl.SSL_VERIFYHOST, 2 if own.verify_tls else 0),
            *certificates(FetchSettings(ca_file=own.ca_file)),
        ]

    def _start_more(self, source: Iterator[Question]) -> bool:
        """Start what may start now; False when the source had no more."""
        now = time.monotonic()
        while len(self._busy) < (self._most if self._answered else 1) and now >= self._closed_until_s:
            if self._waiting and self._waiting[0][0] <= now:
                self._start(*heapq.heappop(self._waiting)[2:])
                continue
            if self._waiting and not self._answered:
                return True  # the first question is still to be answered
            question = next(source, None)
            if question is None:
                return False
            self._start(question, 1)
        return True

    def _start(self, question: Question, attempt: int) -> None:
        curl = self._free.pop() if self._free else self._new_curl()
        transfer = _Transfer(question, attempt, self._settings.most_bytes)
        curl.setopt(pycurl.POSTFIELDS, question.body)
        curl.setopt(pycurl.HEADERFUNCTION, transfer.take_header)
        curl.setopt(pycurl.WRITEFUNCTION, transfer.take_body)
        self._busy[curl] = transfer
        self._multi.add_handle(curl)

    def _new_curl(self) -> Any:
        curl = pycurl.Curl()
        for option, value in self._options:
            curl.setopt(option, value)
        return curl

    def _wait(self) -> Iterator[Reply]:
        """Replies to questions that are done with, after at most WAIT_S; what heals waits for its next attempt."""
        self._multi.perform()
        queued, ended = 1, False
        while queued:
            queued, done, failed = self._multi.info_read()
            for curl, code, words in [*((curl, 0, "") for curl in done), *failed]:
                ended = True
                yield from self._finish(curl, code, words)
        if ended:
            return
        now = time.monotonic()
        wake_s = max(self._closed_until_s, self._waiting[0][0]) if self._waiting else self._closed_until_s
        pause_s = min(WAIT_S, max(NAP_S, wake_s - now)) if wake_s > now else WAIT_S
        if not self._busy or self._multi.select(pause_s) == -1:
            time.sleep(min(pause_s, NAP_S) if self._busy else pause_s)

    def _finish(self, curl: Any, code: int, words: str) -> Iterator[Reply]:
        transfer, http_status = self._busy.pop(curl), int(curl.getinfo(pycurl.RESPONSE_CODE))
        where = curl.getinfo_raw(pycurl.REDIRECT_URL)
        self._multi.remove_handle(curl)
        curl.setopt(pycurl.POSTFIELDS, b"")
        self._free.append(curl)
        transfer.body = bytearray(without_key(bytes(transfer.body), self._secret))
        status, detail = _outcome(transfer, code, words, http_status, where)
        if status in _HEALS and transfer.attempt <= self._settings.retries:
            self._again(transfer, status, http_status)
            return
        body = bytes(transfer.body) if status is ReplyStatus.ANSWERED else b""
        yield Reply(transfer.question.key, status, self._without_key(detail)[:DETAIL_CHARS], body, http_status)

    def _again(self, transfer: _Transfer, status: ReplyStatus, http_status: int) -> None:
        """Put a question back, to be asked once more after a wait."""
        own, question = self._settings, transfer.question
        told_s = retry_after_s(transfer.retry_after, time.time())
        wait_s = backoff_s(question.key, transfer.attempt, own.backoff_s, own.most_backoff_s)
        if told_s:  # 0 says nothing of when it will do: the clock of one of the two may be wrong
            wait_s = min(told_s, own.most_backoff_s)
        at_s = time.monotonic() + wait_s
        if status is ReplyStatus.TOO_MANY_REQUESTS or (http_status == 503 and told_s):
            self._closed_until_s = max(self._closed_until_s, at_s)
        heapq.heappush(self._waiting, (at_s, next(self._tickets), question, transfer.attempt + 1))

    def _watch(self, reply: Reply) -> None:
        """Raise where going on would be in vain."""
        if reply.status in (ReplyStatus.ANSWERED, ReplyStatus.REFUSED):
            self._answered, self._failures = True, 0
            return
        if self._answered and reply.http_status in _OF_ONE_QUESTION:
            return
        self._failures += 1
        if self._failures < (LATER_FAILURES + 2 * self._most if self._answered else FIRST_FAILURES):
            return
        words = f"{self._url}: {self._failures} requests in a row came to nothing, the last by {reply.status}"
        if reply.status is ReplyStatus.BAD_REQUEST and not self._answered:
            raise ConfigError(f"{words}: {reply.detail}")
        raise StageError(f"{words}: {reply.detail}; see that the server runs, and run again: answers are kept")

    def _without_key(self, text: str) -> str:
        return without_key(text.encode("utf-8", "replace"), self._secret).decode("utf-8", "replace")

    def _drop(self) -> None:
        for curl in list(self._busy):
            self._multi.remove_handle(curl)
            self._free.append(curl)
        self._busy.clear()
        self._waiting.clear()


def _outcome(
    transfer: _Transfer, code: int, words: str, http_status: int, where: bytes | None
) -> tuple[ReplyStatus, str]:
    """What one attempt came to, and why. `code`: libcurl's, 0 for an answer that is whole."""
    if transfer.too_long:
        return ReplyStatus.TOO_MANY_BYTES, f"an answer of more than {transfer.most_bytes} bytes"
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return ReplyStatus.TIMEOUT, "no whole answer in time"
    if code:
        return ReplyStatus.NO_CONNECTION, _clean(re.sub(r" after \d+ ms", "", words)) or f"libcurl's error {code}"
    if 200 <= http_status < 300:
        return ReplyStatus.ANSWERED, ""
    said = f"HTTP {http_status}: {_server_words(bytes(transfer.body))}".rstrip(": ")
    if http_status == 429:
        return ReplyStatus.TOO_MANY_REQUESTS, said
    if http_status >= 500 or http_status in (408, 425):
        return ReplyStatus.SERVER_ERROR, said
    if 300 <= http_status < 400:
        return (
            ReplyStatus.BAD_REQUEST,
            f"HTTP {http_status} to {_host(where)}; redirects are not followed, mend base_url",
        )
    if http_status in (400, 403, 422) and _POLICY.search(transfer.body[:20_000]):
        return ReplyStatus.REFUSED, said
    hint = _ASK.get(http_status)
    return ReplyStatus.BAD_REQUEST, f"{said} ({hint})" if hint else said


def _host(where: bytes | None) -> str:
    """Whom a redirect names, in words for people: a server may write anything there."""
    try:
        host = urlsplit((where or b"").decode("latin-1")).netloc.rpartition("@")[2]
    except ValueError:
        return "an address that is none"
    return _clean(host)[:100] or "nowhere"


def _server_words(body: bytes) -> str:
    """What a server says of a failure: the message in its JSON, else the beginning of its text without tags."""
    text = body[:20_000].decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return _clean(_TAG.sub(" ", text))[:120]
    for name in ("error", "detail", "message"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return _clean(found if isinstance(found, str) else json.dumps(found))[:120]


def _clean(text: str) -> str:
    return " ".join(_UNPRINTABLE.sub(" ", text).split())
