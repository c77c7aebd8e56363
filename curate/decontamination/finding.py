"""Which samples of a shard lists name: by what its table and its members say, and by hashes of its pictures.

Bytes are hashed as they lie in the tar, and the table's or member's `sha256` is that of the file as it was downloaded;
both are compared. MD5 and SHA-1 exist of the stored bytes alone, so they find a picture only where it was stored as it
came. Pictures are decoded only where a list has pixel hashes or PDQ, a sample's first one where the shard has no such
columns. A sample of
100 kB takes 0.06 ms by what it says of itself, 0.2 ms with an MD5, and with a decode what that takes and 0.3 ms. Of a
match no more is kept than its key and the kind of entry. Members above 256 MB are not looked into.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.decode import prepared
from curate.decontamination.lists import HASHES, PDQ_RADIUS, Listed, plain_url
from curate.errors import ConfigError, ShardError
from curate.shard import Shard
from curate.source.tar_rows import MOST_PICTURE_BYTES, MOST_TEXT_BYTES
from curate.source.tar_samples import Contents, read_contents
from curate.tar import Member, read_members, split_name

__all__ = ["DIGESTS", "Found", "digests_of", "find_listed", "listed_hash", "near_pdq", "sha256_bytes", "text_keys"]

DIGESTS = ("md5", "sha1", "sha256")
DECODED = ("pixel_hash", "pdq")
TEXTS = (".json", ".txt")
"""Members that are hashed and not decoded; all others may be pictures, whatever they are called."""
NAMELESS = "\0"
"""Before the name of a member that has no key."""
FIELDS = ("url", "uid")
"""What tables and `.json` members say of a sample that the tar itself cannot."""
TOLD = ("key", "source_key", "url", "uid", "sha256", *DECODED)


@dataclass(frozen=True)
class Found:
    """`keys` of a shard's samples that are listed, each with the first kind of entry that names it; `unasked` says why
    other entries could not find any there, and is empty where they could."""

    keys: dict[str, str]
    unasked: str = ""


def find_listed(shard: Shard, listed: Listed, threads: int = 1, whole: bool = True) -> Found:
    """What of a shard is listed, rows of its table without a picture too. Raises ShardError for a broken tar, and for
    one whose keys its table spells otherwise.

    Every member of the tar is looked into, those too that a reader passes over: repeated names, second pictures, texts.
    With `whole`, one that is listed and has no key is a ShardError, as it goes with no sample.

    Of documents the tables are asked alone, and a listed picture names its whole document. Raises ConfigError for
    hashes that only a look at the pictures could find there."""
    table = shard.storage.exists(shard.table_name())
    if table and shard.storage.exists(shard.parts.table_name()):
        return Found(_of_documents(shard, listed))
    found = _of_table(shard, listed) if table else {}
    columns = set(shard.column_files) if table else set()
    walk = _Walk(listed, set(DECODED) - columns, threads, fields=_filled(shard) if table else set())
    with shard.storage.open(shard.tar) as data:
        contents = read_contents(data, shard.tar)
        _require_known(shard, contents)
        units = _units(contents, data, shard.tar)
        _require_members(shard, _without_failed(shard, found) - units.keys())
        found |= walk.find(units.values(), data)
    nameless = sorted(key for key in found if key.startswith(NAMELESS))
    if nameless and whole:
        raise ShardError(
            f"{shard.tar} has a listed member that belongs to no sample, {nameless[0].removeprefix(NAMELESS)!r}: it "
            "has no key or no extension; make the tar anew without it, and apply again"
        )
    keys = {key: kind for key, kind in found.items() if key not in nameless}
    return Found(keys, _unasked(shard, listed, walk.fields) if units else "")


def _require_known(shard: Shard, contents: Contents) -> None:
    if contents.damage is not None:
        raise ShardError(f"{contents.damage}; what lies behind is unknown: mend the tar, or make it anew")
    if (contents.groups or contents.left_out) and not any(group.picture for group in contents.groups.values()):
        raise ShardError(
            f"no sample of {shard.tar} has a picture that is known here: tombstones are for pairs; put them into "
            "the data set that it comes from (--tombstones-only), and export anew"
        )


def _filled(shard: Shard) -> set[str]:
    """Which of FIELDS the shard's tables know for any key."""
    names = [name for name in FIELDS if {name, "key"} <= shard.column_files.keys()]
    table = shard.columns(names)
    return {name for name in names if table[name].null_count < len(table)}


