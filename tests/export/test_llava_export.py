"""LLaVA's annotations, read by the rules of its programs (haotian-liu/LLaVA and LLaVA-VL/LLaVA-NeXT,
llava/train/train.py: LazySupervisedDataset, preprocess_multimodal, preprocess_v1, preprocess_plain)."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from example_sets import every_kind, run_export
from handover_sets import make_handover
from PIL import Image

from curate.storage import Storage

PLACE = "<image>"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    source = Storage(str(make_handover(folder / "handover", every_kind(), shard_samples=3)))
    run_export("llava", source, Storage(str(folder / "out")))
    return folder / "out"


def opened(folder: Path, names: str | list[str]) -> int:
    """How many pictures the loader gets; it opens each and turns it to RGB."""
    listed = [names] if isinstance(names, str) else names
    for name in listed:
        with Image.open(folder / name) as image:
            image.convert("RGB")
    return len(listed)


def vicuna(turns: list[dict[str, str]]) -> list[str]:
    """The rounds that the program learns. It stops at roles that do not alternate, and ignores, with a warning, a talk
    that does not fall apart into one answer a round at its own marks."""
    prompt = "A chat."
    for number, turn in enumerate(turns):
        assert turn["from"] == ("human", "gpt")[number % 2]
        prompt += f" USER: {turn['value']}" if number % 2 == 0 else f" ASSISTANT: {turn['value']}</s>"
    rounds = [part for part in prompt.split("</s>") if part]
    assert all(len(part.split(" ASSISTANT: ")) == 2 for part in rounds)
    assert len(rounds) == len(turns) // 2
    return rounds


def test_the_first_llava_reads_conversations_of_one_picture(written: Path, tmp_path: Path) -> None:
    for file in ("web.json", "pages.json", *(p.name for p in written.glob("chat_set-*.json"))):
        for record in json.loads((written / file).read_text()):
            if isinstance(record.get("image", ""), list):
                continue
            pictures = opened(written, record["image"]) if "image" in record else 0
            turns = record["conversations"]
            for turn in turns:  # a place goes to the beginning of its turn, and of several one is left
                if PLACE in turn["value"]:
                    turn["value"] = f"{PLACE}\n{turn['value'].replace(PLACE, '').strip()}".strip()
            assert "".join(vicuna(turns)).count(PLACE) == pictures


def test_the_first_stage_learns_the_caption(written: Path) -> None:
    learnt = []
    for record in json.loads((written / "web.json").read_text()):
        assert len(record["conversations"]) == 2
        assert PLACE in record["conversations"][0]["value"]
        opened(written, record["image"])
        learnt.append(PLACE + record["conversations"][1]["value"] + "\n")
    assert learnt == [f"<image>words {n} of a [image]\n" for n in range(4)]


def next_records(file: Path) -> list[dict[str, Any]]:
    """What LLaVA-NeXT loads from its list of data sets, by strategies all, first, end and random."""
    found = []
    for entry in yaml.safe_load(file.read_text())["datasets"]:
        path, strategy = entry["json_path"], entry.get("sampling_strategy", "all")
        assert path.endswith((".json", ".jsonl"))
        assert strategy.partition(":")[0] in ("all", "first", "end", "random")
        found += json.loads(Path(path).read_text())
    return found


def test_llava_next_reads_all_sources(written: Path) -> None:
    records = next_records(written / "llava.yaml")
    assert len(records) == 9
    for record in records:
        pictures = opened(written, record["image"]) if "image" in record else 0
        turns = record["conversations"]
        for turn in turns:  # only where it is alone does a place go to the beginning of its turn
            if turn["value"].count(PLACE) == 1 and not turn["value"].startswith(PLACE):
                turn["value"] = f"{PLACE}\n{turn['value'].replace(PLACE, '').strip()}".strip()
        assert "".join(vicuna(turns)).count(PLACE) == pictures
        assert sum(len(turn["value"].split()) for turn in turns) > 0  # modality_lengths
    assert len({record["id"] for record in records}) == 9


def test_the_form_of_each_kind(written: Path) -> None:
    [several, none] = [r for r in next_records(written / "llava.yaml") if r["id"].startswith("00003/")]
    assert several["image"] == [f"images/{several['id']}.{n}.jpg" for n in (0, 1)]
    assert several["conversations"][0]["value"] == "be short\n<image>\n<image>\nboth?"
    assert "image" not in none
    [page] = json.loads((written / "pages.json").read_text())
    assert [turn["value"] for turn in page["conversations"]] == ["lead\n<image>", "one", "<image>\n<image>", "two"]


def test_a_folder_with_any_letters_is_found(tmp_path: Path) -> None:
    folder = tmp_path / 'é 🐈 "q": #x'
    run_export("llava", Storage(str(make_handover(tmp_path / "h", every_kind()))), Storage(str(folder)), sources="web")
    assert len(next_records(folder / "llava.yaml")) == 4
