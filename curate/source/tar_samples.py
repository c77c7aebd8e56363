"""The samples in a tar that anybody may have made: which members belong together, and whether a reader would agree.

webdataset takes neighbours of the same key as one sample. A tar sorted by extension gives it halves of samples, and a
name that occurs twice an exception; members such as `.pyd` and `.pth` are unpickled, which can run any program. Here
members are put together by key wherever they lie, the first of a name counts, and pickles are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import IO

import pyarrow as pa

from curate.errors import ShardError
from curate.shard import IMAGE_EXTENSIONS
from curate.tar import Member, TarWriter, read_members, split_name

__all__ = ["Contents", "Group", "index_table", "read_contents", "write_contents"]

PICKLES = frozenset({"pkl", "pickle", "pyd", "pth", "pt"})


@dataclass(frozen=True)
class Group:
    """The members of one sample, by extension, in the tar's order."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def picture(self) -> Member | None:
        """The member that is the picture; None for a sample without one."""
        return next((self.members[e] for e in IMAGE_EXTENSIONS if e in self.members), None)


@dataclass(frozen=True)
class Contents:
    """A tar's samples by key, in order of appearance.

    `tidy`: a reader that goes through the tar sees the same. `damage` tells where the tar breaks off. `left_out` counts
    the members that no sample got: pickles, repeated names, names without an extension.
    """

    groups: Mapping[str, Group]
    tidy: bool = True
    damage: str | None = None
    left_out: int = 0


def read_contents(source: IO[bytes], name: str) -> Contents:
    """Walk the headers of a tar. Raises ShardError when it breaks before its first sample."""
    groups: dict[str, Group] = {}
    tidy, damage, left_out, last = True, None, 0, ""
    try:
        for member in read_members(source, name):
            key, extension = split_name(member.name) or ("", "")
            known = groups.get(key)
            if not key or extension.rpartition(".")[2] in PICKLES or (known and extension in known.members):
                left_out += 1
                tidy = tidy and not key
                continue
            tidy = tidy and (known is None or key == last)
            groups.setdefault(key, Group(key)).members[extension] = member
            last = key
    except ShardError as error:
        if not groups:
            raise
        tidy, damage = False, str(error)
    return Contents(groups, tidy, damage, left_out)


def write_contents(contents: Contents, source: IO[bytes], target: IO[bytes]) -> Contents:
    """Write the samples one after the other; returns them with their new places."""
    tar = TarWriter(target)
    groups = {}
    for key, group in contents.groups.items():
        first = len(tar.members)
        for extension, member in group.members.items():
            source.seek(member.offset)
            tar.add(f"{key}.{extension}", source.read(member.size))
        groups[key] = Group(key, dict(zip(group.members, tar.members[first:], strict=True)))
    tar.finish()
    return replace(contents, groups=groups)


def index_table(contents: Contents) -> pa.Table:
    """`key`, `extension`, `offset`, `size` of every member, in the tar's order."""
    rows = [(g.key, e, m.offset, m.size) for g in contents.groups.values() for e, m in g.members.items()]
    names = {"key": pa.string(), "extension": pa.string(), "offset": pa.int64(), "size": pa.int64()}
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.table({n: pa.array(c, t) for (n, t), c in zip(names.items(), columns, strict=True)})