def _unasked(shard: Shard, listed: Listed, fields: Collection[str]) -> str:
    kinds = [kind for kind in ("url", "host", "uid") if kind in listed.kinds]
    lost = next((kind for kind in kinds if ("uid" if kind == "uid" else "url") not in fields), None)
    if lost is None:
        return ""
    name = "uid" if lost == "uid" else "url"
    return (
        f"nothing of {shard.tar} can be found by a {lost}: neither a table with `key` and `{name}` nor a `.json` with "
        f"`{name}` tells one; give it such a table, {shard.table_name()}, or put those entries into a list of their own"
    )


def _without_failed(shard: Shard, found: Mapping[str, str]) -> set[str]:
    """Those keys whose rows say that there is a picture."""
    if not found or "status" not in shard.column_files:
        return set(found)
    table = shard.columns(["key", "status"])
    rows = zip(text_keys(table), table["status"].to_pylist(), strict=True)
    return {key for key, status in rows if key in found and status in (None, "success")}


def _require_members(shard: Shard, lost: set[str]) -> None:
    if lost:
        raise ShardError(
            f"{len(lost)} listed samples are in {shard.table_name()} and not in {shard.tar}, e.g. {min(lost)}: its "
            "keys are spelled otherwise, or the two are no pair; make the table anew from the tar, or move it away"
        )


