"""Fusing over a server that fails: what becomes of every row, and that nothing is asked twice, even after a kill."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import Asked, ChatServer, completion, cut, drip, hang, huge, reply, reset
from fuse_runs import FAST, PROMPT_OF_TEST, run, settings, shard_of, web_of

from curate.caption.fuse import Fuse
from curate.errors import ConfigError, StageError
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage


@pytest.fixture
def server() -> Iterator[ChatServer]:
    served = ChatServer(otherwise=lambda _, asked: completion(f"Fused {web_of(asked)}."))
    yield served
    served.close()


ROW_FAULTS = {
    "429": (reply(429, b'{"error": {"message": "slow"}}'), "too_many_requests", "HTTP 429: slow"),
    "500": (reply(500), "server_error", "HTTP 500"),
    "hang": (hang, "timeout", "no whole answer in time"),
    "drip": (drip, "timeout", "no whole answer in time"),
    "reset": (reset, "no_connection", ""),
    "cut": (cut, "no_connection", ""),
    "huge": (huge, "bad_answer", "more than 1000000 bytes"),
    "400": (reply(400, b"too long"), "bad_request", "HTTP 400: too long"),
    "html": (reply(200, b"<html>Please log in</html>"), "bad_answer", "no JSON"),
    "half": (reply(200, b'{"choices": [{"message"'), "bad_answer", "no JSON"),
    "no_choice": (reply(200, b'{"choices": []}'), "bad_answer", "no choices[0].message"),
    "refusal": (completion("I'm sorry, but I can't do that."), "refused", "refusal"),
    "filter": (completion("", "content_filter"), "refused", "refused"),
    "length": (completion("A dog on", "length"), "truncated", "max_tokens"),
    "empty": (completion(""), "empty", "without text"),
    "null": (completion(None), "empty", "without text"),
    "long": (completion("word, " + ", ".join(map(str, range(400)))), "bad_answer", "more than 1000 characters"),
    "control": (completion("A dog \x00 on"), "bad_answer", "control"),
    "half_pair": (completion("A dog \ud83d on"), "bad_answer", "broken"),
    "echo": (completion("Fuse these two texts now.\nW: web"), "bad_answer", "prompt_echo"),
}


@pytest.mark.parametrize("name", ROW_FAULTS)
def test_a_row_that_fails_has_a_status_and_the_others_their_texts(
    server: ChatServer, tmp_path: Path, name: str
) -> None:
    answer, status, words = ROW_FAULTS[name]

    def otherwise(connection: socket.socket, asked: Asked) -> bytes | None:
        if web_of(asked) == "bad":
            return answer if isinstance(answer, bytes) else answer(connection, asked)
        return completion(f"Fused {web_of(asked)}.")

    shard = shard_of(tmp_path, ["a", "b", "bad", "c", "d"])
    own = settings(server, prompt="Fuse these two texts now.\nW: {web}\nS: {synthetic}")
    if answer in (hang, drip):  # the others are answered before: on a busy machine they might be late too
        server.otherwise = lambda _, asked: reply(500) if web_of(asked) == "bad" else otherwise(_, asked)
        run(shard, own)
        own = replace(own, requests=replace(FAST, total_timeout_s=0.2))
    server.otherwise = otherwise
    found = run(shard, own)
    assert found["fused_status"] == ["ok", "ok", status, "ok", "ok"]
    assert found["fused"] == ["Fused a.", "Fused b.", None, "Fused c.", "Fused d."]
    assert words in found["fused_detail"][2]
    assert (found["fused_model"][2] is None) == (status not in ("refused", "truncated", "empty") and name in ENVELOPE)


ENVELOPE = ("429", "500", "hang", "drip", "reset", "cut", "huge", "400", "html", "half", "no_choice")
"""Faults in which no model has answered."""


@pytest.mark.parametrize(("bad", "ratio", "fails"), [(2, 0.2, False), (3, 0.2, True), (8, 1.0, False), (1, 0.0, True)])
def test_too_many_failures_end_the_shard_and_what_was_answered_is_kept(
    server: ChatServer, tmp_path: Path, bad: int, ratio: float, fails: bool
) -> None:
    server.otherwise = lambda _, asked: (
        reply(500, b"Oops") if int(web_of(asked)) >= 10 - bad else completion(f"Fused {web_of(asked)}.")
    )
    shard = shard_of(tmp_path, [*map(str, range(10)), None, None])
    own = settings(server, max_failed_ratio=ratio, requests=replace(FAST, retries=0))
    if not fails:
        assert run(shard, own)["fused_status"].count("server_error") == bad
        return
    with pytest.raises(StageError, match=f"{bad} of 10 asked rows .*{bad} of them server_error: HTTP 500: Oops"):
        run(shard, own)
    asked = len(server.asked)
    server.otherwise = completion("Mended.")
    assert run(shard, own)["fused_status"].count("ok") == 10
    assert len(server.asked) == asked + bad


REFUSAL = completion("I'm sorry, but I can't.")


@pytest.mark.parametrize(
    ("rows", "bad", "answer", "fails"),
    [
        (2, 1, REFUSAL, False),
        (19, 19, REFUSAL, False),
        (20, 4, REFUSAL, False),
        (20, 5, REFUSAL, True),
        (2, 1, reply(500), True),
    ],
)
def test_of_few_rows_useless_answers_are_no_failure_of_the_shard(
    server: ChatServer, tmp_path: Path, rows: int, bad: int, answer: bytes, fails: bool
) -> None:
    server.otherwise = lambda _, asked: answer if int(web_of(asked)) < bad else completion("Fused.")
    shard, own = shard_of(tmp_path, [*map(str, range(rows)), None]), settings(server)
    if fails:
        with pytest.raises(StageError, match=f"{bad} of {rows} asked rows"):
            run(shard, own)
    else:
        assert run(shard, own)["fused_status"].count("refused") == bad


def test_a_wrong_key_costs_three_requests_and_is_told(server: ChatServer, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-secret")
    server.otherwise = reply(401, b'{"error": {"message": "Incorrect API key: sk-secret"}}')
    shard = shard_of(tmp_path / "set", [f"web {row}" for row in range(100)])
    with pytest.raises(ConfigError, match=r"HTTP 401: Incorrect API key: \[key\] .*api_key_file"):
        run(shard, settings(server, api_key_file=str(key)))
    assert len(server.asked) == 3


def test_a_web_server_in_place_of_an_endpoint_costs_few_requests(server: ChatServer, tmp_path: Path) -> None:
    """Its pages are 200 and no answer; once there was an answer, such a page is one row's failure."""
    page = reply(200, b"<!DOCTYPE html><p>Welcome")
    server.otherwise = page
    shard, own = shard_of(tmp_path, [f"text {row}" for row in range(200)]), settings(server, max_failed_ratio=1.0)
    with pytest.raises(StageError, match=r"the first 3 answers are no chat completions: .*Welcome.*; look at base_url"):
        run(shard, own)
    assert len(server.asked) <= 3 + 2 * FAST.concurrency
    server.otherwise = lambda _, asked: completion("Fused.") if web_of(asked) == "text 0" else page
    assert run(shard, own)["fused_status"].count("bad_answer") == 199


