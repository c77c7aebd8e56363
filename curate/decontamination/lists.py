"""Lists of what has to go: opt-outs by URL and host, takedowns by digest, key and uid, hash lists of known illegal
material.

A text file, one entry a line; `#` at the start of a line or behind a blank starts a comment. `host:example.com`,
`url:https://a.test/1.jpg`, `key:000010005`, `uid:<32 hex>`, and hashes in hexadecimal, `md5: sha1: sha256: pixel_hash:
pdq:`. Without a word before it, a line of 32, 40 or 64 hex digits is an MD5, SHA-1 or SHA-256, and one that starts with
`http` a URL; a PDQ has 64 digits too, so it must say so. An entry may stand in double quotes. What could never match is
refused: a URL without a host, a host with a path, a `uid` that is not 32 hex digits. An entry is never repeated in a
message: a line that cannot be read is told by its number.

A list of a million digests takes 364 MB at its peak and is read in 2 s, once a process.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.fetch.url import MOST_CHARS, parse_url

__all__ = ["HASHES", "PDQ_RADIUS", "Listed", "plain_url", "read_lists"]

HASHES: Mapping[str, int] = {"md5": 16, "sha1": 20, "sha256": 32, "pixel_hash": 16, "pdq": 32}
"""Kinds of hashes, with their bytes."""
OTHERS = ("url", "host", "key", "uid")
PDQ_RADIUS = 31
"""Of 256 bits: the distance that Meta's description of PDQ (2019) recommends for a match."""

