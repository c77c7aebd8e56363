"""Reads what a head needs of a TensorFlow SavedModel: its variables, its lookup tables, and Keras' own description.

TensorFlow is a 250 MB wheel, and loading a SavedModel with it runs whatever graph somebody wrote. Here nothing is run:
four files are parsed as data, of a folder or a zip of one. They are `keras_metadata.pb` (JSON in a proto),
`saved_model.pb` (the graph, of which only constants are looked at), `variables.index` (a LevelDB table that says where
each variable lies) and `variables.data-00000-of-00001` (raw numbers). 20 and 70 ms for LAION's two NSFW heads, whose
graphs are 2 and 4 MB around weights of 0.1 and 0.9. The formats are those of tensorflow/core/protobuf and of LevelDB's
`table_format.md`. Checksums are not verified: a zip has its own, and a changed file has another digest.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError

__all__ = ["FILES", "SavedModel", "read_saved_model"]

MOST_BYTES = 256 << 20
MOST_ENTRIES = 100_000
FILES = ("keras_metadata.pb", "saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")
MOST_KEY_BYTES = 4_096
FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57
TYPES: Mapping[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    9: np.dtype("<i8"),
}
STRING = 7

Variables = Mapping[str, npt.NDArray[Any]]


_BROKEN = (OSError, EOFError, ValueError, TypeError, LookupError, RuntimeError)


class _Malformed(Exception):
    """The bytes are not what the format says; becomes a ConfigError with the file's name."""


@dataclass(frozen=True)
class SavedModel:
    """`variables` by their checkpoint names (`layer_with_weights-1/mean`), numbers only. `config` is Keras' description
    of the network. `tables` are the string lookups (word to number) in the order in which the model is given them."""

    variables: Variables
    config: Mapping[str, Any]
    tables: tuple[Mapping[str, int], ...]


def read_saved_model(path: Path) -> SavedModel:
    """Read a folder with a SavedModel, or a zip of one. Raises ConfigError for what is not one, and for one of more
    than 256 MB."""
    try:
        metadata, graph, index, data = _files(path)
        return SavedModel(_variables(index, data), _config(metadata), _tables(graph))
    except (_Malformed, zipfile.BadZipFile, zlib.error, *_BROKEN) as error:
        words = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise ConfigError(f"{path} is no SavedModel that can be read: {words}") from error


def _files(path: Path) -> list[bytes]:
    """The contents of FILES, each and all together within the limit."""
    if path.is_dir():
        sizes = {name: (path / name).stat().st_size for name in FILES}
        _require(sum(sizes.values()) <= MOST_BYTES, f"it has {sum(sizes.values())} bytes, and {MOST_BYTES} are allowed")
        return [(path / name).read_bytes() for name in FILES]
    with zipfile.ZipFile(path) as archive:
        found = [next((i for i in archive.infolist() if _ends(i.filename, name)), None) for name in FILES]
        missing = [name for name, info in zip(FILES, found, strict=True) if info is None]
        _require(not missing, f"the zip has no {', '.join(missing)}")
        infos = [info for info in found if info is not None]
        size = sum(info.file_size for info in infos)
        _require(size <= MOST_BYTES, f"it has {size} bytes, and {MOST_BYTES} are allowed")
        contents = []
        for info in infos:
            with archive.open(info) as member:
                contents.append(member.read(info.file_size))
        return contents


def _ends(name: str, tail: str) -> bool:
    return name == tail or name.endswith("/" + tail)


