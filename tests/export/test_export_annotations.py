"""Pictures in folders and annotations beside them: names, counts, reasons; and nothing depends on how it is run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from document_sets import jpeg
from example_sets import page, pair, picture, put_pairs, put_view, run_export, talk
from handover_sets import make_handover
from PIL import Image

from curate.cli import main
from curate.errors import ConfigError
from curate.export import exporter
from curate.export._names import safe_name
from curate.handover.layout import Example
from curate.run.inline import InlineEngine
from curate.run.scheduler import RunSettings, run_job
from curate.sample import Picture, Sample
from curate.storage import Storage

FORMATS = ("llava", "internvl", "qwen", "llama_factory")
GONE = Picture("", None, "", "failed_to_download")
SOURCES: dict[str, Sequence[Example]] = {
    "web": [
        pair("a", 1, "a cat"),
        pair("b", 2, "tell it by <image>"),
        pair("c", 3, None),
        Sample("d", jpeg(4, 24, "WEBP"), "webp", "a web picture", {}),
        Sample("e", b"P6 1 1 255\n\0\0\0", "jpg", "no picture", {}),
    ],
    "vqa": [
        talk("t", ("user", [picture(5), "what?"]), ("assistant", ["that"])),
        talk("u", ("user", [picture(6), GONE, "which?"]), ("assistant", ["this"])),
        talk("v", ("user", ["hm"]), ("user", ["hm?"]), ("assistant", ["yes"])),
        talk("w", ("user", [picture(7), picture(8), "both?"]), ("assistant", ["both"])),
    ],
    "pages": [page("p", "lead", picture(9), "one", GONE, "two", picture(10))],
}
LEFT_OUT = {"no_caption": 1, "picture_missing": 2, "roles_do_not_alternate": 1}


@pytest.fixture(scope="module")
def handover(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return Storage(str(make_handover(tmp_path_factory.mktemp("set") / "handover", SOURCES, shard_samples=3)))


def records(storage: Storage, file: str) -> list[dict[str, Any]]:
    raw = storage.read(file)
    found = json.loads(raw) if file.endswith(".json") else [json.loads(line) for line in raw.splitlines()]
    assert isinstance(found, list)
    return found


def images(record: dict[str, Any]) -> list[str]:
    found = record.get("image", record.get("images", []))
    return [found] if isinstance(found, str) else found


Export = tuple[Storage, dict[str, Any]]
"""Where it was written, and what it told."""


@pytest.fixture(scope="module", params=FORMATS)
def exported(handover: Storage, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Export:
    target = Storage(str(tmp_path_factory.mktemp("out") / request.param))
    return target, run_export(request.param, handover, target)


def test_what_leaves_and_what_is_told(exported: Export) -> None:
    target, told = exported
    assert told == {
        "shards": 6,
        "examples": 6,
        "records": 6,
        "pictures": 7,
        "examples_left_out": LEFT_OUT,
        "slots_without_picture": {"failed_to_download": 1, "image_unsupported": 1, "missing": 1},
        "pictures_left_out": {"picture_without_text_behind": 1},
        "pictures_reencoded": 1,
        "texts_with_marks": 1,
        "shards_without_selection": 0,
    }
    summary = json.loads(target.read("export.json"))
    assert {name: summary[name] for name in told} == told
    assert {name: own["records"] for name, own in summary["sources"].items()} == {"web": 3, "vqa": 2, "pages": 1}
    assert sum(own["in"] for own in summary["per_shard"].values()) == 10
    for own in summary["sources"].values():
        assert len(records(target, own["file"])) == own["records"]


def test_every_place_has_a_file_that_opens(exported: Export) -> None:
    target, _ = exported
    files: list[str] = []
    for source in json.loads(target.read("export.json"))["sources"].values():
        for record in records(target, source["file"]):
            turns = record.get("conversations") or record["messages"]
            said = [turn.get("value", turn.get("content")) for turn in turns]
            assert all(text.strip() for text in said)
            assert "".join(said[::2]).count("<image>") == len(images(record))
            assert "<image>" not in "".join(said[1::2])
            files += images(record)
    there = [
        f"images/{folder}/{name}"
        for folder in target.folders("images")
        for name in sorted(path.rsplit("/", 1)[1] for path in target.files(f"images/{folder}"))
    ]
    assert sorted(files) == there
    for name in files:
        with Image.open(target.path(name)) as opened:
            assert opened.format == "JPEG"
            opened.load()


def test_ids_are_unique_and_bytes_the_same_however_it_is_run(handover: Storage, tmp_path: Path) -> None:
    one, other = Storage(str(tmp_path / "one" / "out")), Storage(str(tmp_path / "other" / "out"))
    run_export("llava", handover, one, shuffle=True, seed=3)
    job, finish = exporter("llava")(handover, 2, True, 3)
    slices = list(job.slices(other))
    assert [piece.rows for piece in slices] == [2, 2, 1, 2, 2, 1]
    for _ in range(2):  # the second time there is nothing left to do
        outcome = run_job(job, other, InlineEngine())
        finish(other)
    assert outcome.made == 0
    names = [name for name in one.files() if name not in ("llava.yaml", "manifest.parquet")]
    assert all(one.read(name) == other.read(name) for name in names)
    ids = [record["id"] for name in ("web.json", "vqa.json", "pages.json") for record in records(one, name)]
    assert len(set(ids)) == len(ids) == 6


def test_prompts_are_of_the_pair_not_of_its_place(handover: Storage, tmp_path: Path) -> None:
    def asked(**settings: Any) -> dict[str, str]:
        target = Storage(str(tmp_path / str(len(list(tmp_path.iterdir())))))
        run_export("llava", handover, target, sources="web", **settings)
        turns = [record["conversations"] for record in records(target, "web.json")]
        return {answer["value"]: question["value"] for question, answer in turns}

    assert asked() == asked(shuffle=True, seed=9, shard_samples=4)
    assert set(asked(prompt="plain").values()) == {"<image>"}
    assert set(asked(prompt="Was ist das?").values()) == {"<image>\nWas ist das?"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt": "look at <image>"}, "--prompt .* a text without <image>"),
        ({"prompt": " "}, "--prompt ' ': say describe, plain or a text$"),
        (
            {"missing": "slot"},
            "llava takes no --missing; it takes --captions, --sources, --prompt, --max-images",
        ),
        ({"max_images": -1}, "--max-images"),
    ],
)
def test_settings_that_cannot_be(handover: Storage, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        exporter("llava")(handover, **options)


def test_a_bound_on_pictures(handover: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    told = run_export("llava", handover, target, max_images=1)
    assert told["examples_left_out"] == {**LEFT_OUT, "too_many_pictures": 1}
    assert all(isinstance(r.get("image"), str) for name in ("web.json", "vqa.json") for r in records(target, name))


def test_a_source_of_which_nothing_leaves_is_an_empty_list(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", [pair("a", 1, None)])
    run_export("llava", data, target)
    assert records(target, "pairs.json") == []
    assert target.read("llava.yaml") == b"datasets: []\n"
    run_export("qwen", data, Storage(str(tmp_path / "lines")))
    assert (tmp_path / "lines" / "pairs.jsonl").read_bytes() == b""


def test_the_texts_of_a_view(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", [pair("a", 1, "web"), pair("b", 2, "web")])
    put_view(data, "00000", ["a", "b"], [["told", "again"], []])
    told = run_export("llava", data, target, captions="mix")
    assert (told["examples"], told["samples_without_text"]) == (1, 1)
    [record] = records(target, "pairs.json")
    assert record["conversations"][1]["value"] == "told"


def test_a_source_called_as_a_small_file_has_a_file_of_its_own(tmp_path: Path) -> None:
    sources: dict[str, Sequence[Example]] = {name: [pair("a", 1, name)] for name in ("export", "llava", "a/b")}
    target = Storage(str(tmp_path / "out"))
    run_export("llava", Storage(str(make_handover(tmp_path / "handover", sources))), target)
    told = json.loads(target.read("export.json"))["sources"]
    found = {name: records(target, own["file"])[0]["conversations"][1]["value"] for name, own in told.items()}
    assert found == {"export": "export", "llava": "llava", "a/b": "a/b"}


@pytest.mark.parametrize("loss", ["tar", "moved"])
def test_a_source_that_changed_sets_its_shards_aside_and_the_rest_is_whole(tmp_path: Path, loss: str) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    for number in range(2):
        put_pairs(data, f"0000{number}", [pair(f"{number}{n}", n, "words") for n in range(2)])
    job, finish = exporter("llava")(data, 2, False, 0)
    list(job.slices(target))
    raw = data.read("00000.tar")
    if loss == "tar":
        data.delete("00000.tar")
    else:
        data.write("00000.tar", raw[512:])
    settings = RunSettings(max_failed_ratio=0.5)
    assert set(run_job(job, target, InlineEngine(), settings).failed) == {"00000"}
    assert finish(target)["examples"] == 2
    assert [record["id"] for record in records(target, "pairs.json")] == ["00001/10", "00001/11"]
    data.write("00000.tar", raw)
    assert not run_job(job, target, InlineEngine(), settings).failed
    assert finish(target)["examples"] == 4
    assert len(records(target, "pairs.json")) == 4


KEYS = ["plain-Key_1", "../../etc/passwd", "a b", "a?b", "A", "a", "é", "x" * 300, "x" * 299, "", "con:1", "\n"]


@pytest.mark.parametrize("key", KEYS)
def test_names_are_safe(key: str) -> None:
    name = safe_name(key)
    assert name == key or len(name) <= 93
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert name == "plain-Key_1" or sum(safe_name(other) == name for other in KEYS) == 1


def test_files_of_odd_keys_stay_in_the_folder_and_apart(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    keys = ["up/../../x", "Key", "key", "KEY", "sp ace"]
    put_pairs(data, "00000", [pair(key, n, f"words {n}") for n, key in enumerate(keys)])
    run_export("llava", data, target, shard_samples=9)
    found = records(target, "pairs.json")
    names = [record["image"] for record in found]
    assert len({name.lower() for name in names}) == len(keys) == len({record["id"] for record in found})
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == [picture(n).image for n in range(len(keys))]
    assert all(name.count("/") == 2 and ".." not in name for name in names)


def test_from_the_command_line(handover: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    command = ["export", handover.root, "--to", "llava", "--out", out, "--on", "inline", "--sources", "vqa"]
    assert main([*command, "--prompt", "plain", "--max-images", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["examples"], told["written_to"]) == (1, out)
    assert main(["export", handover.root, "--to", "internvl", "--out", out + "2", "--on", "inline", "--form", "x"]) != 0
    assert "format internvl takes no --form; it takes" in capsys.readouterr().err


def test_from_a_store_to_a_store(handover: Storage, tmp_path: Path) -> None:
    source, target = Storage(f"memory://{tmp_path}/data"), Storage(f"memory://{tmp_path}/out")
    for name in handover.files():
        source.write(name, handover.read(name))
    local = Storage(str(tmp_path / "out"))
    chosen = {"sources": "vqa", "shard_samples": 9}
    assert run_export("llava", source, target, **chosen) == run_export("llava", handover, local, **chosen)
    assert target.read("vqa.json") == local.read("vqa.json")
    for record in records(target, "vqa.json"):
        assert all(target.read(image) == local.read(image) for image in images(record))
