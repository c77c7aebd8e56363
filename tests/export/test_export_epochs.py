"""What a stage of a hand-over takes of each source in an epoch, as programs that read whole files are told it."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from example_sets import pair, run_export, talk
from handover_sets import make_handover

from curate.errors import ConfigError
from curate.export import exporter
from curate.export._annotations import Joined
from curate.export._epochs import epochs_of, portions, share_of
from curate.export.qwen import _named
from curate.storage import Storage

STAGE = """
[[stages]]
name = "{name}"
objective = "sft"
epochs = 1
batch = 8
learning_rate = 1e-3
sequence_tokens = 512

[stages.resolution]
policy = "shortest"

[stages.mixture]
unit = "{unit}"
sources = [{sources}]
"""


def stages(*told: tuple[str, str, dict[str, str]]) -> bytes:
    """A file of stages: name, unit, and of each source its weight or repeat."""
    kinds = {"web": "pairs", "vqa": "chat"}
    text = 'family = "toy"\nabout = "toy"\nsource = ["tests"]\ntokenizer = "words"\n'
    for name, unit, sources in told:
        listed = ", ".join(f'{{ name = "{n}", kind = "{kinds[n]}", {how} }}' for n, how in sources.items())
        text += STAGE.format(name=name, unit=unit, sources=listed)
    return text.encode()


def put_handover(folder: Path) -> Storage:
    """Ten pairs and four conversations."""
    web = [pair(f"p{n}", n, f"words {n}") for n in range(10)]
    vqa = [talk(f"t{n}", ("user", [f"what {n}?"]), ("assistant", ["that"])) for n in range(4)]
    return Storage(str(make_handover(folder, {"web": web, "vqa": vqa})))


@pytest.fixture
def handover(tmp_path: Path) -> Storage:
    return put_handover(tmp_path / "handover")


@pytest.mark.parametrize(
    ("sources", "wanted"),
    [
        ({"web": "weight = 1", "vqa": "weight = 1"}, {"web": 4, "vqa": 4}),
        ({"web": "weight = 3", "vqa": "weight = 1"}, {"web": 10, "vqa": 3}),
        ({"web": "weight = 5", "vqa": "weight = 2"}, {"web": 10, "vqa": 4}),
        ({"web": "repeat = 1", "vqa": "repeat = 2.5"}, {"web": 10, "vqa": 10}),
        ({"web": "repeat = 0.25"}, {"web": 2}),
        ({"vqa": "weight = 0.2"}, {"vqa": 4}),
    ],
)
def test_weights_and_repeats_become_records(handover: Storage, sources: dict[str, str], wanted: dict[str, int]) -> None:
    handover.write("stages.toml", stages(("one", "sample", sources)))
    assert epochs_of(handover, {"web": 10, "vqa": 4}) == ({"one": wanted}, [])


def test_what_cannot_be_said_is_named(handover: Storage) -> None:
    shares = {"web": "weight = 1", "vqa": "weight = 1"}
    handover.write("stages.toml", stages(("a", "token", shares), ("b", "sample", shares), ("c", "gradient", shares)))
    found, unsaid = epochs_of(handover, {"web": 10, "vqa": 4})
    assert (list(found), unsaid) == (["b"], ["a", "c"])
    assert epochs_of(handover, {"web": 10}) == ({"b": {"web": 10}}, ["a", "c"])


def test_what_has_no_stages_has_no_epochs(handover: Storage, tmp_path: Path) -> None:
    assert epochs_of(handover, {"web": 10}) == ({}, [])
    assert epochs_of(Storage(str(tmp_path)), {"pairs": 10}) == ({}, [])


def test_a_broken_file_of_stages_is_told_before_anything_is_written(handover: Storage) -> None:
    handover.write("stages.toml", b"family = ")
    with pytest.raises(ConfigError, match=r"stages\.toml in "):
        exporter("llava")(handover)


@pytest.mark.parametrize(("records", "wanted"), [(49, 1), (49, 48), (49, 49), (49, 50), (3, 1), (7, 20), (4, 0)])
def test_portions_are_the_records(records: int, wanted: int) -> None:
    whole, rest = portions(records, wanted)
    assert whole * records + rest == wanted
    assert int(records * share_of(records, rest)) == rest


MIX, REPEAT = {"web": 10, "vqa": 3}, {"web": 5, "vqa": 10}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the export of each format, of a hand-over with the stages mix and repeat."""
    folder = tmp_path_factory.mktemp("staged")
    handover = put_handover(folder / "handover")
    mixed, repeated = {"web": "weight = 3", "vqa": "weight = 1"}, {"web": "repeat = 0.5", "vqa": "repeat = 2.5"}
    handover.write("stages.toml", stages(("mix", "sample", mixed), ("repeat", "sample", repeated)))
    for format in ("llava", "internvl", "qwen", "llama_factory"):
        run_export(format, handover, Storage(str(folder / format)), shard_samples=20)
    return folder


