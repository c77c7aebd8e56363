"""What no filter dropped and yet is not there is told: by a run, and scores that are missing in a report too."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from curate.cli import main
from curate.manifest import Entry
from curate.report.beside import CountRow, UnscoredRow, counted, unscored
from curate.report.collect import collect
from curate.storage import Storage
from curate.tar import TarWriter


def entry(stage: str, shard: str, **counts: int) -> Entry:
    return Entry(stage, shard, "f", counts, ())


def test_shards_are_added_up_and_steps_without_any_are_left_out() -> None:
    entries = [
        entry("score_a", "00000", **{"in": 9, "scored": 8, "score_failed": 1}),
        entry("score_b", "00000", **{"in": 9, "scored": 9}),
        entry("score_a", "00001", **{"in": 9, "scored": 9, "undecoded": 2}),
    ]
    (row,) = unscored(entries)
    assert row == UnscoredRow("score_a", 1, 2)
    assert row.words.startswith(
        "score_a has no values for 2 pictures that cannot be decoded and 1 rows that it failed on:"
    )
    assert UnscoredRow("score_a", 1, 0).words.startswith("score_a has no values for 1 rows that it failed on:")


def test_ends_are_told_by_step_the_most_frequent_first() -> None:
    entries = [
        entry("compose", "00000", **{"in": 5, "dropped.no_text": 1, "dropped.bad_json": 1, "dropped.no_image": 0}),
        entry("compose", "00001", **{"in": 5, "dropped.no_text": 2}),
    ]
    assert counted(entries, "dropped.") == [CountRow("compose", "no_text", 3), CountRow("compose", "bad_json", 1)]
    assert counted(entries, "instructions_") == []


def test_a_stored_picture_that_is_cut_is_told_by_run_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(tmp_path / "00000.tar", "wb") as target, BytesIO() as picture:
        Image.effect_noise((90, 70), 60).convert("RGB").save(picture, "JPEG")
        tar = TarWriter(target)
        for key, size in (("whole", None), ("cut", 600)):
            tar.add(f"{key}.jpg", picture.getvalue()[:size])
            tar.add(f"{key}.txt", b"a picture of noise")
        tar.finish()
    config = tmp_path / "adopted.toml"
    source = f'[source]\nkind = "webdataset"\npath = "{tmp_path}/*.tar"\n'
    config.write_text(f'pipeline = "image_text_pairs"\n{source}[filters.blur]\n')
    assert main(["run", str(config), "--out", str(tmp_path / "out"), "--on", "inline"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["not_scored"] == [{"step": "score_blur", "failed": 0, "undecoded": 1}]
    assert collect(Storage(str(tmp_path / "out"))).troubles == (
        "score_blur has no values for 1 pictures that cannot be decoded: its columns are null there",
    )
