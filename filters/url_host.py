"""Drops pictures from hosts on a list, with all their subdomains: `example.com` blocks `a.example.com` as well.

The list is a text file, one host a line, `#` starts a comment (the form of UT1's and hosts-style block lists without
addresses). Its digest is part of the filter's identity, so a changed list decides anew under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Filter, Verdict, verdict
from curate.source.model_file import file_digest

HOST = r"^\s*[A-Za-z][A-Za-z0-9+.-]*:/*(?:[^/?#\\]*@)?(?P<host>\[[^\]/]*\]|[^/?#\\:]*)"


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
    """Lower case, without a final dot, international names in their ASCII form."""
    host = host.strip().rstrip(".").lower()
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def is_listed(host: str, listed: frozenset[str] | set[str]) -> bool:
    """Whether the host or a domain above it is in the set."""
    labels = normal_host(host).split(".")
    return any(".".join(labels[i:]) in listed for i in range(len(labels)))


@lru_cache(maxsize=4)
def read_hosts(path: str, modified_ns: int, size_bytes: int) -> frozenset[str]:
    """The hosts of a list file, read once per process and state of the file."""
    lines = (line.split("#", 1)[0].strip() for line in Path(path).read_text("utf-8").splitlines())
    return frozenset(normal_host(line) for line in lines if line)
