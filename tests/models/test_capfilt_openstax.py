"""configs/capfilt.toml over real photos, by a BLIP of the real architecture with random weights: all but the sense."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from tiny_blip import write_blip

import curate.models  # noqa: F401  (lets torchvision be imported)
from curate.cli import main
from curate.shard import list_shards
from curate.storage import Storage

ROOT = Path(__file__).resolve().parents[2]
PAIRS = ROOT.parent / "shared" / "data" / "pairs"
ROWS = 24


def photos(folder: Path, first: int, rows: int) -> Path:
    """A tar of photos with their alt texts."""
    folder.mkdir()
    listed = [json.loads(line) for line in (PAIRS / "openstax.jsonl").read_text("utf-8").splitlines()]
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for number, row in enumerate(listed[first : first + rows]):
            for kind, data in (("jpg", (PAIRS / row["image"]).read_bytes()), ("txt", str(row["alt"]).encode())):
                info = tarfile.TarInfo(f"{number:05d}.{kind}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return folder


@pytest.mark.slow
def test_the_config_runs_over_real_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (PAIRS / "openstax.jsonl").is_file():
        pytest.skip("the photos of pairs/openstax are not beside this checkout")
    web, clean = photos(tmp_path / "web", 0, ROWS), photos(tmp_path / "clean", ROWS, 20)
    captioner = write_blip(tmp_path / "captioner", "caption", own_tokens=True)
    matcher = write_blip(tmp_path / "matcher", "itm", seed=1, own_tokens=True)
    text = (ROOT / "configs/capfilt.toml").read_text()
    for old, new in (
        ("Salesforce/blip-image-captioning-large", captioner),
        ("Salesforce/blip-itm-large-coco", matcher),
        ("data/pairs", web),
        ("data/clean", clean),
    ):
        assert text.count(f'"{old}"') == 1
        text = text.replace(f'"{old}"', f'"{new}"')
    job = tmp_path / "job.toml"
    job.write_text(text)
    out = str(tmp_path / "out")
    assert main(["run", str(job), "--out", out, "--on", "inline", "--format", "json"]) == 2
    told = capsys.readouterr().err
    assert "the audit stops this run" in told  # a random matcher cannot tell right from wrong
    job.write_text(text.replace("[audit]", '[audit]\non_worse = "warn"'))
    assert main(["run", str(job), "--out", out, "--on", "inline", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "does not tell right texts from wrong ones" in found["audit_says"]
    (shard,) = list_shards(Storage(out))
    rows = shard.columns(["caption", "synthetic_captions", "synthetic_tokens", "itm_probability",
                          "itm_synthetic_probability", "capfilt_texts", "keep"]).to_pylist()  # fmt: skip
    assert len(rows) == ROWS
    for row in rows:
        assert len(row["synthetic_captions"]) == 1
        assert 5 <= row["synthetic_tokens"][0] <= 20
        assert 0 < row["itm_probability"] < 1
        assert 0 < row["itm_synthetic_probability"][0] < 1
        assert row["keep"] is bool(row["capfilt_texts"])
