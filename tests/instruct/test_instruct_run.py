"""The recaption pipeline without a captioner: instructions for tars that have captions, run by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from instruct_runs import talking
from recaption_sets import toy_set

from curate.cli import main
from curate.errors import ConfigError
from curate.instruct.leave import conversation_of
from curate.job import load_job
from curate.sample import Sample
from curate.shard import list_shards
from curate.storage import Storage


def config(path: Path, pairs: Path, more: str) -> Path:
    path.write_text(f'pipeline = "recaption"\n[source]\nkind = "webdataset"\npath = "{pairs}"\n{more}\n')
    return path


def test_instructions_for_captions_that_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, server = toy_set(tmp_path / "web", 2, 5, broken=(3,)), talking()
    more = f'[instructions.llava]\nkind = "conversation"\nmodel = "m"\nbase_url = "{server.base_url}"\n'
    toml = config(tmp_path / "c.toml", pairs, more)
    try:
        assert main(["run", str(toml), "--out", str(tmp_path / "out"), "--on", "inline"]) == 0
        capsys.readouterr()
        assert main(["run", str(toml), "--out", str(tmp_path / "out"), "--on", "inline"]) == 0
    finally:
        server.close()
    assert len(server.asked) == 9, "a broken picture is dropped, and nobody is asked for it"
    kept = 0
    for shard in list_shards(Storage(str(tmp_path / "out"))):
        for row in shard.columns(["key", "caption", "llava_conversation"]).to_pylist():
            said = conversation_of(Sample(row["key"], b"", "jpg", row["caption"], row), "llava")
            assert said is None or row["caption"] in said.turns[0].parts[1].text  # type: ignore[union-attr]
            kept += said is not None
    assert kept == 9
    told = json.loads(capsys.readouterr().out)
    assert [(row["outcome"], row["rows"]) for row in told["instructions"]] == [("ok", 9), ("not_asked", 1)]


def test_instructions_stand_behind_the_decision(tmp_path: Path) -> None:
    more = '[instructions.llava]\nkind = "detail"\nmodel = "m"\nbase_url = "http://127.0.0.1:1/v1"\n[subset]\n'
    job = load_job(config(tmp_path / "c.toml", tmp_path, more))
    assert [step.label for step in job.job.steps] == ["adopt", "select", "instructions_llava", "subset"]


def test_without_instructions_a_captioner_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model of"):
        load_job(config(tmp_path / "c.toml", tmp_path, ""))