@pytest.mark.parametrize(("stage", "wanted"), [("mix", MIX), ("repeat", REPEAT)])
def test_llava_next_is_told(written: Path, stage: str, wanted: dict[str, int]) -> None:
    read: Counter[str] = Counter()
    for entry in yaml.safe_load((written / "llava" / f"llava.{stage}.yaml").read_text())["datasets"]:
        found = json.loads(Path(entry["json_path"]).read_text())
        strategy, _, number = entry["sampling_strategy"].partition(":")
        assert strategy in ("all", "first")
        read[Path(entry["json_path"]).stem] += len(found[: int(number)] if number else found)
    assert read == wanted
    assert json.loads((written / "llava" / "export.json").read_text())["stages"][stage] == wanted


@pytest.mark.parametrize(("stage", "wanted"), [("mix", MIX), ("repeat", REPEAT)])
def test_internvl_is_told(written: Path, stage: str, wanted: dict[str, int]) -> None:
    read: Counter[str] = Counter()
    for about in json.loads((written / "internvl" / f"internvl.{stage}.json").read_text()).values():
        lines = Path(about["annotation"]).read_text().splitlines()
        times = about["repeat_time"]
        assert isinstance(times, int) or times < 1
        read[Path(about["annotation"]).stem] += len(lines * times if times >= 1 else lines[: int(len(lines) * times)])
    assert read == wanted


@pytest.mark.parametrize(("stage", "wanted"), [("mix", MIX), ("repeat", REPEAT)])
def test_qwen_is_told_in_percent(written: Path, stage: str, wanted: dict[str, int]) -> None:
    known = json.loads((written / "qwen" / "qwen.json").read_text())
    read: Counter[str] = Counter()
    for asked in (written / "qwen" / f"qwen.{stage}.txt").read_text().strip().split(","):
        name, _, percent = asked.partition("%")
        count = len(Path(known[name]["annotation_path"]).read_text().splitlines())
        read[name] += int(count * int(percent or 100) / 100)
    assert read == wanted


@pytest.mark.parametrize(
    ("wanted", "asked"), [(1, ["web%1"]), (500, ["web%50"]), (999, ["web"]), (2_001, ["web", "web", "web%1"])]
)
def test_qwen_is_asked_for_a_percent_at_least(wanted: int, asked: list[str]) -> None:
    assert _named(Joined("web", "pairs", "web.jsonl", 1_000), wanted) == asked


def test_llama_factory_is_told(written: Path) -> None:
    known: dict[str, Any] = json.loads((written / "llama_factory" / "dataset_info.json").read_text())
    assert {name: about.get("num_samples") for name, about in known.items()} == {
        "web": None,
        "vqa": None,
        **{f"mix.{name}": count for name, count in MIX.items()},
        **{f"repeat.{name}": count for name, count in REPEAT.items()},
    }
    assert known["mix.vqa"]["file_name"] == known["vqa"]["file_name"]
    assert math.isclose(known["mix.web"]["num_samples"] / known["mix.vqa"]["num_samples"], 3, rel_tol=0.2)


@pytest.mark.parametrize("format", ["llava", "energon", "mds"])
def test_a_stage_that_lost_a_source_is_named(handover: Storage, tmp_path: Path, format: str) -> None:
    both = {"web": "weight = 1.0", "vqa": "weight = 1.0"}
    handover.write("stages.toml", stages(("a", "sample", both), ("b", "sample", {"web": "repeat = 1.0"})))
    for asked, lost in (("web", {"a": ["vqa"]}), ("vqa", {"a": ["web"], "b": ["web"]}), ("web,vqa", None)):
        target = Storage(str(tmp_path / asked))
        run_export(format, handover, target, sources=asked)
        assert json.loads(target.read("export.json")).get("stages_without_sources") == lost
