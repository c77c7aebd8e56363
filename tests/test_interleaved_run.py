"""The interleaved job, end to end on the toy web: right parts, aligned members, nothing done twice, any engine."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ray_clusters import environment
from test_chaos import digests, disturb

from curate.cli import main
from curate.document.read import read_documents
from curate.errors import ConfigError
from curate.plan import check
from curate.sample import Picture
from curate.shard import list_shards
from curate.storage import Storage
from curate.tar import read_members
from pipelines.interleaved import interleaved

CURATE = Path(sys.executable).parent / "curate"
PAGES = 16
CONFIG = f"""
pipeline = "interleaved"
[source]
kind = "toy_pages"
count = {PAGES}
seed = 5
[shards]
rows = 6
[fetch]
per_host_rate = 0
backoff_s = 0.1
[image]
size_px = 128
resize_mode = "keep_ratio_largest"
[text_filters.region]
[text_filters.text_words]
min = 2
[text_filters.paragraph_frequency]
max_documents = 9
[image_filters.region]
[image_filters.image_url_frequency]
[picture_filters.image_size]
min_side_px = 100
[document_filters.url_duplicate]
[document_filters.image_set_duplicate]
[document_filters.image_count]
min = 1
[run]
workers = 2
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("interleaved") / "pages.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def done(config):
    """What the inline engine writes."""
    out = config.parent / "inline"
    assert main(["run", str(config), "--out", str(out), "--on", "inline"]) == 0
    return out


def plan(config, out, capsys):
    capsys.readouterr()
    assert main(["plan", str(config), "--out", str(out), "--format", "json"]) == 0
    return {row["step"]: row["to_run"] for row in json.loads(capsys.readouterr().out)["plan"]}


def without_clocks(folder):
    return {name: digest for name, digest in digests(folder).items() if not name.endswith("_log.parquet")}


