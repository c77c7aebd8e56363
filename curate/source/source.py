"""Where samples come from: what every source must offer to be cut into shards.

A source is a table of rows in parts (its files), read as a stream. It is cut into slices of N rows, part by part, as
img2dataset cuts its input files, so that keys agree with it. The slices are written under `source/` once; from then
on the input itself is not needed, and a shard's identity is the digest of its slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import pyarrow as pa

__all__ = ["Source", "no_service"]


class Source(Protocol):
    """A frozen dataclass built from the `[source]` table of a config."""

    def identity(self) -> Any:
        """JSON-like: settings, and for each input file its name, size and modification mark."""
        ...

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        """One iterator of batches per input file, in order. All batches have the same schema, with at least
        `url` and (unless there is none) `caption`; the other columns are carried along. Raises SourceError."""
        ...

    def known_columns(self) -> tuple[str, ...] | None:
        """The columns that the rows will have, as far as that can be told without reading any; None when it cannot."""
        ...

    def serve(self) -> AbstractContextManager[Mapping[str, str]]:
        """What must be up while rows are fetched (the toy web's server); yields addresses for `Runtime`."""
        ...


def no_service() -> AbstractContextManager[Mapping[str, str]]:
    """The `serve` of a source that needs no server of its own."""
    return nullcontext({})