def _variables(index: bytes, data: bytes) -> Variables:
    """Every numeric variable of the bundle. Strings, which only bookkeeping has, are left out."""
    variables = {}
    for key, value in _table_entries(index):
        about = dict(_fields(value))
        kind = about.get(1, 0)
        if not key or kind == STRING:
            continue
        _require(kind in TYPES, f"variable {key!r} has a number type {kind} that is not known here")
        _require(about.get(3, 0) == 0, f"variable {key!r} is in another file of data than the first")
        shape, offset, size = _shape(about.get(2, memoryview(b""))), about.get(4, 0), about.get(5, 0)
        _require(
            size == math.prod(shape) * TYPES[kind].itemsize and offset + size <= len(data),
            f"variable {key!r} of shape {shape} does not fit {size} bytes at {offset} of {len(data)}",
        )
        name = key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
        variables[name] = np.frombuffer(data, TYPES[kind], size // TYPES[kind].itemsize, offset).reshape(shape)
    return variables


def _table_entries(table: bytes) -> Iterator[tuple[str, memoryview]]:
    """Keys and values of a LevelDB table, in order."""
    foot = len(table) - FOOTER_BYTES
    _require(foot >= 0 and int.from_bytes(table[-8:], "little") == MAGIC, "its index is no table")
    view, at = memoryview(table), foot
    for _ in range(2):
        _, at = _varint(view, at)
    count = 0
    for _, handle in _block(view, at):
        for key, value in _block(view, 0, handle):
            count += 1
            _require(count <= MOST_ENTRIES, f"its index has more than {MOST_ENTRIES} entries")
            yield key.decode(), value


def _block(table: memoryview, at: int, handle: memoryview | None = None) -> Iterator[tuple[bytes, memoryview]]:
    """Entries of the block whose place and size stand at `at` of `handle`, or of the table itself. A key is stored as
    what it adds to the key before it."""
    told = table if handle is None else handle
    start, at = _varint(told, at)
    size, _ = _varint(told, at)
    _require(size >= 4 and start + size < len(table), f"its index has no {size} bytes at {start}")
    _require(table[start + size] == 0, "its index is compressed")
    block = table[start : start + size]
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    place, key = 0, b""
    while place < end:
        (shared, place), (own, place), (length, place) = _three(block, place)
        stop = place + own + length
        _require(shared <= len(key) and shared + own <= MOST_KEY_BYTES and stop <= end, "its index is damaged")
        key = key[:shared] + bytes(block[place : place + own])
        yield key, block[place + own : stop]
        place = stop


def _three(view: memoryview, at: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    first = _varint(view, at)
    second = _varint(view, first[1])
    return first, second, _varint(view, second[1])


def _config(metadata: bytes) -> Mapping[str, Any]:
    """Keras' description of the network: the JSON of the node that is called root."""
    for number, node in _fields(memoryview(metadata)):
        about = dict(_fields(node)) if number == 1 else {}
        if about.get(3) == b"root":
            config = json.loads(bytes(about.get(5, b"")))
            _require(isinstance(config, dict), "its metadata describe no network")
            return dict(config)
    raise _Malformed("its metadata have no root")


def _tables(graph: bytes) -> tuple[Mapping[str, int], ...]:
    """The string lookups. A call with a table, words and numbers fills the table; the serving call is given the tables
    in the order of the columns that they encode, each followed by the number of a word that is not in it."""
    nodes = dict(islice(_nodes(graph), MOST_ENTRIES + 1))
    _require(len(nodes) <= MOST_ENTRIES, f"its graph has more than {MOST_ENTRIES} nodes")
    constants = {name: tensor for name, (_, tensor) in nodes.items() if tensor is not None}
    filled = {
        inputs[0]: _lookup(*(constants[name] for name in inputs[1:]))
        for inputs, _ in nodes.values()
        if len(inputs) == 3 and constants.keys() >= set(inputs[1:]) and _kind(constants[inputs[1]]) == STRING
    }
    served = next((inputs for inputs, _ in nodes.values() if inputs and inputs[0].startswith("serving_default_")), ())
    for name, default in pairwise(served):
        if name in filled:
            _require(default in constants and _numbers(constants[default])[:1] == [0], "a lookup's default is not 0")
    return tuple(filled[name] for name in served if name in filled)


def _nodes(graph: bytes) -> Iterator[tuple[str, tuple[tuple[str, ...], memoryview | None]]]:
    """Name, names of inputs and constant (a tensor's proto, or None) of the nodes of the first graph."""
    first = next((value for number, value in _fields(memoryview(graph)) if number == 2), memoryview(b""))
    definition = next((value for number, value in _fields(first) if number == 2), memoryview(b""))
    for number, node in _fields(definition):
        if number == 1:
            parts = list(_fields(node))
            inputs = tuple(bytes(value).decode() for part, value in parts if part == 3)
            attributes = [dict(_fields(value)) for part, value in parts if part == 5]
            constant = next((a[2] for a in attributes if a.get(1) == b"value"), memoryview(b""))
            yield bytes(dict(parts)[1]).decode(), (inputs, dict(_fields(constant)).get(8))


def _kind(tensor: memoryview) -> int:
    return int(dict(_fields(tensor)).get(1, 0))


def _lookup(words: memoryview, numbers: memoryview) -> Mapping[str, int]:
    """From two constants to a dictionary."""
    keys = [bytes(value).decode() for number, value in islice(_fields(words), MOST_ENTRIES) if number == 8]
    values = _numbers(numbers)
    _require(len(keys) == len(values), f"a lookup has {len(keys)} words and {len(values)} numbers")
    return dict(zip(keys, values, strict=True))


def _numbers(tensor: memoryview) -> list[int]:
    """The numbers of a constant of int64, as raw bytes or one by one."""
    about = dict(_fields(tensor))
    _require(about.get(1) == 9, "a lookup's numbers are not int64")
    if 4 in about:
        return [int(number) for number in np.frombuffer(about[4], "<i8")]
    found = about.get(10, 0)
    if isinstance(found, int):
        return [value for number, value in _fields(tensor) if number == 10]
    numbers, at = [], 0
    while at < len(found):
        number, at = _varint(found, at)
        numbers.append(number)
    return numbers


def _shape(proto: memoryview) -> tuple[int, ...]:
    return tuple(int(dict(_fields(dim)).get(1, 0)) for number, dim in _fields(proto) if number == 2)


def _fields(proto: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protobuf message: int for a varint, else its bytes, not copied."""
    at = 0
    while at < len(proto):
        tag, at = _varint(proto, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(proto, at)
            yield tag >> 3, value
            continue
        _require(kind in (1, 2, 5), f"a field of the unknown kind {kind}")
        size, at = _varint(proto, at) if kind == 2 else (8 if kind == 1 else 4, at)
        _require(at + size <= len(proto), "a field is cut off")
        yield tag >> 3, proto[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """An unsigned number of at most 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        _require(at < len(view), "a number is cut off")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Malformed("a number of more than 64 bits")


def _require(true: bool, words: str) -> None:
    if not true:
        raise _Malformed(words)
