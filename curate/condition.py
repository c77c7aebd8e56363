"""A condition on columns, in SQL, typed by anybody: read by DuckDB's own parser, checked piece by piece, written anew.

What runs is never the text that was typed. It is parsed into a tree; every node of it must be on a list (columns that
exist, constants, comparisons, logic, arithmetic, casts to plain types, CASE, and functions whose answer is not much
larger than what they are given); and SQL is written from the nodes, with columns called c0, c1 and so on. So names of
columns, which strangers chose, never become SQL, and what the list does not know cannot run: no other table, no file,
no setting, no clock, no chance. Functions that multiply text (`repeat`, `replace`, `||`) are left out too, for ten
thousand letters of them can ask for a terabyte.

DuckDB runs it with no access to files (`curate.duck.sealed`), which is the second wall. A check takes 1 ms.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.column_files import plain_column
from curate.duck import sealed_connection
from curate.errors import ConfigError
from curate.registry import nearest

if TYPE_CHECKING:
    import duckdb

__all__ = ["MOST_LETTERS", "Condition", "holds", "read_condition"]

MOST_LETTERS = 10_000
MOST_DEPTH = 60
MOST_NODES = 5_000
MOST_CALLS = 100

Node = Mapping[str, Any]

OPENING = "SELECT 1 FROM rows WHERE "
MEMORY = 1 << 30
"""Bytes that a condition may take on the rows of one shard."""

COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "IS DISTINCT FROM",
    "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}
INFIX = {
    **{sign: sign for sign in ("+", "-", "*", "/", "//", "%", "^", "**", "&", "|", "@>", "<@", "&&", "^@")},
    **{"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE"},
}
ESCAPED = {
    "like_escape": "LIKE",
    "not_like_escape": "NOT LIKE",
    "ilike_escape": "ILIKE",
    "not_ilike_escape": "NOT ILIKE",
}
NUMBERS = "abs ceil ceiling floor round trunc sqrt ln log log2 log10 exp pow power sign greatest least isnan isinf"
TEXTS = """lower upper lcase ucase length len strlen char_length character_length trim ltrim rtrim left right substring
substr contains starts_with ends_with prefix suffix instr strpos position string_split str_split split split_part
strip_accents regexp_matches regexp_full_match regexp_extract"""
LISTS = """array_length list_contains array_contains list_has array_has list_has_any array_has_any list_has_all
array_has_all list_position array_position list_min list_max list_sum list_avg list_unique list_distinct list_extract
list_element array_extract list_filter array_filter filter list_value struct_extract cardinality map_keys map_values
element_at map_extract"""
DAYS = "year month day date_part"
FUNCTIONS = frozenset(f"{NUMBERS} {TEXTS} {LISTS} {DAYS} isfinite nullif if".split())
PATTERNS = {"regexp_matches", "regexp_full_match", "regexp_extract"}
"""Their patterns must be constants: one that differs from row to row is compiled for each."""
FILTERS = {"list_filter", "array_filter", "filter"}
"""The functions that take a lambda."""
PLAIN = """BOOLEAN BOOL TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT INT INT2 INT4 INT8
SHORT LONG FLOAT DOUBLE REAL FLOAT4 FLOAT8 NUMERIC DECIMAL VARCHAR TEXT STRING CHAR DATE TIME TIMESTAMP"""
TYPES = frozenset(PLAIN.split())
"""What can be cast to."""
NUMBER = re.compile(r"-?(?:[0-9]{1,80}(\.[0-9]{0,80})?([eE][+-]?[0-9]{1,4})?|\.[0-9]{1,80}([eE][+-]?[0-9]{1,4})?)")
VALUE = re.compile(r"(string )?'.*'")
OWN_NAME = re.compile(r"\bc([0-9]{1,3})\b")
WORDS = {
    "SUBQUERY": "a query inside a condition",
    "WINDOW": "a window function",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column by its number",
    "STAR": "a star",
    "COLLATE": "a collation",
    "DEFAULT": "DEFAULT",
    "LAMBDA": "a lambda here (list_filter takes one)",
}
"""What is refused, for who typed it."""


@dataclass(frozen=True)
class Condition:
    """A condition that was checked. `columns`: those that it names, in order; `sql`: to be run on a table in which they
    are called c0, c1, ...; `text`: as it was typed."""

    text: str
    columns: tuple[str, ...]
    sql: str

    def failed(self, error: Exception) -> str:
        """What DuckDB says of it when it fails on a value, with the columns by their own names."""
        words = str(error).splitlines()[0][:500] if str(error) else type(error).__name__
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
    tree = _parsed(text)
    where = tree["statements"][0]["node"].pop("where_clause", None)
    writer = _Writer(text, None if known is None else frozenset(known))
    sql = writer.write(where) if where else ""
    if not where or _placeless(tree) != _around():
        raise ConfigError("a condition is one expression, such as width >= 512; this says more than that")
    return Condition(text, tuple(writer.columns), sql)


def holds(condition: Condition, columns: pa.Table) -> npt.NDArray[np.bool_]:
    """Of which rows a condition is true, bool (n,); where it is NULL it is not. `columns` has those that it names.
    Raises ConfigError where it fails on a value, which is not told: the row may be one that nobody is shown."""
    import duckdb

    places = pa.array(np.arange(len(columns), dtype=np.int64))
    named = {f"c{number}": plain_column(columns[name]) for number, name in enumerate(condition.columns)}
    connection = _connection(os.getpid()).cursor()
    try:
        asked = connection.from_arrow(pa.table({"place": places, **named})).filter(condition.sql)
        found = asked.project("place").fetchnumpy()["place"]
    except duckdb.Error as error:
        raise ConfigError(VALUE.sub("a value", condition.failed(error))) from None
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
    row = _connection(process).cursor().execute("SELECT json_serialize_sql(?)", [query]).fetchone()
    found: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    return found


@cache
def _connection(process: int) -> duckdb.DuckDBPyConnection:
    """One per process, for making it takes 15 ms and a parse 0.3 ms."""
    return sealed_connection(MEMORY)


def _said(found: Node, text: str) -> str:
    """What the parser says, and where."""
    words = str(found.get("error_message", "")).splitlines() or ["it cannot be parsed"]
    place = str(found.get("position", ""))
    at = _letter(text, int(place)) if place.isdigit() else ""
    return f"{words[0][:300]}{at}"


def _letter(text: str, place: int) -> str:
    """`, at letter 12`, from a place in the query's bytes; nothing for a place outside the condition."""
    before = (OPENING + text).encode()[:place].decode("utf-8", "ignore")
    number = len(before) - len(OPENING) + 1
    return f", at letter {number}" if 0 < number <= len(text) else ""


