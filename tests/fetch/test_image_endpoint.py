"""Pictures of an endpoint: what is read of an answer, and whom it is asked from."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from chat_server import ChatServer, huge, reply
from hypothesis import given
from hypothesis import strategies as st

from curate.fetch.endpoint import Question, ReplyStatus
from curate.fetch.endpoint_settings import host_of, require_base_url, require_extra, sent_to
from curate.fetch.image_endpoint import ImageEndpoint, ImageRequests, MadePicture, read_picture

BYTES = b"\x89PNG and so on"
CODED = base64.b64encode(BYTES).decode()


def body(**first: Any) -> bytes:
    return json.dumps({"created": 1, "data": [first]}).encode()


READ: list[tuple[bytes, MadePicture | str]] = [
    (body(b64_json=CODED), MadePicture(BYTES)),
    (body(b64_json=f"data:image/png;base64,{CODED}"), MadePicture(BYTES)),
    (body(b64_json=CODED, revised_prompt="a cat"), MadePicture(BYTES, "a cat")),
    (body(b64_json=CODED, revised_prompt=7), MadePicture(BYTES)),
    (body(b64_json=CODED, revised_prompt="half \ud83d"), MadePicture(BYTES, "half ?")),
    (body(b64_json=CODED, revised_prompt="a" * 5000), MadePicture(BYTES, "a" * 4000)),
    (body(b64_json=""), MadePicture(b"")),
    (body(b64_json="not base64!"), "no base64"),
    (body(b64_json=CODED[:-1]), "no base64"),
    (body(b64_json=f"{CODED[:4]}!{CODED[4:]}"), "no base64"),
    (body(b64_json="é"), "no base64"),
    (body(b64_json=None), "has no b64_json"),
    (body(url="http://169.254.169.254/x.png"), "a URL in its place"),
    (body(), "has no b64_json"),
    (b'{"data": []}', "no data[0]"),
    (b'{"data": ["x"]}', "no data[0]"),
    (b'{"data": {"0": {}}}', "no data[0]"),
    (b"[]", "no data[0]"),
    (b"<html>", "no JSON"),
    (b"\xff\xfe", "no JSON"),
    (b"[" * 100_000, "no JSON"),
    (b"", "no JSON"),
]


@pytest.mark.parametrize(("raw", "found"), READ, ids=range(len(READ)))
def test_answers(raw: bytes, found: MadePicture | str) -> None:
    if isinstance(found, str):
        said = read_picture(raw)
        assert isinstance(said, str)
        assert found in said
    else:
        assert read_picture(raw) == found


@given(st.binary(max_size=50), st.recursive(st.none() | st.text(), st.lists, max_leaves=5))
def test_no_answer_raises(raw: bytes, data: Any) -> None:
    for answer in (raw, json.dumps({"data": data}).encode(), body(b64_json=data)):
        assert isinstance(read_picture(answer), MadePicture | str)


def test_it_is_asked_at_its_own_path_and_within_its_bounds() -> None:
    server = ChatServer(otherwise=reply(200, body(b64_json=CODED)), script=[huge])
    settings = ImageRequests(retries=0, most_bytes=100_000)
    endpoint = ImageEndpoint(server.base_url, settings)
    try:
        replies = list(endpoint.ask([Question("a", b"{}"), Question("b", b"{}")]))
    finally:
        endpoint.close()
        server.close()
    assert [(own.key, own.status) for own in replies] == [
        ("a", ReplyStatus.TOO_MANY_BYTES),
        ("b", ReplyStatus.ANSWERED),
    ]
    assert read_picture(replies[1].body) == MadePicture(BYTES)
    assert {asked.path for asked in server.asked} == {"/v1/images/generations"}


@pytest.mark.parametrize("path", ["/chat/completions", "/images/generations", "/images/generations/"])
def test_a_base_url_ends_before_what_is_added(path: str) -> None:
    with pytest.raises(ValueError, match=f"must end before {path.rstrip('/')}"):
        require_base_url(f"http://127.0.0.1/v1{path}")


def test_members_and_hosts() -> None:
    require_extra({"steps": 3}, ("n",))
    with pytest.raises(ValueError, match="may not set 'n'"):
        require_extra({"n": 3}, ("n",))
    with pytest.raises(ValueError, match="no word for"):
        require_extra({"a": float("inf")}, ())
    assert host_of("https://a.test:8/v1") == "a.test"
    assert sent_to("http://a.test/v1", True) == "a.test, unencrypted, and the key"
    assert sent_to("http://localhost/v1", True) == "localhost"
    assert sent_to("http://a.test/v1", False) == "a.test"
