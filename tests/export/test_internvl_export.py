"""InternVL's annotations, read by the rules of its program (OpenGVLab/InternVL, internvl_chat/internvl/train:
internvl_chat_finetune.py, LazySupervisedDataset; dataset.py, dynamic_preprocess and preprocess_internvl2_5)."""

import json
from pathlib import Path
from typing import Any

import pytest
from document_sets import jpeg
from example_sets import every_kind, put_pairs, run_export, talk
from handover_sets import make_handover
from PIL import Image

from curate.errors import ConfigError
from curate.export import exporter
from curate.sample import Picture, Sample
from curate.storage import Storage

PLACE, TOKENS = "<image>", 256


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("internvl")
    source = Storage(str(make_handover(folder / "handover", every_kind(), shard_samples=3)))
    run_export("internvl", source, Storage(str(folder / "out")))
    return folder / "out"


def tiles(width: int, height: int, most: int) -> int:
    """Tiles that the program cuts, and the overview where there are several."""
    grids = sorted(
        {(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if c * r <= most}, key=lambda g: g[0] * g[1]
    )
    best, least = (1, 1), float("inf")
    for columns, rows in grids:
        apart = abs(width / height - columns / rows)
        if apart < least or (apart == least and width * height > 0.5 * 448 * 448 * columns * rows):
            best, least = (columns, rows), apart
    count = best[0] * best[1]
    return count + (count > 1)


def read(record: dict[str, Any], root: Path, most: int = 12) -> int:
    """Tokens of pictures that the program makes room for. Asserts what it asserts."""
    names, turns = record.get("image", []), record["conversations"]
    if isinstance(names, str) and PLACE not in turns[0]["value"]:
        turns[0]["value"] = f"{PLACE}\n{turns[0]['value']}"
    listed = [names] if isinstance(names, str) else names
    each = most if isinstance(names, str) else max(1, most // max(1, len(listed)))
    counts = [TOKENS * tiles(*Image.open(root / name).convert("RGB").size, each) for name in listed]
    used = 0
    for turn in turns:
        assert turn["from"] in ("human", "gpt")
        for _ in range(turn["value"].count(PLACE) if turn["from"] == "human" else 0):
            if used < len(counts):
                turn["value"] = turn["value"].replace(PLACE, "<IMG_CONTEXT>" * counts[used], 1)
                used += 1
    assert used == len(counts)
    text = "".join(turn["value"] for turn in turns)
    assert PLACE not in text
    assert text.count("<IMG_CONTEXT>") == sum(counts)
    return sum(counts)


def test_the_program_reads_every_source(written: Path) -> None:
    meta = json.loads((written / "internvl.json").read_text())
    assert list(meta) == ["web", "chat set", "pages"]
    for about in meta.values():
        assert about["annotation"].endswith("jsonl")
        with open(about["annotation"]) as file:
            lines = file.readlines()
        assert (about["length"], about["repeat_time"], about["data_augment"]) == (len(lines), 1, False)
        assert "max_dynamic_patch" not in about
        for line in lines:
            record = json.loads(line)
            text = "\n".join(turn["value"] for turn in record["conversations"])
            pictures = read(record, Path(about["root"])) or TOKENS
            assert record["length"] == pictures + -(-len(text.encode()) // 4)


def test_a_late_picture_is_a_list_of_one(written: Path) -> None:
    [file] = written.glob("chat_set-*.jsonl")
    late, quotes, several, none = map(json.loads, file.read_text().splitlines())
    assert (late["image"], late["width_list"], late["height_list"]) == ([f"images/{late['id']}.jpg"], [24], [24])
    assert (quotes["image"], quotes["width"], quotes["height"]) == (f"images/{quotes['id']}.jpg", 24, 24)
    assert len(several["image"]) == 2
    assert "image" not in none


@pytest.mark.parametrize(
    ("width", "height", "most", "tokens"),
    [(300, 300, 0, 256), (1000, 500, 0, 768), (900, 900, 0, 5 * 256), (1000, 500, 1, 256), (2000, 500, 4, 5 * 256)],
)
def test_lengths_count_the_tiles(tmp_path: Path, width: int, height: int, most: int, tokens: int) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    picture = Image.new("RGB", (width, height))
    picture.save(tmp_path / "x.jpg")
    put_pairs(data, "00000", [Sample("a", (tmp_path / "x.jpg").read_bytes(), "jpg", "four", {})])
    run_export("internvl", data, target, prompt="plain", max_dynamic_patch=most)
    record = json.loads(target.read("pairs.jsonl"))
    assert record["length"] == tokens + 3
    assert tokens == read(record, tmp_path / "out", most or 12)
    about = json.loads(target.read("internvl.json"))["pairs"]
    assert about.get("max_dynamic_patch", 0) == most


def test_several_pictures_share_the_tiles(tmp_path: Path) -> None:
    shown = Picture("", jpeg(1, 1000), "jpg", "success")
    several = [talk("s", ("user", [shown] * 5), ("assistant", ["four"]))]
    source, target = make_handover(tmp_path / "handover", {"vqa": several}), Storage(str(tmp_path / "out"))
    run_export("internvl", Storage(str(source)), target)
    record = json.loads(target.read("vqa.jsonl"))
    text = "\n".join(turn["value"] for turn in record["conversations"])
    tokens = 5 * 256  # 12 tiles for five pictures: two each, and a square is better cut into one
    assert record["length"] == tokens - (-len(text) // 4)
    assert read(record, tmp_path / "out") == tokens


@pytest.mark.parametrize("most", [-1, 65])
def test_tiles_out_of_range(tmp_path: Path, most: int) -> None:
    data = Storage(str(tmp_path / "data"))
    put_pairs(data, "00000", [Sample("a", jpeg(1), "jpg", "four", {})])
    with pytest.raises(ConfigError, match="--max-dynamic-patch"):
        exporter("internvl")(data, max_dynamic_patch=most)
