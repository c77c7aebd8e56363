"""Web and synthetic texts side by side, and against the truth of the toy web."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.caption.choose import Choose
from curate.caption.rules.itm_threshold import ItmThreshold
from curate.cli import main
from curate.errors import ShardError
from curate.manifest import Attempt
from curate.report.captions import _captioner_of, caption_examples, caption_rows, views_of
from curate.report.captions_truth import against_scenes
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage
from curate.tombstones import write_dead

SCENE, SAME, OTHER = (
    "a red circle above a blue square",
    "A blue square below a red circle",
    "a red star above a blue square",
)


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    """Five rows: both texts kept, the web's, a synthetic one, none, and no picture. Of the second one a text was asked
    for and never came."""
    storage = Storage(str(tmp_path))
    attempt = Attempt(storage, "test", "00000", "aaaa")
    keys = [f"{row:03d}" for row in range(5)]
    table = {
        "key": keys,
        "caption": [SAME, SAME, OTHER, OTHER, SAME],
        "toy_scene": [SCENE] * 4 + [None],
        "fetch_status": ["success"] * 4 + ["timeout"],
    }
    attempt.write_table("00000.parquet", pa.table(table))
    scores = {
        "key": keys,
        "synthetic_captions": [[SCENE, OTHER], [OTHER, None], [OTHER, SCENE], ["x", "y"], None],
        "synthetic_faults": pa.array([[None, None]] * 4 + [None], pa.list_(pa.string())),
        "itm_probability": pa.array([0.9, 0.8, 0.1, 0.2, None], pa.float32()),
        "itm_synthetic_probability": pa.array(
            [[0.7, 0.3], [0.2, None], [0.4, 0.6], [0.1, 0.2], None], pa.list_(pa.float32())
        ),
    }
    made = pa.table(scores)
    about = {"model_fingerprint": "m"}
    fields = [f.with_metadata(about) if f.name.startswith("itm") else f for f in made.schema]
    attempt.write_table("00000.scores.parquet", made.cast(pa.schema(fields)))
    for file in attempt.commit().files:
        assert storage.exists(file.name)
    found = Shard(storage, "00000")
    view = Attempt(storage, "view_capfilt", "00000", "bbbb")
    Choose("capfilt", ItmThreshold("synthetic", "itm")).run(found, view, Runtime())
    view.commit()
    return Shard(storage, "00000")


def test_each_row_says_what_is_kept_and_why_not(shard: Shard) -> None:
    assert views_of(shard) == ["capfilt"]
    rows = list(caption_rows(shard, "capfilt"))
    assert [row["fate"] for row in rows] == ["both", "web only", "synthetic only", "none", "none"]
    assert [row.get("synthetic") for row in rows] == [SCENE, OTHER, SCENE, "y", None]
    assert [row.get("synthetic_score") for row in rows] == pytest.approx([0.7, 0.2, 0.6, 0.2, None])
    assert [row["web_score"] for row in rows] == pytest.approx([0.9, 0.8, 0.1, 0.2, None])
    assert rows[2]["web_reason"] == "web_text_does_not_match"
    assert rows[3]["synthetic_reason"] == "synthetic_text_does_not_match"


def test_examples_are_of_each_fate(shard: Shard) -> None:
    assert [row["key"] for row in caption_examples([shard], "capfilt")] == ["000", "001", "002", "003"]


def test_a_view_that_is_not_there_is_told(shard: Shard) -> None:
    with pytest.raises(ShardError, match="no view 'other'; its views: capfilt"):
        list(caption_rows(shard, "other"))


def test_texts_are_held_against_their_scenes(shard: Shard) -> None:
    web, synthetic = against_scenes([shard], "capfilt")
    assert (web["in"], web["right"], web["kept"], web["kept_right"], web["right_kept"]) == (4, 0.5, 2, 1.0, 1.0)
    assert (synthetic["in"], synthetic["right"], synthetic["kept"]) == (7, 2 / 7, 2)
    assert (synthetic["kept_right"], synthetic["right_kept"]) == (1.0, 1.0)
    assert against_scenes([shard], "other") == []


def test_the_command_lists_and_shows_them(shard: Shard, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{shard.storage.root}/00000"
    assert main(["show", name, "--captions", "capfilt", "--format", "table"]) == 0
    told = capsys.readouterr().out
    assert "synthetic only" in told
    assert "web_text_does_not_match" in told
    assert main(["show", name, "002", "--captions", "capfilt", "--format", "json"]) == 0
    assert capsys.readouterr().out.count('"key"') == 1
    assert main(["show", name, "999", "--captions", "capfilt"]) != 0
    assert "no text of key '999'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["url", "sha256"])
def test_a_tombstoned_row_is_passed_over(
    shard: Shard, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    write_dead(shard, {"001": kind})
    assert [row["key"] for row in caption_rows(shard, "capfilt")] == ["000", "002", "003", "004"]
    assert [row["key"] for row in caption_examples([shard], "capfilt")] == ["000", "002", "003"]
    name = f"{shard.storage.root}/00000"
    assert main(["show", name, "--captions", "capfilt", "--format", "json"]) == 0
    assert '"001"' not in capsys.readouterr().out
    assert main(["show", name, "001", "--captions", "capfilt"]) == 2


def test_a_view_of_earlier_scores_is_told(shard: Shard) -> None:
    table = shard.table("scores")
    fields = [f.with_metadata({"model_fingerprint": "n"}) if f.name.startswith("itm") else f for f in table.schema]
    target = io.BytesIO()
    pq.write_table(table.cast(pa.schema(fields)), target)
    shard.storage.write("00000.scores.parquet", target.getvalue())
    with pytest.raises(ShardError, match=r"was made of other itm_.*probability than are there now"):
        list(caption_rows(Shard(shard.storage, "00000"), "capfilt"))


def test_a_long_text_is_told_by_its_beginning(shard: Shard) -> None:
    table = shard.table("")
    longer = table.set_column(1, "caption", pa.array(["word " * 1_000_000, SAME, OTHER, OTHER, SAME]))
    target = io.BytesIO()
    pq.write_table(longer, target)
    shard.storage.write("00000.parquet", target.getvalue())
    web = next(caption_rows(shard, "capfilt"))["web"]
    assert web.startswith("word word")
    assert len(web) == 1_002
    assert {len(row["web"]) for row in caption_examples([shard], "capfilt") if row["web"].startswith("word")} == {162}


@pytest.mark.parametrize(
    ("judge", "captioner"),
    [
        ("itm_b_probability", "b"),
        ("itm_a_b_probability", "a_b"),
        ("clip_a_b_similarity", "a_b"),
        ("b_c_probability", "c"),
        ("itm_probability", None),
        ("itm_ab_probability", None),
    ],
)
def test_a_score_belongs_to_the_captioner_that_it_names(judge: str, captioner: str | None) -> None:
    assert _captioner_of(judge, ["b", "a_b", "c"]) == captioner
    assert _captioner_of(judge, ["c", "a_b", "b"]) == captioner
