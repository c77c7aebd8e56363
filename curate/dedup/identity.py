"""Who a row is, wherever it lies: what orders rows and draws them must not depend on how they are packed into shards.

A key tells the shard and the place in it. The digest of URL, caption and the picture's SHA-256 does not: the same rows
cut into other shards have the same digests. Rows with one digest are copies of one another, and which of them comes
first changes nothing but keys.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.digest import Digests, digest_strings, join_digests
from curate.shard import Shard

__all__ = ["CAPTION", "IDENTITY", "finish", "identities", "identities_of", "keyed"]

IDENTITY = ("url", "sha256")
"""What a step that asks for identities reads, beside the caption, which counts where the source has one."""
CAPTION = "caption"
_STEP = np.uint64(0x9E3779B97F4A7C15)


def identities(shard: Shard) -> Digests:
    """The digest of each row's identity, uint64 (rows, 2)."""
    columns = shard.columns([*IDENTITY, *({CAPTION} & shard.column_files.keys())])
    if CAPTION not in columns.column_names:
        columns = columns.append_column(CAPTION, pa.nulls(len(columns), pa.string()))
    return identities_of(columns)


def identities_of(columns: pa.Table) -> Digests:
    """The same from columns of text: those of IDENTITY, and CAPTION. Raises pyarrow.ArrowException for what is none."""
    url, caption, sha256 = (
        digest_strings(pc.fill_null(columns[name].cast(pa.large_string()), "")) for name in ("url", CAPTION, "sha256")
    )
    return join_digests(join_digests(url, caption), sha256)


def keyed(digests: Digests, seed: int) -> npt.NDArray[np.uint64]:
    """A number for each digest, drawn by a seed: sorted by it, rows are in a random order that a seed gives again."""
    with np.errstate(over="ignore"):
        salt = np.array([seed], np.uint64) * _STEP + _STEP
        mixed = digests[:, 0] ^ finish(salt)[0]
        return finish(finish(mixed) ^ digests[:, 1])


def finish(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The last steps of SplitMix64: every bit of the answer depends on every bit of the value."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
