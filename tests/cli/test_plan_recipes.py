"""`curate plan` on a file of training stages: what it prints, for people and for programs, and what it refuses."""

import json
from pathlib import Path

import pytest
from handover_sets import make_handover, page, pair, talk

from curate.cli import main

ROOT = Path(__file__).resolve().parents[2]
LLAVA = str(ROOT / "configs/stages/llava15.toml")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    sources = {"pairs": [pair(n) for n in range(6)], "pages": [page(n) for n in range(2)]}
    return str(make_handover(tmp_path_factory.mktemp("plan") / "set", sources))


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, list[dict[str, object]]]:
    assert main(["plan", *arguments, "--format", "json"]) == 0
    found: dict[str, list[dict[str, object]]] = json.loads(capsys.readouterr().out)
    return found


def test_llava_on_pairs_alone(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, LLAVA, data)
    align, instruct = found["needs"]
    assert (align["kind"], align["recipe"], align["yours"], align["fed"]) == ("pairs", 558_000, 6, "in part")
    assert (instruct["kind"], instruct["recipe"], instruct["yours"], instruct["fed"]) == ("chat", 665_000, 0, "no")
    (tokens,) = found["tokens"]
    assert (tokens["image_tokens"], tokens["text_tokens"], tokens["smaller"]) == (6 * 576, 18, 6)
    assert found["length"] == [
        {"stage": "align", "recipe_steps": 2180, "your_steps": 1, "your_passes": 1.0, "your_tokens": 6 * 576 + 18},
        {"stage": "instruct", "recipe_steps": 5196},
    ]
    assert set(found["explained"]) == set(found) - {"explained"}


def test_it_explains_itself(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", LLAVA, data, "--format", "table"]) == 0
    printed = capsys.readouterr().out
    words = " ".join(printed.split())
    assert "What each stage reads, and how much of it is in" in words
    assert "instruct needs 665,000 conversations (chat), and cannot run without" in words
    assert "A model reads tokens: pieces of words, and pieces of pictures" in words
    assert "a step reads one batch, a pass reads all of your data once" in words
    assert "counted by the tokenizer words" in words


def test_several_sets_are_one(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = str(make_handover(tmp_path / "talks", {"talks": [talk(n) for n in range(3)]}))
    _, instruct = plan(capsys, LLAVA, data, more)["needs"]
    assert instruct["yours"] == 3


def test_a_recipe_without_data(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, LLAVA)
    assert "missing" not in found
    assert "tokens" not in found
    assert "yours" not in found["needs"][0]


@pytest.mark.parametrize("recipe", sorted(path.name for path in (ROOT / "configs/stages").glob("*.toml")))
def test_every_recipe_can_be_planned(recipe: str, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, str(ROOT / "configs/stages" / recipe), data)
    for name in ("stages", "needs", "length"):
        assert found[name]


def test_stages_as_json(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = {
        "stages": [
            {
                "name": "only",
                "objective": "lm_interleaved",
                "resolution": {"size": 28},
                "mixture": {"sources": [{"name": "pages", "kind": "interleaved"}]},
            }
        ]
    }
    (tmp_path / "stages.json").write_text(json.dumps(table))
    (need,) = plan(capsys, str(tmp_path / "stages.json"), data)["needs"]
    assert (need["yours"], need["fed"]) == (2, "yes")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([LLAVA, "nowhere"], "holds no data set and no hand-over"),
        ([LLAVA, "--out", "x"], "--out is for a pipeline's config"),
        ([LLAVA, "--limit", "3"], "--limit is for a pipeline's config"),
        ([str(ROOT / "configs/demo.toml"), "data"], "has no [[stages]]"),
        ([str(ROOT / "configs/demo.toml"), "--tokenizer", "words"], "has no [[stages]]"),
        (["handover.toml"], "no pipeline 'nowhere'"),
        (["nowhere.toml"], "no config nowhere.toml"),
        (["nowhere.json"], "cannot read the stages in nowhere.json"),
    ],
)
def test_what_it_refuses(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("handover.toml").write_text('pipeline = "nowhere"\n[stages]\nfile = "llava15.toml"\n')  # no list of stages
    assert main(["plan", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_pipeline_whose_stages_are_a_table_is_planned_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(ROOT / "configs/demo.toml"), "--format", "json"]) == 0
    assert "plan" in json.loads(capsys.readouterr().out)