@pytest.mark.parametrize(("workers", "most"), [(1, 4), (4, 1)])
def test_workers_share_what_is_under_way_at_once(server: ChatServer, tmp_path: Path, workers: int, most: int) -> None:
    def slow(connection: socket.socket, asked: Asked) -> bytes:
        """Waits until as many are under way as may be, the first one excepted, which is asked alone; and a little
        longer, for one more than that."""
        ends = time.monotonic() + 10
        while server.most_active < most and len(server.asked) > 1 and time.monotonic() < ends:
            time.sleep(0.002)
        time.sleep(0.02)
        return completion(f"Fused {web_of(asked)}.")

    server.otherwise = slow
    run(shard_of(tmp_path, [f"text {row}" for row in range(12)]), settings(server), Runtime(workers=workers))
    assert server.most_active == most


def test_the_key_is_in_the_header_and_in_no_file(server: ChatServer, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-secret")
    own = settings(server, api_key_file=str(key))
    stage = Fuse("fused", own)
    shard = shard_of(tmp_path / "set", ["a", "b"])
    attempt = Attempt(shard.storage, stage.label, shard.id, "f" * 16)
    stage.run(shard, attempt, Runtime())
    commit = attempt.commit()
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sk-secret"}
    assert "secret" not in json.dumps(stage.identity()) + repr(stage) + str(commit)
    assert not [path for path in (tmp_path / "set").rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_a_second_run_asks_nothing_and_writes_the_same_bytes(server: ChatServer, tmp_path: Path) -> None:
    shard = shard_of(tmp_path, [f"web {row}" for row in range(20)])
    first = run(shard, settings(server))
    server.otherwise = completion("Another answer.")
    assert run(shard, settings(server)) == first
    assert len(server.asked) == 20


def test_another_bound_on_the_answers_asks_nothing_and_another_question_does(
    server: ChatServer, tmp_path: Path
) -> None:
    shard = shard_of(tmp_path, ["short", "much longer text"])
    run(shard, settings(server))
    found = run(shard, settings(server, max_chars=15, max_failed_ratio=1.0))
    assert found["fused_status"] == ["ok", "bad_answer"]
    assert len(server.asked) == 2
    changes: list[dict[str, Any]] = [
        {"model": "n"},
        {"prompt": "{synthetic} {web}"},
        {"temperature": 0.1},
        {"top_p": 0.5},
        {"max_tokens": 9},
        {"seed": 1},
        {"extra": {"a": 1}},
        {"leave_out": ("seed",)},
    ]
    for number, change in enumerate(changes, 2):
        run(shard, settings(server, **change))
        assert len(server.asked) == 2 * number, change
    for change in ({"requests": replace(FAST, concurrency=1)}, {"max_failed_ratio": 0.5}):
        run(shard, settings(server, **change))
    assert len(server.asked) == 2 * (len(changes) + 1)


def test_a_run_that_goes_on_with_refused_rows_alone_ends(server: ChatServer, tmp_path: Path) -> None:
    server.otherwise = lambda _, asked: reply(400, b"no") if web_of(asked) > "5" else completion("Fused.")
    shard = shard_of(tmp_path, [*"123456789", *"abcdefghijklmnopqrstuvwxyz"])
    own = settings(server, max_failed_ratio=1.0)
    first = run(shard, own)
    assert first["fused_status"] == ["ok"] * 5 + ["bad_request"] * 30
    assert run(shard, own) == first


KILLED = textwrap.dedent("""
    import sys
    from curate.caption.fuse import Fuse, FuseSettings
    from curate.fetch.chat_endpoint import ChatSettings
    from curate.manifest import Attempt
    from curate.shard import Shard
    from curate.stage import Runtime
    from curate.storage import Storage
    root, url, prompt = sys.argv[1:]
    own = FuseSettings("m", base_url=url, prompt=prompt, requests=ChatSettings(concurrency=3))
    stage = Fuse("fused", own)
    attempt = Attempt(Storage(root), stage.label, "00000", "f" * 16)
    stage.run(Shard(attempt.storage, "00000"), attempt, Runtime())
    attempt.commit()
""")


def test_a_run_killed_again_and_again_asks_for_nothing_that_was_answered(server: ChatServer, tmp_path: Path) -> None:
    rows, kills, killed = 120, 2, threading.Event()

    def until_killed(_: socket.socket, asked: Asked) -> bytes:
        """Answers 40 of each run; the others wait for its end, so that none can end by itself."""
        if len(server.asked) >= before + 40:
            killed.wait(60)
        return completion(f"Fused {web_of(asked)}, number {len(server.asked)}.")

    server.otherwise = until_killed
    shard = shard_of(tmp_path, [f"web {row}" for row in range(rows)])
    command = [sys.executable, "-c", KILLED, str(tmp_path), server.base_url, PROMPT_OF_TEST]
    root = Path(__file__).parents[2]
    for _ in range(kills):
        before = len(server.asked)
        killed.clear()
        process = subprocess.Popen(command, cwd=root)
        while process.poll() is None and len(server.asked) < before + 40:
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        killed.set()
    assert subprocess.run(command, cwd=root, check=False, timeout=120).returncode == 0
    often = Counter(web_of(asked) for asked in server.asked)
    assert len(often) == rows
    assert len(server.asked) <= rows + 4 * kills  # at most what was under way when it was killed, and one unread
    found = Shard(shard.storage, "00000").columns(["fused", "fused_status"]).to_pydict()
    assert set(found["fused_status"]) == {"ok"}
    assert all(text.startswith(f"Fused web {row},") for row, text in enumerate(found["fused"]))


def test_on_an_object_store_a_second_run_asks_nothing(server: ChatServer, s3: Storage) -> None:
    shard = shard_of(s3, ["a", "b"])
    assert run(shard, settings(server)) == run(shard, settings(server))
    assert len(server.asked) == 2
