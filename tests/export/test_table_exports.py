"""Parquet for TRL and nanoVLM, as `datasets` reads it.

By hand, once: trl's own prepare_multimodal_messages takes every row of such an export.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from example_sets import page, pair, picture, put_pairs, put_view, run_export, talk
from handover_sets import make_handover

from curate.errors import ConfigError
from curate.sample import Document, Picture
from curate.storage import Storage

RATINGS = {"relevance_ratings": [5, 2], "formatting_ratings": [3, None], "visual_dependency_ratings": [1]}
ASKED = ("user", [picture(8), "what?"])
LATER = ("user", ["and this?", picture(9)])
TALKS = [
    talk("t0", ("system", ["be brief"]), ASKED, ("assistant", ["that"]), ("user", ["sure?"]), ("assistant", ["yes"])),
    talk("t1", ASKED, ("assistant", ["that"]), LATER, ("assistant", ["this"])),
    talk("t2", ASKED, ("assistant", ["a"]), ("user", ["more"]), ("assistant", ["b"]), **RATINGS),
    talk("t3", ASKED, ("user", ["twice"])),
    talk("t4", ("user", [Picture(""), "gone"]), ("assistant", ["x"])),
]
PAGES = [page("d0", "one", picture(5), "two"), page("d1", "one", picture(6), "two", picture(7), "three")]
BOOKS = [page("b0", "only words"), Document("b1", ())]
WEB = [pair(f"p{n}", n, f"words {n}", "png" if n == 1 else "jpg") for n in range(3)]


@pytest.fixture(scope="module")
def handover(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    sources = {"web": WEB, "vqa": TALKS, "pages": PAGES, "books": BOOKS}
    return Storage(str(make_handover(tmp_path_factory.mktemp("tables") / "set", sources)))


def rows(storage: Storage, source: str) -> list[dict[str, Any]]:
    names = sorted(storage.files(f"data/{source}"))
    return [row for name in names for row in pq.read_table(storage.path(name)).to_pylist()]


def blocks(message: dict[str, Any]) -> list[str | None]:
    """Its texts, None for a picture's place."""
    assert all((block["type"] == "image") == (block["text"] is None) for block in message["content"])
    return [block["text"] for block in message["content"]]


def said(row: dict[str, Any]) -> list[tuple[str, list[str | None]]]:
    return [(message["role"], blocks(message)) for message in row["messages"]]


