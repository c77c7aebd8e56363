"""Arrow columns from values that anybody may have written: what does not fit becomes null, never the end of a job."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

__all__ = ["TYPES", "cast_column", "infer_type", "plain_type", "value_column"]

TYPES: Mapping[str, pa.DataType] = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
"""The types that a config can name."""

_TRUE_FALSE = {"true": True, "1": True, "false": False, "0": False}
_PARSE: Mapping[pa.DataType, Callable[[str], Any]] = {
    pa.int64(): int,
    pa.float64(): float,
    pa.bool_(): lambda text: _TRUE_FALSE[text.strip().lower()],
}
_NO_VALUE = (pa.ArrowException, ValueError, KeyError, TypeError, OverflowError, RecursionError)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries, and text as string whatever its width."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    wide = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if wide or pa.types.is_null(kind) else kind


def cast_column(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """An Arrow column in a plain type. Text that is no UTF-8 is replaced letter by letter. Raises pa.ArrowException."""
    plain = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    if kind != pa.string():
        return plain if plain.type == kind else plain.cast(kind)
    if pa.types.is_nested(plain.type):
        raise pa.ArrowInvalid(f"a column of text is {plain.type}")
    try:
        text = plain.cast(kind)
        text.validate(full=True)
        return text
    except pa.ArrowInvalid:
        raw = plain.cast(pa.large_binary()).to_pylist()
        return pa.array([None if v is None else v.decode("utf-8", "replace") for v in raw], kind)


def infer_type(values: Sequence[Any]) -> pa.DataType:
    """The Arrow type of JSON values; text where they differ, are objects, or are all null."""
    try:
        kind = pa.array([v for v in values if v is not None]).type
    except _NO_VALUE:
        return pa.string()
    return pa.string() if "struct" in str(kind) or "null" in str(kind) else kind


def value_column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values of JSON or of a text file as a column; text is parsed for numbers, other things become JSON in text."""
    if kind == pa.string():
        values = [v if isinstance(v, str) or v is None else _json(v) for v in values]
    try:
        return pa.array(values, kind)
    except _NO_VALUE:
        return pa.array([_value(v, kind) for v in values], kind)


def _value(value: Any, kind: pa.DataType) -> Any:
    try:
        if kind == pa.string():
            return None if value is None else value.encode("utf-8", "replace").decode()
        parsed = _PARSE[kind](value) if isinstance(value, str) and kind in _PARSE else value
        return pa.scalar(parsed, kind).as_py()
    except _NO_VALUE:
        return None


def _json(value: Any) -> str | None:
    try:
        return json.dumps(value)
    except _NO_VALUE:
        return None
