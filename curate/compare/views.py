"""Texts of a view of captions that one side keeps and the other does not, of the web and synthetic ones.

A text is matched with its picture: the digest of URL and caption joined with that of the text, so a caption that was
generated anew is one lost and one gained. It goes the way of rows (`curate.compare.matching`), in the same memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.caption.choose import view_columns
from curate.caption.rule import WEB
from curate.compare.matching import Rows, matched
from curate.compare.sides import Reader
from curate.compare.verdicts import ABSENT
from curate.compare.who import SAMPLES, who
from curate.dedup.digest import digest_strings, join_digests
from curate.dedup.scatter import row_ids
from curate.errors import CurateError, ShardError
from curate.report.captions import views_of
from curate.shard import Shard

__all__ = ["ViewChange", "view_changes"]

OF_WEB, SYNTHETIC = ABSENT + 1, ABSENT + 2
"""What a text is, where rows have their verdict."""
KINDS = {OF_WEB: "web", SYNTHETIC: "synthetic"}


@dataclass(frozen=True)
class ViewChange:
    """Texts of one kind (`web`, `synthetic`) in a view: kept by A, by B, and by both for the same picture."""

    view: str
    kind: str
    a: int
    b: int
    both: int

    @property
    def gained(self) -> int:
        """Texts that B alone keeps."""
        return self.b - self.both

    @property
    def lost(self) -> int:
        """Texts that A alone keeps."""
        return self.a - self.both


def view_changes(a: Reader, b: Reader) -> tuple[ViewChange, ...]:
    """The views that both sides have, two entries each. Shards that cannot be read are told to the readers' troubles,
    and have no texts."""
    here, there = ({view for shard in side.side.shards[:1] for view in _views(side, shard)} for side in (a, b))
    return tuple(change for view in sorted(here & there) for change in _changes(a, b, view))


def _changes(a: Reader, b: Reader, view: str) -> Iterator[ViewChange]:
    counts = np.zeros((len(KINDS), 3), np.int64)
    with tempfile.TemporaryDirectory(prefix="curate-compare-") as folder:
        for pairs in matched(_texts(a, view), _texts(b, view), a.count() + b.count(), Path(folder)):
            counts += [_kept(pairs.a == kind, pairs.b == kind) for kind in KINDS]
    for kind, own in zip(KINDS.values(), counts.tolist(), strict=True):
        yield ViewChange(view, kind, *own)


def _kept(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> tuple[int, int, int]:
    """How many texts A keeps, B, and both."""
    return int(a.sum()), int(b.sum()), int((a & b).sum())


def _texts(side: Reader, view: str) -> Iterator[Rows]:
    for number, shard in enumerate(side.side.shards):
        try:
            yield _of_shard(shard, number, view)
        except (CurateError, pa.ArrowException) as error:
            words = f"view {view} of shard {shard.id} cannot be compared: {error}"
            side.troubles.add(side.side, error if isinstance(error, CurateError) else ShardError(words))


def _of_shard(shard: Shard, number: int, view: str) -> Rows:
    names = view_columns(view)[:2]
    texts, origins = (column.combine_chunks() for column in shard.columns(names).columns)
    row = np.asarray(pc.list_parent_indices(texts), np.int64)
    words, of = (pc.list_flatten(own) for own in (texts, origins))
    if len(words) != len(of):
        raise ShardError(f"view {view} of shard {shard.id} has {len(words)} texts and {len(of)} origins; run it again")
    _, pictures = who(shard, SAMPLES)
    own = join_digests(pictures[row], digest_strings(pc.fill_null(words.cast(pa.large_string()), "")))
    kinds = np.where(np.asarray(pc.fill_null(pc.equal(of, WEB), False), bool), OF_WEB, SYNTHETIC)
    return Rows(own, own, kinds.astype(np.int32), row_ids(number, row))


def _views(side: Reader, shard: Shard) -> list[str]:
    try:
        return views_of(shard)
    except CurateError as error:
        side.troubles.add(side.side, error)
        return []
