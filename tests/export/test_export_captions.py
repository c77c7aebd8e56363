"""An export with the texts of a view: what a reader gets, who is left out, and that nothing else changes."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pytest
import webdataset
from test_webdataset_export import ROWS, SHARDS, order, pack, put_shard, put_table, select

from curate.cli import main
from curate.errors import ConfigError, ShardError
from curate.export import check_options, exporter
from curate.export.webdataset import Pack
from curate.shard import Shard
from curate.storage import Storage
from curate.tar import TarWriter

LONG = " ".join(f"word{n}" for n in range(5_000)) + ' "quoted" \\ \n <b> 長い'
KINDS = {
    "texts": pa.list_(pa.string()),
    "origins": pa.list_(pa.string()),
    "scores": pa.list_(pa.float32()),
    "weights": pa.list_(pa.float32()),
}


def texts_of(shard: str, row: int) -> list[tuple[str, str, float | None, float]]:
    """Nothing of row 0, one long text of row 1, two of the others. Rows 3 and 7 have no picture."""
    if row == 0:
        return []
    if row == 1:
        return [(LONG, "synthetic", None, 1.0)]
    return [(f"made {shard} {row}", "synthetic", 0.75, 0.8), (f"words {shard}{row:04d}", "web", 0.1, 0.2)]


def put_view(storage: Storage, shard: str, view: str = "mix", **other: Any) -> None:
    rows = [texts_of(shard, row) for row in range(ROWS)]
    columns: dict[str, Any] = {"key": [f"{shard}{row:04d}" for row in range(ROWS)]}
    for place, (name, kind) in enumerate(KINDS.items()):
        values: list[Any] = [[own[place] for own in row] for row in rows]
        values[3] = None
        columns[f"{view}_{name}"] = pa.array(other.get(name, values), kind)
    put_table(storage, f"{shard}.view_{view}.parquet", columns)


@pytest.fixture
def data(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "data"))
    for shard in SHARDS:
        put_shard(storage, shard)
        put_view(storage, shard)
    return storage


KEPT = [f"{shard}{row:04d}" for shard in SHARDS for row in (1, 2, 4, 5, 6, 8, 9)]


def read(storage: Storage) -> dict[str, dict[str, Any]]:
    """Every sample by key, as webdataset's own reader gives it."""
    found = {}
    for name in json.loads(storage.read("sizes.json")):
        for sample in webdataset.WebDataset(storage.path(name), shardshuffle=False).decode():
            found[sample["__key__"]] = sample
    return found


