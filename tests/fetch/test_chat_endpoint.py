"""The client of chat endpoints against a real server: waits, retries, refusals, bounds, and where the key goes."""

from __future__ import annotations

import json
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chat_server import Answer, Asked, ChatServer, completion, cut, drip, hang, huge, reply, reset
from fault_web import wait_until

from curate.errors import ConfigError, StageError
from curate.fetch.chat_endpoint import (
    ChatEndpoint,
    ChatSettings,
    Question,
    Reply,
    ReplyStatus,
)

FAST = ChatSettings(concurrency=4, total_timeout_s=20, retries=2, backoff_s=0.01, most_backoff_s=1.0)
IMPATIENT = {"total_timeout_s": 0.6, "retries": 1}
"""For answers that do not come; the others have time enough on any machine."""
KEY = "sk-very/secret+1"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    served = ChatServer()
    yield served
    served.close()


def ask(server: ChatServer | str, texts: list[str], key: str = "", **changes: object) -> dict[str, Reply]:
    """Each text asked by a client of its own; replies by text, each exactly once."""
    url = server if isinstance(server, str) else server.base_url
    endpoint = ChatEndpoint(url, replace(FAST, **changes), key)
    try:
        body = {"model": "m", "messages": [{"role": "user", "content": ""}]}
        questions = [Question(text, json.dumps(body | {"user": text}).encode()) for text in texts]
        replies = list(endpoint.ask(questions))
    finally:
        endpoint.close()
    assert sorted(reply.key for reply in replies) == sorted(texts)
    return {reply.key: reply for reply in replies}


def test_each_question_has_its_own_answer(server: ChatServer) -> None:
    server.otherwise = lambda _, asked: completion(f"about {asked.body['user']}")
    texts = [f"text {number}" for number in range(40)]
    for text, answer in ask(server, texts).items():
        assert answer.status is ReplyStatus.ANSWERED
        assert json.loads(answer.body)["choices"][0]["message"]["content"] == f"about {text}"
    assert len(server.asked) == 40
    assert {asked.path for asked in server.asked} == {"/v1/chat/completions"}
    assert {asked.headers["content-type"] for asked in server.asked} == {"application/json"}


def test_no_more_than_concurrency_are_under_way_and_workers_share_it(server: ChatServer) -> None:
    def together(_: socket.socket, asked: Asked) -> bytes:
        if len(server.asked) > 1:  # the first one is asked alone
            wait_until(lambda: server.most_active >= 4)
        time.sleep(0.02)
        return completion("x")

    server.otherwise = together
    ask(server, [str(number) for number in range(24)])
    assert server.most_active == 4
    server.most_active, server.otherwise = 0, lambda *_: time.sleep(0.02) or completion("x")
    endpoint = ChatEndpoint(server.base_url, FAST, workers=3)
    list(endpoint.ask(Question(str(n), b"{}") for n in range(6)))
    endpoint.close()
    assert server.most_active == 1