def test_trl_has_a_block_for_each_picture(handover: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    told = run_export("trl", handover, target)
    for source in ("web", "vqa", "pages", "books"):
        for row in rows(target, source):
            places = [text for message in row["messages"] for text in blocks(message) if text is None]
            assert len(places) == len(row["images"])
            assert row["source"] == source
    web = rows(target, "web")
    assert [row["images"][0]["bytes"] for row in web] == [example.image for example in WEB]
    [(user, [place, asked]), (assistant, answer)] = said(web[2])
    assert (user, place, assistant, answer) == ("user", None, "assistant", ["words 2"])
    assert asked
    vqa = rows(target, "vqa")
    assert said(vqa[0])[:2] == [("system", ["be brief"]), ("user", [None, "what?"])]
    assert said(vqa[1])[2] == ("user", ["and this?", None])
    assert [i["bytes"] for i in vqa[1]["images"]] == [picture(8).image, picture(9).image]
    assert said(rows(target, "pages")[1]) == [
        ("user", ["one", None]),
        ("assistant", ["two"]),
        ("user", [None]),
        ("assistant", ["three"]),
    ]
    assert said(rows(target, "books")[0]) == [("assistant", ["only words"])]
    assert told["examples_by_source"] == {"web": 3, "vqa": 3, "pages": 2, "books": 1}
    assert sum(told["examples_left_out"].values()) == 3


def test_a_text_cannot_say_a_picture_s_place(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", [pair("a", 1, "an <image> and <|image_pad|> here")])
    run_export("trl", data, target, prompt="plain")
    assert said(rows(target, "pairs")[0]) == [("user", [None]), ("assistant", ["an [image] and [image_pad] here"])]
    with pytest.raises(ConfigError, match="--prompt '<image>' must be describe, plain or a text"):
        run_export("trl", data, Storage(str(tmp_path / "other")), prompt="<image>")


def test_nanovlm_takes_pictures_before_the_first_question_alone(handover: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    told = run_export("nanovlm", handover, target, sources="web,vqa,pages", prompt="What is it?")
    assert [row["texts"] for row in rows(target, "web")] == [
        [{"user": "What is it?", "assistant": f"words {n}"}] for n in range(3)
    ]
    first, second = rows(target, "vqa")
    assert first["texts"] == [
        {"user": "be brief\nwhat?", "assistant": "that"},
        {"user": "sure?", "assistant": "yes"},
    ]
    assert [i["bytes"] for i in first["images"]] == [picture(8).image]
    assert (first["relevance_ratings"], first["relevance_min"]) == (None, None)
    assert (second["relevance_ratings"], second["relevance_min"]) == ([5, 2], 2)
    assert (second["formatting_ratings"], second["formatting_min"]) == ([3, None], 3)
    assert second["visual_dependency_ratings"] is None
    assert [row["texts"] for row in rows(target, "pages")] == [[{"user": "one", "assistant": "two"}]]
    assert told["examples_left_out"]["picture_in_a_later_turn"] == 2
    assert told["other_counts"] == {"ratings_not_one_per_answer": 1}
    with pytest.raises(ConfigError, match=r"source books of .* is of kind text, and nanovlm takes pairs and chat and"):
        run_export("nanovlm", handover, Storage(str(tmp_path / "other")))


@pytest.mark.parametrize("ratings", ["5", [5, "2"], [True, 2], [1 << 40, 2], [1, 2, 3], {"a": 1}])
def test_ratings_that_are_none_are_counted(tmp_path: Path, ratings: Any) -> None:
    example = talk(
        "t", ASKED, ("assistant", ["a"]), ("user", ["more"]), ("assistant", ["b"]), relevance_ratings=ratings
    )
    source, target = Storage(str(make_handover(tmp_path / "set", {"vqa": [example]}))), Storage(str(tmp_path / "out"))
    told = run_export("nanovlm", source, target)
    assert rows(target, "vqa")[0]["relevance_ratings"] is None
    assert told["other_counts"] == {"ratings_not_one_per_answer": 1}


def test_the_texts_of_a_view(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", WEB)
    put_view(data, "00000", ["p0", "p1", "p2"], [["made 0", "x"], [], ["made 2"]])
    told = run_export("trl", data, target, captions="mix", prompt="plain")
    assert [said(row)[1] for row in rows(target, "pairs")] == [("assistant", ["made 0"]), ("assistant", ["made 2"])]
    assert told["samples_without_text"] == 1


def test_row_groups_bound_what_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Storage(str(tmp_path / "data"))
    put_pairs(data, "00000", [pair(f"p{n}", n, "words") for n in range(5)])
    size = max(len(picture(n).image or b"") for n in range(5))
    for name, value, groups in (("ROWS", 2, [2, 2, 1]), ("BYTES", 3 * size // 2, [2, 2, 1]), ("BYTES", 10 * size, [5])):
        with monkeypatch.context() as patched:
            patched.setattr(f"curate.export._parquet.GROUP_{name}", value)
            target = Storage(str(tmp_path / f"{name}{value}"))
            run_export("trl", data, target, shard_samples=9)
        file = pq.ParquetFile(target.path("data/pairs/00000.parquet"))
        assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == groups


def test_the_same_export_is_the_same_bytes(handover: Storage, tmp_path: Path) -> None:
    one, other = Storage(str(tmp_path / "one")), Storage(str(tmp_path / "other"))
    for target in (one, other):
        run_export("nanovlm", handover, target, sources="web,vqa", shuffle=True)
    names = [*one.files("data/web"), *one.files("data/vqa"), "README.md", "export.json"]
    assert len(names) == 7
    assert all(one.read(name) == other.read(name) for name in names)


READ = """
import os, sys, json
from datasets import load_dataset
trl, nano = sys.argv[1:]
found = load_dataset(trl, split="train")
print(json.dumps([[[i.size for i in row["images"]], row["source"], row["messages"]] for row in found]))
found = load_dataset(nano, "vqa", split="train", streaming=True)
print(json.dumps([[[i.size for i in row["images"]], row["texts"], row["relevance_ratings"]] for row in found]))
files = {"train": nano + "/data/*/*.parquet"}
print(json.dumps([len(row["images"]) for row in load_dataset("parquet", data_files=files, split="train")]), flush=True)
os._exit(0)  # at the end of the program its threads now and then abort it
"""


@pytest.mark.slow
def test_datasets_reads_both(handover: Storage, tmp_path: Path) -> None:
    trl, nano = Storage(str(tmp_path / "trl")), Storage(str(tmp_path / "nano"))
    run_export("trl", handover, trl)
    run_export("nanovlm", handover, nano, sources="web,vqa")
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", READ, trl.root, nano.root]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=offline)
    assert told.returncode == 0, told.stderr
    rows, rated, pictures = map(json.loads, told.stdout.splitlines())
    assert len(rows) == 9
    [[sizes, source, messages]] = [row for row in rows if len(row[0]) == 2 and row[1] == "vqa"]
    assert (sizes, source) == ([[24, 24], [24, 24]], "vqa")
    assert messages[2]["content"] == [{"type": "text", "text": "and this?"}, {"type": "image", "text": None}]
    assert [row[2] for row in rated] == [None, [5, 2]]
    assert pictures == [1] * 5
