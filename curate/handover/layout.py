"""How an example of each kind lies in a tar of a hand-over, and how it is read back. Plain WebDataset, for any reader.

    pairs         KEY.jpg KEY.json KEY.txt    as `curate export --to webdataset`: json has all captions of a view
    interleaved   KEY.json KEY.1.jpg ...      {"texts": ["...", null], "images": [null, "1.jpg"]}, as Energon's export
    chat          KEY.json KEY.0.jpg ...      {"messages": [{"role": "user", "content": [BLOCK, ...]}]}
    text          KEY.json                    {"text": "..."}

A BLOCK is {"type": "text", "text": "..."} or {"type": "image", "image": "0.jpg"}, whose name is the member's after the
key; a picture that is missing has the name null and a `status`. What else is known of an example (url, licence, boxes)
are further entries of the JSON. A key holds no dot. The index (`ID.index.parquet`: key, extension, offset, size) finds
the members without reading the tar.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

from curate.errors import ShardError
from curate.sample import Conversation, Document, Part, Picture, Sample, Text, Turn
from curate.shard import IMAGE_EXTENSIONS

__all__ = ["KINDS", "Example", "Kind", "example_of", "kind_of", "members_of", "pictures_of"]

Kind = Literal["pairs", "interleaved", "chat", "text"]
KINDS: tuple[str, ...] = get_args(Kind)
Example: TypeAlias = Sample | Document | Conversation
"""One example: a Sample of pairs, a Document of interleaved data (or of text, with no picture), a Conversation."""

ROLES = ("system", "user", "assistant")


def kind_of(example: Example) -> Kind:
    """The kind that an example is of."""
    if isinstance(example, Sample):
        return "pairs"
    if isinstance(example, Conversation):
        return "chat"
    return "interleaved" if pictures_of(example) else "text"


def pictures_of(example: Example) -> list[Picture]:
    """Its pictures in reading order, those that are missing too."""
    if isinstance(example, Sample):
        return [Picture("", example.image, example.extension, "success")]
    parts = example.parts if isinstance(example, Document) else [p for turn in example.turns for p in turn.parts]
    return [part for part in parts if isinstance(part, Picture)]


def members_of(example: Example, kind: Kind) -> list[tuple[str, bytes]]:
    """Extensions and bytes of an example's members, in the order in which they lie in the tar."""
    if isinstance(example, Sample):
        text = [] if example.caption is None else [("txt", _utf8(example.caption))]
        return [(example.extension, example.image), ("json", _json(example.columns)), *text]
    if isinstance(example, Conversation):
        blocks, pictures = _numbered(part for turn in example.turns for part in turn.parts)
        content = iter(blocks)
        messages = [{"role": t.role, "content": [next(content) for _ in t.parts]} for t in example.turns]
        return [("json", _json({**example.columns, "messages": messages})), *pictures]
    if kind == "text":
        joined = "".join(p.separator * bool(n) + p.text for n, p in enumerate(_texts(example.parts)))
        return [("json", _json({**example.columns, "text": joined}))]
    blocks, pictures = _numbered(example.parts)
    texts = [block.get("text") for block in blocks]
    images = [block.get("image") for block in blocks]
    return [("json", _json({**example.columns, "texts": texts, "images": images})), *pictures]


def example_of(kind: Kind, key: str, members: Mapping[str, bytes]) -> Example:
    """The example of these members, by extension. Raises ShardError where they are not what the layout says."""
    if kind == "pairs":
        return _sample(key, members)
    record = _record(key, members.get("json"))
    try:
        if kind == "chat":
            turns = tuple(Turn(_role(m["role"]), _parts(m["content"], members)) for m in record.pop("messages"))
            return Conversation(key, turns, record)
        if kind == "text":
            return Document(key, (Text(_string(record.pop("text"))),), record)
        order = zip(record.pop("texts"), record.pop("images"), strict=True)
        parts = tuple(_picture(name, members) if text is None else Text(_string(text)) for text, name in order)
        return Document(key, parts, record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ShardError(f"{key}.json is not an example of kind {kind}: {error}; make the shard anew") from None


def _sample(key: str, members: Mapping[str, bytes]) -> Sample:
    extension = next((e for e in IMAGE_EXTENSIONS if e in members), None)
    if extension is None:
        raise ShardError(f"{key} has no picture; its members are {', '.join(sorted(members)) or 'none'}")
    caption = members["txt"].decode("utf-8", "replace") if "txt" in members else None
    return Sample(key, members[extension], extension, caption, _record(key, members.get("json", b"{}")))


def _numbered(parts: Iterable[Part]) -> tuple[list[dict[str, Any]], list[tuple[str, bytes]]]:
    """A block for each part, and the members of the pictures, named by their place among all parts."""
    blocks: list[dict[str, Any]] = []
    pictures: list[tuple[str, bytes]] = []
    for place, part in enumerate(parts):
        if isinstance(part, Text):
            blocks.append({"type": "text", "text": part.text})
        elif part.image is None:
            blocks.append({"type": "image", "image": None, "status": part.status})
        else:
            pictures.append((f"{place}.{part.extension}", part.image))
            blocks.append({"type": "image", "image": pictures[-1][0]})
    return blocks, pictures


def _texts(parts: Iterable[Part]) -> list[Text]:
    return [part for part in parts if isinstance(part, Text)]


def _parts(content: Iterable[Mapping[str, Any]], members: Mapping[str, bytes]) -> tuple[Part, ...]:
    return tuple(
        Text(_string(block["text"]))
        if block["type"] == "text"
        else _picture(block["image"], members, block.get("status"))
        for block in content
    )


def _picture(name: object, members: Mapping[str, bytes], status: object = None) -> Picture:
    """A picture by its member's name; one that is not there keeps its place."""
    if isinstance(name, str) and name in members:
        return Picture("", members[name], name.rpartition(".")[2], "success")
    return Picture("", status=status if isinstance(status, str) else "missing")


def _role(value: object) -> str:
    if value not in ROLES:
        raise ValueError(f"role {value!r} is none of {', '.join(ROLES)}")
    return str(value)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _record(key: str, raw: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(raw or b"")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ShardError(f"{key}.json is no JSON object; make the shard anew")
    return found


def _json(record: Mapping[str, Any]) -> bytes:
    return _utf8(json.dumps(record, ensure_ascii=False, allow_nan=False))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