FAILURES: dict[str, tuple[Answer, ReplyStatus, int, str]] = {
    "429": (reply(429, b'{"error": {"message": "slow down"}}'), ReplyStatus.TOO_MANY_REQUESTS, 3, "slow down"),
    "500": (reply(500, b"<html><b>Oops</b></html>"), ReplyStatus.SERVER_ERROR, 3, "HTTP 500: Oops"),
    "503": (reply(503), ReplyStatus.SERVER_ERROR, 3, "HTTP 503"),
    "408": (reply(408), ReplyStatus.SERVER_ERROR, 3, "HTTP 408"),
    "hang": (hang, ReplyStatus.TIMEOUT, 2, "in time"),
    "drip": (drip, ReplyStatus.TIMEOUT, 2, "in time"),
    "reset": (reset, ReplyStatus.NO_CONNECTION, 3, ""),
    "cut": (cut, ReplyStatus.NO_CONNECTION, 3, ""),
    "huge": (huge, ReplyStatus.TOO_MANY_BYTES, 1, "1000000 bytes"),
    "400": (reply(400, b'{"detail": "no such field"}'), ReplyStatus.BAD_REQUEST, 1, "no such field"),
    "401": (reply(401), ReplyStatus.BAD_REQUEST, 1, "api_key_file"),
    "404": (reply(404, b'{"object":"error","message":"model `x`"}'), ReplyStatus.BAD_REQUEST, 1, "model `x`"),
    "418": (reply(418), ReplyStatus.BAD_REQUEST, 1, "HTTP 418"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_a_status_and_the_next_question_is_asked(server: ChatServer, name: str) -> None:
    answer, status, attempts, words = FAILURES[name]
    server.otherwise = lambda c, asked: completion("x") if asked.body["user"] != "bad" else _said(answer, c, asked)
    found = ask(server, ["good", "bad", "better"], **(IMPATIENT if status is ReplyStatus.TIMEOUT else {}))
    assert found["bad"].status is status
    assert words in found["bad"].detail
    assert found["bad"].body == b""
    assert [found[name].status for name in ("good", "better")] == [ReplyStatus.ANSWERED] * 2
    often = sum(asked.body["user"] == "bad" for asked in server.asked)
    # libcurl itself asks once more where a connection that was kept turns out to be dead
    assert attempts <= often <= (2 * attempts if name == "reset" else attempts)


def _said(answer: Answer, connection: socket.socket, asked: Asked) -> bytes | None:
    return answer if isinstance(answer, bytes) else answer(connection, asked)


@pytest.mark.parametrize("fault", ["429", "500", "hang", "reset", "cut"])
def test_what_heals_is_asked_again_and_answered(server: ChatServer, fault: str) -> None:
    attempts = 2 if fault == "hang" else 3
    server.script = [FAILURES[fault][0]] * (attempts - 1)
    assert ask(server, ["a"], **(IMPATIENT if fault == "hang" else {}))["a"].status is ReplyStatus.ANSWERED
    assert len(server.asked) == attempts


@pytest.mark.parametrize(
    ("header", "least_s", "most_s"),
    [
        ("Retry-After: 0.4", 0.4, 60),
        ("Retry-After: 0", 0.0, 0.9),
        ("Retry-After: 3600", 1.0, 60),  # capped
        ("Retry-After: soon", 0.0, 0.9),
        ("Retry-After: -5", 0.0, 0.9),
        ("Retry-After: Fri, 01 Jan 2100 00:00:00 GMT", 1.0, 60),
        ("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT", 0.0, 0.9),
    ],
)
def test_retry_after_is_kept_to_by_all_questions(
    server: ChatServer, header: str, least_s: float, most_s: float
) -> None:
    server.script = [completion("x"), reply(429, b"", header)]
    texts = ["first", *"abcdefgh"]
    assert {found.status for found in ask(server, texts, concurrency=1).values()} == {ReplyStatus.ANSWERED}
    waited_s = server.asked[2].at_s - server.asked[1].at_s
    assert least_s <= waited_s < most_s
    assert len(server.asked) == len(texts) + 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 307])
def test_where_every_answer_is_a_refusal_the_asking_ends(server: ChatServer, status: int) -> None:
    server.otherwise = reply(status, b'{"error": {"message": "no, %s"}}' % KEY.encode(), "Location: http://e.test/")
    with pytest.raises(ConfigError, match=f"HTTP {status}") as error:
        ask(server, [str(number) for number in range(1_000)], key=KEY)
    assert len(server.asked) == 3
    assert KEY not in str(error.value)


def test_one_refusal_among_answers_ends_nothing(server: ChatServer) -> None:
    server.script = [reply(400), reply(400), completion("x"), *[reply(400)] * 5]
    statuses = [found.status for found in ask(server, [str(n) for n in range(20)]).values()]
    assert statuses.count(ReplyStatus.BAD_REQUEST) == 7


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refusals_of_what_questions_hold_end_nothing_once_one_was_answered(server: ChatServer, status: int) -> None:
    """A shard of prompts that are all too long for the model is a shard of such rows."""
    server.script, server.otherwise = [completion("x")], reply(status)
    statuses = [found.status for found in ask(server, [str(n) for n in range(60)]).values()]
    assert statuses.count(ReplyStatus.BAD_REQUEST) == 59


