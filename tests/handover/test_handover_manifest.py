"""manifest.json is read as it is, and refused with the name of the entry that is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from handover_sets import make_handover, page, pair

from curate.errors import ShardError
from curate.handover.created_by import code_commit, told_config
from curate.handover.lineage import Lineage, first_shard, lineage_of, without_folders, without_secrets
from curate.handover.lineage_columns import caption_columns, chosen_view, conversation_column
from curate.handover.manifest import check_record, dataset_id, manifest_schema, read_manifest
from curate.instruct.stage import instruction_columns
from curate.manifest import MANIFEST, FileRecord
from curate.shard import Shard
from curate.slices import Slice, SlicePlan, write_plan
from curate.storage import Storage

A, B = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pairs = [pair(n, ["a text", "another"], ["web", "synthetic"]) for n in range(3)]
    return make_handover(tmp_path_factory.mktemp("handed") / "out", {"web": pairs, "pages": [page(0)]}, 2)


def test_what_somebody_wrote_by_hand_is_read(handed: Path) -> None:
    manifest = read_manifest(Storage(str(handed)))
    assert [(s.id, s.source, s.kind, s.samples) for s in manifest.shards] == [
        ("00000", "web", "pairs", 2),
        ("00001", "web", "pairs", 1),
        ("00002", "pages", "interleaved", 1),
    ]
    assert [shard.id for shard in manifest.of("web")] == ["00000", "00001"]
    assert manifest.shards[0].files[0] == FileRecord("00000.tar", manifest.shards[0].bytes, manifest.shards[0].sha256)
    assert (manifest.stages, manifest.opt_out_date, manifest.warnings) == (None, None, ())
    assert manifest.sources["web"].licence == "CC0-1.0"
    assert manifest.sources["web"].lineage is None


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(manifest_schema())


def change(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(record: dict[str, Any]) -> None:
        place: Any = record
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return apply


def drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def apply(record: dict[str, Any]) -> None:
        place: Any = record
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return apply


WRONG = [
    (change("manifest_version", to=2), "manifest_version: 1 was expected"),
    (change("dataset_id", to=""), "dataset_id: '' should be non-empty"),
    (change("opt_out_date", to="soon"), "opt_out_date: 'soon' does not match"),
    (change("extra", to=1), "the whole: .*'extra' was unexpected"),
    (change("sources", to={}), "sources: {} should be non-empty"),
    (change("sources", "web", "kind", to="pair"), "sources.web.kind: 'pair' is not one of"),
    (drop("sources", "web", "licence"), "sources.web: 'licence' is a required property"),
    (change("shards", 1, "sha256", to="A" * 64), r"shards\[1\].sha256: 'AAA"),
    (change("shards", 1, "bytes", to=-1), r"shards\[1\].bytes: -1 is less than the minimum"),
    (change("shards", 1, "bytes", to=2**53), r"shards\[1\].bytes: 9007199254740992 is greater than the maximum"),
    (change("shards", 1, "images", to=1e300), r"shards\[1\].images: 1e\+300 is greater than the maximum"),
    (change("bins", to={"words": [10**400]}), r"bins.words\[0\]: 1000"),
    (change("shards", 1, "samples", to="3"), r"shards\[1\].samples: '3' is not of type 'integer'"),
    (change("shards", 0, "tar", to="../x.tar"), r"shards\[0\].tar: '../x.tar' does not match"),
    (change("shards", 0, "files", 0, "name", to="/etc/x"), r"shards\[0\].files\[0\].name: '/etc/x' does not match"),
    (change("shards", 0, "files", to=[]), r"shards\[0\].files: \[\] should be non-empty"),
    (change("shards", 0, "text_tokens", "words", to=1.5), r"shards\[0\].text_tokens.words: 1.5 is not of type"),
    (change("shards", 0, "widths", to=[]), r"shards\[0\]: .*'widths' was unexpected"),
    (drop("shards", 0, "source"), r"shards\[0\]: 'source' is a required property"),
    (change("stages", to={"file": "x.toml"}), "stages"),
]


@pytest.mark.parametrize(("break_it", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_wrong_entry_is_named(
    handed: Path, tmp_path: Path, break_it: Callable[[dict[str, Any]], None], words: str
) -> None:
    record = json.loads((handed / "manifest.json").read_bytes())
    whole = copy.deepcopy(record)
    break_it(record)
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(ShardError, match=f"manifest.json in {tmp_path}: {words}"):
        read_manifest(Storage(str(tmp_path)))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(manifest_schema()).validate(record)
    jsonschema.Draft202012Validator(manifest_schema()).validate(whole)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"manifest_version": NaN}', "NaN is no number of JSON"),
        (b"[1]", "is no JSON object"),
    ],
)
def test_what_is_no_manifest_is_an_error(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(ShardError, match=words):
        read_manifest(Storage(str(tmp_path)))


def test_a_manifest_that_no_hand_over_has_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "manifest.json", "wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(ShardError, match="larger than 1 GiB"):
        read_manifest(Storage(str(tmp_path)))


def test_a_folder_without_one_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match='run a config with pipeline = "handover" first'):
        read_manifest(Storage(str(tmp_path)))


def test_what_a_check_says_of_a_huge_value_is_short() -> None:
    assert len(check_record({"id": "x" * 100_000 + "."}, "shard")) < 400


def test_the_id_is_of_contents_alone() -> None:
    files = [FileRecord("0.tar", 1, A), FileRecord("0.parquet", 2, B)]
    own = dataset_id([("web", "pairs", files)])
    assert own == dataset_id([("web", "pairs", files[::-1])])
    others = [
        dataset_id([("wob", "pairs", files)]),
        dataset_id([("web", "chat", files)]),
        dataset_id([("web", "pairs", files[:1])]),
        dataset_id([("web", "pairs", [FileRecord("0.tar", 1, B), files[1]])]),
        dataset_id([("web", "pairs", files)] * 2),
    ]
    assert len({own, *others}) == 6


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("s3://key:secret@bucket/set", "s3://bucket/set"),
        ("https://h/p?id=3#part", "https://h/p?id=3#part"),
        ("https://h/p?a=1&X-Amz-Signature=5", "https://h/p"),
        ("see https://h/p?token=1 and more", "see https://h/p and more"),
        (
            {"api_key": "abc", "monkey": "m", "key": "", "tokens": 3},
            {"api_key": "***", "monkey": "m", "key": "", "tokens": 3},
        ),
        (["https://u@h/@x"], ["https://h/@x"]),
        ("https://u:p@ss@h/x@1", "https://h/x@1"),
        ("s3://KEY:se/cr/et@bucket/set", "s3://bucket/set"),
        ("http://h:8000/@x", "http://h:8000/@x"),
        ("https://h/p#access_token=5", "https://h/p"),
        ({"api_keys": ["abc", "def"], "stop_tokens": [1, 2]}, {"api_keys": ["***", "***"], "stop_tokens": [1, 2]}),
        ({"secretAccessKey": "abc", "passwd": "p"}, {"secretAccessKey": "***", "passwd": "***"}),
        ({"headers": {"Authorization": "Bearer abc"}}, {"headers": {"Authorization": "***"}}),
        ({"token": {"path": "a", "key": "b"}}, {"token": {"path": "a", "key": "***"}}),
        ("a@b.c", "a@b.c"),
    ],
)
def test_what_gives_access_is_not_told(value: Any, told: Any) -> None:
    assert without_secrets(value) == told


def test_folders_of_somebodys_disk_are_not_told() -> None:
    value = {"model": "/home/u/models/m", "rule": "a/b", "list": ["~/x/y"], "url": "https://h/a", "n": 1}
    assert without_folders(value) == {"model": "m", "rule": "a/b", "list": ["y"], "url": "https://h/a", "n": 1}


def test_a_config_is_told_without_run_and_with_dates_as_text() -> None:
    import tomllib

    table = tomllib.loads("pipeline = 'x'\n[policy]\nday = 2026-01-02\nlist = [1, true]\n[run]\nworkers = 2\n")
    assert told_config(table) == {"pipeline": "x", "policy": {"day": "2026-01-02", "list": [1, True]}}


@pytest.mark.parametrize(
    ("files", "commit"),
    [
        ({"HEAD": "ref: refs/heads/main", "refs/heads/main": "1" * 40 + "\n"}, "1" * 40),
        ({"HEAD": "ref: refs/heads/main", "packed-refs": f"# x\n{'2' * 40} refs/heads/main\n"}, "2" * 40),
        ({"HEAD": "3" * 40}, "3" * 40),
        ({"HEAD": "ref: refs/heads/main"}, None),
        ({"HEAD": "ref: refs/heads/main", "refs/heads/main": "no digits"}, None),
        ({}, None),
    ],
)
def test_the_commit_of_a_checkout(tmp_path: Path, files: dict[str, str], commit: str | None) -> None:
    for name, text in files.items():
        (tmp_path / ".git" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".git" / name).write_text(text)
    assert code_commit(tmp_path) == commit


def test_a_parent_that_tells_nothing_has_no_lineage(tmp_path: Path) -> None:
    assert lineage_of(Storage(str(tmp_path / "absent"))).record is None
    (tmp_path / "rows.json").write_text("[]")
    assert lineage_of(Storage(str(tmp_path / "rows.json"))).record is None
    assert lineage_of(Storage("memory://nothing/*.json")).record is None
    (tmp_path / "commits" / "compose").mkdir(parents=True)
    assert not lineage_of(Storage(str(tmp_path))).finished


def test_the_first_shard_that_is_there_stands_for_all(tmp_path: Path) -> None:
    """A run that has not come to its first slice, and whose second is done."""
    storage = Storage(str(tmp_path))
    write_plan(storage, SlicePlan("a", {}, (Slice("00000", 1, "d"), Slice("00001", 1, "e")), True))
    assert first_shard(storage) is None
    storage.write("00001.parquet", b"its footer is not read here")
    assert (first_shard(storage) or Shard(storage, "none")).id == "00001"


def test_a_parent_with_a_broken_manifest_is_an_error(tmp_path: Path) -> None:
    from curate.errors import StorageError

    (tmp_path / MANIFEST).write_bytes(b"PAR1 no more")
    with pytest.raises(StorageError, match=f"{MANIFEST} in {tmp_path}"):
        lineage_of(Storage(str(tmp_path)))


MADE = {"model": "m", "model_fingerprint": "1" * 16, "prompt_fingerprint": "2" * 16}


@pytest.mark.parametrize(
    ("told", "origin", "column", "kind"),
    [
        ({}, "web", "caption", "web"),
        ({"a_captions": {"model": "m", "decoding": "greedy"}}, "a", "a_captions", "captioner"),
        ({"reworded_captions": MADE}, "reworded", "reworded_captions", "llm_fusion"),
        ({"fused": MADE, "fused_status": MADE}, "fused", "fused", "llm_fusion"),
        ({"b_captions": {}}, "a", "a", "unknown"),
    ],
)
def test_who_wrote_a_text_is_told_by_its_column(
    told: dict[str, dict[str, str]], origin: str, column: str, kind: str
) -> None:
    lineage = Lineage({}, {}, told, True)
    (own,) = caption_columns("web", lineage, "", [origin], False)
    assert (own["name"], own["column"], own["origin"]) == (origin, column, kind)
    assert own["about"] == told.get(column, {})
    assert check_record(own, "column") == ""


def test_who_judged_a_text_is_told_by_the_names_of_scores() -> None:
    """One captioner may be called `b` and another `a_b`; without a view, whatever judges texts counts."""
    mark = {"model_fingerprint": "1" * 16}
    names = ["clip_similarity", "clip_b_similarity", "clip_a_b_similarity", "itm_a_b_probability", "b_log_probability"]
    told = dict.fromkeys([*names, "b_captions", "a_b_captions", "aesthetic_score"], mark)
    told["toxic_probability"] = {"model": "no fingerprint"}
    lineage = Lineage({}, {}, told, True)
    found = {own["name"]: own["scores"] for own in caption_columns("web", lineage, "", ["web", "b", "a_b"], False)}
    assert {name: [own["column"] for own in scores] for name, scores in found.items()} == {
        "web": ["clip_similarity"],
        "b": ["clip_b_similarity"],
        "a_b": ["clip_a_b_similarity", "itm_a_b_probability"],
    }


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ('{"": "ItmThreshold", "min": 0.5, "model": "/home/u/m"}', {"min": 0.5, "model": "m"}),
        (
            '{"base_url": "http://u:p@h/v1", "extra": {"api_key": "x"}}',
            {"base_url": "http://h/v1", "extra": {"api_key": "***"}},
        ),
        ("{", {}),
        ("[1]", {}),
        ("", {}),
    ],
)
def test_a_views_parameters(settings: str, told: dict[str, Any]) -> None:
    about = {"view_rule": "itm_threshold", "view_settings": settings}
    own = chosen_view("web", Lineage({}, {}, {"capfilt_texts": about}, True), "capfilt")
    assert own is not None
    assert (own["rule"], own["parameters"], own["yield"]) == ("itm_threshold", told, None)
    assert check_record(own, "view") == ""


def test_conversations_tell_who_made_them() -> None:
    lineage = Lineage({}, {}, {instruction_columns("talk")[0]: MADE}, True)
    own = conversation_column("web", lineage, "talk")
    assert (own["name"], own["origin"], own["about"]) == ("messages", "llm_fusion", MADE)
    assert check_record(own, "column") == ""


def test_the_docs_name_every_entry() -> None:
    text = (Path(__file__).parents[2] / "docs" / "handover_manifest.md").read_text()
    missing = [name for name in _entries(manifest_schema()) if f"`{name}`" not in text]
    assert not missing


def _entries(schema: Any) -> set[str]:
    """All names that the schema gives to entries, at any depth."""
    if isinstance(schema, list):
        return set().union(*map(_entries, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", {})).union(*map(_entries, schema.values()))
