"""Pairs and hand-overs for Megatron-Energon, and captions beside pictures, read by its rules.

By hand, once, with megatron-energon 7.4.1: `get_train_dataset` reads every metadataset here, a source's type is the one
that `dataset.yaml` names, and `cook_caption` finds each picture of a captions-only export in the data set's own tars.
"""

import io
import json
import re
import runpy
import sqlite3
import struct
import sys
import tarfile
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from example_sets import page, pair, picture, put_pairs, put_view, run_export, talk
from handover_sets import make_handover

from curate.cli import main
from curate.errors import ConfigError, ShardError
from curate.sample import Document, Part, Picture, Text
from curate.shard import Shard
from curate.storage import Storage

FIRST_DOT = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
ASKED = ("user", [picture(8, "webp"), "what?"])
PAGE = Document("d", (Text("one"), picture(5), Text("two"), Text("three", separator="\n"), Picture("")))
SOURCES = {
    "web": [pair(f"p{n}", n, f"words {n}", "png" if n == 1 else "jpg", url=f"u{n}") for n in range(5)],
    "vqa": [talk(f"t{n}", ASKED, ("assistant", ["that", "and this"])) for n in range(2)],
    "chat": [talk("c0", ASKED, ("assistant", ["that"])), talk("c1", ("user", ["hello"]), ("assistant", ["hi"]))],
    "pages": [PAGE],
    "books": [page("b", "only words")],
}
STAGES = """
[[stages]]
name = "align"
objective = "lm"
resolution = {}
[[stages.mixture.sources]]
name = "web"
kind = "pairs"
weight = 0.75
[[stages.mixture.sources]]
name = "vqa"
kind = "chat"
weight = 0.25
[[stages]]
name = "tune"
objective = "sft"
resolution = {}
[[stages.mixture.sources]]
name = "chat"
kind = "chat"
repeat = 2
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    root = tmp_path_factory.mktemp("energon")
    folder = make_handover(root / "set", SOURCES)
    (folder / "stages.toml").write_text(STAGES)
    run_export("energon", Storage(str(folder)), Storage(str(root / "out")))
    return Storage(str(root / "out"))


def raw_samples(storage: Storage, folder: str) -> list[dict[str, Any]]:
    """The samples of all tars of the split `train`, through their indices; JSON decoded."""
    found: list[dict[str, Any]] = []
    counts = json.loads(storage.read(f"{folder}/.nv-meta/.info.json"))["shard_counts"]
    split = yaml.safe_load(storage.read(f"{folder}/.nv-meta/split.yaml"))["split_parts"]
    assert split == {"train": list(counts), "val": [], "test": []}
    for name in split["train"]:
        raw = storage.read(f"{folder}/{name}.idx")
        starts = struct.unpack(f"<{len(raw) // 8}Q", raw)
        assert len(starts) == counts[name] + 1
        with tarfile.open(storage.path(f"{folder}/{name}")) as archive:
            members = archive.getmembers()
            for start, end in pairwise(starts):
                own = {m.name: archive.extractfile(m).read() for m in members if start <= m.offset < end}  # type: ignore[union-attr]
                found.append(_sample(own))
    return found


def _sample(members: dict[str, bytes]) -> dict[str, Any]:
    names = [FIRST_DOT.match(name) for name in members]
    keys = {name[1] for name in names if name}
    assert len(keys) == 1
    parts = {name[2]: data for name, data in zip(names, members.values(), strict=True) if name}
    return {"__key__": keys.pop(), **{n: _decoded(n, d) for n, d in parts.items()}}


def _decoded(part: str, data: bytes) -> Any:
    return {"json": json.loads, "txt": bytes.decode}.get(part, bytes)(data)


def cooked(storage: Storage, folder: str) -> tuple[str, list[dict[str, Any]]]:
    """The type of a data set's samples, and their fields, as `dataset.yaml` says."""
    config = yaml.safe_load(storage.read(f"{folder}/.nv-meta/dataset.yaml"))
    samples = raw_samples(storage, folder)
    if config.get("__class__") == "CrudeWebdataset":
        return "crude", samples
    if "sample_loader" in config:
        loader = runpy.run_path(storage.path(f"{folder}/.nv-meta/sample_loader.py"))
        made = [loader["sample_loader"](sample) for sample in samples]
    else:
        made = [{n: _field(sample, rule) for n, rule in config["field_map"].items()} for sample in samples]
    assert config["sample_type"]["__module__"] == "megatron.energon"
    return config["sample_type"]["__class__"], made


