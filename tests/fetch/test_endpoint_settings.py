"""The settings of an endpoint, its address and the file of its key: what is taken, and what is refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.errors import ConfigError
from curate.fetch.chat_endpoint import ChatEndpoint
from curate.fetch.endpoint_key import read_key
from curate.fetch.endpoint_settings import EndpointSettings, require_base_url


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://[::1]:8000/v1/",
        "https://api.example.org/v1",
        "http://vllm:8000",
        "http://10.1.2.3/a/b/v1",
    ],
)
def test_addresses_that_may_be_asked(url: str) -> None:
    assert require_base_url(url).hostname


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must be an address"),
        ("api.example.org/v1", "must be an address"),
        ("ftp://a.test/v1", "must be an address"),
        ("file:///etc/passwd", "must be an address"),
        ("http://", "must be an address"),
        ("http://a.test:0/v1", "must be an address"),
        ("http://a.test:99999/v1", "must be an address"),
        ("http://[::1/v1", "must be an address"),
        ("http://a.test/v1\r\nX: y", "must be an address"),
        ("http://a b.test/v1", "must be an address"),
        ("http://ä.test/v1", "must be an address"),
        ("http://user:sk-secret@a.test/v1", "api_key_file"),
        ("http://a.test/v1?key=1", "before /chat/completions"),
        ("http://a.test/v1#x", "before /chat/completions"),
        ("http://a.test/v1/chat/completions", "before /chat/completions"),
    ],
)
def test_addresses_that_may_not(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        require_base_url(url)
    assert "secret" not in str(error.value)


def test_the_key_is_the_only_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"sk-1_2.3~\r\n")
    assert read_key(str(path)) == "sk-1_2.3~"
    assert read_key("") == ""


@pytest.mark.parametrize("found", [b"", b"\n\n", b"two words", b"one\ntwo", b"caf\xc3\xa9", b"\x00", b"k" * 8_193])
def test_a_file_that_is_no_key_is_not_told(tmp_path: Path, found: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(found)
    with pytest.raises(ConfigError, match="must hold one line") as error:
        read_key(str(path))
    assert "two words" not in str(error.value)


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (str(tmp_path / "none"), str(tmp_path), "no\0name"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_key(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"concurrency": 0},
        {"concurrency": 1_025},
        {"connect_timeout_s": 0.04},
        {"total_timeout_s": 0},
        {"retries": -1},
        {"retries": 21},
        {"backoff_s": -1},
        {"most_backoff_s": float("nan")},
        {"most_bytes": 999},
    ],
)
def test_settings_out_of_range(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        EndpointSettings(**changes)


def test_a_bundle_of_certificates_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        ChatEndpoint("https://a.test/v1", EndpointSettings(ca_file="/nowhere.pem"))
