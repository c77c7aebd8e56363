"""Which samples of a shard lists name: by what its table and its members say, and by hashes of its pictures.

Bytes are hashed as they lie in the tar, and the table's or member's `sha256` is that of the file as it was downloaded;
both are compared. MD5 and SHA-1 exist of the stored bytes alone, so they find a picture only where it was stored as it
came. Pictures are decoded only where a list has pixel hashes or PDQ and the shard has no such columns. A sample of
100 kB takes 0.06 ms by what it says of itself, 0.2 ms with an MD5, and with a decode what that takes and 0.3 ms. Of a
match no more is kept than its key and the kind of entry. Members above 256 MB are not looked into.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from curate.decode import prepared
from curate.decontamination.lists import HASHES, PDQ_RADIUS, Listed, plain_url
from curate.errors import ConfigError, ShardError
from curate.shard import Shard
from curate.source.tar_rows import MOST_PICTURE_BYTES, MOST_TEXT_BYTES
from curate.source.tar_samples import Contents, Group, read_contents

__all__ = ["DIGESTS", "digests_of", "find_listed", "listed_hash", "near_pdq", "sha256_bytes"]

DIGESTS = ("md5", "sha1", "sha256")
DECODED = ("pixel_hash", "pdq")
TEXTS = ("json", "txt")
"""Members that are no pictures; all others are hashed, whatever they are called."""
TOLD = ("key", "url", "uid", "sha256", *DECODED)


def find_listed(shard: Shard, listed: Listed, threads: int = 1) -> dict[str, str]:
    """Keys of the shard's samples that are listed, each with the first kind of entry that names it; keys of table rows
    without a picture too. Raises ShardError for a broken tar, and for one whose keys its table spells otherwise.

    Of documents the tables are asked alone, and a listed picture names its whole document. Raises ConfigError for
    hashes that only a look at the pictures could find there."""
    table = shard.storage.exists(shard.table_name())
    if table and shard.storage.exists(shard.parts.table_name()):
        return _of_documents(shard, listed)
    found = _of_table(shard, listed) if table else {}
    known = set(shard.column_files) if table else set()
    claimed = _without_failed(shard, found)
    with shard.storage.open(shard.tar) as data:
        contents = read_contents(data, shard.tar)
        if contents.damage is not None:
            raise ShardError(f"{contents.damage}; what lies behind is unknown: mend the tar, or make it anew")
        if (contents.groups or contents.left_out) and not any(group.picture for group in contents.groups.values()):
            raise ShardError(
                f"no sample of {shard.tar} has a picture that is known here: tombstones are for pairs; put them into "
                "the data set that it comes from (--tombstones-only), and export anew"
            )
        _require_members(shard, claimed - contents.groups.keys())
        found |= _Walk(listed, [n for n in DECODED if n not in known], threads).find(contents, data)
    return found


def _without_failed(shard: Shard, found: Mapping[str, str]) -> set[str]:
    """Those keys whose rows say that there is a picture."""
    if not found or "status" not in shard.column_files:
        return set(found)
    rows = shard.columns(["key", "status"]).to_pylist()
    return {row["key"] for row in rows if row["key"] in found and row["status"] in (None, "success")}


def _require_members(shard: Shard, lost: set[str]) -> None:
    if lost:
        raise ShardError(
            f"{len(lost)} listed samples are in {shard.table_name()} and not in {shard.tar}, e.g. {min(lost)}: its "
            "keys are spelled otherwise, or the two are no pair; make the table anew from the tar, or move it away"
        )


def listed_hash(hashes: Mapping[str, bytes | None], listed: Listed) -> str | None:
    """The first kind whose hash is on the list, PDQ left out."""
    return next((kind for kind, value in hashes.items() if value in listed.hashes.get(kind, ())), None)


def digests_of(data: bytes, kinds: Iterable[str] = DIGESTS) -> dict[str, bytes | None]:
    """The digests of a file by kind. MD5 and SHA-1 are what lists have, not what keeps a secret."""
    return {kind: hashlib.new(kind, data, usedforsecurity=False).digest() for kind in kinds}


def near_pdq(hashes: Sequence[bytes | None], listed: Listed, radius: int = PDQ_RADIUS) -> npt.NDArray[np.bool_]:
    """Which PDQ hashes, 32 bytes each or None, are within `radius` bits of a listed one, bool (n,)."""
    near = np.zeros(len(hashes), bool)
    there = [row for row, value in enumerate(hashes) if value is not None]
    if not there or not len(listed.pdq):
        return near
    from curate.dedup.hamming import Cap, search

    queries = np.frombuffer(b"".join(hashes[row] or b"" for row in there), ">u8").astype(np.uint64).reshape(-1, 4)
    query, _, _ = search(_index(_Pdq(listed), radius), queries, radius, cap=Cap(1))
    near[np.array(there)[query]] = True
    return near


class _Pdq:
    """The PDQ hashes of a list, the same for the same files."""

    def __init__(self, listed: Listed) -> None:
        self.listed = listed

    def __hash__(self) -> int:
        return hash(self.listed.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pdq) and np.array_equal(other.listed.pdq, self.listed.pdq)


@lru_cache(maxsize=2)
def _index(pdq: _Pdq, radius: int) -> Any:
    from curate.dedup.hamming import Index

    return Index(pdq.listed.pdq, radius)


def _of_documents(shard: Shard, listed: Listed) -> dict[str, str]:
    unseen = [kind for kind in listed.kinds if kind in HASHES and kind != "sha256"]
    if unseen:
        raise ConfigError(
            f"a list has hashes of kind {unseen[0]}, and of documents only the SHA-256 of pictures is known; put them "
            "into a list of their own"
        )
    parts = {key.rpartition(".")[0]: kind for key, kind in _of_table(shard.parts, listed).items()}
    return parts | _of_table(shard, listed)


def _of_table(shard: Shard, listed: Listed) -> dict[str, str]:
    names = [name for name in TOLD if name in shard.column_files]
    if "key" not in names:
        return {}
    table = shard.columns(names)
    rows = [_plain(row) for row in table.to_pylist()]
    found = {row["key"]: kind for row in rows if (kind := _told(row, listed))}
    near = near_pdq([row.get("pdq") for row in rows], listed)
    return found | {rows[row]["key"]: found.get(rows[row]["key"], "pdq") for row in np.flatnonzero(near).tolist()}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose hashes are bytes of the right kind, or nothing."""
    return {n: v for n, v in row.items() if n not in DECODED or isinstance(v, bytes)}