_ENTRY = re.compile(rf"({'|'.join((*OTHERS, *HASHES))})\s*[:,]\s*(\S.*)", re.IGNORECASE)
_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:/*)[^/?#@\\]*@")
_START = re.compile(r"[A-Za-z]+:[/\\]{2}[^/?#\\]*")
_USUAL_PORT = re.compile(r":(80|443)$")
_PLAIN_TAIL = re.compile(r"[A-Za-z0-9._~/?&=+-]*")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_COMMENT = re.compile(r"(^|\s)#.*", re.DOTALL)
_UID = re.compile(r"[0-9a-f]{32}")
_DIGITS = {2 * HASHES[kind]: kind for kind in ("md5", "sha1", "sha256")}


@dataclass(frozen=True)
class Listed:
    """What lists name. `hashes` are bytes by kind, without PDQ, which is `pdq` uint64 (n, 4); `digest` is of the files'
    bytes. URLs are in the form of `plain_url`."""

    urls: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    uids: frozenset[str] = frozenset()
    hashes: Mapping[str, frozenset[bytes]] = field(default_factory=dict)
    pdq: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty((0, 4), np.uint64))
    digest: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that have entries."""
        there = {"url": self.urls, "host": self.hosts, "key": self.keys, "uid": self.uids, **self.hashes}
        found = [kind for kind, entries in there.items() if entries]
        return (*found, "pdq") if len(self.pdq) else tuple(found)

    def has_host(self, host: str) -> bool:
        """Whether the host or a domain above it is listed."""
        labels = host.split(".")
        return any(".".join(labels[place:]) in self.hosts for place in range(len(labels)))


def read_lists(paths: Sequence[str], option: str, kinds: Iterable[str] = (*OTHERS, *HASHES)) -> Listed:
    """All entries of some files, which may be of these `kinds`. Raises ConfigError, with `option` for the path."""
    marks = []
    for path in paths:
        try:
            about = Path(path).stat()
        except OSError as error:
            raise ConfigError(f"{option} {path} cannot be read: {error.strerror}; give the path of a list") from None
        marks.append((path, about.st_mtime_ns, about.st_size))
    return _read(tuple(marks), option, frozenset(kinds))


@lru_cache(maxsize=4)
def _read(marks: tuple[tuple[str, int, int], ...], option: str, kinds: frozenset[str]) -> Listed:
    texts: dict[str, set[str]] = {kind: set() for kind in OTHERS}
    hashes: dict[str, set[bytes]] = {kind: set() for kind in HASHES}
    digest = hashlib.sha256()
    for path, _, _ in marks:
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"{option} {path} cannot be read: {error.strerror}; give the path of a list") from None
        digest.update(hashlib.sha256(data).digest())
        for kind, entry in _entries(path, data.decode("utf-8-sig", "replace"), kinds):
            if isinstance(entry, bytes):
                hashes[kind].add(entry)
            else:
                texts[kind].add(entry)
    pdq = np.frombuffer(b"".join(sorted(hashes.pop("pdq"))), ">u8").astype(np.uint64).reshape(-1, 4)
    urls, hosts, keys, uids = (frozenset(texts[kind]) for kind in OTHERS)
    return Listed(
        urls, hosts, keys, uids, {kind: frozenset(entries) for kind, entries in hashes.items()}, pdq, digest.hexdigest()
    )


def _entries(path: str, text: str, kinds: frozenset[str]) -> Iterator[tuple[str, str | bytes]]:
    for number, line in enumerate(text.splitlines(), 1):
        line = _COMMENT.sub("", line).strip()
        if not line:
            continue
        kind, value = _kind_of(line)
        entry = _value_of(kind, value)
        if entry is None:
            raise ConfigError(f"line {number} of {path} is no entry; write e.g. host:example.com or sha256:<64 digits>")
        if kind not in kinds:
            raise ConfigError(f"line {number} of {path} is a {kind}; only {', '.join(sorted(kinds))} are taken here")
        yield kind, entry


def _kind_of(line: str) -> tuple[str, str]:
    named = _ENTRY.fullmatch(line)
    if named:
        return named[1].lower(), _unquoted(named[2])
    line = _unquoted(line)
    if line[:4].lower() == "http":
        return "url", line
    return _DIGITS.get(len(line), ""), line


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if len(text) > 2 and text[0] == text[-1] == '"' else text


def _value_of(kind: str, value: str) -> str | bytes | None:
    if kind == "url":
        url, host = plain_url(value)
        return url if host else None
    if kind == "host":
        return _host(value)
    if kind == "uid":
        return value.lower() if _UID.fullmatch(value.lower()) else None
    if kind in OTHERS:
        return value
    if kind in HASHES and re.fullmatch(f"[0-9A-Fa-f]{{{2 * HASHES[kind]}}}", value):
        return bytes.fromhex(value)
    return None


def _host(text: str) -> str | None:
    """The host of `ex.test`, `.ex.test.` or `https://ex.test/`; None where more is said, which is no whole host."""
    name = text.rpartition("://")[2].removesuffix("/").strip(".")
    return None if re.search(r"[/?#@\\]", name) else plain_url(f"http://{name}/")[1] or None


def plain_url(text: str) -> tuple[str, str]:
    """A URL as it is compared, and its host; "" for what is no URL.

    Without scheme, user name, fragment, a port that is usual for either scheme and a `?` at the end; percent-encoded
    where RFC 3986 (2.3) has no plain character, and only there, but for `/?&=+`, whose two forms differ in meaning.
    """
    text = _USER.sub(r"\1", text.strip())
    text = f"http:{text}" if text.startswith("//") else text
    try:
        target, tail = parse_url(text), ""
    except ValueError:  # a URL may be longer than anybody would ask for, and is on a host still
        start = _START.match(text)
        if start is None or len(text) <= MOST_CHARS:
            return text, ""
        try:
            target, tail = parse_url(start[0]), text[start.end() :].partition("#")[0]
        except ValueError:
            return text, ""
    rest = target.url.removeprefix(f"{target.scheme}://")
    authority, _, path = rest.partition("/")
    authority = _USUAL_PORT.sub("", authority)
    return f"//{authority}/{_plain_tail(tail.removeprefix('/') or path)}", target.host.rstrip(".")


def _plain_tail(text: str) -> str:
    if not _PLAIN_TAIL.fullmatch(text):
        text = quote(_ESCAPE.sub(_plain_escape, text), safe="/?&=+%~", errors="replace")
    return text.removesuffix("?")


def _plain_escape(found: re.Match[str]) -> str:
    if not found[1]:
        return "%25"
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.fullmatch(character) else f"%{found[1].upper()}"
