"""The loop of CapFilt on a small toy web: two rounds, their yields, stopped in and between rounds, bad configs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pair_shards import BROKEN, ToyPair, toy_pairs, write_shard

from curate.config import build
from curate.errors import ConfigError
from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.train.capfilt import CapfiltOrder, read_settings, train_capfilt
from curate.train.capfilt_texts import CaptionSet, Judges, write_texts, yields_of
from curate.train.captioner import CaptionerCourse
from curate.train.matcher import MatcherCourse
from curate.train.overlap import EvaluationSettings
from curate.train.pairs import PairSource

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A clean set of 24 pairs, and a web of two shards: wrong captions, none, and a picture that is broken."""
    where = tmp_path_factory.mktemp("sets")
    clean = write_shard(where / "clean", "00000", toy_pairs(24))
    web = toy_pairs(20, seed=7)
    web[:4] = [replace(a, caption=b.caption) for a, b in zip(web[:4], web[4:8], strict=True)]
    web[9] = replace(web[9], caption=None)
    web[13] = ToyPair(BROKEN, "a red star")
    write_shard(where / "web", "00000", web[:12])
    return clean, write_shard(where / "web", "00001", web[12:])


def order(sets, rounds=2, **more):
    clean, web = sets
    chosen = {"steps": 8, "batch": 8, "threads": 1}
    return CapfiltOrder(
        PairSource((web,)),
        PairSource((clean,)),
        rounds=rounds,
        captions=CaptionerSettings(captions=2, batch=0),
        captioner=CaptionerCourse(**chosen, checkpoint_steps=3),
        matcher=MatcherCourse(**chosen, queue=16, checkpoint_steps=3),
        precision="fp32",
        device="cpu",
        threads=1,
        **more,
    )


@pytest.fixture(scope="module")
def done(sets, tmp_path_factory):
    """The folder of two rounds, and what was shown."""
    out = tmp_path_factory.mktemp("loop") / "loop"
    return out, train_capfilt(order(sets, min_probability=0.3), out)