def test_a_reader_gets_the_first_text_and_all_of_them(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    told, outcome = pack(data, target, captions="mix", shuffle=False)
    assert told == {"shards": 5, "samples": 21, "samples_without_text": 3, "shards_without_selection": 0}
    assert not outcome.failed
    assert order(target) == KEPT
    samples = read(target)
    one, other = samples["000020002"], samples["000020001"]
    assert one["txt"] == one["json"]["caption"] == "made 00002 2"
    assert one["json"]["captions"] == ["made 00002 2", "words 000020002"]
    assert one["json"]["caption_origins"] == ["synthetic", "web"]
    assert one["json"]["caption_scores"] == [0.75, 0.1]
    assert one["json"]["caption_weights"] == [0.8, 0.2]
    assert one["json"]["web_caption"] == "words 000020002"
    assert one["json"]["similarity"] == 0.2
    assert one["json"]["url"] == "http://h/000020002"
    assert other["txt"] == LONG
    assert other["json"]["captions"] == [LONG]
    assert other["json"]["caption_scores"] == [None]


def test_open_clip_reads_single_texts_by_their_keys(data: Storage, tmp_path: Path) -> None:
    """Its `--json-text-key "a;b"` takes the first of these keys whose value is a string that is not empty."""
    target = Storage(str(tmp_path / "out"))
    pack(data, target, captions="mix")

    def caption(record: dict[str, Any], keys: str) -> str:
        values = [record.get(key) for key in keys.split(";")]
        return next((v.strip() for v in values if isinstance(v, str) and v.strip()), "")

    records = {key: sample["json"] for key, sample in read(target).items()}
    assert caption(records["000000002"], "caption") == "made 00000 2"
    assert caption(records["000000002"], "caption_web;caption") == "words 000000002"
    assert caption(records["000000001"], "caption_web;caption_synthetic") == LONG.strip()
    assert caption(records["000000001"], "web_caption") == "words 000000001"
    assert all(caption(record, "caption") == record["captions"][0].strip() for record in records.values())
    sizes = json.loads(target.read("sizes.json"))
    assert sum(sizes.values()) == len(records) == 21


def test_a_loader_may_draw_by_the_weights(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    pack(data, target, captions="mix")
    for sample in read(target).values():
        record = sample["json"]
        names = ("captions", "caption_origins", "caption_scores", "caption_weights")
        assert len({len(record[name]) for name in names}) == 1
        assert abs(sum(record["caption_weights"]) - 1) < 1e-6


def test_the_table_has_what_the_json_has(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    pack(data, target, captions="mix")
    samples = read(target)
    for name in json.loads(target.read("sizes.json")):
        table = Shard(target, name.removesuffix(".tar")).table()
        assert table.schema.field("captions").type == pa.list_(pa.string())
        assert table.schema.field("caption_scores").type == pa.list_(pa.float32())
        for row in table.to_pylist():
            record = samples[row["key"]]["json"]
            names = ("captions", "caption_origins", "caption", "web_caption")
            assert (row["url"], row["width"], row["status"]) == (record["url"], 9, "success")
            assert {name: row[name] for name in names} == {name: record[name] for name in names}
            for numbers in ("caption_weights", "caption_scores"):
                assert row[numbers] == pa.array(record[numbers], pa.float32()).to_pylist()
        frame = pandas.read_parquet(target.path(name.replace(".tar", ".parquet")))
        assert list(frame["source_key"]) == list(frame["key"])


def test_pictures_and_other_members_stay(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    pack(data, target, captions="mix")
    for key, sample in read(target).items():
        before = next(s for s in Shard(data, key[:5]).samples() if s.key == key)
        assert sample["jpg"] == before.image
        assert [name for name in sample if not name.startswith("__")] == ["jpg", "json", "txt"]


def test_without_the_option_nothing_changes(data: Storage, tmp_path: Path) -> None:
    """Not a byte of the files, nor the fingerprint of the work, so that an export that is under way goes on."""
    bare, out, plain = (Storage(str(tmp_path / name)) for name in ("bare", "out", "plain"))
    for shard in SHARDS:
        put_shard(bare, shard)
    pack(data, out)
    pack(bare, plain)
    assert out.files().keys() == plain.files().keys()
    assert all(out.read(name) == plain.read(name) for name in out.files())
    assert set(out.files("commits/pack")) == set(plain.files("commits/pack"))
    assert Pack("anywhere").identity() == {"stage": "pack", "version": 1, "settings": {"": "Pack"}}
    assert Shard(out, "00000").source().column_names == ["shard", "copy", "offset", "size"]
    plan = json.loads(out.read("source/plan.json"))
    assert plan["identity"].keys() == {"samples", "undecided"}
    assert plan["settings"] == {"seed": 0, "shard_samples": 5}


def test_an_order_and_copies_are_of_the_keys_alone(data: Storage, tmp_path: Path) -> None:
    select(data, "00000", [True] * ROWS, multiplicity=[2] * ROWS)
    for shard in SHARDS[1:]:
        select(data, shard, [row != 1 for row in range(ROWS)])
    one, other = Storage(str(tmp_path / "one")), Storage(str(tmp_path / "other"))
    told, _ = pack(data, one, captions="mix", shard_samples=3)
    assert told["samples"] == 14 + 12
    assert told["samples_without_text"] == 2 + 1 + 1
    pack(data, other, captions="mix", shard_samples=100)
    assert order(one) != sorted(order(one))
    table = Shard(other, "00000").table()
    assert [key.split("-")[0] for key in order(one)] == table["source_key"].to_pylist()
    for key, caption in zip(table["source_key"].to_pylist(), table["captions"].to_pylist(), strict=True):
        assert caption == [text for text, *_ in texts_of(key[:5], int(key[5:]))]
    sizes = json.loads(one.read("sizes.json"))
    assert list(sizes.values()) == [3] * 8 + [2]


def test_samples_without_json_or_caption(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    raw = io.BytesIO()
    tar = TarWriter(raw)
    members = [
        ("a", "jpg", b"1"),
        ("b", "png", b"2"),
        ("b", "json", b"[1]"),
        ("b", "seg.txt", b"s"),
        ("c", "jpg", b"3"),
    ]
    members += [("c", "json", json.dumps({"caption": "said", "web_caption": "older", "n": 1e300}).encode())]
    for key, extension, content in members:
        tar.add(f"{key}.{extension}", content)
    tar.finish()
    data.write("00000.tar", raw.getvalue())
    index = {"key": [m[0] for m in members], "extension": [m[1] for m in members]}
    places = {"offset": [m.offset for m in tar.members], "size": [m.size for m in tar.members]}
    put_table(data, "00000.index.parquet", index | places)
    put_table(data, "00000.parquet", {"key": ["a", "b", "c"], "status": ["success"] * 3})
    lists: dict[str, Any] = {
        "texts": [["x"]] * 3,
        "origins": [["o"]] * 3,
        "scores": [[1.0]] * 3,
        "weights": [[1.0]] * 3,
    }
    columns = {f"v_{name}": pa.array(values, KINDS[name]) for name, values in lists.items()}
    put_table(data, "00000.view_v.parquet", {"key": ["a", "b", "c"], **columns})
    pack(data, target, captions="v", shuffle=False)
    with tarfile.open(target.path("00000.tar")) as archive:
        assert archive.getnames() == [
            *("a.jpg", "a.json", "a.txt", "b.png", "b.json", "b.seg.txt", "b.txt", "c.jpg", "c.json", "c.txt")
        ]
    samples = read(target)
    assert [samples[key]["txt"] for key in "abc"] == ["x"] * 3
    assert [samples[key]["json"]["web_caption"] for key in "abc"] == [None, None, "said"]
    assert samples["c"]["json"]["n"] == 1e300
    assert samples["c"]["json"]["caption_o"] == "x"


def test_the_same_export_is_the_same_bytes_and_no_work_twice(data: Storage, tmp_path: Path) -> None:
    one, other = Storage(str(tmp_path / "one")), Storage(str(tmp_path / "other"))
    pack(data, one, captions="mix")
    pack(data, other, captions="mix")
    assert all(one.read(name) == other.read(name) for name in one.files())
    _, outcome = pack(data, one, captions="mix")
    assert (outcome.made, outcome.skipped) == (0, 5)


@pytest.mark.parametrize("change", ["text", "view", "none"])
def test_a_folder_holds_one_choice_of_texts(data: Storage, tmp_path: Path, change: str) -> None:
    target = Storage(str(tmp_path / "out"))
    pack(data, target, captions="mix")
    view = {"text": "mix", "view": "other", "none": ""}[change]
    for shard in SHARDS:
        put_view(data, shard, "other")
    if change == "text":
        rows = [None if row == 3 else [own[0].upper() for own in texts_of("00001", row)] for row in range(ROWS)]
        put_view(data, "00001", texts=rows)
    with pytest.raises(
        ConfigError, match=r"/out holds another export \(other samples, captions, order or shard size\)"
    ):
        pack(data, target, captions=view)


def test_a_view_that_is_not_there_is_told(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"--captions mux: .*/data has no such view; did you mean 'mix'\?"):
        pack(data, target, captions="mux")
    for shard in SHARDS:
        data.delete(f"{shard}.view_mix.parquet")
    with pytest.raises(ConfigError, match=r"has no such view, nor any other; write \[views.NAME\]"):
        pack(data, target, captions="mix")
    put_view(data, "00000")
    with pytest.raises(ShardError, match=r"shard 00001 .* has no column 'mix_texts'"):
        pack(data, target, captions="mix")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"texts": pa.array(["x"] * ROWS)}, "to list"),
        ({"texts": pa.nulls(ROWS), "origins": pa.nulls(ROWS)}, "differ in length"),
        ({"texts": pa.array([[None]] * ROWS, KINDS["texts"])}, "a text or its origin is null"),
        ({"origins": pa.array([[None]] * ROWS, KINDS["texts"])}, "a text or its origin is null"),
        ({"texts": pa.array([["x", "y"]] * ROWS)}, "differ in length"),
        ({"weights": pa.array([None] * ROWS, KINDS["weights"])}, "differ in length"),
        ({"scores": pa.array([["high"]] * ROWS)}, "Failed to parse string"),
        ({"texts": [[b"\xff"]] * ROWS}, "Invalid UTF8"),
    ],
)
def test_columns_that_no_view_wrote_are_told(data: Storage, tmp_path: Path, other: dict[str, Any], words: str) -> None:
    columns = {name: [[1.0 if name in ("scores", "weights") else "x"]] * ROWS for name in KINDS} | other
    arrays = {
        f"mix_{name}": own if isinstance(own, pa.Array) else _unchecked(own, KINDS[name])
        for name, own in columns.items()
    }
    for shard in SHARDS:
        keys = [f"{shard}{row:04d}" for row in range(ROWS)]
        put_table(data, f"{shard}.view_mix.parquet", {"key": keys, **arrays})
    with pytest.raises(ShardError, match=f"shard 00000: mix_texts, .* are not what a view writes: .*{words}"):
        pack(data, Storage(str(tmp_path / "out")), captions="mix")


def _unchecked(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Text by its bytes, which need not be UTF-8."""
    if not isinstance(values[0][0], bytes):
        return pa.array(values, kind)
    raw = pa.array([text for row in values for text in row], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    return pa.ListArray.from_arrays(range(len(values) + 1), texts)


def test_texts_of_an_earlier_export_go(data: Storage, tmp_path: Path) -> None:
    """A reader of `caption_synthetic` gets none of a sample that has none any more."""
    between, target = Storage(str(tmp_path / "between")), Storage(str(tmp_path / "out"))
    pack(data, between, captions="mix", shuffle=False, shard_samples=100)
    keys = Shard(between, "00000").table()["key"].to_pylist()
    columns = {name: [[{"texts": "new", "origins": "web"}.get(name, 1.0)]] * len(keys) for name in KINDS}
    lists = {f"v_{name}": pa.array(columns[name], kind) for name, kind in KINDS.items()}
    put_table(between, "00000.view_v.parquet", {"key": keys, **lists})
    pack(between, target, captions="v")
    for sample in read(target).values():
        assert sample["json"]["caption_web"] == "new"
        assert "caption_synthetic" not in sample["json"]


def test_a_view_of_nothing_is_an_empty_export(data: Storage, tmp_path: Path) -> None:
    for shard in SHARDS:
        put_view(data, shard, **{name: [[]] * ROWS for name in KINDS})
    target = Storage(str(tmp_path / "out"))
    told, _ = pack(data, target, captions="mix")
    assert (told["samples"], told["samples_without_text"]) == (0, 24)


def test_other_options_are_refused(data: Storage) -> None:
    check_options("webdataset", {"captions": "mix"})
    with pytest.raises(ConfigError, match="format webdataset takes no --missing; it takes --captions"):
        exporter("webdataset")(data, missing="slot")
    with pytest.raises(ConfigError, match="format m4 takes no --captions"):
        exporter("m4")(data, captions="mix")


def test_from_the_command_line(data: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["export", data.root, "--to", "webdataset", "--out", str(out), "--captions", "mix", "--on", "inline"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["samples"], told["samples_without_text"]) == (21, 3)
    assert main([*command[:-3], "", "--on", "inline"]) != 0
    assert "--captions is empty" in capsys.readouterr().err


def test_from_a_bucket_to_a_bucket(data: Storage, s3: Storage) -> None:
    source, target = Storage(f"{s3.root}/data"), Storage(f"{s3.root}/out")
    for name in data.files():
        source.write(name, data.read(name))
    assert pack(source, target, captions="mix")[0]["samples"] == 21
    local = Storage(f"{data.root}-out")
    pack(data, local, captions="mix")
    assert all(target.read(name) == local.read(name) for name in local.files())
