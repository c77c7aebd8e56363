"""Pictures for captions over a real server: what is painted, what is refused, and that a restart asks for the rest."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chat_server import Asked, ChatServer, hang, reply
from PIL import Image

from curate.caption.imagine import Imagine, ImagineSettings
from curate.cli import main
from curate.errors import ConfigError, StageError
from curate.fetch.image_endpoint import ImageRequests
from curate.fetch.picture import ImageSettings
from curate.job import load_job
from curate.plan import Job
from curate.run.inline import InlineEngine
from curate.run.scheduler import RunSettings, run_job
from curate.shard import list_shards
from curate.slices import write_slices
from curate.stage import Runtime
from curate.storage import Storage

FAST = ImageRequests(concurrency=4, retries=0, backoff_s=0.01)
IMAGE = ImageSettings(size_px=32, max_area_px=10_000)


def png(side: int = 48, value: int = 0) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(data, "png")
    return data.getvalue()


def painted(data: bytes, **more: Any) -> bytes:
    return reply(200, json.dumps({"data": [{"b64_json": base64.b64encode(data).decode()} | more]}).encode())


def by_seed(_: Any, asked: Asked) -> bytes:
    return painted(png(value=asked.body["seed"] % 256))


@pytest.fixture
def server() -> Any:
    served = ChatServer(otherwise=by_seed)
    yield served
    served.close()


def settings(server: ChatServer, **changes: Any) -> ImagineSettings:
    return ImagineSettings(**{"model": "m", "base_url": server.base_url, "requests": FAST} | changes)


def run(root: Path, own: ImagineSettings, captions: list[str | None], image: ImageSettings = IMAGE) -> Any:
    """A shard of these captions; its rows, or None where it failed."""
    keys = [f"k{n}" for n in range(len(captions))]
    nothing = pa.nulls(len(captions), pa.string())
    source = pa.table({"source_key": keys, "caption": pa.array(captions, pa.string()), "url": nothing})
    job = Job((Imagine(own, image, 100),), lambda storage: write_slices(storage, [source]))
    outcome = run_job(job, Storage(str(root)), InlineEngine(), RunSettings(attempts=1), Runtime())
    if outcome.failed:
        raise StageError(str(outcome.failed))
    shard = list_shards(Storage(str(root)))[0]
    columns = ["key", "caption", "source_key", "status", "fetch_status", "fetch_detail", "width", "sha256"]
    images = ["image_origin", "image_model", "image_seed", "image_prompt", "image_revised_prompt"]
    return shard.columns([*columns, *images]).to_pydict() | {"samples": list(shard.samples())}


def test_every_caption_gets_its_picture_marked_as_synthetic(server: ChatServer, tmp_path: Path) -> None:
    server.otherwise = lambda _, asked: painted(png(value=asked.body["seed"] % 256), revised_prompt="in oil")
    found = run(
        tmp_path, settings(server, prompt="A photo: {caption}", seed=3), ["a cat", None, "a dog", " ?", "a cat"]
    )
    assert found["fetch_status"] == ["success", "no_caption", "success", "no_caption", "success"]
    assert found["image_origin"] == ["synthetic"] * 5
    assert found["image_model"] == ["m"] * 5
    assert found["image_prompt"] == ["A photo: a cat", None, "A photo: a dog", None, "A photo: a cat"]
    assert found["image_revised_prompt"] == ["in oil", None, "in oil", None, "in oil"]
    assert found["source_key"] == ["k0", "k1", "k2", "k3", "k4"]
    seeds = found["image_seed"]
    assert (seeds[0] == seeds[4], seeds[0] != seeds[2], seeds[1]) == (True, True, None)
    assert len(server.asked) == 2, "equal captions are asked once"
    assert [sample.caption for sample in found["samples"]] == ["a cat", "a dog", "a cat"]
    assert found["samples"][0].columns["image_origin"] == "synthetic"
    assert Image.open(io.BytesIO(found["samples"][1].image)).size == (32, 32)


def test_what_is_asked(server: ChatServer, tmp_path: Path) -> None:
    own = settings(server, size="512x512", extra={"steps": 3}, leave_out=("response_format", "seed"))
    server.otherwise = painted(png())
    assert run(tmp_path, own, ["a\ncat"])["image_seed"] == [None]
    assert server.asked[0].body == {"model": "m", "prompt": "a\ncat", "n": 1, "size": "512x512", "steps": 3}
    run(tmp_path / "b", settings(server), ["x"])
    assert server.asked[1].body.keys() == {"model", "prompt", "n", "size", "seed", "response_format"}


BAD: list[tuple[str, bytes | Callable[..., Any], str, str]] = [
    ("refused", reply(400, b'{"error": {"code": "content_policy_violation"}}'), "generation_refused", "HTTP 400"),
    ("asks for too much", reply(422, b"{}"), "client_error", "HTTP 422"),
    ("down", reply(503), "server_error", "HTTP 503"),
    ("limited", reply(429), "rate_limited", "HTTP 429"),
    ("slow", hang, "timeout", "in time"),
    ("not a picture", painted(b"<html>no</html>"), "not_an_image", ""),
    ("empty", painted(b""), "not_an_image", ""),
    ("cut", painted(png()[:60]), "image_", ""),
    ("huge", painted(png(101)), "image_too_large", "101 x 101"),
    ("a URL", reply(200, b'{"data": [{"url": "http://a.test/x.png"}]}'), "not_an_image", "a URL in its place"),
    ("svg", painted(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "image_unsupported", ""),
]


@pytest.mark.parametrize(("caption", "answer", "status", "words"), BAD, ids=[bad[0] for bad in BAD])
def test_a_row_without_a_picture_says_why(
    server: ChatServer, tmp_path: Path, caption: str, answer: Any, status: str, words: str
) -> None:
    def only(bad: Any) -> Any:
        return lambda _, asked: (by_seed if asked.body["prompt"] != caption else bad)(_, asked)

    captions, own = ["a", "b", "c", "d", caption], settings(server)
    if answer is hang:  # the others are painted before: on a busy machine they might be late too
        server.otherwise = only(lambda *_: reply(500))
        with pytest.raises(StageError):
            run(tmp_path, replace(own, max_failed_ratio=0), captions)
        own = replace(own, requests=replace(FAST, total_timeout_s=0.2))
    server.otherwise = only(answer if callable(answer) else lambda *_: answer)
    found = run(tmp_path, own, captions)
    assert found["fetch_status"][:4] == ["success"] * 4
    assert found["fetch_status"][4].startswith(status)
    assert words in (found["fetch_detail"][4] or "")
    assert len(found["samples"]) == 4
    assert found["image_origin"][4] == "synthetic"


def test_refusals_are_answers(server: ChatServer, tmp_path: Path) -> None:
    """Most of a few captions may be refused; of many no more than max_failed_ratio."""
    no = reply(400, b'{"error": {"code": "content_policy_violation"}}')
    server.otherwise = lambda connection, asked: no if "bad" in asked.body["prompt"] else by_seed(connection, asked)
    found = run(tmp_path, settings(server), ["bad 1", "bad 2", "good"])
    assert found["fetch_status"] == ["generation_refused", "generation_refused", "success"]
    many = [f"bad {n}" for n in range(5)] + [f"good {n}" for n in range(15)]
    with pytest.raises(StageError, match=r"5 of 20 asked captions.*generation_refused"):
        run(tmp_path / "many", settings(server), many)


def test_a_restart_asks_for_what_has_no_picture_alone(server: ChatServer, tmp_path: Path) -> None:
    captions = [f"thing {n}" for n in range(10)]
    server.script = [by_seed] * 6 + [reply(500)] * 4
    with pytest.raises(StageError, match=r"4 of 10 captions|4 of 10 asked captions"):
        run(tmp_path, settings(server), captions)
    assert len(server.asked) == 10
    found = run(tmp_path, settings(server), captions)
    assert set(found["fetch_status"]) == {"success"}
    assert len(server.asked) == 14
    whole = run(tmp_path / "other", settings(server), captions)
    assert found["sha256"] == whole["sha256"]
    assert (tmp_path / "00000.tar").read_bytes() == (tmp_path / "other" / "00000.tar").read_bytes()


def test_another_size_of_storing_asks_nobody(server: ChatServer, tmp_path: Path) -> None:
    run(tmp_path, settings(server), ["a", "b"])
    found = run(tmp_path, settings(server), ["a", "b"], ImageSettings(size_px=16))
    assert found["width"] == [16, 16]
    assert len(server.asked) == 2


def test_a_server_of_something_else_costs_three_requests(server: ChatServer, tmp_path: Path) -> None:
    server.otherwise = reply(200, b"<html>hello</html>")
    with pytest.raises(StageError, match="the first 3 answers hold no picture"):
        run(tmp_path, settings(server, requests=replace(FAST, concurrency=1)), [f"thing {n}" for n in range(30)])
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": ""}, "is no model"),
        ({"base_url": "127.0.0.1"}, "base_url"),
        ({"prompt": "a picture"}, "must have {caption} once"),
        ({"extra": {"n": 2}}, "may not set 'n'"),
        ({"max_failed_ratio": 1.5}, "max_failed_ratio"),
        ({"seed": -1}, "seed"),
        ({"most_text_chars": 0}, "most_text_chars"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ImagineSettings(**{"model": "m", "base_url": "http://a.test/v1"} | changes)


def test_what_changes_the_fingerprint(server: ChatServer) -> None:
    def identity(**changes: Any) -> str:
        return json.dumps(Imagine(settings(server, **changes), IMAGE).identity())

    same: list[dict[str, Any]] = [{"max_failed_ratio": 0.5}, {"requests": ImageRequests()}, {"api_key_file": "k"}]
    others: list[dict[str, Any]] = [{"model": "n"}, {"size": "1x1"}, {"seed": 1}, {"prompt": "x {caption}"}]
    others.append({"base_url": "http://127.0.0.2/v1"})
    assert {identity(**change) for change in same} == {identity()}
    assert len({identity(), *(identity(**change) for change in others)}) == 6


def config(path: Path, server: ChatServer, source: str) -> Path:
    path.write_text(
        f'pipeline = "images_for_captions"\n[source]\n{source}\n[imagine]\nmodel = "m"\n'
        f'base_url = "{server.base_url}"\n[image]\nsize_px = 32\n[filters.caption_words]\nmin = 2\n'
    )
    return path


def test_a_run_from_a_list_to_pairs_with_a_verdict(server: ChatServer, tmp_path: Path, capsys: Any) -> None:
    pq.write_table(
        pa.table({"id": [5, 6, 7], "words": ["a cat", "dogs", None], "x": [1, 2, 3]}), tmp_path / "c.parquet"
    )
    source = f'kind = "captions"\npath = "{tmp_path}/c.parquet"\ncaption_column = "words"\n'
    source += 'key_column = "id"\ncolumns = ["x"]'
    toml = config(tmp_path / "c.toml", server, source)
    assert main(["run", str(toml), "--out", str(tmp_path / "out"), "--on", "inline"]) == 0
    (shard,) = list_shards(Storage(str(tmp_path / "out")))
    found = shard.columns(["source_key", "caption", "x", "drop_reason", "image_origin"]).to_pydict()
    assert found["source_key"] == ["5", "6", "7"]
    assert found["caption"] == ["a cat", "dogs", None]
    assert found["x"] == [1, 2, 3]
    assert found["drop_reason"] == [None, "too_few_words", "no_caption"]
    capsys.readouterr()


def test_a_list_of_lines(server: ChatServer, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "c.txt").write_text("a cat on a mat\na dog, running\n")
    toml = config(tmp_path / "c.toml", server, f'kind = "captions"\npath = "{tmp_path}/c.txt"\ncaption_column = "url"')
    assert main(["run", str(toml), "--out", str(tmp_path / "out"), "--on", "inline"]) == 0
    assert sorted(asked.body["prompt"] for asked in server.asked) == ["a cat on a mat", "a dog, running"]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('kind = "url_table"\npath = "x.parquet"', "has no words to paint"),
        ('kind = "captions"\npath = "x.parquet"\ncolumns = ["image_seed"]', "'image_seed' is written by a later stage"),
        ('kind = "captions"\npath = "x.parquet"\ncolumns = ["keep"]', "'keep' is written by a later stage"),
        ('kind = "captions"\npath = "x.parquet"\nwords = "a"', "no key 'words'"),
    ],
)
def test_configs_that_are_wrong_are_told(server: ChatServer, tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_job(config(tmp_path / "c.toml", server, source))
