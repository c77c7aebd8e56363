"""`curate export --verify` finds whatever was done to a hand-over, and says which file it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from handover_sets import make_handover, page, pair

from curate.cli import main
from curate.errors import ShardError
from curate.handover.card import Publication, write_card
from curate.handover.histograms import BINS, add_shard, describe, totals_of
from curate.handover.manifest import dataset_id
from curate.handover.plan_stages import stages_bytes
from curate.handover.resolution import Resolution
from curate.handover.stages import Mixture, MixtureSource, Stages, TrainingStage
from curate.handover.verify import PIECE_BYTES, verify
from curate.manifest import FileRecord
from curate.shard import Shard
from curate.storage import Storage


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hand-over of two sources with stages, totals and an id."""
    pairs = [pair(n, ["a text", "another"], ["web", "synthetic"]) for n in range(3)]
    folder = make_handover(tmp_path_factory.mktemp("handed") / "out", {"web": pairs, "pages": [page(0)]}, 2)
    source = MixtureSource("web", "pairs", captions={"web": 1.0})
    plan = stages_bytes(Stages((TrainingStage("one", {"lm": 1.0}, Mixture((source,)), Resolution()),)), "toml")
    (folder / "stages.toml").write_bytes(plan)
    record = read(folder)
    by_source: dict[str, Any] = {}
    for shard in record["shards"]:
        shard |= describe(Shard(Storage(str(folder)), shard["id"]), ["words"])
        add_shard(by_source, shard)
    digest = hashlib.sha256(plan).hexdigest()
    record["stages"] = {"file": "stages.toml", "sha256": digest, "bytes": len(plan), "names": ["one"]}
    record |= {"totals": totals_of(by_source), "bins": BINS}
    contents = [
        (s["source"], s["kind"], [FileRecord(f["name"], 0, f["sha256"]) for f in s["files"]]) for s in record["shards"]
    ]
    record["dataset_id"] = dataset_id(contents)
    write(folder, record)
    return folder


@pytest.fixture
def handed(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "out")
    return tmp_path / "out"


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return found


def write(folder: Path, record: dict[str, Any]) -> None:
    (folder / "manifest.json").write_text(json.dumps(record))


def problems(folder: Path) -> list[tuple[str, str]]:
    return [(own.file, own.problem) for own in verify(Storage(str(folder)), 2).problems]


def test_a_whole_one_is_verified(handed: Path) -> None:
    (handed / "manifest.parquet").write_bytes(b"of the run that made it")
    (handed / "commits" / "compose").mkdir(parents=True)
    seen: list[int] = []
    found = verify(Storage(str(handed)), 3, seen.append)
    assert found.problems == []
    assert found.files == len(seen) == 13
    assert found.bytes == sum(seen) == sum(p.stat().st_size for p in handed.glob("0*")) + seen[-1]
    assert found.dataset_id == read(handed)["dataset_id"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["00000.tar", "00001.parquet", "00002.index.parquet", "00001.tokens.parquet", "stages.toml"]
)
@pytest.mark.parametrize(("damage", "problem"), [(Path.unlink, "missing"), (cut, "changed"), (flip, "changed")])
def test_damage_to_any_file_is_found(handed: Path, name: str, damage: Callable[[Path], None], problem: str) -> None:
    damage(handed / name)
    assert problems(handed) == [(name, problem)]


def test_everything_that_is_wrong_is_told(handed: Path) -> None:
    (handed / "00000.tar").unlink()
    flip(handed / "00001.tar")
    (handed / "00009.tar").write_bytes(b"")
    (handed / "notes").write_bytes(b"")
    (handed / "run.json").write_bytes(b"{}")  # what its run keeps beside it is none of the hand-over's files
    assert problems(handed) == [
        ("00000.tar", "missing"),
        ("00001.tar", "changed"),
        ("00009.tar", "extra"),
        ("notes", "extra"),
    ]


