"""A condition on columns, in SQL, typed by anybody: read by DuckDB's own parser, checked piece by piece, written anew.

What runs is never the text that was typed. It is parsed into a tree; every node of it must be on a list (columns that
exist, constants, comparisons, logic, arithmetic, casts to plain types, CASE, and functions whose answer is not much
larger than what they are given); and SQL is written from the nodes, with columns called c0, c1 and so on. So names of
columns, which strangers chose, never become SQL, and what the list does not know cannot run: no other table, no file,
no setting, no clock, no chance. Functions that multiply text (`repeat`, `replace`, `||`) are left out too, for ten
thousand letters of them can ask for a terabyte.

`curate.condition_sql` has the list. DuckDB runs it with no access to files (`curate.duck.sealed_connection`), which is
the second wall. A check takes 1 ms.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.column_files import plain_column
from curate.condition_sql import OPENING, ConditionWriter, letter, refuse_cases
from curate.duck import PIECE_BYTES, in_pieces, sealed_connection
from curate.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

__all__ = ["MOST_LETTERS", "Condition", "holds", "read_condition"]

MOST_LETTERS = 10_000
QUICK = 250
"""Letters of regular expressions that a full piece may be held against: 1 s of one core at worst."""
MEMORY = 1 << 30
"""Bytes that a condition may take on the rows of one shard."""

OWN_NAME = re.compile(r"\bc([0-9]{1,3})\b")
SOURCE = re.compile(r" when casting from source column c[0-9]{1,3}(?=\n\nLINE)")


@dataclass(frozen=True)
class Condition:
    """A condition that was checked. `columns`: those that it names, in order; `sql`: to be run on a table in which they
    are called c0, c1, ...; `text`: as it was typed; `piece_bytes`: how much may be asked at a time (`in_pieces`)."""

    text: str
    columns: tuple[str, ...]
    sql: str
    piece_bytes: int = PIECE_BYTES

    def failed(self, error: Exception, told: bool = True) -> str:
        """What DuckDB says of it when it fails on a value, with the columns by their own names. `told`: the value too;
        not where the row may be one that nobody is shown."""
        words = (str(error).strip() or type(error).__name__).splitlines()[0][:500]
        if not told and type(error).__name__ != "BinderException":  # that one is of types, before a row is read
            source = SOURCE.search(str(error))
            words = f"{words.partition(':')[0]} of a value{source[0] if source else ''}"
        named = OWN_NAME.sub(lambda found: self._name(int(found[1]), found[0]), words)
        hint = "; TRY_CAST gives NULL where a cast fails" if "onversion" in named else ""
        return f"the condition fails: {named}{hint}"

    def _name(self, number: int, otherwise: str) -> str:
        return self.columns[number] if number < len(self.columns) else otherwise


def read_condition(text: str, known: Collection[str] | None = None) -> Condition:
    """Check a condition. `known`: the columns that it may name; None for any. Raises ConfigError that says what is
    refused and at which letter."""
    if len(text) > MOST_LETTERS:
        raise ConfigError(f"the condition has {len(text):,} letters, more than {MOST_LETTERS:,}; write a shorter one")
    if not text.strip():
        raise ConfigError("the condition is empty; write one such as width >= 512")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError("the condition has letters that are no Unicode; write it anew") from None
    refuse_cases(text)
    tree = _parsed(text)
    where = tree["statements"][0]["node"].pop("where_clause", None)
    writer = ConditionWriter(text, None if known is None else frozenset(known))
    sql = writer.write(where) if where else ""
    if not where or _placeless(tree) != _around():
        raise ConfigError("a condition is one expression, such as width >= 512; this says more than that")
    return Condition(text, tuple(writer.columns), sql, PIECE_BYTES * QUICK // max(writer.patterns, QUICK))


def holds(condition: Condition, columns: pa.Table) -> npt.NDArray[np.bool_]:
    """Of which rows a condition is true, bool (n,); where it is NULL it is not. `columns` has those that it names.
    Raises ConfigError where it fails on a value, which is not told: the row may be one that nobody is shown."""
    import duckdb

    places = pa.array(np.arange(len(columns), dtype=np.int64))
    named = {f"c{number}": plain_column(columns[name]) for number, name in enumerate(condition.columns)}
    connection = _connection(os.getpid()).cursor()
    try:
        asked = connection.from_arrow(in_pieces(pa.table({"place": places, **named}))).filter(condition.sql)
        found = asked.project("place").fetchnumpy()["place"]
    except duckdb.Error as error:
        raise ConfigError(condition.failed(error, told=False)) from None
    finally:
        connection.close()
    answer = np.zeros(len(columns), bool)
    answer[found] = True
    return answer


def _parsed(text: str) -> dict[str, Any]:
    """The tree of a query with this condition. Raises ConfigError for what cannot be parsed."""
    found = _tree(OPENING + text, os.getpid())
    if found.get("error"):
        raise ConfigError(f"this is no condition: {_said(found, text)}")
    return found


@cache
def _around() -> Any:
    """The tree of a query around a condition, without it."""
    found = _tree(f"{OPENING}true", os.getpid())
    found["statements"][0]["node"].pop("where_clause")
    return _placeless(found)


def _tree(query: str, process: int) -> dict[str, Any]:
    import duckdb

    try:
        row = _connection(process).cursor().execute("SELECT json_serialize_sql(?)", [query]).fetchone()
        found: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    except (RecursionError, duckdb.Error):
        raise ConfigError("the condition has too many levels, or too many pieces; write less") from None
    return found


@cache
def _connection(process: int) -> duckdb.DuckDBPyConnection:
    """One per process, for making it takes 15 ms and a parse 0.3 ms."""
    return sealed_connection(MEMORY)


def _said(found: Mapping[str, Any], text: str) -> str:
    """What the parser says, and where."""
    words = str(found.get("error_message", "")).splitlines() or ["it cannot be parsed"]
    place = str(found.get("position", ""))
    at = letter(text, int(place)) if place.isdigit() else ""
    return f"{words[0][:300]}{at}"


def _placeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _placeless(one) for name, one in value.items() if not name.startswith("query_location")}
    return [_placeless(one) for one in value] if isinstance(value, list) else value
