"""What open_clip is given: tars of which it reads every sample, their sizes, and the flags that name them."""

import argparse
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import braceexpand
import pytest
import webdataset
from document_sets import jpeg
from example_sets import pair, picture, put_pairs, put_view, run_export, talk
from handover_sets import make_handover

from curate.errors import ConfigError
from curate.sample import Sample
from curate.storage import Storage

STAGES = """
[[stages]]
name = "by_token"
objective = "contrastive"
resolution = {}
mixture.unit = "token"
[[stages.mixture.sources]]
name = "web"
kind = "pairs"
weight = 1.0
[[stages]]
name = "clip"
objective = "contrastive"
resolution = {}
[[stages.mixture.sources]]
name = "web"
kind = "pairs"
weight = 0.5
captions = {cap = 0.9, caption = 0.1}
[[stages.mixture.sources]]
name = "own"
kind = "pairs"
weight = 0.5
captions = {cap = 0.9, caption = 0.1}
[[stages]]
name = "twice"
objective = "contrastive"
resolution = {}
[[stages.mixture.sources]]
name = "web"
kind = "pairs"
repeat = 2
captions = {cap = 1.0}
[[stages.mixture.sources]]
name = "own"
kind = "pairs"
repeat = 3
[[stages]]
name = "later"
objective = "sft"
resolution = {}
[[stages.mixture.sources]]
name = "vqa"
kind = "chat"
"""


