"""Writes small SavedModels as TensorFlow does: protobuf, a LevelDB table, raw numbers."""

import json
from pathlib import Path

import numpy as np

KINDS = {"<f4": 1, "<i8": 9}


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def shape_of(sides):
    return b"".join(field(2, field(1, side)) for side in sides)


def block(entries):
    """Keys share what they begin with, as LevelDB has it."""
    out, before = b"", b""
    for key, value in entries:
        shared = next(
            (i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), min(map(len, (before, key)))
        )
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def table(entries, compression=0):
    data = block(entries)
    index = block([(b"\xff", varint(0) + varint(len(data)))])
    place = len(data) + 5
    foot = varint(0) + varint(0) + varint(place) + varint(len(index))
    tail = bytes([compression]) + b"\0\0\0\0"
    return data + tail + index + tail + foot.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


def bundle(variables, compression=0):
    """`variables.index` and `variables.data-00000-of-00001`."""
    entries, data = [(b"", field(1, 1))], b""
    for name, values in sorted(variables.items()):
        about = field(1, KINDS[values.dtype.str]) + field(2, shape_of(values.shape))
        entries.append((name.encode(), about + field(4, len(data)) + field(5, values.nbytes)))
        data += values.tobytes()
    return table(entries, compression), data


def node(name, inputs=(), tensor=None):
    attribute = b"" if tensor is None else field(5, field(1, "value") + field(2, field(8, tensor)))
    return field(1, field(1, name) + field(2, "Const") + b"".join(field(3, i) for i in inputs) + attribute)


def graph(tables, default=0):
    """`saved_model.pb`: filled in one order, served in another, so that names and not places must be followed."""
    nodes = []
    for place, words in reversed(list(enumerate(tables))):
        strings = field(1, 7) + field(2, shape_of([len(words)])) + b"".join(field(8, word) for word in words)
        numbers = field(1, 9) + field(4, np.array(list(words.values()), "<i8").tobytes())
        nodes += [node(f"words{place}", tensor=strings), node(f"numbers{place}", tensor=numbers)]
        nodes += [node(f"table{place}"), node(f"fill{place}", [f"table{place}", f"words{place}", f"numbers{place}"])]
    nodes.append(node("other", tensor=field(1, 9) + field(10, default)))
    served = [name for place in range(len(tables)) for name in (f"table{place}", "other")]
    nodes.append(node("call", ["serving_default_input_1", *served]))
    return field(1, 1) + field(2, field(2, b"".join(nodes)))


def metadata(config):
    text = config if isinstance(config, str) else json.dumps(config)
    other = field(1, field(3, "root.layer-0") + field(5, "{}"))
    return other + field(1, field(2, 0) + field(3, "root") + field(5, text))


def write_saved_model(folder, config, variables, tables=()):
    """A folder with the four files."""
    index, data = bundle({f"{name}/.ATTRIBUTES/VARIABLE_VALUE": values for name, values in variables.items()})
    (Path(folder) / "variables").mkdir(parents=True, exist_ok=True)
    for name, content in {
        "keras_metadata.pb": metadata(config),
        "saved_model.pb": graph(tables),
        "variables/variables.index": index,
        "variables/variables.data-00000-of-00001": data,
    }.items():
        (Path(folder) / name).write_bytes(content)
    return Path(folder)
