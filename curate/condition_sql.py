"""Writes SQL anew from the tree of a condition, node by node: the list of what may stand in one, and the walk.

Functions are on the list when they read nothing but what they are given, say the same every time, and answer with not
much more than they got. A tree is bounded in depth, in nodes, in calls and in regular expressions, since DuckDB looks
at the clock only between batches of rows, and not at all while it plans. What it writes out several times counts as
often: eighteen `nullif` inside each other took 60 s and 3.6 GB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import log
from typing import Any

from curate.errors import ConfigError
from curate.pattern_size import pattern_size
from curate.registry import nearest

__all__ = ["OPENING", "ConditionWriter", "letter", "refuse_cases"]

Node = Mapping[str, Any]

OPENING = "SELECT 1 FROM rows WHERE "
"""What stands before a condition where it is parsed; places in its tree are counted from there."""
MOST_DEPTH = 60
MOST_NODES = 5_000
MOST_CALLS = 100
MOST_PATTERNS = 10_000
"""Letters of all regular expressions, with what they repeat written out: as many as a condition may have. The largest
take half a minute of one text of 100,000 letters, which is asked as a whole."""
MOST_WRITTEN = 100_000
"""Letters that a text with CASE may be when the parser has written it out."""
FEW = 6
"""`x IN` fewer constants than this, or columns, becomes `x = 1 OR x = 2`."""

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


def letter(text: str, place: int) -> str:
    """`, at letter 12`, from a place in the query's bytes; nothing for a place outside the condition."""
    before = (OPENING + text).encode()[:place].decode("utf-8", "ignore")
    number = len(before) - len(OPENING) + 1
    return f", at letter {number}" if 0 < number <= len(text) else ""


def refuse_cases(text: str) -> None:
    """Raise ConfigError where CASE may stand in CASE too often: the parser writes out `CASE x WHEN` once for each WHEN,
    before there is a tree to look at. Words in texts count too."""
    cases, whens = (text.lower().count(word) for word in ("case", "when"))
    if 0 < cases < whens and cases * log(whens / cases) > log(MOST_WRITTEN / len(text)):
        raise ConfigError(f"the condition has {cases} CASE and {whens} WHEN, too much to be written out; write less")


class ConditionWriter:
    """Writes SQL from a tree, node by node. What it does not know, it refuses."""

    def __init__(self, text: str, known: frozenset[str] | None) -> None:
        self._text, self._known = text, known
        self.columns: dict[str, str] = {}
        self._letters: tuple[str, ...] = ()
        self.patterns = 0
        self._depth = self._nodes = self._calls = 0
        self._times = 1
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
        self._nodes += self._times
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

    def _repeated(self, node: Node, times: int) -> str:
        """The SQL of a node that DuckDB writes out so many times."""
        self._times *= times
        sql = self.write(node)
        self._times //= times
        return sql

    def _refused(self, node: Node, what: str, remedy: str = "") -> ConfigError:
        at = letter(self._text, int(node.get("query_location") or 0))
        return ConfigError(f"{what} cannot stand in a condition{at}" + (f"; {remedy}" if remedy else ""))

    def _column(self, node: Node) -> str:
        names = node["column_names"]
        if len(names) == 1 and names[0] in self._letters:
            return f"v{self._letters.index(names[0])}"
        name = ".".join(map(str, names))
        if self._letters:  # a function of it would run once for each value of the list
            raise self._refused(node, f"the column {name!r} in a lambda", "name its letter and constants alone")
        if len(names) != 1 and (self._known is None or name not in self._known):
            raise self._refused(node, f"{name!r}", 'a name with a dot stands in double quotes: "a.b"')
        if self._known is not None and name not in self._known:
            at = letter(self._text, int(node.get("query_location") or 0))
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
        low, high = self.write(node["lower"]), self.write(node["upper"])
        return f"({self._repeated(node['input'], 2)} BETWEEN {low} AND {high})"

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
            apart = len(children) <= FEW or any(child["class"] != "CONSTANT" for child in children[1:])
            first = self._repeated(children[0], len(children) - 1 if apart else 1)
            others = [self.write(child) for child in children[1:]]
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
        self._calls += self._times
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
        if name in PATTERNS:
            self._weigh(nodes[1:])
        if name in FILTERS and len(nodes) == 2 and nodes[1]["class"] == "LAMBDA":
            return f"list_filter({self.write(nodes[0])}, {self._lambda(nodes[1])})"
        written = [self._repeated(one, 2 if name == "nullif" else 1) for one in nodes]
        return f'"{name}"({", ".join(written)})'

    def _weigh(self, nodes: list[Node]) -> None:
        """Add a pattern to `patterns`, the size of all of them as they are written out."""
        texts = (str((one.get("literal") or {}).get("text", "")) for one in nodes)
        self.patterns += self._times * max(map(pattern_size, texts), default=1)
        if self.patterns > MOST_PATTERNS:
            raise ConfigError(
                f"the regular expressions have more than {MOST_PATTERNS:,} letters, what they repeat written out; "
                "write less"
            )

    def _lambda(self, node: Node) -> str:
        """A lambda of one letter, not inside another, for nested ones take the square of a list's length."""
        letter = node["lhs"]
        if letter["class"] != "COLUMN_REF" or len(letter["column_names"]) != 1 or self._letters:
            raise self._refused(node, "this lambda", "it has one name, and stands in no other lambda")
        self._letters = (str(letter["column_names"][0]),)
        body = self.write(node["expr"])
        self._letters = ()
        return f"lambda v0: {body}"