def _field(sample: dict[str, Any], rule: str) -> Any:
    """`a,b` is the first that is there, `a[b]` goes into it."""
    for option in rule.split(","):
        name, *way = option.replace("]", "").split("[")
        if name in sample:
            value = sample[name]
            for step in way:
                value = value[step]
            return value
    raise KeyError(rule)


def test_each_source_has_the_type_of_its_kind(written: Storage) -> None:
    kind, web = cooked(written, "web")
    assert kind == "CaptioningSample"
    assert web == [{"image": example.image, "caption": example.caption} for example in SOURCES["web"]]  # type: ignore[union-attr]
    kind, vqa = cooked(written, "vqa")
    assert kind == "VQASample"
    assert [(row["context"], row["answers"]) for row in vqa] == [("what?", ["that\nand this"])] * 2
    assert all(row["image"].startswith(b"\xff\xd8\xff") for row in vqa)
    kind, pages = cooked(written, "pages")
    assert (kind, pages[0]["sequence"]) == ("InterleavedSample", ["one", picture(5).image, "two\n\nthree"])
    assert cooked(written, "books") == ("TextSample", [{"text": "only words"}])


def test_other_conversations_are_for_the_user_to_cook(written: Storage) -> None:
    kind, chat = cooked(written, "chat")
    assert kind == "crude"
    [user, _] = chat[0]["json"]["messages"]
    assert user["content"] == [{"type": "image", "image": "0.jpg"}, {"type": "text", "text": "what?"}]
    assert chat[0]["0.jpg"].startswith(b"\xff\xd8\xff")
    assert chat[1]["json"]["messages"][1]["content"] == [{"type": "text", "text": "hi"}]


def test_pairs_keep_all_that_is_known_of_them(written: Storage) -> None:
    assert [row["json"]["url"] for row in raw_samples(written, "web")] == [f"u{n}" for n in range(5)]


def test_sources_are_blended_as_the_stages_say(written: Storage) -> None:
    told = yaml.safe_load(written.read("metadataset.align.yaml"))
    assert (told["__module__"], told["__class__"]) == ("megatron.energon", "MetadatasetV2")
    assert told["splits"]["train"]["blend"] == [
        {"path": "web", "weight": 0.75, "subflavors": {"source": "web", "kind": "pairs"}},
        {"path": "vqa", "weight": 0.25, "subflavors": {"source": "vqa", "kind": "chat"}},
    ]
    [chat] = yaml.safe_load(written.read("metadataset.tune.yaml"))["splits"]["train"]["blend_epochized"]
    assert (chat["path"], chat["repetitions"]) == ("chat", 2)
    every = yaml.safe_load(written.read("metadataset.yaml"))["splits"]["train"]["blend_epochized"]
    assert [(own["path"], own["repetitions"]) for own in every] == [(name, 1) for name in SOURCES]


def test_what_was_left_out_is_counted(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", [pair("a", 1, "one"), pair("b", 2, " "), pair("c", 3, "three")])
    told = run_export("energon", data, target, shard_samples=1)
    assert (told["examples"], told["examples_left_out"]) == (2, {"no_text": 1})
    assert list(json.loads(target.read("pairs/.nv-meta/.info.json"))["shard_counts"]) == ["00000.tar", "00002.tar"]
    assert [row["txt"] for row in raw_samples(target, "pairs")] == ["one", "three"]


def test_a_source_of_which_nothing_is_left_is_not_blended(tmp_path: Path) -> None:
    sources = {"web": [pair("a", 1, "one")], "none": [pair("b", 2, "")]}
    folder, target = make_handover(tmp_path / "set", sources), Storage(str(tmp_path / "out"))
    run_export("energon", Storage(str(folder)), target)
    [web] = yaml.safe_load(target.read("metadataset.yaml"))["splits"]["train"]["blend_epochized"]
    assert web["path"] == "web"
    assert raw_samples(target, "none") == []


@pytest.fixture
def pairs(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "data"))
    put_pairs(storage, "00000", [pair("a", 1, "one"), pair("b", 2, "two", "webp"), pair("c", 3, "three", "png")])
    put_pairs(storage, "00001", [pair("d", 4, "four")])
    put_view(storage, "00000", ["a", "b", "c"], [["made a", "x"], ["made b"], ["made c"]])
    put_view(storage, "00001", ["d"], [["made d"]])
    return storage


