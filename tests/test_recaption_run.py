"""Recaptioning end to end with the toy models: columns beside tars that stay, the same at any cut, an audit."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recaption_sets import random_captioner, toy_set

from curate.cli import main
from curate.job import load_job
from curate.manifest import CommitLog
from curate.shard import list_shards
from curate.storage import Storage

TARS, ROWS = 2, 16
"""16 pictures with four texts each are one unit of the matcher; a unit costs the same however full it is."""
COLUMNS = ("synthetic_captions", "synthetic_log_probability", "synthetic_tokens", "synthetic_finish")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_set(tmp_path_factory.mktemp("sets") / "web", TARS, ROWS, wrong=0.4, broken=(5,))


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_captioner(tmp_path_factory.mktemp("models") / "random")


BY_CLIP = """
[models.clip]
captions = ["synthetic"]
[views.best]
rule = "topk_rank"
captioner = "synthetic"
clip = "clip"
"""


def config(path: Path, pairs: Path, captioner: Path, *, batch: int = 0, workers: int = 1, more: str = BY_CLIP) -> Path:
    path.write_text(f"""
pipeline = "recaption"
[source]
kind = "webdataset"
path = "{pairs}"
[models.synthetic]
kind = "captioner"
weights = "{captioner}"
captions = 3
min_tokens = 2
max_tokens = 12
batch = {batch}
[models.itm]
kind = "matcher"
captions = ["synthetic"]
batch = {batch}
[views.capfilt]
rule = "itm_threshold"
captioner = "synthetic"
matcher = "itm"
[filters.caption_choice]
view = "capfilt"
[run]
workers = {workers}
{more}
""")
    return path


def run(path: Path, out: Path, capsys: pytest.CaptureFixture[str], on: str = "inline", *more: str) -> dict[str, Any]:
    command = ["run", str(path), "--out", str(out), "--on", on, "--format", "json", *more]
    assert main(command) == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def captions(out: Path) -> dict[str, dict[str, Any]]:
    """What was written of each picture, by its key, whichever shard it is in."""
    found = {}
    for shard in list_shards(Storage(str(out))):
        for row in shard.columns(["key", *COLUMNS, "itm_synthetic_probability", "itm_probability"]).to_pylist():
            found[row.pop("key")] = row
    return found


@pytest.fixture(scope="module")
def calm(pairs: Path, captioner: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calm") / "out"
    job = config(out.with_name("job.toml"), pairs, captioner)
    assert main(["run", str(job), "--out", str(out), "--on", "inline", "--format", "json"]) == 0
    return out


def test_columns_stand_beside_tars_that_are_as_they_were(calm: Path, pairs: Path) -> None:
    storage = Storage(str(calm))
    shards = list_shards(storage)
    assert len(shards) == TARS
    for shard in shards:
        assert (calm / shard.tar).stat().st_ino == (pairs / shard.tar).stat().st_ino
        rows = shard.columns(["key", "caption", *COLUMNS, "synthetic_faults", "itm_probability",
                              "itm_synthetic_probability", "clip_synthetic_similarity"]).to_pylist()  # fmt: skip
        for row in rows:
            broken = row["key"] == "000000005"
            assert (row["itm_probability"] is None) is broken
            lists = [row[name] for name in row if name not in ("key", "caption", "itm_probability")]
            assert all(own is None for own in lists) if broken else all(len(own) == 3 for own in lists)
            if not broken:
                assert all(0 <= p <= 1 for p in row["itm_synthetic_probability"] if p is not None)
                assert all(2 <= tokens <= 12 for tokens in row["synthetic_tokens"])
                assert all(value < 0 for value in row["synthetic_log_probability"])
                assert all(text for text in row["synthetic_captions"])


def test_every_caption_says_who_made_it(calm: Path, captioner: Path) -> None:
    shard = list_shards(Storage(str(calm)))[0]
    told = shard.provenance("synthetic_captions")
    assert told["model"] == captioner.name
    assert "top_p=0.9" in told["decoding"]
    assert "max_tokens=12" in told["decoding"]
    assert len(told["model_fingerprint"]) > 10
    assert told["model_precision"] in ("fp32", "bf16")
    view = shard.provenance("capfilt_texts")
    assert view["view_rule"] == "itm_threshold"
    assert view["synthetic_captions:model_fingerprint"] == told["model_fingerprint"]


def test_captions_are_the_same_however_pictures_are_packed_and_at_a_large_batch(
    calm: Path, pairs: Path, captioner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import tarfile

    (tmp_path / "other").mkdir()
    members: list[tuple[tarfile.TarInfo, bytes]] = []
    for path in sorted(pairs.glob("*.tar"), reverse=True):
        with tarfile.open(path) as tar:
            members += [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    for number, start in enumerate((0, 14)):
        with tarfile.open(tmp_path / "other" / f"{number:05d}.tar", "w") as tar:
            for info, data in members[start : (14, None)[number]]:
                tar.addfile(info, __import__("io").BytesIO(data))
    job = config(tmp_path / "job.toml", tmp_path / "other", captioner, batch=1000, more="")
    run(job, tmp_path / "out", capsys)
    assert captions(tmp_path / "out") == captions(calm)


def test_another_seed_gives_other_captions(
    calm: Path, pairs: Path, captioner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = config(tmp_path / "job.toml", pairs, captioner, more="")
    job.write_text(job.read_text().replace("captions = 3", "captions = 3\nseed = 1"))
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "--on", "inline", "--limit", "1"]) == 0
    there, other = captions(calm), captions(tmp_path / "out")
    assert len(other) == ROWS
    assert sum(there[key]["synthetic_captions"] == own["synthetic_captions"] for key, own in other.items()) <= 2


def test_a_second_run_does_nothing_and_a_new_bound_runs_no_model(
    pairs: Path, captioner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], calm: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(calm, out)
    job = config(tmp_path / "job.toml", pairs, captioner)
    assert run(job, out, capsys)["work"].startswith("0 commits made")
    job.write_text(job.read_text().replace('matcher = "itm"', 'matcher = "itm"\nmin = 0.9'))
    assert run(job, out, capsys)["work"].startswith(f"{2 * TARS} commits made")  # the view, and what reads it


KILLED = """
import os, signal, sys
from curate.cli import main
from curate.manifest import Attempt
left, commit = int(sys.argv.pop(1)), Attempt.commit

