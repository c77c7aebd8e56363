"""Rows of others as conversations and texts: what is carried, where pictures go, and why a row is left out."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from composition_sets import picture, put_images, talk
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.handover import carried_rows
from curate.handover.carried_images import ImageFolder, Unusable
from curate.handover.carried_rows import conversation_of, prose_of
from curate.handover.layout import example_of
from curate.sample import Conversation, Document, Picture, Text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    return ImageFolder(str(put_images(tmp_path_factory.mktemp("images") / "images", 3)))


def carried(record: dict[str, Any], folder: ImageFolder, format: Any = "llava") -> Conversation:
    """The example as its reader makes it of the members."""
    packed = conversation_of(format, folder, record, "k")
    found = example_of("chat", "k", dict(packed.members))
    assert isinstance(found, Conversation)
    return found


def told(example: Conversation) -> list[tuple[str, list[Any]]]:
    """Roles, and of each turn its texts and the numbers of its pictures."""
    numbers = {picture(number): number for number in range(3)}
    return [
        (turn.role, [part.text if isinstance(part, Text) else numbers[part.image or b""] for part in turn.parts])
        for turn in example.turns
    ]


def says(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"from": speaker, "value": value} for speaker, value in turns]


ASKED, ANSWERED = ("human", "Is it?"), ("gpt", "It is.")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (talk(1), [("user", [1, "\nWhat is 1?"]), ("assistant", ["It is 1."])]),
        ({"conversations": says(ASKED, ANSWERED)}, [("user", ["Is it?"]), ("assistant", ["It is."])]),
        ({"image": None, "conversations": says(ASKED, ANSWERED)}, [("user", ["Is it?"]), ("assistant", ["It is."])]),
        ({"image": "", "conversations": says(ASKED)}, [("user", ["Is it?"])]),
        (
            {"image": ["2.jpg", "0.jpg"], "conversations": says(("human", "A <image> and<image>"), ANSWERED)},
            [("user", ["A ", 2, " and", 0]), ("assistant", ["It is."])],
        ),
        (
            {"images": ["0.jpg"], "conversations": says(("system", "Be kind."), ASKED, ANSWERED)},
            [("system", ["Be kind."]), ("user", [0, "Is it?"]), ("assistant", ["It is."])],
        ),
        (
            {"image": "./1.jpg", "conversations": says(ASKED, ("gpt", "See <image>"), ("human", ""))},
            [("user", ["Is it?"]), ("assistant", ["See ", 1]), ("user", [])],
        ),
    ],
)
def test_a_row_of_llava(folder: ImageFolder, record: dict[str, Any], expected: list[Any]) -> None:
    assert told(carried(record, folder)) == expected


BLOCK, TEXT = {"type": "image"}, {"type": "text", "text": "x <image>"}


@pytest.mark.parametrize(
    ("content", "images", "expected"),
    [
        ("Look: <image>", ["1.jpg"], ["Look: ", 1]),
        ("Look", ["1.jpg", {"path": "2.jpg"}], [1, 2, "Look"]),
        ([BLOCK, TEXT, BLOCK], ["1.jpg", {"bytes": picture(0), "path": "old.jpg"}], [1, "x <image>", 0]),
        ([{"type": "image", "image": "2.jpg"}, TEXT], [], [2, "x <image>"]),
        ([TEXT, {"type": "image_url", "image_url": {"url": "2.jpg"}, "text": None}], None, ["x <image>", 2]),
        ([{"type": "image", "image": picture(1), "text": None}, TEXT], None, [1, "x <image>"]),
    ],
)
def test_a_row_of_messages(folder: ImageFolder, content: Any, images: Any, expected: list[Any]) -> None:
    record = {"messages": [{"role": "user", "content": content}], "images": images}
    assert told(carried(record, folder, "messages")) == [("user", expected)]


@pytest.mark.parametrize(
    ("images", "paths"),
    [(["1.jpg", {"path": "2.jpg"}], ["0.jpg", "1.jpg", "2.jpg"]), ([{"bytes": picture(1)}], ["0.jpg"])],
)
def test_the_names_of_pictures_are_kept(folder: ImageFolder, images: list[Any], paths: list[str]) -> None:
    own = {"type": "image_url", "image_url": {"url": "0.jpg"}}
    record = {"messages": [{"role": "user", "content": [own, TEXT, *([BLOCK] * len(images))]}], "images": images}
    assert carried(record, folder, "messages").columns == {"image_paths": paths}


def test_further_fields_are_carried_unchanged(folder: ImageFolder) -> None:
    record = talk(2, boxes=[[0, 1.5, 2, 3]], rating={"good": True}, source="vqa", text="of the sign", video=None)
    record["conversations"][1]["box"] = [1, 2]
    packed = conversation_of("llava", folder, record, "k")
    columns = carried(record, folder).columns
    assert {name: columns[name] for name in ("id", "boxes", "rating", "source", "text", "video")} == {
        name: record[name] for name in ("id", "boxes", "rating", "source", "text", "video")
    }
    assert columns["image_paths"] == ["2.jpg"]
    assert columns["turn_fields"] == [{}, {"box": [1, 2]}]
    assert (packed.sizes, packed.texts) == ([(26, 26)], ["\nWhat is 2?", "It is 2."])
    assert json.loads(dict(packed.members)["json"])["messages"][0]["content"][0] == {"type": "image", "image": "0.jpg"}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "no_conversation"),
        ({"conversations": []}, "no_conversation"),
        ({"conversations": ["x"]}, "no_conversation"),
        ({"conversations": {"from": "human"}}, "no_conversation"),
        ({"conversations": says(("robot", "x"))}, "unknown_role"),
        ({"conversations": [{"from": ["human"], "value": "x"}]}, "unknown_role"),
        ({"conversations": [{"from": "human"}]}, "bad_turn"),
        ({"conversations": [{"from": "human", "value": [3]}]}, "bad_turn"),
        ({"conversations": [{"from": "human", "value": [{"type": "audio"}]}]}, "bad_turn"),
        ({"conversations": [{"from": "human", "value": [{"type": "text"}]}]}, "bad_turn"),
        ({"conversations": says(("human", " \n"), ("gpt", ""))}, "empty"),
        ({"image": "1.jpg", "conversations": says(("human", "<image>"), ("gpt", " "))}, "empty"),
        ({"conversations": says(("human", "<image>\nx"))}, "more_places_than_images"),
        (talk(1) | {"conversations": says(("human", "<image><image>x"))}, "more_places_than_images"),
        ({"images": ["0.jpg", "1.jpg"], "conversations": says(("human", "<image>x"))}, "images_without_place"),
        ({"video": "a.mp4", "conversations": says(("human", "<image>x"))}, "has_video"),
        (talk(9), "image_missing"),
        ({"image": [None], "conversations": says(ASKED)}, "image_missing"),
        ({"image": 3, "conversations": says(ASKED)}, "image_missing"),
        ({"image": "https://h/1.jpg", "conversations": says(ASKED)}, "image_is_url"),
        ({"image": "../images/1.jpg", "conversations": says(ASKED)}, "image_outside"),
        ({"image": b"nothing", "conversations": says(ASKED)}, "not_a_picture"),
        (talk(1, images=["2.jpg"]), "images_named_twice"),
        (talk(1, messages=[]), "reserved_field"),
        (talk(1, score=float("inf")), "bad_json"),
        (talk(1, raw=b"x"), "bad_json"),
    ],
)
def test_a_row_that_is_no_conversation(folder: ImageFolder, record: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable) as found:
        conversation_of("llava", folder, record, "k")
    assert found.value.reason == reason


@pytest.mark.parametrize(("count", "fits"), [(4, True), (5, False)])
@pytest.mark.parametrize("bound", ["MOST_PICTURES", "MOST_PICTURES_BYTES"])
def test_pictures_of_a_row_are_bounded(
    folder: ImageFolder, monkeypatch: pytest.MonkeyPatch, bound: str, count: int, fits: bool
) -> None:
    monkeypatch.setattr(carried_rows, bound, 4 if bound == "MOST_PICTURES" else 4 * len(picture(1)))
    record = {"images": ["1.jpg"] * count, "conversations": says(ASKED, ANSWERED)}
    if fits:
        assert told(carried(record, folder))[0] == ("user", [1] * 4 + ["Is it?"])
        return
    with pytest.raises(Unusable, match="too_many_images"):
        conversation_of("llava", folder, record, "k")


def test_a_text_and_its_further_fields() -> None:
    packed = prose_of("body", {"body": " Once.\n", "url": "u"}, "k")
    found = example_of("text", "k", dict(packed.members))
    assert found == Document("k", (Text(" Once.\n"),), {"url": "u"})
    assert (packed.sizes, packed.texts) == ((), (" Once.\n",))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "no_text"),
        ({"body": None}, "no_text"),
        ({"body": 3}, "no_text"),
        ({"body": " \t"}, "empty"),
        ({"body": "x", "text": "y"}, "reserved_field"),
        ({"body": "x", "n": float("nan")}, "bad_json"),
    ],
)
def test_a_row_that_is_no_text(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable) as found:
        prose_of("body", record, "k")
    assert found.value.reason == reason


def test_a_picture_keeps_its_bytes_and_gets_the_name_of_what_it_is(folder: ImageFolder, tmp_path: Path) -> None:
    from document_sets import jpeg

    data = jpeg(1, format="PNG")
    (tmp_path / "wrong.jpg").write_bytes(data)
    packed = conversation_of("llava", ImageFolder(str(tmp_path)), talk(1) | {"image": "wrong.jpg"}, "k")
    assert packed.members[1] == ("0.png", data)
    found = example_of("chat", "k", dict(packed.members))
    assert isinstance(found, Conversation)
    assert found.turns[0].parts[0] == Picture("", data, "png", "success")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.binary(max_size=6)
NAMES = st.sampled_from(
    ["from", "value", "role", "content", "type", "text", "image", "images", "image_url", "url", "path", "bytes", "user"]
)
WORDS = st.sampled_from(["human", "gpt", "user", "system", "text", "image", "<image>", "a<image>b", "1.jpg", "../x"])
ANYTHING = st.recursive(
    LEAVES | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
TURNS = st.lists(st.fixed_dictionaries({"from": WORDS | ANYTHING, "value": WORDS | ANYTHING}), max_size=3) | ANYTHING


@given(st.fixed_dictionaries({"conversations": TURNS}, optional={"image": ANYTHING, "images": ANYTHING, "x": ANYTHING}))
@settings(max_examples=150)
def test_any_row_is_a_conversation_or_has_a_reason(record: dict[str, Any]) -> None:
    with suppress(Unusable):
        packed = conversation_of("llava", ImageFolder(""), record, "k")
        example_of("chat", "k", dict(packed.members))
