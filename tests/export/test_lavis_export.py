"""LAVIS' annotations, read by the rules of its data sets (salesforce/LAVIS, lavis/datasets/datasets: base_dataset.py,
caption_datasets.py, retrieval_datasets.py)."""

import json
from collections import defaultdict
from pathlib import Path

import pytest
import webdataset
from example_sets import every_kind, pair, put_pairs, put_view, run_export
from handover_sets import make_handover
from handover_sets import pair as told_pair
from PIL import Image

from curate.errors import ConfigError
from curate.export import exporter
from curate.storage import Storage


def captions(folder: Path, file: str) -> list[tuple[int, str]]:
    """Numbers of pictures and their texts, as CaptionDataset has them."""
    annotation = json.loads((folder / file).read_text())
    numbers: dict[str, int] = {}
    found = []
    for own in annotation:
        number = numbers.setdefault(own["image_id"], len(numbers))
        Image.open(folder / own["image"]).convert("RGB")
        found.append((number, own["caption"]))
    return found


def test_a_record_for_each_caption_of_a_view(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", [pair("a", 1, "web a"), pair("b", 2, "web b"), pair("c", 3, "web c")])
    put_view(data, "00000", ["a", "b", "c"], [["a 1", "a 2", "a 1"], [], ["c 1"]])
    told = run_export("lavis", data, target, captions="mix")
    assert (told["examples"], told["records"], told["pictures"], told["samples_without_text"]) == (2, 3, 2, 1)
    assert captions(tmp_path / "out", "pairs.json") == [(0, "a 1"), (0, "a 2"), (1, "c 1")]
    run_export("lavis", data, Storage(str(tmp_path / "web")))
    assert captions(tmp_path / "web", "pairs.json") == [(0, "web a"), (1, "web b"), (2, "web c")]


def test_the_captions_of_a_handover(tmp_path: Path) -> None:
    own = [told_pair(1, ["one", "more"], ["web", "cap"]), told_pair(2, ["two"], ["cap"])]
    source = Storage(str(make_handover(tmp_path / "handover", {"web": own})))
    run_export("lavis", source, Storage(str(tmp_path / "out")))
    assert captions(tmp_path / "out", "web.json") == [(0, "one"), (0, "more"), (1, "two")]
    texts = defaultdict(list)  # RetrievalDataset: which texts are of one picture
    for record in json.loads((tmp_path / "out" / "web.json").read_text()):
        texts[record["image"]].append(record["caption"])
    assert list(texts.values()) == [["one", "more"], ["two"]]


def test_conversations_are_refused(tmp_path: Path) -> None:
    source = Storage(str(make_handover(tmp_path / "handover", every_kind())))
    words = "source chat set of .* is of kind chat, and lavis takes pairs; name the sources .* with --sources"
    with pytest.raises(ConfigError, match=words):
        run_export("lavis", source, Storage(str(tmp_path / "out")))
    told = run_export("lavis", source, Storage(str(tmp_path / "out")), sources="web")
    assert told["records"] == 4
    assert captions(tmp_path / "out", "web.json")[0] == (0, "words 0 of a <image>")


def test_tars_of_jpegs(tmp_path: Path) -> None:
    """LaionDataset decodes the members jpg and json, and learns `caption`."""
    data = Storage(str(tmp_path / "data"))
    pairs = [pair("a", 1, "web a"), pair("b", 2, "web b", "png"), pair("c", 3, None), pair("d/e", 4, "web d", "webp")]
    put_pairs(data, "00000", pairs)
    put_view(data, "00000", ["a", "b", "c", "d/e"], [["a 1", "a 2"], ["b 1"], [], ["d 1"]])
    told = run_export("lavis", data, Storage(str(tmp_path / "out")), captions="mix", form="wds")
    assert (told["examples"], told["samples_without_text"]) == (3, 1)
    sizes = json.loads((tmp_path / "out" / "sizes.json").read_text())
    assert sizes == {"pairs/00000.tar": 2, "pairs/00001.tar": 1}
    tars = [str(tmp_path / "out" / name) for name in sizes]
    read = list(webdataset.WebDataset(tars, shardshuffle=False).decode("pilrgb").to_tuple("jpg", "json"))
    assert [about["caption"] for _, about in read] == ["a 1", "b 1", "d 1"]
    assert read[0][1]["captions"] == ["a 1", "a 2"]
    raw = [data for (data,) in webdataset.WebDataset(tars, shardshuffle=False).to_tuple("jpg")]
    assert [data[:3] for data in raw] == [b"\xff\xd8\xff"] * 3


def test_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--form wbs is unknown; did you mean 'wds'"):
        exporter("lavis")(Storage(str(tmp_path)), form="wbs")
    with pytest.raises(ConfigError, match="format lavis takes no --prompt"):
        exporter("lavis")(Storage(str(tmp_path)), prompt="plain")
