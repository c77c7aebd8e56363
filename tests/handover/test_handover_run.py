"""A hand-over from its config to its manifest: what it says is what lies there, and nothing else is said."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
from composition_sets import put_images, put_lines, talk
from document_sets import Page, Slot, Words, jpeg, put_pages
from parent_sets import ROWS, TALK, Written, curate_pairs
from PIL import Image

from curate.errors import ConfigError, ShardError
from curate.handover.handover import Gathered
from curate.handover.histograms import BINS
from curate.handover.lineage import Lineage, lineage_of
from curate.handover.manifest import Manifest, manifest_schema, read_manifest
from curate.handover.policy import Policy, warnings_of
from curate.handover.shards import open_handover
from curate.handover.stages import read_stages
from curate.handover.summary import handover_summary
from curate.handover.verify import verify
from curate.job import load_job
from curate.manifest import CommitLog
from curate.run.inline import InlineEngine
from curate.run.scheduler import Outcome, run_job
from curate.storage import Storage

STAGES = """
[[stages.stages]]
name = "contrastive"
objective = "contrastive"
steps = 3
resolution = {size = 32, patch = 8}
mixture = {sources = [{name = "web", kind = "pairs", captions = {web = 0.5, synthetic = 0.5}}]}
[[stages.stages]]
name = "caption"
objective = "lm"
init_from = "contrastive"
resolution = {}
mixture = {sources = [{name = "web", kind = "pairs"}, {name = "pages", kind = "interleaved"}]}
"""
SOURCE = """
licence = "CC-BY-4.0"
about = "toy drawings, from https://me:word@toys.test/web"
"""


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets: pairs that were captioned and filtered, and three pages. Tests that change them take a copy."""
    folder = tmp_path_factory.mktemp("sets")
    curate_pairs(folder)
    pages = [Page([Words("Two words."), Slot(f"http://i/{n}.jpg", jpeg(n, 24 + n)), Words("End.")]) for n in range(3)]
    pages.append(Page([Words("Its picture is none."), Slot("http://i/3.jpg", b"no picture")]))
    put_pages(Storage(str(folder / "pages")), "00000", pages)
    return folder


def config(sets: Path, name: str = "handover", stages: str = STAGES, more: str = "", source: str = "") -> Path:
    path = sets / f"{name}.toml"
    path.write_text(f"""
pipeline = "handover"
{more}
[sources.web]
path = "{sets}/pairs"
captions = "capfilt"
{source}
[sources.pages]
path = "{sets}/pages"
missing = "drop_document"
[tokenizers.words]
kind = "words"
[shards]
samples = 5
{stages}
""")
    return path


def hand_over(config: Path, target: Path) -> Outcome:
    outcome = run_job(load_job(config).job, Storage(str(target)), InlineEngine())
    assert not outcome.failed, outcome.failed
    return outcome


def steps_of(outcome: Outcome) -> Counter[str]:
    return Counter(commit.stage for commit in outcome.commits)