def test_a_key_that_is_refused_later_ends_it(server: ChatServer) -> None:
    server.script, server.otherwise = [completion("x")], reply(401)
    with pytest.raises(StageError, match="28 requests in a row"):
        ask(server, [str(n) for n in range(60)])


def test_an_endpoint_that_dies_is_given_up(server: ChatServer) -> None:
    server.script = [completion("x")] * 10
    server.otherwise = reply(500)
    with pytest.raises(StageError, match=r"28 requests in a row.*HTTP 500"):
        ask(server, [str(number) for number in range(1_000)], retries=0)
    assert 38 <= len(server.asked) <= 38 + FAST.concurrency


def test_nobody_listens() -> None:
    with socket.socket() as silent:  # bound, so that nobody else gets the port, and not listening
        silent.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(StageError, match="3 requests in a row"):
            ask(address, ["a", "b", "c", "d"])
        assert ask(address, ["a"])["a"].status is ReplyStatus.NO_CONNECTION


def test_a_name_that_is_not_there() -> None:
    assert ask("http://nowhere.invalid/v1", ["a"], retries=0)["a"].status is ReplyStatus.NO_CONNECTION


def test_redirects_are_not_followed_and_the_key_stays(server: ChatServer) -> None:
    other = ChatServer()
    server.script = [completion("x"), reply(307, b"", f"Location: {other.base_url}/chat/completions")]
    found = ask(server, ["a", "b"], key=KEY)["b"]
    assert found.status is ReplyStatus.BAD_REQUEST
    assert other.base_url.split("/")[2] in found.detail
    assert other.asked == []
    other.close()


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (b"http://[::1/", "an address that is none"),
        (b"http://[x]/", "an address that is none"),
        (b"http://a\xff/", "a\xff"),
        (b"javascript:x", "nowhere"),
    ],
)
def test_a_redirect_to_no_address_is_one_failure(server: ChatServer, location: bytes, words: str) -> None:
    server.script = [completion("x"), b"HTTP/1.1 302 Words\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"]
    found = ask(server, ["a", "b", "c"], concurrency=1)
    assert found["b"].detail == f"HTTP 302 to {words}; redirects are not followed, mend base_url"
    assert found["c"].status is ReplyStatus.ANSWERED


