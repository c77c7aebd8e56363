"""Drops pictures from hosts on a list, with all their subdomains: `example.com` blocks `a.example.com` as well.

The list is a text file, one host a line, `#` starts a comment (the form of UT1's and hosts-style block lists without
addresses). A line that is a URL, or a host behind an address, would block nothing, and is an error. The list's digest
is part of the filter's identity, so a changed list decides anew under the same name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError
from curate.filter import Filter, Verdict, verdict
from curate.source.model_file import file_digest

HOST = r"^\s*[A-Za-z][A-Za-z0-9+.-]*:/*(?:[^/?#\\]*@)?(?P<host>\[[^\]/]*\]|[^/?#\\:]*)"
EDGES = "." + "".join(character for character in map(chr, range(0x3001)) if character.isspace())
"""What means nothing around a host: a final dot, and the first one that some lists have; white space."""


@dataclass(frozen=True)
class UrlHost(Filter):
    """Keeps URLs whose host is neither in the file `blocklist` nor in `hosts`, nor below one that is."""

    blocklist: str = field(default="", metadata={"runtime": True})
    hosts: tuple[str, ...] = ()

    reads: ClassVar[tuple[str, ...]] = ("url",)
    reasons: ClassVar[Mapping[str, str]] = {"host_blocked": "the picture's host is on the block list"}

    def __post_init__(self) -> None:
        if self.blocklist and not Path(self.blocklist).is_file():
            raise ValueError(f"blocklist = {self.blocklist!r} is no file here")
        if not self.blocklist and not self.hosts:
            raise ValueError("needs `blocklist` (a file) or `hosts` (a list): nothing would be dropped")
        for host in self.hosts:
            if not _is_host(host):
                raise ValueError(f"hosts has {host!r}; write a host alone, such as example.com")

    def identity(self) -> Any:
        return {
            "settings": super().identity(),
            "blocklist": file_digest(Path(self.blocklist)) if self.blocklist else "",
        }

    def judge(self, columns: pa.Table) -> Verdict:
        listed = {normal_host(h) for h in self.hosts}
        if self.blocklist:
            stat = Path(self.blocklist).stat()
            listed |= read_hosts(self.blocklist, stat.st_mtime_ns, stat.st_size)
        hosts = pc.struct_field(pc.extract_regex(columns["url"], HOST), "host")
        if isinstance(hosts, pa.ChunkedArray):
            hosts = hosts.combine_chunks()
        unique = hosts.dictionary_encode()
        blocked = pa.array([is_listed(h, listed) for h in unique.dictionary.to_pylist()], pa.bool_())
        return verdict(len(columns), ("host_blocked", blocked.take(unique.indices)))


def normal_host(host: str) -> str:
    """Lower case, without dots at the ends, international names in their ASCII form."""
    host = host.strip(EDGES).lower()
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii").strip(EDGES).lower()
    except UnicodeError:
        return host


def is_listed(host: str, listed: frozenset[str] | set[str]) -> bool:
    """Whether the host or a domain above it is in the set."""
    labels = normal_host(host).split(".")
    return any(".".join(labels[i:]) in listed for i in range(len(labels)))


@lru_cache(maxsize=4)
def read_hosts(path: str, modified_ns: int, size_bytes: int) -> frozenset[str]:
    """The hosts of a list file, read once per process and state of the file. Raises ConfigError."""
    return frozenset(_hosts(path))


def _hosts(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            host = line.split("#", 1)[0].strip()
            if host and not _is_host(host):
                raise ConfigError(
                    f"[filters.url_host] blocklist = {path!r}, line {number}: {host[:60]!r} is not a host alone, such "
                    "as example.com; leave addresses, schemes and paths out"
                )
            if host:
                yield normal_host(host)


def _is_host(text: str) -> bool:
    """Whether a line can be a host, rather than a URL, a pattern, or an address with a host."""
    return bool(text.strip(EDGES)) and not any(c in "/*" or c.isspace() for c in text.strip())
