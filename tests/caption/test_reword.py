"""Captions in other words over a real server: variants, their faults, what is asked again, and the view of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chat_server import Asked, ChatServer, completion, reply
from fuse_runs import FAST, shard_of

from curate.caption.reword import MANNERS, Reword, RewordSettings
from curate.caption.rules.reword import Reword as Rule
from curate.caption.views import build_views, view_steps
from curate.errors import ConfigError, CurateError, StageError
from curate.manifest import Attempt
from curate.models.caption_settings import CaptionerSettings
from curate.shard import Shard
from curate.stage import Runtime, Stage


def caption_of(asked: Asked) -> str:
    return asked.prompt.rpartition("Caption: ")[2]


def manner_of(asked: Asked) -> int:
    return [manner.partition("Keep every")[0] for manner in MANNERS].index(asked.prompt.partition("Keep every")[0])


def said(asked: Asked) -> str:
    return f"Manner {manner_of(asked)}, seed {asked.body['seed']}: {caption_of(asked)}"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    served = ChatServer(otherwise=lambda _, asked: completion(said(asked)))
    yield served
    served.close()


def settings(server: ChatServer, **changes: Any) -> RewordSettings:
    return RewordSettings(**{"model": "m", "base_url": server.base_url, "requests": FAST} | changes)


def run(shard: Shard, own: RewordSettings) -> dict[str, Any]:
    stage = Reword("reworded", own)
    attempt = Attempt(shard.storage, stage.label, shard.id, "f" * 16)
    try:
        stage.run(shard, attempt, Runtime())
        found = pq.read_table(attempt.scratch / "00000.reword_reworded.parquet").to_pydict()
    except CurateError:
        attempt.abandon()
        raise
    attempt.abandon()
    faults = [fault or "ok" for own_faults in found["reworded_faults"] for fault in own_faults or ()]
    assert attempt.counts == Counter(f"reworded_{fault}" for fault in faults) + Counter({"in": len(found["key"])})
    return {name.removeprefix("reworded_"): values for name, values in found.items()}


def test_each_caption_is_said_in_several_ways(server: ChatServer, tmp_path: Path) -> None:
    found = run(shard_of(tmp_path, ["a dog", None, "a cat", " ?"]), settings(server, variants=6))
    dog, nothing, cat, blank = found["captions"]
    assert (nothing, blank) == (None, None)
    assert [text.partition(",")[0] for text in dog] == [f"Manner {n % 4}" for n in range(6)]
    assert len({*dog, *cat}) == 12, "each variant of each text has a seed of its own"
    assert all(text.endswith(": a cat") for text in cat)
    assert found["faults"] == [[None] * 6, None, [None] * 6, None]
    assert found["model"] == ["tiny-1", None, "tiny-1", None]


def test_a_variant_depends_on_its_text_alone(server: ChatServer, tmp_path: Path) -> None:
    """Not on the order, the other rows, or how many variants there are."""
    many = run(shard_of(tmp_path / "a", ["a dog", "a cat", "a cow"]), settings(server, variants=4))
    few = run(shard_of(tmp_path / "b", ["a cow", "a dog"]), settings(server, variants=2))
    assert few["captions"] == [many["captions"][2][:2], many["captions"][0][:2]]
    other = run(shard_of(tmp_path / "c", ["a cow"]), settings(server, seed=1))
    assert other["captions"][0][0] != few["captions"][0][0]


def test_more_variants_ask_for_those_that_are_missing(server: ChatServer, tmp_path: Path) -> None:
    shard = shard_of(tmp_path, ["a dog", "a cat", "a dog"])
    run(shard, settings(server, variants=1))
    assert len(server.asked) == 2
    found = run(shard, settings(server, variants=3))
    assert len(server.asked) == 6
    assert found["captions"][0] == found["captions"][2]


FAULTS: list[tuple[bytes, str]] = [
    (completion("A DOG!"), "not_reworded"),
    (completion("I'm sorry, but I can't help with that."), "refusal"),
    (completion("A dog of which", "length"), "truncated"),
    (completion(""), "empty_text"),
    (completion("a dog " * 30), "repetition_loop"),
    (completion(f"{MANNERS[0].partition('{')[0]}"), "prompt_echo"),
    (completion("".join(chr(0x4E00 + n) for n in range(601))), "bad_answer"),
    (reply(413), "bad_request"),
]


@pytest.mark.parametrize(("answer", "fault"), FAULTS, ids=[fault for _, fault in FAULTS])
def test_faults(server: ChatServer, tmp_path: Path, answer: bytes, fault: str) -> None:
    server.otherwise = lambda _, asked: answer if caption_of(asked) == "a dog" else completion("Sound words.")
    found = run(shard_of(tmp_path, ["a", "b", "c", "d", "a dog"]), settings(server))
    assert found["captions"] == [["Sound words."]] * 4 + [[None]]
    assert found["faults"] == [[None]] * 4 + [[fault]]
    assert found["details"][4][0]


def test_a_model_that_repeats_what_it_reads_fails_the_shard(server: ChatServer, tmp_path: Path) -> None:
    server.otherwise = lambda _, asked: completion(caption_of(asked))
    shard = shard_of(tmp_path, [f"a dog {n}" for n in range(20)])
    with pytest.raises(StageError, match=r"20 of 20 asked variants of shard 00000 have no text.*not_reworded"):
        run(shard, settings(server))


def test_the_first_sound_caption_of_a_captioner(server: ChatServer, tmp_path: Path) -> None:
    shard = shard_of(tmp_path, ["web"] * 2, [["bad", "a dog"], None], [["refusal", None], None])
    server.otherwise = completion("One dog.")
    found = run(shard, settings(server, of="synthetic", prompt="Say it anew. Caption: {text}", temperature=0.2))
    assert [asked.prompt for asked in server.asked] == ["Say it anew. Caption: a dog"]
    assert found["captions"][1] is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variants": 0}, "variants"),
        ({"variants": 17}, "variants"),
        ({"variants": 5, "temperature": 0}, "more than 4 would be alike"),
        ({"variants": 2, "temperature": 0, "prompt": "{text}"}, "more than 1 would be alike"),
        ({"prompt": "no place"}, "must have {text} once"),
        ({"prompt": "{text}{text}"}, "must have {text} once"),
        ({"model": ""}, "is no model"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RewordSettings(**{"model": "m"} | changes)
    RewordSettings("m", variants=4, temperature=0)


LISTS = pa.list_(pa.string())
ROWS = pa.table(
    {
        "key": pa.array(["a", "b", "c", "d", "e"]),
        "caption": pa.array(["web", "web", None, "web", "web"]),
        "reworded_captions": pa.array([["one", "two"], [None, "two"], None, [None, None], ["web", "one"]], LISTS),
        "reworded_faults": pa.array(
            [[None, None], ["refusal", None], None, ["timeout", "empty_text"], [None] * 2], LISTS
        ),
    }
)


def test_the_text_and_its_variants_have_one_weight() -> None:
    found = Rule("m", variants=2).choose(ROWS)
    assert found.texts.to_pylist() == [["web", "one", "two"], ["web", "two"], [], ["web"], ["web", "one"]]
    assert found.origins.to_pylist()[1] == ["web", "reworded"]
    assert found.weights.to_pylist()[1] == [0.5, 0.5]
    assert found.synthetic_reasons["reworded"].to_pylist() == [
        [None, None],
        ["refusal", None],
        None,
        ["timeout", "empty_text"],
        ["repeated_text", None],
    ]


def test_variants_in_place_of_the_text() -> None:
    found = Rule("m", variants=2, include_original=False).choose(ROWS)
    assert found.texts.to_pylist() == [["one", "two"], ["two"], [], ["web"], ["one"]]
    assert found.web_reason.to_pylist() == ["text_is_reworded", "text_is_reworded", None, None, "text_is_reworded"]


URL = "http://127.0.0.1:8000/v1"


def test_a_view_from_the_server_to_its_columns(server: ChatServer, tmp_path: Path) -> None:
    shard = shard_of(tmp_path, ["a dog", "a cat"])
    table = {"rule": "reword", "model": "m", "base_url": server.base_url, "variants": 2}
    for step in view_steps(build_views({"v": table}), {}):
        assert isinstance(step, Stage)
        attempt = Attempt(shard.storage, step.label, shard.id, "f" * 16)
        step.run(Shard(shard.storage, shard.id), attempt, Runtime())
        attempt.commit()
    found = pq.read_table(tmp_path / "00000.view_v.parquet")
    assert [texts[0] for texts in found["v_texts"].to_pylist()] == ["a dog", "a cat"]
    assert found["v_origins"].to_pylist() == [["web", "reworded", "reworded"]] * 2
    assert found.schema.field("v_texts").metadata[b"reworded_captions:endpoint"] == b"127.0.0.1"


@pytest.mark.parametrize(
    ("changes", "models", "words"),
    [
        ({"of": "dense"}, {}, r"captioner = 'dense'"),
        ({"column": "synthetic"}, {"synthetic": CaptionerSettings()}, "choose another word"),
        ({"column": "web"}, {}, "column"),
        ({"of": "No name"}, {}, "of"),
        ({"of": "dense", "column": "dense"}, {}, "choose another word"),
        ({"variant": 2}, {}, "variants"),
    ],
)
def test_configs_that_are_wrong_are_told(changes: dict[str, Any], models: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        view_steps(build_views({"v": {"rule": "reword", "model": "m", "base_url": URL} | changes}), models)