def text_keys(table: pa.Table) -> list[str]:
    """The keys of a table as text, whatever type they have in it; "" for a row without one. Raises ShardError."""
    try:
        keys: list[str] = pc.fill_null(table["key"].cast(pa.string()), "").to_pylist()
    except pa.ArrowException:
        raise ShardError(f"keys are of type {table['key'].type}, where text is wanted; make the table anew") from None
    return keys


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
    rows = [{**_plain(row), "key": key} for row, key in zip(table.to_pylist(), text_keys(table), strict=True)]
    found = {row["key"]: kind for row in rows if (kind := _told(row, listed))}
    near = near_pdq([row.get("pdq") for row in rows], listed)
    found |= {rows[row]["key"]: found.get(rows[row]["key"], "pdq") for row in np.flatnonzero(near).tolist()}
    if "" in found:
        raise ShardError(f"a listed row of {shard.table_name()} has no key; give it one, or take the row out")
    return found


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose hashes are bytes of the right kind, or nothing."""
    return {n: v for n, v in row.items() if n not in DECODED or isinstance(v, bytes)}


def _told(record: Mapping[str, Any], listed: Listed) -> str | None:
    """The kind of entry that names what a row or a `.json` member says of itself."""
    url, host = plain_url(record["url"]) if isinstance(record.get("url"), str) else ("", "")
    uid = record.get("uid")
    for kind, said, entries in (
        ("url", url, listed.urls),
        ("key", record.get("key"), listed.keys),
        ("key", record.get("source_key"), listed.keys),
        ("uid", uid.lower() if isinstance(uid, str) else None, listed.uids),
    ):
        if isinstance(said, str) and said in entries:
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
    """One pass over a tar. `unknown`: the kinds of hashes for which the samples' own pictures need a decode."""

    listed: Listed
    unknown: Collection[str]
    threads: int
    found: dict[str, str] = field(default_factory=dict)
    fields: set[str] = field(default_factory=set)
    """Which of FIELDS are known of any sample."""

    @property
    def digests(self) -> list[str]:
        """The kinds of digests that the list has."""
        return [kind for kind in DIGESTS if kind in self.listed.kinds]

    def find(self, units: Iterable[_Unit], data: IO[bytes]) -> dict[str, str]:
        """Keys of units to the kind of entry that names them."""
        wanted = tuple(kind for kind in DECODED if kind in self.listed.kinds)
        pictures = self._pictures(units, data, wanted)
        first = next(pictures, None)
        if first is None:
            return self.found
        from curate.dedup.picture_hashes import PictureHashes

        hashes = PictureHashes(wanted)
        hashes.require()
        keys: list[str] = []
        pdq: list[bytes | None] = []
        for picture in prepared(chain([first], pictures), [hashes.prepare], self.threads):
            view = picture.views[0] if isinstance(picture.views[0], dict) else {}
            if listed_hash({"pixel_hash": view.get("pixel_hash")}, self.listed):
                self.found.setdefault(picture.key, "pixel_hash")
            keys.append(picture.key)
            pdq.append(view.get("pdq"))
        near = near_pdq(pdq, self.listed)
        self.found |= {keys[row]: "pdq" for row in np.flatnonzero(near).tolist() if keys[row] not in self.found}
        return self.found

    def _pictures(
        self, units: Iterable[_Unit], data: IO[bytes], wanted: Collection[str]
    ) -> Iterator[tuple[str, bytes]]:
        """Keys and bytes of what has to be decoded, of units that nothing has named yet."""
        for unit in units:
            kind = self._by_members(unit, data)
            for member in unit.members if kind is None and (wanted or self.digests) else ():
                if member.size > MOST_PICTURE_BYTES:
                    continue
                data.seek(member.offset)
                raw = data.read(member.size)
                kind = kind or listed_hash(digests_of(raw, self.digests), self.listed)
                kinds = set(wanted) & set(self.unknown) if member is unit.picture else wanted
                if kind is None and kinds and not member.name.lower().endswith(TEXTS):
                    yield unit.key, raw
            if kind is not None:
                self.found.setdefault(unit.key, kind)

    def _by_members(self, unit: _Unit, data: IO[bytes]) -> str | None:
        """By the name of the members, and by what their `.json` says; a copy is called KEY-1 in an export, and its
        `.json` still says KEY."""
        name = {"key": unit.key.removeprefix(NAMELESS)}
        records = [_json_record(member, data) for member in unit.members]
        self.fields.update(name for record in records for name in record.keys() & set(FIELDS))
        for record in ({}, *records):
            kind = _told({**record, **name}, self.listed) or _told({"key": record.get("key")}, self.listed)
            if kind is not None:
                return kind
        return None


@dataclass(frozen=True)
class _Unit:
    """Members that go together: those of one key, whatever a reader would see of them, or one that has no key."""

    key: str
    members: list[Member]
    picture: Member | None


def _units(contents: Contents, data: IO[bytes], name: str) -> dict[str, _Unit]:
    """All members of a tar, by key; the key of one without is NAMELESS and its name."""
    units = {k: _Unit(k, list(group.members.values()), group.picture) for k, group in contents.groups.items()}
    seen = {member.offset for unit in units.values() for member in unit.members}
    for member in read_members(data, name) if contents.left_out else ():
        if member.offset not in seen:
            parts = split_name(member.name)
            key = parts[0] if parts else NAMELESS + member.name
            units.setdefault(key, _Unit(key, [], None)).members.append(member)
    return units


def _json_record(member: Member, data: IO[bytes]) -> dict[str, Any]:
    parts = split_name(member.name)
    if (parts[1] if parts else member.name.lower()) not in ("json", ".json") or member.size > MOST_TEXT_BYTES:
        return {}
    data.seek(member.offset)
    try:
        found = json.loads(data.read(member.size))
    except (ValueError, RecursionError):
        return {}
    said = found if isinstance(found, dict) else {}
    return {name: said[name] for name in ("key", "url", "uid", "sha256") if isinstance(said.get(name), str)}
