"""The view of fused texts: what is kept of a row with and without one, why the rest is not, and a whole view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chat_server import ChatServer, completion, reply
from fuse_runs import FAST, shard_of, web_of

from curate.caption.rules.fuse import Fuse
from curate.caption.views import build_views, view_steps
from curate.errors import ConfigError
from curate.manifest import Attempt
from curate.models.caption_settings import CaptionerSettings
from curate.stage import Runtime, Stage

URL = "http://127.0.0.1:8000/v1"
MODELS = {"synthetic": CaptionerSettings()}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    served = ChatServer()
    yield served
    served.close()


ROWS: list[tuple[str | None, str | None, list[str] | None, list[str | None] | None]] = [
    ("fused", "web", ["one", "two"], [None, None]),
    (None, "web", ["one", "two"], [None, None]),
    (None, "web", ["one", "two", "three"], ["refusal", None, None]),
    (None, None, ["one"], [None]),
    (None, "web", None, None),
    (None, "", [], []),
    ("fused", "web", ["one", "two"], ["refusal", None]),
    (None, None, None, None),
    ("", "web", ["one"], ["artefact"]),
]
NAMES = ("fused", "caption", "synthetic_captions", "synthetic_faults")
F, N, L = "text_is_fused", "text_not_fused", "text_not_the_first_sound_one"
EXPECTED: dict[str, list[tuple[list[str], list[str], str | None, list[str | None] | None]]] = {
    "web": [
        (["fused"], ["fused"], F, [F, L]),
        (["web"], ["web"], None, [N, L]),
        (["web"], ["web"], None, ["refusal", N, L]),
        ([], [], None, [N]),
        (["web"], ["web"], None, None),
        ([], [], "no_text", []),
        (["fused"], ["fused"], F, ["refusal", F]),
        ([], [], None, None),
        (["web"], ["web"], None, ["artefact"]),
    ],
    "synthetic": [
        (["fused"], ["fused"], F, [F, L]),
        (["one"], ["synthetic"], N, [None, L]),
        (["two"], ["synthetic"], N, ["refusal", None, L]),
        (["one"], ["synthetic"], None, [None]),
        ([], [], N, None),
        ([], [], "no_text", []),
        (["fused"], ["fused"], F, ["refusal", F]),
        ([], [], None, None),
        ([], [], N, ["artefact"]),
    ],
    "none": [
        (["fused"], ["fused"], F, [F, L]),
        ([], [], N, [N, L]),
        ([], [], N, ["refusal", N, L]),
        ([], [], None, [N]),
        ([], [], N, None),
        ([], [], "no_text", []),
        (["fused"], ["fused"], F, ["refusal", F]),
        ([], [], None, None),
        ([], [], N, ["artefact"]),
    ],
}


def table(rows: list[Any]) -> pa.Table:
    kinds = (pa.string(), pa.string(), pa.list_(pa.string()), pa.list_(pa.string()))
    arrays = [pa.array([row[n] for row in rows], kind) for n, kind in enumerate(kinds)]
    return pa.table([pa.array([str(n) for n in range(len(rows))], pa.string()), *arrays], names=["key", *NAMES])


@pytest.mark.parametrize("otherwise", EXPECTED)
def test_what_is_kept_and_why_the_rest_is_not(otherwise: Any) -> None:
    rule = Fuse("m", base_url=URL, otherwise=otherwise)
    assert set(rule.reads) == set(NAMES)
    found = rule.choose(table(ROWS).select(["key", *rule.reads]))
    reasons = found.synthetic_reasons["synthetic"].to_pylist()
    kept = zip(found.texts, found.origins, found.web_reason, strict=True)
    assert [(*(part.as_py() for part in row), own) for row, own in zip(kept, reasons, strict=True)] == EXPECTED[
        otherwise
    ]
    assert found.weights.to_pylist() == [[1.0] * len(texts) for texts in found.texts.to_pylist()]
    assert found.scores.to_pylist() == [[None] * len(texts) for texts in found.texts.to_pylist()]


def test_no_rows() -> None:
    assert len(Fuse("m", base_url=URL).choose(table([])).texts) == 0


def test_other_names_of_columns_and_captioners() -> None:
    rule = Fuse("m", captioner="dense", base_url=URL, column="capsfusion")
    assert rule.reads == ("capsfusion", "caption", "dense_captions", "dense_faults")
    (stage,) = rule.steps("view")
    assert stage.writes == ("capsfusion", "capsfusion_status", "capsfusion_detail", "capsfusion_model")
    assert stage.reads == ("caption", "dense_captions", "dense_faults")
    columns = table(ROWS).rename_columns(["key", "capsfusion", "caption", "dense_captions", "dense_faults"])
    assert rule.choose(columns).origins.to_pylist()[0] == ["capsfusion"]


def views(**changes: Any) -> dict[str, Any]:
    return build_views({"v": {"rule": "fuse", "model": "m", "base_url": URL} | changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"otherwise": "both"}, "otherwise"),
        ({"column": "caption"}, "another column"),
        ({"column": "synthetic_captions"}, "another column"),
        ({"column": "synthetic"}, "another column"),
        ({"column": "Fused"}, "column"),
        ({"column": "web"}, "column"),
        ({"captioner": "no name"}, "captioner"),
        ({"prompt": "{web}"}, "prompt"),
        ({"base_url": "127.0.0.1"}, "base_url"),
        ({"modle": "m"}, "modle"),
        ({"requests": {"concurrency": 0}}, "concurrency"),
    ],
)
def test_configs_that_are_wrong_are_told(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"views\.v.*{words}"):
        views(**changes)


def test_a_captioner_that_the_config_lacks() -> None:
    assert [step.label for step in view_steps(views(), MODELS)] == ["fuse_fused", "view_v"]
    with pytest.raises(ConfigError, match=r"\[views\.v\].*captioner = 'dense'"):
        view_steps(views(captioner="dense"), MODELS)


def test_two_views_of_one_question_ask_it_once_and_of_two_need_two_columns() -> None:
    plain = {"rule": "fuse", "model": "m", "base_url": URL}
    both = build_views({"v": plain, "w": plain | {"otherwise": "none"}})
    assert [step.label for step in view_steps(both, MODELS)] == ["fuse_fused", "view_v", "view_w"]
    apart = build_views({"v": plain, "w": plain | {"model": "n"}})
    with pytest.raises(ConfigError, match="fuse_fused"):
        view_steps(apart, MODELS)
    named = build_views({"v": plain, "w": plain | {"model": "n", "column": "other"}})
    assert len(view_steps(named, MODELS)) == 4


def test_a_view_from_the_server_to_its_columns(server: ChatServer, tmp_path: Path) -> None:
    server.otherwise = lambda _, asked: reply(400) if web_of(asked) == "bad" else completion("Fused.")
    rule = Fuse("m", base_url=server.base_url, prompt="W: {web}\n{synthetic}", requests=replace(FAST), otherwise="web")
    shard = shard_of(tmp_path, ["good", "bad", "fine", "well", "sound"])
    for step in view_steps({"v": rule}, MODELS):
        assert isinstance(step, Stage)
        attempt = Attempt(shard.storage, step.label, shard.id, "f" * 16)
        step.run(type(shard)(shard.storage, shard.id), attempt, Runtime())
        attempt.commit()
    found = pq.read_table(tmp_path / "00000.view_v.parquet")
    assert found["v_texts"].to_pylist() == [["Fused."], ["bad"], ["Fused."], ["Fused."], ["Fused."]]
    assert found["v_origins"].to_pylist()[:2] == [["fused"], ["web"]]
    assert found.schema.field("v_texts").metadata[b"fused:endpoint"] == b"127.0.0.1"