def commit_or_die(attempt, *given, **more):
    global left
    left -= 1
    return commit(attempt, *given, **more) if left >= 0 else os.kill(os.getpid(), signal.SIGKILL)

Attempt.commit = commit_or_die
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_with_other_batches_and_more_workers_and_gives_the_same_captions(
    calm: Path, pairs: Path, captioner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed twice, each time with a piece of work that is done and not yet committed."""
    job, out, there = config(tmp_path / "job.toml", pairs, captioner, batch=5), tmp_path / "out", 0
    for more in (commits(calm) // 3, 1):
        command = [sys.executable, "-c", KILLED, str(more), "run", str(job), "--out", str(out), "--on", "inline"]
        killed = subprocess.run(command, capture_output=True, check=False, timeout=240)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        there += more
        assert commits(out) == there
    run(config(job, pairs, captioner, batch=7, workers=2), out, capsys, "local")
    assert commits(out) == commits(calm)
    assert captions(out) == captions(calm)


def commits(out: Path) -> int:
    return len([*(out / "commits").glob("*/*.json")])


def test_yields_and_examples_are_told(pairs: Path, captioner: Path, tmp_path: Path, calm: Path, capsys: Any) -> None:
    shutil.copytree(calm, tmp_path / "out")
    found = run(config(tmp_path / "job.toml", pairs, captioner), tmp_path / "out", capsys)
    view = {line["view"]: line for line in found["views"]}["capfilt"]
    assert view["rows"] == TARS * ROWS
    assert view["synthetic_in"] == 3 * (TARS * ROWS - 1)
    assert 0.4 * TARS * ROWS < view["web_kept"] < 0.8 * TARS * ROWS
    assert view["noise_ratio"] > 0.9
    assert view["both"] + view["one"] + view["none"] == view["rows"]
    assert {line["view"] for line in found["not_in_a_view"]} == {"capfilt", "best"}
    rows = found["examples_of_capfilt"]
    assert {row["fate"] for row in rows} >= {"web only", "none"}
    for row in rows:
        assert (row["web_score"] >= 0.5) == (row["web_reason"] is None)
    assert found["funnel"][-1]["reason"] == "no_text_kept"
    assert found["funnel"][-1]["kept"] == view["rows"] - view["none"]


AUDIT = '[audit]\npairs = ["{clean}"]\nrows = 32\n'


def test_an_audit_stops_a_run_that_would_make_it_worse(
    captioner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web, out = toy_set(tmp_path / "web", 1, 32, wrong=0.4, seed=4), tmp_path / "out"
    clean = toy_set(tmp_path / "clean", 1, 32, seed=9)
    job = config(tmp_path / "job.toml", web, captioner, more=AUDIT.format(clean=clean))
    assert main(["run", str(job), "--out", str(out), "--on", "inline"]) == 2
    told = capsys.readouterr().err
    assert "the audit stops this run: captions of 'synthetic' are expected to be worse than the web's" in told
    assert 'on_worse = "warn"' in told
    measured = CommitLog(Storage(str(out))).fold(["audit"])
    assert len(measured) == 1
    assert CommitLog(Storage(str(out))).fold(["score_synthetic"]) == []
    job.write_text(job.read_text() + 'on_worse = "warn"\n')
    found = run(job, out, capsys)
    assert CommitLog(Storage(str(out))).fold(["audit"]) == measured  # is not measured again
    right, wrong, synthetic, web = found["audit"]
    assert right["accepted"] > 0.9
    assert wrong["accepted"] < 0.2
    assert synthetic["right"] < 0.1
    assert 0.35 < web["right"] < 0.85
    assert "expected to be worse" in found["audit_says"]


def test_an_audit_lets_a_good_captioner_pass(
    captioner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a web in which every caption is wrong, even a captioner of no use is not worse."""
    web = toy_set(tmp_path / "web", 1, 30, wrong=1.0, seed=4)
    clean = toy_set(tmp_path / "clean", 1, 32, seed=9)
    job = config(tmp_path / "job.toml", web, captioner, more=AUDIT.format(clean=clean))
    found = run(job, tmp_path / "out", capsys)
    assert found["audit_says"] == "synthetic texts are expected to be no worse than the web's"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("toy.json", b"{"), "does not say its kind"),
        (("toy.json", b'{"kind": "matcher"}'), "is a toy matcher, and no captioner"),
        (("model.safetensors", b"garbage"), "is refused: it is damaged"),
        (("model.safetensors", None), "model.safetensors"),
    ],
)
def test_a_broken_model_stops_a_run_before_it_starts(
    pairs: Path, captioner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, words: str
) -> None:
    broken = tmp_path / "model"
    shutil.copytree(captioner, broken)
    name, data = change
    (broken / name).unlink() if data is None else (broken / name).write_bytes(data)
    job = config(tmp_path / "job.toml", pairs, broken)
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "--on", "inline"]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.parquet"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "webdataset"', 'kind = "url_table"', 'write kind = "webdataset"'),
        ('kind = "captioner"', 'kind = "matcher"', "has no key 'captions'|no model of|has no key"),
        ('matcher = "itm"', 'matcher = "itn"', r"no \[models.itn\]"),
        ('rule = "itm_threshold"', 'rule = "itm_treshold"', "did you mean 'itm_threshold'"),
        ('view = "capfilt"', 'view = "other"', r"no \[views.other\]"),
    ],
)
def test_what_a_config_lacks_is_told(
    pairs: Path, captioner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    job = config(tmp_path / "job.toml", pairs, captioner)
    job.write_text(job.read_text().replace(old, new, 1))
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "--on", "inline"]) != 0
    assert re.search(words, capsys.readouterr().err)


def test_a_matcher_that_shares_the_captioners_weights_is_told(
    pairs: Path, captioner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from curate.models.toy import load_toy_captioner, save_toy
    from curate.models.toy_matcher import ToyMatcher

    torch.manual_seed(3)
    matcher = ToyMatcher()
    apart = tmp_path / "apart"
    shared = tmp_path / "shared"
    for folder in (apart, shared):
        folder.mkdir()
        save_toy(matcher, folder / "model.safetensors", {})
        (folder / "toy.json").write_text(json.dumps({"kind": "matcher"}))
        matcher.picture.load_state_dict(load_toy_captioner(captioner / "model.safetensors").picture.state_dict())
    for folder, coupled in ((apart, False), (shared, True)):
        job = config(tmp_path / "job.toml", pairs, captioner, more="")
        job.write_text(job.read_text().replace('kind = "matcher"', f'kind = "matcher"\nweights = "{folder}"'))
        assert ("are coupled" in str(load_job(job).job.warnings())) is coupled
    assert "are coupled" in str(run(job, tmp_path / "out", capsys, "inline", "--limit", "1")["warnings"])