def test_extraction_finds_what_belongs_to_the_toy_web_s_pages(config, done, capsys):
    capsys.readouterr()
    assert main(["run", str(config), "--out", str(done), "--on", "inline", "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["work"].startswith("0 commits made")
    assert [(row["part"], row["precision"], row["recall"]) for row in answer["against_truth"]] == [
        ("text", 1.0, 1.0),
        ("image", 1.0, 1.0),
    ]


def test_members_of_the_tar_are_aligned_with_the_lists(done):
    pictures = 0
    for shard in list_shards(Storage(str(done))):
        with shard.storage.open(shard.tar) as handle:
            data = {m.name: (m.offset, m.size) for m in read_members(handle, shard.tar)}
            for name in [n for n in data if n.endswith(".json")]:
                handle.seek(data[name][0])
                record = json.loads(handle.read(data[name][1]))
                key = name.removesuffix(".json")
                assert len(record["images"]) == len(record["texts"]) == len(record["slots"])
                for image, text, slot in zip(record["images"], record["texts"], record["slots"], strict=True):
                    assert (text is None) == (slot is not None)
                    assert image is None or slot["status"] == "success"
                there = {f"{key}.{image}" for image in record["images"] if image}
                assert there == {n for n in data if n.startswith(f"{key}.") and n != name}
                pictures += len(there)
    assert pictures > PAGES


def test_kept_documents_hold_kept_parts_with_their_pictures(done):
    documents = [d for shard in list_shards(Storage(str(done))) for d in read_documents(shard)]
    slots = [part for d in documents for part in d.parts if isinstance(part, Picture)]
    assert documents
    assert all(slot.status == "success" and slot.image for slot in slots)
    assert all(any(isinstance(part, Picture) for part in d.parts) for d in documents)


def test_a_threshold_for_pictures_reads_no_page_and_fetches_nothing(config, done, capsys, tmp_path):
    changed = tmp_path / "changed.toml"
    changed.write_text(CONFIG.replace("min_side_px = 100", "min_side_px = 128"))
    to_run = {step: left for step, left in plan(changed, done, capsys).items() if left}
    assert set(to_run) == {"select_parts", "select_documents"}


def test_a_threshold_for_text_reads_no_page_again(config, done, capsys, tmp_path):
    changed = tmp_path / "changed.toml"
    changed.write_text(CONFIG.replace("min = 2\n", "min = 3\n", 1))
    to_run = {step for step, left in plan(changed, done, capsys).items() if left}
    assert not to_run & {"fetch_pages", "extract", "score_parts_text_words"}
    assert {"select_parts_read", "paragraph_frequency", "fetch_images", "select_documents"} <= to_run


def test_local_processes_write_the_same_bytes(config, done, tmp_path):
    out = tmp_path / "local"
    assert subprocess.run([CURATE, "run", config, "--out", out], capture_output=True).returncode == 0
    assert without_clocks(out) == without_clocks(done)


@pytest.mark.slow
def test_ray_writes_the_same_bytes(config, done, tmp_path):
    out = tmp_path / "ray"
    with environment():
        ran = subprocess.run([CURATE, "run", config, "--out", out, "--on", "ray"], capture_output=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert without_clocks(out) == without_clocks(done)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_again_and_again_it_ends_with_the_same_bytes(config, done, tmp_path):
    out = tmp_path / "killed"
    assert disturb(config, out, "local", random.Random(1), 5) >= 1
    assert without_clocks(out) == without_clocks(done)


def asked(out):
    """When each picture's URL was asked for."""
    found = {}
    for shard in list_shards(Storage(str(out))):
        table = shard.parts.columns(["asked_url", "started"]).drop_null()
        found |= dict(zip(table["asked_url"].to_pylist(), table["started"].to_pylist(), strict=True))
    return found


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [("min = 2\n", "min = 3\n", False), ("size_px = 128", "size_px = 96", True)],
    ids=["a bound", "a size"],
)
def test_pictures_are_asked_for_again_only_under_other_settings(config, done, tmp_path, old, new, again):
    out, changed = tmp_path / "set", tmp_path / "changed.toml"
    shutil.copytree(done, out)
    changed.write_text(CONFIG.replace(old, new, 1))
    before = asked(out)
    assert main(["run", str(changed), "--out", str(out), "--on", "inline"]) == 0
    after = asked(out)
    assert after
    assert [url for url in after if url in before and (after[url] != before[url]) != again] == []
    fresh = tmp_path / "fresh"
    assert main(["run", str(changed), "--out", str(fresh), "--on", "inline"]) == 0
    assert without_clocks(out) == without_clocks(fresh)


def test_two_filters_that_want_one_column_in_two_ways_are_told(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{name}\n")
    table = {
        "pipeline": "interleaved",
        "source": {"kind": "toy_pages"},
        "text_filters": {
            "text_flagged_words": {"file": str(tmp_path / "one")},
            "text_flagged_words-more": {"file": str(tmp_path / "two")},
        },
    }
    with pytest.raises(ConfigError, match="'text_flagged_words' under other settings than a filter before it"):
        interleaved(table)
    table["text_filters"]["text_flagged_words-more"] = {"file": str(tmp_path / "one"), "max": 0.5}
    assert interleaved(table).steps


@pytest.mark.parametrize(
    ("section", "name", "words"),
    [
        (
            "picture_filters",
            "text_words",
            r"these parts do not have; write \[text_filters.text_words",
        ),
        ("image_filters", "paragraph_frequency", r"write \[text_filters.paragraph_frequency\]"),
        ("text_filters", "image_url_frequency", r"write \[image_filters.image_url_frequency\]"),
        ("text_filters", "pair_duplicate", "filter 'pair_duplicate' asks for it, and has no place here"),
        ("document_filters", "caption_words", "filter 'caption_words' asks for it, and has no place here"),
        ("picture_filters", "semantic_duplicate", "filter 'semantic_duplicate' asks for it, and has no place here"),
    ],
)
def test_a_filter_in_the_wrong_place_would_keep_everything_and_is_told(section, name, words):
    table = {"pipeline": "interleaved", "source": {"kind": "toy_pages"}, section: {name: {}}}
    with pytest.raises(ConfigError, match=words):
        check(interleaved(table))


def test_a_filter_that_needs_a_model_is_not_told_to_add_one():
    table = {"pipeline": "interleaved", "source": {"kind": "toy_pages"}}
    with pytest.raises(ConfigError, match=r"has no \[models.clip\]; documents have no \[models\]: only filters"):
        interleaved({**table, "picture_filters": {"clip_similarity": {"min": 0.3}}})