def test_certificates_are_looked_at(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    secure = ChatServer(tls=context)
    refused = ask(secure, ["a"], key=KEY, retries=0)["a"]
    assert refused.status is ReplyStatus.NO_CONNECTION
    assert "certificate" in refused.detail
    assert secure.asked == []
    for change in ({"ca_file": str(certificate)}, {"verify_tls": False}):
        assert ask(secure, ["a"], **change)["a"].status is ReplyStatus.ANSWERED
    secure.close()


def test_no_proxy_of_the_environment_is_used(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask(server, ["a"])["a"].status is ReplyStatus.ANSWERED


def test_the_key_is_sent_and_told_nowhere(server: ChatServer) -> None:
    server.script = [completion("x"), reply(400, f'{{"error": "bad key {KEY}"}}'.encode()), completion(f"key {KEY}")]
    found = ask(server, ["a", "b", "c"], key=KEY, concurrency=1)
    assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
    assert found["b"].detail.startswith("HTTP 400: bad key [key]")
    assert KEY.encode() not in found["c"].body
    assert KEY not in repr(ChatEndpoint(server.base_url, FAST, KEY))


LONG_KEY = "eyJ" + "aB3-" * 200


@pytest.mark.parametrize("key", [LONG_KEY, "sk-very/secret+1"])
@pytest.mark.parametrize("escaped", [{}, {"/": "\\/"}, {"s": "\\u0073", "J": "\\u004A"}])
def test_no_part_of_a_key_comes_back(server: ChatServer, key: str, escaped: dict[str, str]) -> None:
    """A cut of what the server said keeps no beginning of a long key, and JSON may write its letters otherwise."""
    said = key
    for letter, form in escaped.items():
        said = said.replace(letter, form)
    error = f'{{"error": {{"message": "Incorrect key: {said}"}}}}'.encode()
    answer = completion("KEY").replace(b"KEY", said.encode())
    server.script = [completion("x"), reply(401, error), reply(500, f"<b>{said}</b>".encode()), reply(200, answer)]
    found = ask(server, list("abcd"), key=key, concurrency=1, retries=0)
    assert found["b"].detail.startswith("HTTP 401: Incorrect key: [key]")
    assert found["c"].detail == "HTTP 500: [key]"
    assert b"[key]" in found["d"].body
    assert said.encode() not in found["d"].body


@pytest.mark.parametrize("key", ["none", "null", "x", "content"])
def test_a_word_in_place_of_a_key_stays_a_word(server: ChatServer, key: str) -> None:
    """Servers without keys are given one all the same, such as EMPTY or none."""
    server.otherwise = completion("an x-ray of none", refusal=None)
    found = ask(server, ["a"], key=key)["a"]
    assert json.loads(found.body)["choices"][0]["message"]["content"] == "an x-ray of none"
    assert server.asked[0].headers["authorization"] == f"Bearer {key}"


@pytest.mark.parametrize("header", ["Retry-After: 0", "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT"])
def test_a_retry_at_once_waits_as_long_as_without_it(server: ChatServer, header: str) -> None:
    server.script = [completion("x"), *[reply(429, b"", header)] * 3]
    ask(server, ["a", "b"], retries=3, backoff_s=0.1)
    times = [asked.at_s for asked in server.asked]
    assert times[4] - times[1] >= 0.35


def test_without_a_key_no_header_is_sent(server: ChatServer) -> None:
    ask(server, ["a"])
    assert "authorization" not in server.asked[0].headers


def test_leaving_early_drops_what_is_under_way_and_the_client_can_ask_again(server: ChatServer) -> None:
    endpoint = ChatEndpoint(server.base_url, FAST)
    asking = endpoint.ask(Question(str(n), b"{}") for n in range(100))
    next(asking)
    asking.close()
    assert [found.key for found in endpoint.ask([Question("again", b"{}")])] == ["again"]
    endpoint.close()
    assert len(server.asked) < 12


def test_questions_are_read_as_they_are_asked(server: ChatServer) -> None:
    read = []

    def questions() -> Iterator[Question]:
        for number in range(50):
            read.append(number)
            yield Question(str(number), b"{}")

    endpoint = ChatEndpoint(server.base_url, FAST)
    asking = endpoint.ask(questions())
    next(asking)
    assert read == [0]  # one at a time until the first answer
    next(asking)
    assert len(read) <= 2 * FAST.concurrency
    asking.close()
    endpoint.close()


def test_what_a_question_costs(server: ChatServer) -> None:
    before = resource.getrusage(resource.RUSAGE_THREAD)
    ask(server, [str(number) for number in range(400)])
    after = resource.getrusage(resource.RUSAGE_THREAD)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent_s / 400 < 0.003  # .03 ms measured


@pytest.mark.parametrize(
    ("status", "error", "refused"),
    [
        (400, {"code": "content_policy_violation", "message": "Your request was rejected."}, True),
        (400, {"code": "moderation_blocked", "message": "no"}, True),
        (400, {"message": "The response was filtered due to Azure's content filter."}, True),
        (422, {"message": "rejected by our safety system"}, True),
        (400, {"message": "max_tokens is too large"}, False),
        (500, {"message": "content policy server is down"}, False),
    ],
)
def test_a_policys_no_to_one_question_is_told_apart(
    server: ChatServer, status: int, error: dict[str, str], refused: bool
) -> None:
    """And ends nothing, though the first questions of all are refused."""
    no = reply(status, json.dumps({"error": error}).encode())
    server.otherwise = lambda _, asked: completion("a") if asked.body["user"] == "last" else no
    if not refused:
        with pytest.raises((ConfigError, StageError)):
            ask(server, ["1", "2", "3", "4", "last"], retries=0)
        return
    found = ask(server, ["1", "2", "3", "4", "last"], retries=0)
    assert {text: answer.status for text, answer in found.items()} == dict.fromkeys("1234", ReplyStatus.REFUSED) | {
        "last": ReplyStatus.ANSWERED
    }
    assert found["1"].detail.startswith(f"HTTP {status}")
