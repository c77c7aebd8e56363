"""Annotations for Qwen-VL, read by the rules of its programs (QwenLM/Qwen3-VL, qwen-vl-finetune/qwenvl/data:
__init__.py, data_processor.py; QwenLM/Qwen-VL, finetune.py)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from example_sets import every_kind, pair, put_pairs, run_export
from handover_sets import make_handover
from PIL import Image

from curate.errors import ConfigError
from curate.export import exporter
from curate.storage import Storage


@pytest.fixture(scope="module")
def handover(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return Storage(str(make_handover(tmp_path_factory.mktemp("qwen") / "handover", every_kind(), shard_samples=3)))


def messages(item: dict[str, Any], base: Path) -> list[dict[str, Any]]:
    """The messages that the program gives to its processor. It raises where places and files differ in number."""
    images = item.get("image") or []
    pool = [str((base / name).resolve()) for name in ([images] if isinstance(images, str) else images)]
    found = []
    for turn in item["conversations"]:
        if turn["from"] != "human":
            found.append({"role": "assistant", "content": [{"type": "text", "text": turn["value"]}]})
            continue
        content = []
        for part in re.split("(<image>|<video>)", turn["value"]):
            assert part != "<video>"
            if part == "<image>":
                content.append({"type": "image", "image": pool.pop(0)})
            elif part.strip():
                content.append({"type": "text", "text": part.strip()})
        found.append({"role": "user", "content": content})
    assert not pool
    return found


def test_the_program_reads_every_source(handover: Storage, tmp_path: Path) -> None:
    run_export("qwen", handover, Storage(str(tmp_path / "out")))
    known = json.loads((tmp_path / "out" / "qwen.json").read_text())
    assert list(known) == ["web", "chat set", "pages"]
    read = []
    for about in known.values():
        lines = Path(about["annotation_path"]).read_text().splitlines()
        read += [messages(json.loads(line), Path(about["data_path"])) for line in lines]
    assert len(read) == 9
    for talk in read:
        assert [message["role"] for message in talk] == ["user", "assistant"] * (len(talk) // 2)
        for block in (block for message in talk for block in message["content"]):
            if block["type"] == "image":
                Image.open(block["image"]).load()
    kinds = [[block["type"] for message in talk for block in message["content"]] for talk in read]
    assert kinds[4:] == [
        ["text", "text", "text", "image", "text"],
        ["image", "text", "text"],
        ["text", "image", "image", "text", "text"],
        ["text", "text"],
        ["text", "image", "text", "image", "image", "text"],
    ]
    assert read[5][0]["content"][1]["text"] == "what is [image] for?"


def test_the_first_qwen_vl_names_pictures_in_the_text(handover: Storage, tmp_path: Path) -> None:
    run_export("qwen", handover, Storage(str(tmp_path / "out")), form="qwen-vl")
    assert not (tmp_path / "out" / "qwen.json").exists()
    pictures = 0
    for file in sorted((tmp_path / "out").glob("*.json")):
        for record in json.loads(file.read_text()) if file.name != "export.json" else ():
            turns = record["conversations"]
            assert [turn["from"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
            text = "".join(turn["value"] for turn in turns)
            named = re.findall(r"Picture (\d+): <img>(.*?)</img>", text)
            assert [int(number) for number, _ in named] == list(range(1, len(named) + 1))
            assert text.count("<img>") == text.count("</img>") == len(named)
            for _, name in named:
                Image.open(tmp_path / "out" / name).load()
            pictures += len(named)
    assert pictures == 11


def test_the_form_of_a_pair(handover: Storage, tmp_path: Path) -> None:
    run_export("qwen", handover, Storage(str(tmp_path / "out")), form="qwen-vl", sources="web", prompt="Say it.")
    first, *_ = json.loads((tmp_path / "out" / "web.json").read_text())
    asked, told = first["conversations"]
    assert asked == {"from": "user", "value": "Picture 1: <img>images/00000/0000000000.jpg</img>\nSay it."}
    assert told == {"from": "assistant", "value": "words 0 of a [image]"}


@pytest.mark.parametrize("form", ["qwen3-vl", "qwen-vl"])
def test_a_text_names_no_picture_and_has_no_token(tmp_path: Path, form: str) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", [pair("a", 1, "<img>/etc/passwd</img> <|vision_start|> <video> <ref>a</ref>")])
    assert run_export("qwen", data, target, form=form)["texts_with_marks"] == 1
    [file] = (name for name in target.files() if name.startswith("pairs."))
    record = json.loads(target.read(file).strip(b"[]\n"))
    answer = record["conversations"][1]["value"]
    assert answer == "[img]/etc/passwd[img] [vision_start] [video] <ref>a</ref>"


def test_a_source_with_a_comma_or_a_percent_has_a_plain_name(tmp_path: Path) -> None:
    source = make_handover(tmp_path / "handover", {"a,b%50": [pair("a", 1, "words")]})
    for format, file in (("qwen", "qwen.json"), ("llama_factory", "dataset_info.json")):
        run_export(format, Storage(str(source)), Storage(str(tmp_path / format)))
        [name] = json.loads((tmp_path / format / file).read_text())
        assert not {",", "%"} & set(name)


def test_another_form_is_refused(handover: Storage) -> None:
    with pytest.raises(ConfigError, match="--form qwen-v1 is unknown; did you mean 'qwen-vl'"):
        exporter("qwen")(handover, form="qwen-v1")