def flags(target: Storage, name: str = "") -> argparse.Namespace:
    """The flags of a file, by the declarations of open_clip_train.params (json-text-key: of its newer versions)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--train-data", type=str)
    parser.add_argument("--train-data-upsampling-factors", type=str)
    parser.add_argument("--train-num-samples", type=int)
    parser.add_argument("--dataset-type")
    parser.add_argument("--dataset-resampled", default=False, action="store_true")
    parser.add_argument("--json-text-key")
    parser.add_argument("--json-text-key-probs", type=float, nargs="+")
    return parser.parse_args(shlex.split(target.read(f"open_clip_flags{name}.txt").decode()))


def tars(target: Storage, data: str) -> list[list[str]]:
    """Names of the tars of each part of a `--train-data`, as `expand_urls` gives them; all are there."""
    found = [list(braceexpand.braceexpand(part)) for part in data.split("::")]
    assert all(Path(path).parent == Path(target.root) and Path(path).is_file() for part in found for path in part)
    return [[Path(path).name for path in part] for part in found]


def samples(target: Storage, name: str) -> list[dict[str, Any]]:
    return list(webdataset.WebDataset(target.path(name), shardshuffle=False))


def test_every_sample_is_one_that_it_reads(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    kept = [pair("a", 1, "one"), pair("b", 2, "two", "png"), pair("c", 3, "three", "webp")]
    bitmap = Sample("f", jpeg(6, format="BMP"), "bmp", "six", {})
    put_pairs(data, "00000", [*kept, pair("d", 4, None), Sample("e", b"{}", "json", "five", {}), bitmap])
    told = run_export("open_clip", data, target)
    sizes = json.loads(target.read("sizes.json"))
    assert (told["examples"], told["examples_left_out"]) == (4, {"no_text": 1, "picture_missing": 1})
    assert sizes == {"00000.tar": 2, "00001.tar": 1, "00002.tar": 1}
    read = [sample for name in sizes for sample in samples(target, name)]
    assert [sample["txt"] for sample in read] == [b"one", b"two", b"three", b"six"]
    assert [next(n for n in ("jpg", "png", "webp") if n in s) for s in read] == ["jpg", "png", "webp", "jpg"]
    assert read[1]["png"] == kept[1].image
    own = flags(target)
    assert (own.dataset_type, own.train_num_samples) == ("webdataset", 4)
    assert tars(target, own.train_data) == [list(sizes)]
    assert own.train_data.endswith("/{00000..00002}.tar")
    assert not target.exists("open_clip_flags_json.txt")
    assert b"There are 3 shards with 4 samples" in target.read("README.md")


def test_a_tar_without_a_sample_is_not_named(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "a folder's own"))
    put_pairs(data, "00000", [pair(f"p{n}", n, None if n == 2 else "words") for n in range(5)])
    run_export("open_clip", data, target, shard_samples=1)
    assert tars(target, flags(target).train_data) == [["00000.tar", "00001.tar", "00003.tar", "00004.tar"]]
    assert "00002.tar" not in json.loads(target.read("sizes.json"))
    command = ["xargs", "-a", target.path("open_clip_flags.txt"), "printf", "%s\\n"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert printed[printed.index("--train-data") + 1] == flags(target).train_data


def test_texts_of_a_view_are_drawn_by_their_weights(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", [pair("a", 1, "alt a"), pair("b", 2, "alt b"), pair("c", 3, "alt c")])
    put_view(data, "00000", ["a", "b", "c"], [["made a", "more a"], [], ["made c"]])
    told = run_export("open_clip", data, target, captions="mix", shard_samples=9)
    assert (told["examples"], told["samples_without_text"]) == (2, 1)
    first, _ = (json.loads(sample["json"]) for sample in samples(target, "00000.tar"))
    assert (first["caption"], first["caption_cap"], first["web_caption"]) == ("made a", "made a", "alt a")
    assert not target.exists("open_clip_flags_json.txt")  # one origin: nothing to draw


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    root = tmp_path_factory.mktemp("clip")
    lists = {"captions": ["made", "alt"], "caption_origins": ["cap", "web"], "caption_weights": [0.75, 0.25]}
    web = [pair(f"w{n}", n, "made", **lists) for n in range(3)]
    own = [pair(f"o{n}", n, f"own {n}", captions=["x"], caption_origins="bad") for n in range(6)]
    talks = [talk("t", ("user", [picture(8), "what?"]), ("assistant", ["that"]))]
    folder = make_handover(root / "set", {"web": web, "own": own, "vqa": talks})
    (folder / "stages.toml").write_text(STAGES)
    run_export("open_clip", Storage(str(folder)), Storage(str(root / "out")), sources="web,own")
    return Storage(str(root / "out"))


def test_several_sources_lie_in_one_folder(written: Storage) -> None:
    assert json.loads(written.read("sizes.json")) == {f"0000{n}.tar": (2, 1, 2, 2, 2)[n] for n in range(5)}
    assert tars(written, flags(written).train_data) == [[f"0000{n}.tar" for n in range(5)]]
    assert flags(written).train_num_samples == 9
    assert [json.loads(s["json"])["caption_web"] for s in samples(written, "00000.tar")] == ["alt", "alt"]


def test_a_stage_draws_by_its_weights(written: Storage) -> None:
    """The expected share of a source: its factor by its shards by the samples of one."""
    own = flags(written, ".clip")
    assert tars(written, own.train_data) == [["00000.tar", "00001.tar"], ["00002.tar", "00003.tar", "00004.tar"]]
    assert own.dataset_resampled
    web, other = map(float, own.train_data_upsampling_factors.split("::"))
    assert web * 3 == pytest.approx(other * 6)
    assert own.train_num_samples == 9
    assert (own.json_text_key, own.json_text_key_probs) == ("caption_cap;caption", [0.9, 0.1])


def test_a_stage_that_repeats(written: Storage) -> None:
    own = flags(written, ".twice")
    assert [float(factor) for factor in own.train_data_upsampling_factors.split("::")] == [1, 1.5]
    assert own.json_text_key is None
    assert not any(written.exists(f"open_clip_flags.{stage}.txt") for stage in ("later", "by_token"))
    assert json.loads(written.read("export.json"))["stages_not_by_sample"] == ["by_token"]


def test_the_weights_of_the_texts_are_told(written: Storage) -> None:
    own = flags(written, "_json")
    assert own.json_text_key == "caption_cap;caption_web;caption"
    assert own.json_text_key_probs == [0.75, 0.25, 0]


def test_only_pairs_leave(written: Storage, tmp_path: Path) -> None:
    source = Storage(written.root.removesuffix("out") + "set")
    with pytest.raises(
        ConfigError, match=r"source vqa of .* is of kind chat, and open_clip takes pairs; name the sources"
    ):
        run_export("open_clip", source, Storage(str(tmp_path / "other")))


def test_buckets_are_read_through_a_pipe(tmp_path: Path) -> None:
    from curate.export._write_examples import Made, Output
    from curate.export.open_clip import _tars

    made = [Made(Output(shard, "web", "pairs"), {"kept": 1}) for shard in ("00000", "00001", "00005")]
    assert _tars(Storage("s3://bucket/set"), made) == "pipe:aws s3 cp s3://bucket/set/{{00000..00001},00005}.tar -"
    assert _tars(Storage("/data"), made[2:]) == "/data/00005.tar"