def bytes_of(folder):
    """Every file that holds weights or texts."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".safetensors", ".parquet") or path.name == "yields.json"
    }


def test_each_round_has_texts_models_and_yields(done):
    out, shown = done
    assert sorted(path.name for path in out.iterdir()) == ["capfilt.json", "round-0", "round-1", "round-2"]
    assert sorted(path.name for path in (out / "round-1").iterdir()) == ["captioner", "matcher", "texts", "yields.json"]
    assert [line["round"] for line in shown["rounds"]] == [1, 2]
    weights = [
        (out / f"round-{n}" / kind / "model.safetensors").read_bytes()
        for n in (0, 1, 2)
        for kind in ("captioner", "matcher")
    ]
    assert len(set(weights)) == 6
    for kind in ("captioner", "matcher"):
        told = [json.loads((out / f"round-{n}" / kind / "training.json").read_text()) for n in (0, 1, 2)]
        assert len({about["start"] for about in told}) == 1


def test_a_round_is_written_and_judged_by_the_models_before_it(done, sets, tmp_path):
    # Made again by those, a table is the same bytes; by those of another round it is not.
    out, _ = done

    def texts_by(captioner, matcher):
        common = {"precision": "fp32", "device": "cpu"}
        judges = Judges(
            CaptionerSettings(weights=str(out / f"round-{captioner}/captioner"), captions=2, batch=0, **common),
            MatcherSettings(weights=str(out / f"round-{matcher}/matcher"), captions=("synthetic",), **common),
            0.3,
        )
        paths = write_texts(PairSource((sets[1],)), judges, tmp_path / "texts", 1, lambda text: None)
        return [path.read_bytes() for path in paths]

    made = [path.read_bytes() for path in sorted((out / "round-2/texts").iterdir())]
    assert texts_by(1, 1) == made
    assert texts_by(0, 1) != made
    assert texts_by(1, 0) != made


def test_the_yields_are_those_of_the_tables(done):
    out, shown = done
    for line in shown["rounds"]:
        tables = [pq.read_table(path) for path in sorted((out / f"round-{line['round']}" / "texts").iterdir())]
        rows = [row for table in tables for row in table.to_pylist()]
        assert (line["rows"], line["web_in"], line["synthetic_in"]) == (20, 19, 38)
        origins = [set(row["capfilt_origins"] or ()) for row in rows]
        assert line["both"] == sum(len(own) == 2 for own in origins)
        assert line["none"] == sum(not own for own in origins)
        assert line["one"] == 20 - line["both"] - line["none"]
        assert line["web_kept"] == sum("web" in own for own in origins)
        kept = sum((row["capfilt_origins"] or []).count("synthetic") for row in rows)
        assert line["synthetic_kept"] == kept
        assert line["noise_ratio"] == pytest.approx(1 - kept / 38)
        told = json.loads((out / f"round-{line['round']}" / "yields.json").read_text())
        assert sum(told["reasons"].values()) >= 38 - kept
    assert any(line["web_kept"] + line["synthetic_kept"] for line in shown["rounds"])


def test_a_text_is_kept_by_its_probability_alone(done):
    rows = pq.read_table(sorted((done[0] / "round-1/texts").iterdir())[0]).to_pylist()
    for row in rows:
        likely = row["itm_probability"] is not None and row["itm_probability"] >= 0.3
        assert ("web" in (row["capfilt_origins"] or [])) is likely
    assert rows[9]["itm_probability"] is None
    assert len(rows[9]["synthetic_captions"]) == 2


def test_a_broken_picture_has_no_captions(done):
    rows = pq.read_table(sorted((done[0] / "round-1/texts").iterdir())[1]).to_pylist()
    assert rows[1]["synthetic_captions"] is None
    assert not rows[1]["capfilt_texts"]


def test_models_of_a_round_learn_from_what_was_kept(done, sets):
    out, shown = done
    clean, web = (PairSource((folder,)) for folder in sets)
    found = CaptionSet(clean, web, str(out / "round-1/texts")).open()
    line = shown["rounds"][0]
    assert len(found) == 24 + line["web_kept"] + line["synthetic_kept"]
    about = json.loads((out / "round-1/captioner/training.json").read_text())
    assert about["pairs_digest"] == found.digest()
    assert json.loads((out / "round-0/matcher/training.json").read_text())["pairs"] == 24
    assert json.loads((out / "round-1/matcher/training.json").read_text())["shares_weights_with"]["share"] == 0
    rows = {found.keys[row].as_py() for row in range(24, len(found))}
    assert "00013" not in rows


class Killed(Exception):
    pass


def kill_at(words, after=0):
    left = [after]

    def say(text):
        if words in text:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    return say


STOPS = [("state written", 0), ("state written", 2), ("00000-00000: 12 pictures", 0), ("round 2 of 2", 0), ("kept ", 1)]


def test_a_loop_that_was_stopped_ends_the_same(done, sets, tmp_path):
    """In a training, between two, in the texts of a round, between rounds."""
    out = tmp_path / "loop"
    for words, after in STOPS:
        with pytest.raises(Killed):
            train_capfilt(order(sets, min_probability=0.3), out, kill_at(words, after))
    shown = train_capfilt(order(sets, min_probability=0.3), out)
    assert bytes_of(out) == bytes_of(done[0])
    assert shown["rounds"] == done[1]["rounds"]


def test_a_loop_that_is_done_does_nothing_and_more_rounds_go_on(done, sets):
    def fit(settings, data, out, say):
        raise AssertionError("all is there")

    shown = train_capfilt(order(sets, min_probability=0.3), done[0], fit=fit)
    assert shown["rounds"] == done[1]["rounds"]
    with pytest.raises(AssertionError, match="all is there"):
        train_capfilt(order(sets, rounds=3, min_probability=0.3), done[0], fit=fit)


def test_evaluation_may_change_and_a_state_beside_a_model_goes(done, sets, tmp_path):
    out = tmp_path / "loop"
    shutil.copytree(done[0], out)
    (out / "round-1/matcher.training").mkdir()
    (out / "round-1/matcher.training/state.safetensors").write_bytes(b"")
    evaluation = EvaluationSettings(images=(sets[0],), action="refuse")
    train_capfilt(order(sets, min_probability=0.3, evaluation=evaluation), out)
    assert bytes_of(out) == bytes_of(done[0])


def test_texts_of_other_models_are_made_anew(done, sets, tmp_path):
    out = tmp_path / "loop"
    shutil.copytree(done[0], out)
    (path,) = (out / "round-2/texts").glob("00001-*")
    path.write_bytes((out / "round-1/texts" / path.name).read_bytes())
    train_capfilt(order(sets, min_probability=0.3), out)
    assert bytes_of(out) == bytes_of(done[0])


def test_another_loop_does_not_go_on_in_the_folder(done, sets):
    with pytest.raises(ConfigError, match="a loop that was begun with other settings"):
        train_capfilt(order(sets, min_probability=0.6), done[0])


def test_a_folder_that_holds_something_is_not_written_over(sets, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        train_capfilt(order(sets), tmp_path)


def test_a_damaged_table_is_told(done, tmp_path):
    (tmp_path / "00000-x.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"cannot be read .* delete it"):
        yields_of([tmp_path / "00000-x.parquet"])


def test_the_web_may_be_learned_from_before_anything_is_filtered(sets):
    clean, web = (PairSource((folder,)) for folder in sets)
    assert len(CaptionSet(clean, web).open()) == 24 + 19


@pytest.mark.parametrize(
    ("table", "words"),
    [({"rounds": 0}, "rounds = 0 is out of range"), ({"min_probability": 1.1}, "min_probability = 1.1 is out of range"),
     ({"captions": {"weights": "x"}}, "takes no weights"), ({"first": "web"}, "first = 'web'"),
     ({"captions": {"prompt": "a picture of"}}, "so write one in both"), ({"precision": "fp16"}, "trains nothing well"),
     ({"captioner": {"label_smoothing": 0.1}}, "two words of the toy")],
)  # fmt: skip
def test_a_config_says_what_is_wrong(table, words):
    with pytest.raises(ConfigError, match=words):
        build(CapfiltOrder, {"web": {"shards": ["a"]}, "clean": {"shards": ["b"]}} | table, "")


def test_the_example_is_a_config():
    settings = read_settings(CONFIGS / "train/capfilt.toml")
    assert (settings.rounds, settings.min_probability, settings.captions.top_p) == (1, 0.5, 0.9)
    assert settings.captions.captions == 1


def test_a_shard_without_pictures_has_an_empty_table(done, sets, tmp_path):
    web = write_shard(tmp_path / "web", "00000", toy_pairs(3, seed=7))
    write_shard(tmp_path / "web", "00001", [ToyPair(b"x", "a red star", extension="cls")] * 2)
    models = done[0] / "round-0"
    judges = Judges(
        CaptionerSettings(weights=str(models / "captioner"), device="cpu"),
        MatcherSettings(weights=str(models / "matcher"), captions=("synthetic",), device="cpu"),
        0.5,
    )
    paths = write_texts(PairSource((web,)), judges, tmp_path / "texts", 1, print)
    assert [len(pq.read_table(path)) for path in paths] == [3, 0]
    assert yields_of(paths)["rows"] == 3
    clean = PairSource((sets[0],))
    assert len(CaptionSet(clean, PairSource((web,)), str(tmp_path / "texts")).open()) >= 24