def picture_at(target: Storage, name: str) -> bytes:
    """A picture of the auxiliary data set `images`, as Energon's SqliteITarEntryReader finds it."""
    key, part = FIRST_DOT.match(name).groups()  # type: ignore[union-attr]
    with sqlite3.connect(f"file:{target.path('images/.nv-meta/index.sqlite')}?mode=ro&immutable=1", uri=True) as index:
        tar, offset, size = index.execute(
            "SELECT sp.tar_file_id, sp.content_byte_offset, sp.content_byte_size FROM sample_parts AS sp "
            "JOIN samples AS s ON sp.tar_file_id = s.tar_file_id AND sp.sample_index = s.sample_index "
            "WHERE s.sample_key = ? AND sp.part_name = ?",
            (key, part),
        ).fetchone()
        where = "SELECT byte_offset, byte_size FROM samples WHERE sample_key = ?"
        start, length = index.execute(where, (key,)).fetchone()
    assert start <= offset - 512 <= offset + size <= start + length
    names = list(json.loads(target.read("images/.nv-meta/.info.json"))["shard_counts"])
    data = Path(target.root, "images", names[tar]).resolve().read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data[start : start + length])) as own:
        assert {member.partition(".")[0] for member in own.getnames()} == {key}
    return data[offset : offset + size]