@pytest.fixture(scope="module")
def handed(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("handed") / "out"
    hand_over(config(sets, source=SOURCE), target)
    return target


@pytest.fixture(scope="module")
def record(handed: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((handed / "manifest.json").read_bytes())
    return found


@pytest.fixture(scope="module")
def manifest(handed: Path) -> Manifest:
    return read_manifest(Storage(str(handed)))


def test_the_manifest_is_valid_against_the_schema(record: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(manifest_schema()).validate(record)


def test_files_and_their_digests_are_those_on_the_disk(handed: Path, manifest: Manifest) -> None:
    assert [shard.id for shard in manifest.shards] == ["00000", "00001", "00002", "00003"]
    assert [(shard.source, shard.kind) for shard in manifest.shards[2:]] == [("web", "pairs"), ("pages", "interleaved")]
    for shard in manifest.shards:
        names = [f"{shard.id}{end}" for end in (".tar", ".index.parquet", ".parquet", ".tokens.parquet")]
        assert [file.name for file in shard.files] == names
        for file in shard.files:
            data = (handed / file.name).read_bytes()
            assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert (shard.tar, shard.sha256, shard.bytes) == (names[0], shard.files[0].sha256, shard.files[0].bytes)


def test_counts_are_those_of_the_tars(handed: Path, manifest: Manifest) -> None:
    for shard in manifest.shards:
        pictures, texts, keys, captions = [], [], set(), Counter[str]()
        with tarfile.open(handed / shard.tar) as tar:
            for member in tar:
                data = tar.extractfile(member).read()  # type: ignore[union-attr]
                keys.add(member.name.partition(".")[0])
                if member.name.endswith("jpg"):
                    pictures.append(Image.open(io.BytesIO(data)).size)
                elif member.name.endswith("json"):
                    told = json.loads(data)
                    texts += [text for text in told.get("texts", told.get("captions", ())) if text]
                    captions.update(told.get("caption_origins", ()))
        assert (shard.samples, shard.images) == (len(keys), len(pictures))
        assert shard.chars == sum(map(len, texts))
        sides = [np.histogram([size[side] for size in pictures], [*BINS["width_px"], 1e9])[0] for side in (0, 1)]
        assert [list(shard.width_px), list(shard.height_px)] == [own.tolist() for own in sides]
        aspects = np.histogram([w / h for w, h in pictures], [*BINS["aspect"], 1e9])[0]
        assert list(shard.aspect) == aspects.tolist()
        assert {origin: own["texts"] for origin, own in shard.captions.items()} == captions
        tokens = pq.read_table(handed / f"{shard.id}.tokens.parquet")
        assert shard.text_tokens == {"words": sum(tokens["tokens_words"].to_pylist())}


def test_captions_have_words_tokens_and_the_range_of_their_scores(manifest: Manifest) -> None:
    own = manifest.totals["by_source"]["web"]["captions"]
    assert own["synthetic"]["texts"] == 14
    assert own["synthetic"]["words"] == [0, 0, 0, 14, *[0] * 10]  # "drawing number 3"
    assert own["synthetic"]["text_tokens"] == {"words": 42}
    assert own["synthetic"]["score"] == {"values": 14, "min": 0.8, "max": 0.8}
    assert own["web"]["texts"] == 10
    assert own["web"]["score"] == {"values": 10, "min": 0.9, "max": 0.9}


def test_totals_are_the_sums_of_the_shards(manifest: Manifest) -> None:
    totals = manifest.totals
    for name in ("samples", "images", "chars", "bytes"):
        assert totals[name] == sum(getattr(shard, name) for shard in manifest.shards)
        for source in ("web", "pages"):
            assert totals["by_source"][source][name] == sum(getattr(s, name) for s in manifest.of(source))
    assert totals["shards"] == 4
    assert totals["by_source"]["pages"]["width_px"] == list(manifest.of("pages")[0].width_px)


def test_columns_tell_who_wrote_and_who_judged(manifest: Manifest) -> None:
    synthetic, web = manifest.columns
    assert (synthetic["name"], synthetic["column"], synthetic["origin"]) == (
        "synthetic",
        "synthetic_captions",
        "captioner",
    )
    assert synthetic["about"]["model_revision"] == "r1"
    assert synthetic["about"]["decoding"] == "method='beam' beams=3"
    assert [own["column"] for own in synthetic["scores"]] == ["matcher_synthetic_probability"]
    assert (web["name"], web["origin"], web["scores"][0]["column"]) == ("web", "web", "matcher_probability")
    assert web["scores"][0]["model_fingerprint"] == "m" * 16


def test_the_view_tells_its_rule_and_what_it_came_to(manifest: Manifest) -> None:
    (view,) = manifest.views
    assert (view["source"], view["view"], view["rule"]) == ("web", "capfilt", "itm_threshold")
    assert view["parameters"] == {"captioner": "synthetic", "matcher": "matcher", "min": 0.5, "refuse_faulty": True}
    assert view["yield"]["noise_ratio"] == 0.5
    assert (view["yield"]["web_in"], view["yield"]["web_kept"]) == (16, 12)


def test_lineage_is_that_of_the_parents_commits(sets: Path, manifest: Manifest) -> None:
    lineage = manifest.sources["web"].lineage
    assert lineage is not None
    log = CommitLog(Storage(str(sets / "pairs")))
    for stage in lineage["stages"]:
        commits = log.fold([stage["stage"]])
        lines = "".join(f"{commit.shard} {commit.fingerprint}\n" for commit in commits)
        assert stage["shards"] == len(commits)
        assert stage["fingerprint"] == hashlib.sha256(lines.encode()).hexdigest()[:16]
    select = lineage["funnel"][-1]
    assert lineage["stages"][-1]["counts"] == {"in": 16, "kept": 14}
    assert select == {"stage": "select", "in": 16, "kept": 14, "dropped": {"evaluation_file": 2}}
    assert [model["model"] for model in lineage["models"]] == ["a-captioner", "a matcher"]
    assert lineage["cut"]["shards"] == 2
    assert manifest.sources["pages"].lineage is None


def test_what_could_not_be_used_is_counted(handed: Path, manifest: Manifest) -> None:
    (reason,) = manifest.sources["pages"].left_out
    assert manifest.sources["pages"].left_out[reason] == 1
    assert reason in (handed / "left_out" / "00003.jsonl").read_text()
    assert manifest.sources["web"].left_out == {}
    assert manifest.sources["web"].cut["examples"] == 14
    assert manifest.sources["web"].about == "toy drawings, from https://toys.test/web"


def test_decontamination_is_found_in_the_source(manifest: Manifest) -> None:
    (own,) = manifest.decontamination
    assert own == {
        "source": "web",
        "sets": "val: 3 pictures",
        "method": "evaluation_overlap",
        "dropped": {"evaluation_file": 2},
    }


def test_warnings_say_what_is_unwise(manifest: Manifest) -> None:
    words = "\n".join(manifest.warnings)
    assert "source pages has no licence" in words
    assert "source web has no licence" not in words
    assert "no filter has decided on source pages" in words
    assert "no filter has decided on source web" not in words
    assert "web has 3, pages has 1" in words
    assert "opt_out_date" in words
    assert "compared with evaluations" not in words


def test_the_stages_lie_beside_it_and_are_named(handed: Path, manifest: Manifest) -> None:
    stages = read_stages(handed / "stages.toml")
    assert manifest.stages is not None
    assert manifest.stages.names == tuple(stage.name for stage in stages.stages) == ("contrastive", "caption")
    assert stages.stages[0].mixture.sources[0].captions == {"web": 0.5, "synthetic": 0.5}


def test_no_clock_no_host_and_no_folder_that_the_config_does_not_name(sets: Path, handed: Path) -> None:
    text = (handed / "manifest.json").read_text()
    for commit in CommitLog(Storage(str(handed))).fold(["compose", "handover"]):
        assert str(commit.created) not in text
        assert commit.attempt not in text
    assert f'"{socket.gethostname()}"' not in text
    rest = text.replace(f"{sets}/pairs", "").replace(f"{sets}/pages", "")
    assert str(sets) not in rest
    assert str(handed) not in rest
    assert "/home/somebody" not in rest
    assert "word@" not in text


def test_the_same_config_gives_the_same_bytes_elsewhere(sets: Path, handed: Path, tmp_path: Path) -> None:
    hand_over(config(sets, "again", source=SOURCE), tmp_path / "out")
    other = config(sets, "workers", source=SOURCE, stages=STAGES + "\n[run]\nworkers = 3\n")
    hand_over(other, tmp_path / "other")
    for name in ("manifest.json", "stages.toml"):
        assert (tmp_path / "out" / name).read_bytes() == (handed / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() == (handed / name).read_bytes()


def test_another_licence_or_plan_packs_nothing_anew(sets: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    hand_over(config(sets, "changing"), target)
    first = read_manifest(Storage(str(target)))
    outcome = hand_over(config(sets, "changing", source='licence = "CC0-1.0"'), target)
    assert steps_of(outcome) == {"handover": 1}
    second = read_manifest(Storage(str(target)))
    assert (second.sources["web"].licence, second.dataset_id) == ("CC0-1.0", first.dataset_id)
    outcome = hand_over(config(sets, "changing", stages=STAGES.replace("steps = 3", "steps = 4")), target)
    assert steps_of(outcome) == {"handover": 1}
    third = read_manifest(Storage(str(target)))
    assert (third.dataset_id, third.shards) == (first.dataset_id, first.shards)
    assert third.stages != first.stages
    assert open_handover(str(target)).digest == first.dataset_id


def test_what_a_parent_tells_later_is_told(sets: Path, tmp_path: Path) -> None:
    own = tmp_path / "sets"
    shutil.copytree(sets, own)
    hand_over(config(own), tmp_path / "out")
    curate_pairs(own, more=(Written("sharpness", ("sharpness_score",), {"model": "s", "model_fingerprint": "5" * 16}),))
    hand_over(config(own), tmp_path / "out")
    lineage = read_manifest(Storage(str(tmp_path / "out"))).sources["web"].lineage
    assert lineage is not None
    assert "score_sharpness" in [stage["stage"] for stage in lineage["stages"]]
    assert "s" in [model["model"] for model in lineage["models"]]


def test_json_takes_the_place_of_toml(sets: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    hand_over(config(sets, "form"), target)
    toml = read_stages(target / "stages.toml")
    hand_over(config(sets, "form", more='stages_format = "json"'), target)
    assert read_stages(target / "stages.json") == toml
    assert not (target / "stages.toml").exists()
    found = read_manifest(Storage(str(target)))
    assert found.stages is not None
    assert found.stages.file == "stages.json"


def test_policy_is_told(sets: Path, tmp_path: Path) -> None:
    policy = """
[policy]
licence_policy = "what was drawn here, as https://user:word@host/policy?token=5 says"
opt_out_date = 2026-01-31
decontamination = ["COCO val 2014, by hand"]
human_captions = ["web"]
"""
    hand_over(config(sets, "policy", stages=policy + STAGES), tmp_path / "out")
    found = read_manifest(Storage(str(tmp_path / "out")))
    assert (found.licence_policy, found.opt_out_date) == (
        "what was drawn here, as https://host/policy says",
        "2026-01-31",
    )
    assert found.decontamination[0] == {"source": None, "sets": "COCO val 2014, by hand", "method": "named"}
    assert [own["origin"] for own in found.columns] == ["captioner", "human"]
    assert "opt_out_date" not in "\n".join(found.warnings)


def test_a_parent_that_is_a_hand_over_is_named_by_its_id(
    handed: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (lineage_of(Storage(str(handed))).record or {})["dataset_id"] == manifest.dataset_id
    monkeypatch.setattr("curate.handover.manifest.MOST_BYTES", 100)
    assert (lineage_of(Storage(str(handed))).record or {})["dataset_id"] is None


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('name = "pages"', 'name = "page"', "stage 'caption' draws from 'page', .*did you mean 'pages'"),
        ('"interleaved"', '"chat"', "stage 'caption' takes 'pages' as chat, and it has interleaved"),
        ("{web = 0.5, synthetic", "{webb = 0.5, synthetic", "stage 'contrastive' wants captions 'webb'.*'web'"),
        ("steps = 3", "step = 3", "has no key 'step'; did you mean 'steps'"),
    ],
)
def test_stages_that_cannot_be_are_an_error(sets: Path, tmp_path: Path, before: str, after: str, words: str) -> None:
    assert before in STAGES
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        hand_over(config(sets, "wrong", stages=STAGES.replace(before, after)), tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_source_that_is_not_made_yet_is_planned_and_asked_again(sets: Path, tmp_path: Path) -> None:
    own = tmp_path / "sets"
    own.mkdir()
    path = config(own, stages=STAGES.replace('"interleaved"', '"chat"'))
    shutil.copytree(sets / "pairs", own / "pairs")
    job = load_job(path).job
    assert job.known_slices(Storage(str(tmp_path / "out"))) is None
    with pytest.raises(ShardError, match="pages holds no data set"):
        hand_over(path, tmp_path / "out")
    shutil.copytree(sets / "pages", own / "pages")
    with pytest.raises(ConfigError, match="takes 'pages' as chat, and it has interleaved"):
        run_job(job, Storage(str(tmp_path / "out")), InlineEngine())
    assert not (tmp_path / "out" / "commits").exists()


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ('opt_out_date = "31.1.2026"', "opt_out_date = '31.1.2026' is no date; write YYYY-MM-DD"),
        ("opt_out_date = 2026-01-31T10:00:00", "is no date"),
        ('human_captions = ["wob"]', "no source 'wob'; did you mean 'web'"),
        ('licence = "x"', "has no key 'licence'"),
    ],
)
def test_a_policy_that_is_none(sets: Path, policy: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_job(config(sets, "wrong_policy", stages=f"[policy]\n{policy}\n{STAGES}"))


def test_conversations_that_a_model_made_say_so(sets: Path, tmp_path: Path) -> None:
    shutil.copytree(sets, tmp_path / "sets")
    told = {"model": "a talker", "model_fingerprint": "6" * 16}
    curate_pairs(tmp_path / "sets", more=(Written("talk", TALK, told),))
    source = f"""
[sources.talk]
path = "{tmp_path}/sets/pairs"
conversations = "talk"
"""
    hand_over(config(tmp_path / "sets", source=source), tmp_path / "out")
    found = read_manifest(Storage(str(tmp_path / "out")))
    (own,) = [own for own in found.columns if own["source"] == "talk"]
    assert (own["name"], own["origin"], own["about"]) == ("messages", "llm_fusion", told)
    assert found.totals["by_source"]["talk"]["samples"] == 2 * 3  # rows 1, 3 and 5; row 7 was dropped


def of_talk(folder: Path, more: str = "", mixed: str = "") -> Manifest:
    """The hand-over of four examples of talk whose pictures lie in `images`, and of more sources."""
    put_lines(folder / "talk.jsonl", [talk(n) for n in range(4)])
    (folder / "others.toml").write_text(f"""
pipeline = "handover"
[sources.talk]
kind = "chat"
path = "{folder}/talk.jsonl"
images = "{folder}/images"
{more}
[[stages.stages]]
name = "instruct"
objective = "sft"
resolution = {{}}
mixture = {{sources = [{{name = "talk", kind = "chat"}}{mixed}]}}
""")
    hand_over(folder / "others.toml", folder / "out")
    return read_manifest(Storage(str(folder / "out")))


def test_sets_of_others_are_handed_over_too(tmp_path: Path) -> None:
    put_images(tmp_path / "images", 3)
    put_lines(tmp_path / "prose.jsonl", [{"text": f"words {n}"} for n in range(2)])
    prose = f'[sources.prose]\nkind = "text"\npath = "{tmp_path}/*.jsonl"\n[tokenizers.words]\nkind = "words"'
    found = of_talk(tmp_path, prose, ', {name = "prose", kind = "text"}')
    assert [(shard.source, shard.kind, shard.samples) for shard in found.shards] == [
        ("talk", "chat", 3),
        ("prose", "text", 2),
    ]
    assert found.sources["talk"].left_out == {"image_missing": 1}
    assert [told for told in found.warnings if "no example that could be used" in told] == []
    assert found.sources["talk"].lineage is None
    assert found.columns == found.views == ()
    assert verify(Storage(str(tmp_path / "out"))).problems == []


def test_a_source_of_which_nothing_can_be_used_is_told(tmp_path: Path) -> None:
    """Its shards are there, and empty."""
    (tmp_path / "images").mkdir()
    found = of_talk(tmp_path)
    assert (found.totals["samples"], found.sources["talk"].left_out) == (0, {"image_missing": 4})
    assert "source talk has no example that could be used: each was left out, left_out/ tells why" in found.warnings


def test_a_manifest_that_is_not_valid_is_never_written(sets: Path, tmp_path: Path) -> None:
    job = load_job(config(sets, "invalid")).job
    wrong = replace(job.steps[-1], policy=Policy(licence_policy=5))  # type: ignore[arg-type,type-var]
    with pytest.raises(ShardError, match="licence_policy: 5 is not of type 'string'"):
        run_job(replace(job, steps=(*job.steps[:-1], wrong)), Storage(str(tmp_path / "out")), InlineEngine())
    with pytest.raises(ShardError, match="shard 00007: the whole: 'tar' is a required property"):
        Gathered().add({"id": "00007"}, {})


def test_a_source_without_examples_and_one_that_did_not_end_are_told() -> None:
    sources = {
        "web": {"licence": "x", "settings": {"kept_only": False}},
        "pages": {"licence": "x", "settings": {"kept_only": True}},
        "raw": {"licence": "x", "settings": {"kept_only": False}},
    }
    lineages = {
        "web": Lineage(None, {}, {}, False),
        "pages": Lineage(None, {"select_documents": {}}, {}, True),
        "raw": Lineage(None, {"select": {}}, {}, True),
    }
    told = list(warnings_of(sources, lineages, {"web": 8, "raw": 8}, Policy(opt_out_date="2026-01-01"), True))
    assert told == [
        "source pages has no example that could be used: each was left out, left_out/ tells why",
        "no filter has decided on source web: all that it has is handed over",
        "the last run of source web did not end; its lineage is not known",
        "source raw has what its filters dropped too (kept_only = false)",
    ]


def test_the_summary_has_a_row_a_source(handed: Path) -> None:
    told = handover_summary(Storage(str(handed)))
    web, pages = told["handed_over"]
    assert (web["source"], web["samples"], web["shards"], web["licence"]) == ("web", 2 * (ROWS - 1), 3, "CC-BY-4.0")
    assert (pages["kind"], pages["images"], pages["licence"]) == ("interleaved", 3, None)
    assert told["stages"] == ["contrastive", "caption"]
    assert told["manifest_warnings"]


def test_the_demo_config_can_be_read() -> None:
    """Its stages fit its sources; the data sets of the other demos need not be there."""
    from curate.config import read_toml
    from curate.handover.plan_stages import planned_stages

    table = read_toml(Path(__file__).parents[2] / "configs" / "handover_demo.toml")
    stages = planned_stages(table["stages"], {"raw": "pairs", "curated": "pairs", "pages": "interleaved"})
    raw, curated, pages = stages.stages
    assert replace(raw, name="curated", mixture=curated.mixture) == curated  # but for the data the same
    assert pages.trainable.vision == "none"
    assert [Path(own["path"]).name for own in table["sources"].values()] == ["demo", "capfilt_demo", "interleaved_demo"]