def _told(record: Mapping[str, Any], listed: Listed) -> str | None:
    """The kind of entry that names what a row or a `.json` member says of itself."""
    url, host = plain_url(record["url"]) if isinstance(record.get("url"), str) else ("", "")
    uid = record.get("uid")
    said = {"key": record.get("key"), "uid": uid.lower() if isinstance(uid, str) else None, "url": url}
    for kind, entries in (("url", listed.urls), ("key", listed.keys), ("uid", listed.uids)):
        if isinstance(said[kind], str) and said[kind] in entries:
            return kind
    if host and listed.has_host(host):
        return "host"
    return listed_hash({"sha256": sha256_bytes(record.get("sha256")), "pixel_hash": record.get("pixel_hash")}, listed)


def sha256_bytes(text: object) -> bytes | None:
    """The 32 bytes of a SHA-256 in hexadecimal; None for anything else."""
    try:
        found = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return None
    return found if len(found) == HASHES["sha256"] else None


@dataclass
class _Walk:
    """One pass over a tar. `decoded`: the kinds that need its pictures decoded, where the list has them."""

    listed: Listed
    decoded: Sequence[str]
    threads: int
    found: dict[str, str] = field(default_factory=dict)

    @property
    def digests(self) -> list[str]:
        """The kinds of digests that the list has."""
        return [kind for kind in DIGESTS if kind in self.listed.kinds]

    def find(self, contents: Contents, data: IO[bytes]) -> dict[str, str]:
        kinds = self.listed.kinds
        wanted = tuple(kind for kind in self.decoded if kind in kinds)
        if not wanted:
            for _ in self._pictures(contents, data, bool(self.digests)):
                pass
            return self.found
        from curate.dedup.picture_hashes import PictureHashes

        hashes = PictureHashes(wanted)
        hashes.require()
        keys: list[str] = []
        pdq: list[bytes | None] = []
        for picture in prepared(self._pictures(contents, data, True), [hashes.prepare], self.threads):
            view = picture.views[0] if isinstance(picture.views[0], dict) else {}
            if listed_hash({"pixel_hash": view.get("pixel_hash")}, self.listed):
                self.found[picture.key] = "pixel_hash"
            keys.append(picture.key)
            pdq.append(view.get("pdq"))
        near = near_pdq(pdq, self.listed)
        self.found |= {keys[row]: "pdq" for row in np.flatnonzero(near).tolist() if keys[row] not in self.found}
        return self.found

    def _pictures(self, contents: Contents, data: IO[bytes], read: bool) -> Iterator[tuple[str, bytes]]:
        """Keys and bytes of pictures that nothing has named yet."""
        for key, group in contents.groups.items():
            kind, picture = self._by_members(key, group, data), b""
            for extension, member in group.members.items() if read and kind is None else ():
                if extension in TEXTS or member.size > MOST_PICTURE_BYTES:
                    continue
                data.seek(member.offset)
                raw = data.read(member.size)
                kind = kind or listed_hash(digests_of(raw, self.digests), self.listed)
                picture = raw if member is group.picture else picture
            if kind is not None:
                self.found[key] = kind
            elif picture:
                yield key, picture

    def _by_members(self, key: str, group: Group, data: IO[bytes]) -> str | None:
        """By the name of the members, and by what their `.json` says; a copy is called KEY-1 in an export, and its
        `.json` still says KEY."""
        record = _json_record(group, data)
        return _told({**record, "key": key}, self.listed) or ("key" if record.get("key") in self.listed.keys else None)


def _json_record(group: Group, data: IO[bytes]) -> dict[str, Any]:
    member = group.members.get("json")
    if member is None or member.size > MOST_TEXT_BYTES:
        return {}
    data.seek(member.offset)
    try:
        found = json.loads(data.read(member.size))
    except (ValueError, RecursionError):
        return {}
    said = found if isinstance(found, dict) else {}
    return {name: said[name] for name in ("key", "url", "uid", "sha256") if isinstance(said.get(name), str)}
