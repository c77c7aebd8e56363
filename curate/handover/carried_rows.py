"""Rows of other people's sets as examples: conversations as LLaVA and as chat messages write them, and plain texts.

    llava      {"id", "image": NAME | "images": [NAME, ...], "conversations": [{"from": "human", "value": "..."}, ...]}
    messages   {"messages": [{"role": "user", "content": "..." | [BLOCK, ...]}, ...], "images": [NAME, ...]}

Texts stay as they are, white space too; `<image>` in one, or a BLOCK {"type": "image"}, is the place of the next
picture. A row whose texts name no place has its pictures before the first words of the user, as TRL puts them. Further
fields of a row (boxes, ratings, names of sets) are the example's columns, those of a turn the column `turn_fields`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from curate.handover.carried_images import FoundPicture, ImageFolder, Unusable, picture_of
from curate.handover.compose_source import Packed
from curate.handover.layout import members_of
from curate.sample import Conversation, Document, Part, Text, Turn

__all__ = ["Format", "conversation_of", "prose_of"]

Format: TypeAlias = Literal["llava", "messages"]
PLACE = "<image>"
IMAGE_PATHS, TURN_FIELDS, MESSAGES = "image_paths", "turn_fields", "messages"
GIVEN = ("image", "images")
SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
FIELDS: Mapping[str, tuple[str, str, str]] = {
    "llava": ("conversations", "from", "value"),
    "messages": (MESSAGES, "role", "content"),
}
"""Where a format keeps its turns, and of each who speaks and what is said."""


MOST_PICTURES = 512
MOST_PICTURES_BYTES = 1 << 30
"""Bounds on one row, which may name a picture as often as it likes."""


@dataclass(frozen=True)
class _Named:
    """A picture before it is read: its name, its bytes, or a mapping that has one of them."""

    source: object

    @property
    def path(self) -> str | None:
        found = self.source.get("path") or self.source.get("url") if isinstance(self.source, Mapping) else self.source
        return found if isinstance(found, str) else None


Said: TypeAlias = list[tuple[str, list[str | _Named | None]]]
"""Turns as they were written: who speaks, and texts, pictures of their own, and places of a next picture (None)."""


def conversation_of(format: Format, folder: ImageFolder, record: Mapping[str, Any], key: str) -> Packed:
    """The example of a row. Raises Unusable with the reason why it is none."""
    name, speaker, content = FIELDS[format]
    turns = record.get(name)
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, Mapping) for turn in turns):
        raise Unusable("no_conversation", f"{name} is no list of turns")
    given = _given_pictures(record)
    if record.get("video") and not given:
        raise Unusable("has_video", "pictures only are carried")
    said = _placed([(_role(t.get(speaker)), [*_parts(t.get(content))]) for t in turns], given)
    columns = {n: value for n, value in record.items() if n not in {name, *GIVEN}}
    if MESSAGES in columns:
        raise Unusable("reserved_field", f"{MESSAGES} is where a hand-over keeps turns; rename the field")
    fields = [{n: v for n, v in t.items() if n not in (speaker, content) and v is not None} for t in turns]
    paths = [part.path for _, parts in said for part in parts if isinstance(part, _Named) and part.path]
    more = {TURN_FIELDS: fields if any(fields) else None, IMAGE_PATHS: paths or None}
    columns = {n: value for n, value in more.items() if value is not None} | columns
    return _packed(_with_pictures(said, folder), columns, key)


def prose_of(field: str, record: Mapping[str, Any], key: str) -> Packed:
    """The text of a row. Raises Unusable."""
    text = record.get(field)
    if not isinstance(text, str):
        raise Unusable("no_text", f"{field} is no text")
    if not text.strip():
        raise Unusable("empty")
    columns = {name: value for name, value in record.items() if name != field}
    if "text" in columns:
        raise Unusable("reserved_field", "text is where a hand-over keeps the text; rename the field")
    document = Document(key, (Text(text),), columns)
    return Packed(key, _members(document), (), (text,))


def _packed(turns: Sequence[tuple[str, Sequence[str | FoundPicture]]], columns: Mapping[str, Any], key: str) -> Packed:
    pictures = [part for _, parts in turns for part in parts if isinstance(part, FoundPicture)]
    texts = [part for _, parts in turns for part in parts if isinstance(part, str)]
    if not any(text.strip() for text in texts):
        raise Unusable("empty")
    whole = tuple(Turn(role, tuple(map(_part, parts))) for role, parts in turns)
    members = _members(Conversation(key, whole, columns))
    return Packed(key, members, [picture.size for picture in pictures], texts)


def _members(example: Conversation | Document) -> list[tuple[str, bytes]]:
    try:
        return members_of(example, "chat" if isinstance(example, Conversation) else "text")
    except (ValueError, TypeError) as error:  # what JSON does not have: 1e999, bytes
        raise Unusable("bad_json", str(error)) from None


def _part(part: str | FoundPicture) -> Part:
    return Text(part) if isinstance(part, str) else part.as_part("")


def _role(value: object) -> str:
    role = SPEAKERS.get(value) if isinstance(value, str) else None
    if role is None:
        raise Unusable("unknown_role", f"{value!r} is none of {', '.join(SPEAKERS)}")
    return role


def _parts(content: object) -> Iterator[str | _Named | None]:
    if isinstance(content, str):
        for number, text in enumerate(content.split(PLACE)):
            if number:
                yield None
            if text:
                yield text
        return
    if not isinstance(content, list):
        raise Unusable("bad_turn", "what is said is neither text nor a list of blocks")
    for block in content:
        yield _block(block)


def _block(block: object) -> str | _Named | None:
    if not isinstance(block, Mapping):
        raise Unusable("bad_turn", "a block is no object")
    kind = block.get("type")
    if kind == "text" and isinstance(block.get("text"), str):
        return str(block["text"])
    if kind not in ("image", "image_url"):
        raise Unusable("bad_turn", f"a block of type {kind!r}")
    own = next((block[name] for name in ("image", "image_url", "path", "url") if block.get(name)), None)
    return None if own is None else _Named(own)


def _given_pictures(record: Mapping[str, Any]) -> list[_Named]:
    """The pictures that a row names beside its turns, in order."""
    given = [record[name] for name in GIVEN if record.get(name)]
    if len(given) > 1:
        raise Unusable("images_named_twice", "by image and by images")
    every = given[0] if given and isinstance(given[0], list) else given
    return [_Named(source) for source in every]


def _placed(said: Said, given: Sequence[_Named]) -> Said:
    """The turns with each given picture in its place. Raises Unusable where they do not go together."""
    places = sum(part is None for _, parts in said for part in parts)
    if places > len(given):
        raise Unusable("more_places_than_images", f"{places} places, {len(given)} images")
    if 0 < places < len(given):
        raise Unusable("images_without_place", f"{places} places, {len(given)} images")
    following = iter(given)
    turns: Said = [(role, [next(following) if part is None else part for part in parts]) for role, parts in said]
    if given and not places:
        asked = next((parts for role, parts in turns if role == "user"), turns[0][1])
        asked[:0] = given
    return turns


def _with_pictures(said: Said, folder: ImageFolder) -> list[tuple[str, list[str | FoundPicture]]]:
    """The turns with pictures that were read. Raises Unusable for one that cannot be used, and for too many."""
    read = iter(_read([part for _, parts in said for part in parts if isinstance(part, _Named)], folder))
    return [(role, [next(read) if isinstance(part, _Named) else part or "" for part in parts]) for role, parts in said]


def _read(pictures: Sequence[_Named], folder: ImageFolder) -> list[FoundPicture]:
    if len(pictures) > MOST_PICTURES:
        raise Unusable("too_many_images", f"{len(pictures)}, more than {MOST_PICTURES}")
    found, left = [], MOST_PICTURES_BYTES
    for picture in pictures:
        found.append(_picture(picture.source, folder))
        left -= len(found[-1].data)
        if left < 0:
            raise Unusable("too_many_images", f"more than {MOST_PICTURES_BYTES} bytes of pictures")
    return found


def _picture(source: object, folder: ImageFolder) -> FoundPicture:
    if isinstance(source, Mapping):
        source = next((source[name] for name in ("bytes", "path", "url") if source.get(name)), None)
    if isinstance(source, bytes):
        found = picture_of(source)
        if isinstance(found, str):
            raise Unusable("not_a_picture", found)
        return found
    if not isinstance(source, str) or not source:
        raise Unusable("image_missing", "a picture has neither a name nor bytes")
    return folder.read(source)