def edit(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(record: dict[str, Any]) -> None:
        place: Any = record
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return apply


EDITS = [
    (edit("shards", 0, "source", to="wob"), "source 'wob', which is not there"),
    (edit("shards", 2, "kind", to="chat"), "shard 00002 has chat of source 'pages', which has interleaved"),
    (edit("shards", 0, "sha256", to="0" * 64), "its tar 00000.tar is not among its files"),
    (edit("shards", 1, "tar", to="00000.tar"), "shard 00001: its tar"),
    (edit("shards", 0, "files", 1, "bytes", to=1), "bytes, and the manifest says 1"),
    (edit("shards", 1, "samples", to=5), "1 rows, and the manifest says 5 samples"),
    (edit("shards", 1, "samples", to=5), "totals.samples is not what the shards come to"),
    (edit("shards", 1, "captions", "web", "texts", to=5), "totals.by_source is not"),
    (edit("totals", "images", to=0), "totals.images is not"),
    (edit("shards", 1, "images", to=7), "images comes to 1, and the manifest says 7"),
    (edit("shards", 1, "chars", to=7), "chars comes to 6, and the manifest says 7"),
    (edit("shards", 1, "text_tokens", "words", to=7), "tokens_words comes to 2, and the manifest says 7"),
    (edit("shards", 1, "aspect", to=[1]), "shard 00001 has other histograms than the shards of its source"),
    (edit("shards", 0, "files", 0, "bytes", to=1), "or more bytes, and the manifest says 1"),
    (edit("tokenizers", to={}), "tokenizers differ by 'words'"),
    (edit("dataset_id", to="0" * 16), "dataset_id is not that of these files"),
    (edit("stages", "names", to=["two"]), "its stages are not those that the manifest names"),
    (edit("sources", "web", "kind", to="text"), "takes 'web' as pairs, and it has text"),
    (
        edit("shards", 2, "files", 3, to={"name": "00000.tar", "sha256": "0" * 64, "bytes": 1}),
        "00000.tar is named 2 times",
    ),
]


@pytest.mark.parametrize(("change", "words"), EDITS, ids=[words for _, words in EDITS])
def test_a_manifest_that_contradicts_itself_or_the_files(
    handed: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    record = read(handed)
    change(record)
    write(handed, record)
    told = verify(Storage(str(handed)), 2).problems
    assert [own for own in told if words in own.detail], told


def test_captions_that_no_text_has_any_more(handed: Path) -> None:
    record = read(handed)
    for shard in record["shards"][:2]:
        del shard["captions"]["web"]
    write(handed, record)
    assert ("stages.toml", "at odds") in problems(handed)


def test_files_are_read_in_pieces(handed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of many pieces is hashed as a whole, and never held as one."""
    monkeypatch.setattr("curate.handover.verify.PIECE_BYTES", 1000)
    assert problems(handed) == []
    assert PIECE_BYTES == 8 << 20


def test_a_page_of_another_manifest_is_told(handed: Path) -> None:
    storage = Storage(str(handed))
    write_card(storage, storage, Publication())
    assert problems(handed) == []
    record = read(handed)
    record["sources"]["web"]["licence"] = "another"
    write(handed, record)
    assert problems(handed) == [("croissant.json", "at odds")]
    (handed / "croissant.json").write_text('{"somebody": "else"}')
    assert problems(handed) == []


def test_no_more_is_read_of_a_file_than_the_manifest_says(handed: Path) -> None:
    """Whoever made the folder may have put a link to something without an end in a shard's place."""
    (handed / "00000.tar").unlink()
    (handed / "00000.tar").symlink_to("/dev/zero")
    assert [own.problem for own in verify(Storage(str(handed)), 2).problems if own.file == "00000.tar"] == ["changed"]


def test_any_storage_will_do(handed: Path) -> None:
    remote = fsspec.filesystem("memory")
    remote.put(str(handed), "/verify-test", recursive=True)
    try:
        storage = Storage("memory://verify-test")
        assert verify(storage, 2).problems == []
        remote.rm("/verify-test/00001.tar")
        assert [(p.file, p.problem) for p in verify(storage, 2).problems] == [("00001.tar", "missing")]
    finally:
        remote.rm("/verify-test", recursive=True)


def test_a_manifest_that_is_not_valid_ends_it(handed: Path) -> None:
    write(handed, {**read(handed), "manifest_version": 7})
    with pytest.raises(ShardError, match="manifest_version"):
        verify(Storage(str(handed)))


def test_the_command_says_what_is_wrong(handed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--verify", str(handed), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True
    flip(handed / "00001.tar")
    assert main(["export", "--verify", str(handed), "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["verified"] is False
    assert [(own["file"], own["problem"]) for own in told["problems"]] == [("00001.tar", "changed")]


@pytest.mark.parametrize("more", [["--to", "webdataset"], ["--out", "x"], ["--apply-tombstones", "x"]])
def test_the_command_takes_nothing_beside(handed: Path, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--verify", str(handed), *more]) != 0
    assert "--verify reads DIR and changes nothing" in capsys.readouterr().err


def test_a_folder_that_is_no_hand_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--verify", str(tmp_path)]) != 0
    assert "has no manifest.json" in capsys.readouterr().err