def _placeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _placeless(one) for name, one in value.items() if not name.startswith("query_location")}
    return [_placeless(one) for one in value] if isinstance(value, list) else value


class _Writer:
    """Writes SQL from a tree, node by node. What it does not know, it refuses."""

    def __init__(self, text: str, known: frozenset[str] | None) -> None:
        self._text, self._known = text, known
        self.columns: dict[str, str] = {}
        self._letters: tuple[str, ...] = ()
        self._depth = self._nodes = self._calls = 0
        self._of: Mapping[str, Callable[[Node], str]] = {
            "BETWEEN": self._between,
            "CASE": self._case,
            "CAST": self._cast,
            "COLUMN_REF": self._column,
            "COMPARISON": self._comparison,
            "CONJUNCTION": self._conjunction,
            "CONSTANT": self._constant,
            "FUNCTION": self._function,
            "OPERATOR": self._operator,
        }

    def write(self, node: Node) -> str:
        """The SQL of a node, in brackets where it has parts."""
        self._nodes += 1
        self._depth += 1
        if self._nodes > MOST_NODES or self._depth > MOST_DEPTH:
            raise ConfigError(f"the condition has more than {MOST_NODES} pieces or {MOST_DEPTH} levels; write less")
        kind = str(node.get("class"))
        writes = self._of.get(kind)
        if writes is None:
            raise self._refused(node, WORDS.get(kind, kind.lower().replace("_", " ")))
        sql = writes(node)
        self._depth -= 1
        return sql

    def _refused(self, node: Node, what: str, remedy: str = "") -> ConfigError:
        at = _letter(self._text, int(node.get("query_location") or 0))
        return ConfigError(f"{what} cannot stand in a condition{at}" + (f"; {remedy}" if remedy else ""))

    def _column(self, node: Node) -> str:
        names = node["column_names"]
        if len(names) == 1 and names[0] in self._letters:
            return f"v{self._letters.index(names[0])}"
        name = ".".join(map(str, names))
        if len(names) != 1 and (self._known is None or name not in self._known):
            raise self._refused(node, f"{name!r}", 'a name with a dot stands in double quotes: "a.b"')
        if self._known is not None and name not in self._known:
            at = _letter(self._text, int(node.get("query_location") or 0))
            hint = f"{nearest(name, sorted(self._known))}; text stands in single quotes: 'like this'"
            raise ConfigError(f"there is no column {name!r} that can be asked{at}; {hint}")
        return self.columns.setdefault(name, f"c{len(self.columns)}")

    def _constant(self, node: Node) -> str:
        literal = node.get("literal") or {}
        kind, text = literal.get("kind"), str(literal.get("text", ""))
        if kind == "NULL_LITERAL":
            return "NULL"
        if kind == "STRING" and "\0" not in text:
            return "'" + text.replace("'", "''") + "'"
        if kind == "BOOLEAN" and text in ("true", "false"):
            return text
        if kind in ("INTEGER", "NUMERIC") and NUMBER.fullmatch(text):
            return f"({text})" if text.startswith("-") else text
        raise self._refused(node, "this constant", "write a number, 'text', true, false or NULL")

    def _comparison(self, node: Node) -> str:
        sign = COMPARISONS.get(node["type"])
        if sign is None:
            raise self._refused(node, str(node["type"]))
        return f"({self.write(node['left'])} {sign} {self.write(node['right'])})"

    def _conjunction(self, node: Node) -> str:
        word = {"CONJUNCTION_AND": " AND ", "CONJUNCTION_OR": " OR "}.get(node["type"])
        if word is None:
            raise self._refused(node, str(node["type"]))
        return "(" + word.join(self.write(child) for child in node["children"]) + ")"

    def _between(self, node: Node) -> str:
        value, low, high = (self.write(node[name]) for name in ("input", "lower", "upper"))
        return f"({value} BETWEEN {low} AND {high})"

    def _case(self, node: Node) -> str:
        checks = [
            f"WHEN {self.write(check['when_expr'])} THEN {self.write(check['then_expr'])}"
            for check in node["case_checks"]
        ]
        return f"(CASE {' '.join(checks)} ELSE {self.write(node['else_expr'])} END)"

    def _cast(self, node: Node) -> str:
        kind = node.get("type_expr") or node.get("cast_type") or {}
        name = str(kind.get("type_name", "")).upper()
        if name not in TYPES or kind.get("schema") or kind.get("catalog") or kind.get("children"):
            raise self._refused(node, f"a cast to {name or 'such a type'}", "cast to a number, text, a date or BOOLEAN")
        word = "TRY_CAST" if node.get("try_cast") else "CAST"
        return f"{word}({self.write(node['child'])} AS {name})"

    def _operator(self, node: Node) -> str:
        kind, children = node["type"], node["children"]
        if kind in ("COMPARE_IN", "COMPARE_NOT_IN"):
            first, *others = (self.write(child) for child in children)
            return f"({first} {'IN' if kind == 'COMPARE_IN' else 'NOT IN'} ({', '.join(others)}))"
        if kind == "OPERATOR_NOT":
            return f"(NOT {self.write(children[0])})"
        if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
            return f"({self.write(children[0])} IS {'NOT ' if 'NOT' in kind else ''}NULL)"
        if kind == "OPERATOR_COALESCE":
            return f"COALESCE({', '.join(self.write(child) for child in children)})"
        if kind in ("ARRAY_EXTRACT", "STRUCT_EXTRACT") and len(children) == 2:
            return f"({self.write(children[0])})[{self.write(children[1])}]"
        raise self._refused(node, str(kind).lower().replace("_", " "))

    def _function(self, node: Node) -> str:
        name = str(node["function_name"]).lower()
        given = list(node["arguments"])
        plain = not any(node.get(key) for key in ("schema", "catalog", "filter", "distinct", "export_state"))
        if not plain or (node.get("order_bys") or {}).get("orders") or any(one.get("name") for one in given):
            raise self._refused(node, f"{name}() in this form")
        self._calls += 1
        if self._calls > MOST_CALLS:
            raise ConfigError(f"the condition calls more than {MOST_CALLS} functions; write less")
        nodes = [one["expression"] for one in given]
        if name in INFIX and len(nodes) == 2:
            return f"({self.write(nodes[0])} {INFIX[name]} {self.write(nodes[1])})"
        if name in ("+", "-") and len(nodes) == 1:
            return f"({name}{self.write(nodes[0])})"
        if name in ESCAPED and len(nodes) == 3:
            value, pattern, escape = (self.write(one) for one in nodes)
            return f"({value} {ESCAPED[name]} {pattern} ESCAPE {escape})"
        return self._call(node, name, nodes)

    def _call(self, node: Node, name: str, nodes: list[Node]) -> str:
        if name not in FUNCTIONS:
            close = nearest(name, sorted(FUNCTIONS))
            raise self._refused(node, f"the function {name}()", close if close.startswith("did") else "")
        constant = nodes[1:] if name in PATTERNS else nodes if name == "list_value" else []
        if any(one["class"] != "CONSTANT" for one in constant):
            raise self._refused(node, f"{name}() of what is no constant", "write the text or the numbers themselves")
        if name in FILTERS and len(nodes) == 2 and nodes[1]["class"] == "LAMBDA":
            return f"list_filter({self.write(nodes[0])}, {self._lambda(nodes[1])})"
        return f'"{name}"({", ".join(self.write(one) for one in nodes)})'

    def _lambda(self, node: Node) -> str:
        """A lambda of one letter, not inside another, for nested ones take the square of a list's length."""
        letter = node["lhs"]
        if letter["class"] != "COLUMN_REF" or len(letter["column_names"]) != 1 or self._letters:
            raise self._refused(node, "this lambda", "it has one name, and stands in no other lambda")
        self._letters = (str(letter["column_names"][0]),)
        body = self.write(node["expr"])
        self._letters = ()
        return f"lambda v0: {body}"