def test_captions_leave_and_pictures_stay(pairs: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    told = run_export("energon", pairs, target, captions="mix", captions_only=True)
    assert told == {
        "shards": 2,
        "examples": 3,
        "examples_left_out": {"picture_not_decoded": 1},
        "samples_without_text": 0,
        "shards_without_selection": 0,
    }
    kind, samples = cooked(target, "captions")
    assert kind == "crude"
    assert [row["json"]["caption"] for row in samples] == ["made a", "made c", "made d"]
    assert samples[0]["json"]["captions"] == ["made a", "x"]
    assert samples[0]["json"]["caption_origins"] == ["cap", "cap"]
    seeds = {"a.jpg": picture(1), "c.png": picture(3, "png"), "d.jpg": picture(4)}
    assert [row["json"]["image"] for row in samples] == list(seeds)
    assert all(picture_at(target, name) == own.image for name, own in seeds.items())
    assert picture_at(target, "b.webp")[8:12] == b"WEBP"
    split = yaml.safe_load(target.read("metadataset.yaml"))["splits"]["train"]
    assert split == {"path": "captions", "aux": {"images": "images"}}
    assert sum(size for name, size in target.files("captions").items() if name.endswith(".tar")) < 10_000


def test_the_cooker_puts_a_sample_together(pairs: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Store:
        def get(self, name: str, sample: Any) -> bytes:
            return picture_at(target, name)

    target = Storage(str(tmp_path / "out"))
    run_export("energon", pairs, target, captions="mix", captions_only=True)
    names = {"CaptioningSample": dict, "FileStore": Store, "basic_sample_keys": lambda s: {"__key__": s["__key__"]}}
    energon = ModuleType("megatron.energon")
    energon.__dict__.update(names, stateless=lambda function: function)
    monkeypatch.setitem(sys.modules, "megatron", ModuleType("megatron"))
    monkeypatch.setitem(sys.modules, "megatron.energon", energon)
    cook = runpy.run_path(target.path("cooking.py"))["cook_caption"]
    made = cook(raw_samples(target, "captions")[0], Store())
    assert made == {"__key__": "a", "image": picture(1).image, "caption": "made a"}


def test_a_handover_s_lists_of_texts(tmp_path: Path) -> None:
    examples = [pair("a", 1, "first"), pair("b", 2, "other")]
    lists = {"captions": ["first", "second"], "caption_origins": ["cap", "web"], "caption_scores": [None, 0.5]}
    examples[0].columns.update(lists, caption_weights=[0.5, 0.5])  # type: ignore[attr-defined]
    folder, target = make_handover(tmp_path / "set", {"web": examples}), Storage(str(tmp_path / "out"))
    run_export("energon", Storage(str(folder)), target, captions_only=True, sources="web")
    first, other = (row["json"] for row in raw_samples(target, "captions"))
    assert {name: first[name] for name in lists} == lists
    assert (other["captions"], other["caption_origins"]) == (["other"], ["web"])


def test_what_captions_only_cannot_do_is_told(pairs: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="--captions-only takes no --missing; it takes --captions, --sources"):
        run_export("energon", pairs, target, captions_only=True, missing="slot")
    with pytest.raises(ConfigError, match=r"lies in another store than .*; write it beside"):
        run_export("energon", pairs, Storage("memory://elsewhere/out"), captions_only=True)
    put_pairs(pairs, "00001", [pair("a", 4, "four")])
    with pytest.raises(ConfigError, match=r"00001.tar in .* has a key that another of its tars has"):
        run_export("energon", pairs, target, captions_only=True)


def test_a_tar_that_changed_is_told(pairs: Storage, tmp_path: Path) -> None:
    from curate.export._energon_captions import Pictures

    pictures = Pictures(Shard(pairs, "00000"))
    assert pictures.record({"offset": 0, "copy": 2})[0] == "a-2"
    with pytest.raises(ShardError, match=r"00000.tar in .* has changed; run the export anew"):
        pictures.record({"offset": 512, "copy": 0})


def test_from_the_command_line(pairs: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", pairs.root, "--to", "energon", "--captions", "mix", "--out", str(tmp_path / "out")]
    assert main([*command, "--captions-only", "--on", "inline"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["examples"], told["examples_left_out"]) == (3, {"picture_not_decoded": 1})
    assert main([*command, "--on", "inline"]) != 0
    assert "holds another export" in capsys.readouterr().err


def test_from_a_store_to_a_store(pairs: Storage, tmp_path: Path) -> None:
    source = Storage(f"memory://{tmp_path}/data")
    for name in pairs.files():
        source.write(name, pairs.read(name))
    for options in ({}, {"captions": "mix", "captions_only": True}):
        target, local = Storage(f"memory://{tmp_path}/out{len(options)}"), Storage(str(tmp_path / f"out{len(options)}"))
        run_export("energon", source, target, **options)
        run_export("energon", pairs, local, **options)
        for folder in ("captions", "images/.nv-meta") if options else ("pairs", "pairs/.nv-meta"):
            assert local.files(folder)
            assert all(target.read(name) == local.read(name) for name in local.files(folder))


@pytest.mark.parametrize(
    ("asked", "told", "kind"),
    [
        ([picture(1), "what?"], ["that"], "VQASample"),
        (["what?", picture(1)], ["that", "or this"], "VQASample"),
        ([picture(1), picture(2), "which?"], ["both"], "CrudeWebdataset"),
        (["what?"], ["that"], "CrudeWebdataset"),
        ([picture(1), "draw"], ["that", picture(2)], "CrudeWebdataset"),
    ],
)
def test_one_picture_and_one_question_are_energons_vqa(
    tmp_path: Path, asked: list[Part | str], told: list[Part | str], kind: str
) -> None:
    talks = [
        talk("a", ("user", [picture(3), "?"]), ("assistant", ["yes"])),
        talk("b", ("user", asked), ("assistant", told)),
    ]
    data, target = Storage(str(make_handover(tmp_path / "set", {"vqa": talks}))), Storage(str(tmp_path / "out"))
    run_export("energon", data, target)
    assert f"__class__: {kind}\n".encode() in target.read("vqa/.nv-meta/dataset.yaml")
