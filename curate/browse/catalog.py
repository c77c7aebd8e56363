"""Which columns a data set has, and in which files."""

from __future__ import annotations

from dataclasses import dataclass

from curate.storage import Storage

__all__ = ["Catalog", "Column"]


@dataclass(frozen=True)
class Column:
    """A column. `type`: in words (text, number, true or false, list of text, ...); `family`: of the file that holds it,
    "" for the sample table; `about`: what it says of itself (the model that made it), empty for nothing.
    `askable`: whether a condition may name it; vectors cannot be asked."""

    name: str
    type: str
    family: str
    about: str = ""
    askable: bool = True


class Catalog:
    """The columns and shards of the data set in `storage`. Raises ShardError where there is no data set."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def units(self) -> tuple[str, ...]:
        """`("samples",)`, or `("documents", "parts")`."""
        raise NotImplementedError

    def columns(self, unit: str) -> tuple[Column, ...]:
        """All columns of a unit, sorted by family and name. Raises ConfigError for a unit that is not there."""
        raise NotImplementedError

    def shards(self) -> tuple[str, ...]:
        """Ids of all shards, in order."""
        raise NotImplementedError

    def rows(self, unit: str) -> int:
        """Rows of all shards; from the footers, once."""
        raise NotImplementedError
