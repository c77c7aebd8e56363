"""Instructions over a real server: what is asked of whom, what is kept, and what no order or restart changes."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from chat_server import ChatServer, completion, reply
from instruct_runs import kind_of, notes_in, run, settings, shard_of, talk, talking

from curate.caption.asking import AskSettings
from curate.config import build
from curate.errors import ConfigError, ShardError, StageError
from curate.instruct.notes import TextColumn, notes_of
from curate.instruct.prompts import DETAIL_QUESTIONS
from curate.instruct.stage import TURNS, Instruct, InstructSettings, drawn_kinds
from curate.instruct.steps import instruction_steps
from curate.models.caption_settings import CaptionerSettings
from curate.stage import Runtime

MIX = {"conversation": 0.37, "detail": 0.15, "reasoning": 0.48}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    served = talking()
    yield served
    served.close()


def test_every_kept_picture_with_a_caption_gets_its_own_conversation(server: ChatServer, tmp_path: Path) -> None:
    columns = {"caption": ["a red cat", None, "a dog", " ?", "a cow"], "keep": [True, True, False, True, None]}
    found = run(shard_of(tmp_path, columns), settings(server))
    assert found["conversation"][0] == [
        {"role": "user", "text": "What about a red cat?"},
        {"role": "assistant", "text": "It is a red cat."},
        {"role": "user", "text": "And what else?"},
        {"role": "assistant", "text": "Nothing else is there."},
    ]
    assert found["fault"] == [None, *["not_asked"] * 4]
    dropped, nothing = "the picture is dropped", "no caption"
    assert found["detail"] == [None, nothing, dropped, nothing, dropped]
    assert found["kind"] == ["conversation", None, None, None, None]
    assert found["model"] == ["tiny-1", None, None, None, None]
    assert found["counts"] == {
        "in": 5,
        "boxes_left_out": 0,
        "instructions_ok": 1,
        "instructions_not_asked": 4,
        "ok.conversation": 1,
    }
    assert len(server.asked) == 1


def test_what_is_asked(server: ChatServer, tmp_path: Path) -> None:
    run(shard_of(tmp_path, {"caption": ["a cat"]}), settings(server, max_tokens=99))
    (body,) = [asked.body for asked in server.asked]
    assert body.keys() == {"model", "messages", "temperature", "top_p", "max_tokens", "seed"}
    assert (body["temperature"], body["max_tokens"], len(body["messages"])) == (0.7, 99, 1)
    assert server.prompts[0].endswith("Notes:\na cat\n\nAnswer:")


def test_kinds_are_mixed_by_what_a_picture_is(server: ChatServer, tmp_path: Path) -> None:
    """In another order and cut, and beside pictures that are dropped, each picture has the same talk."""
    rows = 60
    captions, urls = [f"thing {n % 7}" for n in range(rows)], [f"http://a.test/{n}" for n in range(rows)]
    digests = [f"{n:064x}" for n in range(rows)]

    def talks(order: list[int], folder: str) -> dict[str, Any]:
        columns = {"caption": captions, "url": urls, "sha256": digests}
        shard = shard_of(tmp_path / folder, {name: [own[n] for n in order] for name, own in columns.items()})
        found = run(shard, settings(server, probabilities=MIX, seed=5))
        return {urls[n]: (found["kind"][at], found["conversation"][at]) for at, n in enumerate(order)}

    whole = talks(list(range(rows)), "whole")
    assert {kind for kind, _ in whole.values()} == set(MIX)
    assert talks([31, 7, 50, 2], "part").items() <= whole.items()
    details = {talk[0]["text"] for kind, talk in whole.values() if kind == "detail"}
    assert len(details) > 3
    assert details <= set(DETAIL_QUESTIONS)
    assert Counter(map(kind_of, server.asked)).keys() == set(MIX)


def test_shares_of_kinds_are_those_of_the_config() -> None:
    draws = np.random.default_rng(0).integers(0, 2**64, 100_000, np.uint64)
    counts = Counter(drawn_kinds(draws, {"reasoning": 0.48, "conversation": 0.3}))
    for kind, share in {"conversation": 0.3, "reasoning": 0.48, "": 0.22}.items():
        assert abs(counts[kind] - share * 100_000) < 4 * (100_000 * share * (1 - share)) ** 0.5
    ends = np.array([0, 2**64 - 1], np.uint64)
    assert drawn_kinds(ends, {"detail": 1.0}) == ["detail", "detail"]
    assert drawn_kinds(ends, {"detail": 0.2, "conversation": 0.7, "reasoning": 0.1}) == ["conversation", "reasoning"]
    assert drawn_kinds(ends, {"detail": 0.999}) == ["detail", ""]


def test_a_share_alone_asks_for_a_part(server: ChatServer, tmp_path: Path) -> None:
    found = run(shard_of(tmp_path, {"caption": [f"thing {n}" for n in range(200)]}), settings(server, kind="detail"))
    part = run(shard_of(tmp_path / "b", {"caption": ["x"] * 200}), settings(server, probabilities={"detail": 0.1}))
    assert found["counts"]["ok.detail"] == 200
    assert 8 < part["counts"]["ok.detail"] < 35
    assert set(part["detail"]) == {None, "not drawn"}


@pytest.mark.parametrize(("changes", "fault"), [({"min_turns": 4}, None), ({"min_turns": 5}, "too_few_turns")])
def test_turns_are_as_many_as_the_config_says(
    server: ChatServer, tmp_path: Path, changes: dict[str, int], fault: str | None
) -> None:
    assert run(shard_of(tmp_path, {"caption": ["thing"]}), settings(server, **changes))["fault"] == [fault]


def test_notes_of_captions_and_boxes(server: ChatServer, tmp_path: Path) -> None:
    phrase = [{"words": "a red ball", "box": [0.1, 0.2, 0.5, 1.0000001], "score": None}]
    odd = [
        [{"words": "too wide", "box": [0.1, 0.2, 1.5, 1.0], "score": 1.0}],
        [{"words": "a line", "box": [0.4, 0, 0.4, 1]}, {"words": "flat", "box": [0, 0.5, 1, 0.5]}],
        [{"words": "", "box": [0.1, 0.2, 0.5, 1.0], "score": 1.0}, {"words": "inside out", "box": [0.5, 0, 0.4, 1]}],
    ]
    columns = {
        "caption": ["web text", "web text"],
        "v_texts": [["a ball on grass", "web text", None], []],
        "blip_captions": pa.array([["faulty", "a ball"], None]),
        "blip_faults": pa.array([["refusal", None], None]),
        "blip_phrases": [[phrase, phrase], odd],
    }
    texts = (TextColumn("v_texts"), TextColumn("blip_captions", "blip_faults"), TextColumn("caption"))
    found = run(shard_of(tmp_path, columns), settings(server, boxes=("blip_phrases",)), texts)
    asked = sorted(map(notes_in, server.asked))
    assert asked == ["a ball on grass\nweb text\na ball\na red ball: [0.100, 0.200, 0.500, 1.000]", "web text"]
    assert found["counts"]["instructions_ok"] == 2
    assert found["counts"]["boxes_left_out"] == 5


def test_notes_are_bounded_and_one_line_each() -> None:
    long = pa.table({"c": [[f"caption {n} " + "word " * 50 + "\nnext" for n in range(300)]]})
    (notes,) = notes_of(long, (TextColumn("c"),), (), 40).rows
    assert len(notes.split("\n")) == 16
    assert max(map(len, notes.split("\n"))) <= 40
    boxes = [{"name": f"cat {n}", "bbox": [0, 0, 0.5, 0.5]} for n in range(300)]
    (notes,) = notes_of(pa.table({"c": ["a cat"], "b": [boxes]}), (TextColumn("c"),), ("b",), 40).rows
    assert notes.count("\n") == 40


@pytest.mark.parametrize(
    ("columns", "texts", "boxes", "words"),
    [
        ({"c": [1]}, TextColumn("c"), (), "c is a column of int64"),
        ({"c": [{"a": 1}]}, TextColumn("c"), (), "c is a column of struct"),
        ({"c": ["x"], "b": ["x"]}, TextColumn("c"), ("b",), "b is a column of string"),
        ({"c": [["x", "y"]], "f": [[None]]}, TextColumn("c", "f"), (), "2 texts and 1 in f"),
    ],
)
def test_columns_of_other_kinds(columns: Any, texts: TextColumn, boxes: Any, words: str) -> None:
    with pytest.raises(ShardError, match=words):
        notes_of(pa.table(columns), (texts,), boxes, 99)


def test_nothing_is_asked_twice(server: ChatServer, tmp_path: Path) -> None:
    """After a kill only what has no answer; with other bounds, faults or a changed selection nobody at all."""
    shard = shard_of(tmp_path, {"caption": [f"thing {n}" for n in range(6)], "keep": [True] * 4 + [False] * 2})
    server.script = [completion(talk_of(3)), completion("no JSON"), reply(400, b"{}")]
    found = run(shard, settings(server, max_failed_ratio=0.3))
    assert len(server.asked) == 4
    assert sorted(map(str, found["fault"][:4])) == ["None", "None", "bad_request", "unparsable"]
    run(shard_of(tmp_path, {"caption": [f"thing {n}" for n in range(6)]}), settings(server, max_turns=4))
    assert len(server.asked) == 4 + 1 + 2


def talk_of(number: int) -> str:
    turns = ["What is it?", f"Thing {number}.", "And else?", "Nothing else is there."]
    return json.dumps([{"role": ("user", "assistant")[n % 2], "text": text} for n, text in enumerate(turns)])


def test_a_policys_no_is_kept_as_an_answer(server: ChatServer, tmp_path: Path) -> None:
    shard = shard_of(tmp_path, {"caption": ["a cat", "a dog"]})
    server.script = [reply(400, b'{"error": {"code": "content_filter"}}')]
    found = run(shard, settings(server))
    assert sorted(map(str, found["fault"])) == ["None", "refusal"]
    assert run(shard, settings(server))["fault"] == found["fault"]
    assert len(server.asked) == 2


def test_a_model_that_cannot_do_it_fails_the_shard(server: ChatServer, tmp_path: Path) -> None:
    server.otherwise = lambda _, asked: completion(f"About {notes_in(asked)}: I would rather not write JSON.")
    with pytest.raises(StageError, match=r"30 of 30 asked rows .* no conversation, 30 of them unparsable \(no"):
        run(shard_of(tmp_path, {"caption": [f"thing {n}" for n in range(30)]}), settings(server))
    found = run(shard_of(tmp_path, {"caption": [f"thing {n}" for n in range(19)]}), settings(server))
    assert set(found["fault"]) == {"unparsable"}


def test_a_reasoning_answer_is_one_question(server: ChatServer, tmp_path: Path) -> None:
    server.otherwise = lambda _, asked: completion(talk(asked) if "cat" in asked.prompt[-30:] else talk_of(1))
    found = run(shard_of(tmp_path, {"caption": ["a cat", "a dog"]}), settings(server, kind="reasoning"))
    assert found["fault"] == [None, "too_many_turns"]


def test_prompts_of_the_users_own(server: ChatServer, tmp_path: Path) -> None:
    own = settings(
        server, prompts={"conversation": "Notes:\n{context}\n\nAnswer: with a JSON array. Answer with a JSON array"}
    )
    run(shard_of(tmp_path, {"caption": ["a {context}"]}), own)
    assert server.prompts[0].startswith("Notes:\na {context}\n")


def test_questions_of_the_users_own_ask_nobody_again(server: ChatServer, tmp_path: Path) -> None:
    shard = shard_of(tmp_path, {"caption": ["eine Katze"]})
    run(shard, settings(server, kind="detail"))
    found = run(shard, settings(server, kind="detail", questions=("Was ist zu sehen?",)))
    assert found["conversation"][0][0] == {"role": "user", "text": "Was ist zu sehen?"}
    assert len(server.asked) == 1


def test_columns_say_who_made_them_and_what_they_are(server: ChatServer, tmp_path: Path) -> None:
    from curate.manifest import Attempt
    from curate.shard import Shard

    shard = shard_of(tmp_path, {"caption": ["a cat"]})
    stage = Instruct("llava", settings(server), (TextColumn("caption"),))
    attempt = Attempt(shard.storage, stage.label, shard.id, "f" * 16)
    stage.run(shard, attempt, Runtime())
    attempt.commit()
    found = Shard(shard.storage, shard.id)
    assert found.columns(["llava_conversation"]).schema.field(0).type == TURNS
    assert found.provenance("llava_conversation").items() >= {("model", "m"), ("endpoint", "127.0.0.1")}
    assert pickle.loads(pickle.dumps(stage)) == stage
    assert "127.0.0.1" in stage.about


def test_what_changes_the_fingerprint(server: ChatServer) -> None:
    def identity(texts: str = "caption", **changes: Any) -> str:
        return json.dumps(Instruct("llava", settings(server, **changes), (TextColumn(texts),)).identity())

    same: list[dict[str, Any]] = [{"base_url": "http://127.0.0.1:1/v1"}, {"max_failed_ratio": 0.5}, {"batch": 3}]
    others: list[dict[str, Any]] = [
        {"model": "n"},
        {"kind": "detail"},
        {"probabilities": {"conversation": 0.5}},
        {"min_turns": 2},
        {"max_turns": 8},
        {"boxes": ("b",)},
        {"seed": 1},
        {"texts": "other"},
        {"questions": ("Was ist zu sehen?",)},
        {"prompts": {"conversation": "{context}"}},
    ]
    assert {identity(**change) for change in same} == {identity()}
    assert len({identity(), *(identity(**change) for change in others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": None}, "needs either kind"),
        ({"probabilities": {"detail": 1.0}}, "needs either kind"),
        ({"kind": None, "probabilities": {"talk": 1.0}}, "'talk' is no kind"),
        ({"kind": None, "probabilities": {"detail": 0.6, "reasoning": 0.5}}, "add to 1.1"),
        ({"kind": None, "probabilities": {"detail": -0.1}}, "probabilities.detail"),
        ({"captions": ()}, "captions = "),
        ({"min_turns": 1}, "min_turns"),
        ({"min_turns": 22}, "max_turns"),
        ({"max_turns": 41}, "max_turns"),
        ({"prompts": {"detail": "no place"}}, "must have {context} once"),
        ({"prompts": {"detail": "{context}{context}"}}, "must have {context} once"),
        ({"questions": ()}, "questions must be texts"),
        ({"questions": ("What?", " ")}, "questions must be texts"),
        ({"model": ""}, "is no model"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        InstructSettings(**{"model": "m", "kind": "detail"} | changes)


def test_the_tables_of_a_config() -> None:
    table = {"llava": {"model": "m", "captions": ["best", "blip", "caption"], "probabilities": {"detail": 1}}}
    models = {"blip": CaptionerSettings()}
    (step,) = instruction_steps(table, ["best"], models)
    assert step.label == "instructions_llava"
    columns = ("best_texts", "blip_captions", "blip_faults", "caption")
    assert set(step.reads) == {"key", "keep", "url", "sha256", *columns}
    assert isinstance(step.settings, AskSettings)
    for name, own, words in [
        ("llava", 3, "must be a table"),
        ("Llava", {"model": "m", "kind": "detail"}, r"instructions.Llava"),
        ("best", {"model": "m", "kind": "detail"}, "a view or a model has that name"),
        ("a", {"model": "m", "kind": "talk"}, "kind"),
        ("a", {"model": "m", "kind": "detail", "tone": 1}, "no key 'tone'"),
        ("a", {"kind": "detail"}, "needs a value for 'model'"),
    ]:
        with pytest.raises(ConfigError, match=words):
            instruction_steps({name: own}, ["best"], models)
    with pytest.raises(ConfigError, match="requests"):
        build(InstructSettings, {"model": "m", "kind": "detail", "requests": {"retry": 1}}, "x")
