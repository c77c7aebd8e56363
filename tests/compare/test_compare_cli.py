"""`curate compare` as a user meets it: what is A and what is B, what it prints, and how it exits."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from comparison_sets import Row, decide_by, write_set

from curate.cli import main
from curate.compare.compare import compare
from curate.compare.sides import data_side
from curate.compare.terminal import terminal
from curate.errors import StorageError
from curate.storage import Storage

CONFIG = """
pipeline = "image_text_pairs"
[source]
kind = "toy_web"
samples = 4
[filters.caption_words]
min = {words}
"""
ROWS = [Row(f"http://h.test/{n}", f"picture {n}", f"{n:064x}", None, 100, n) for n in range(9)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for name, words in (("a", 3), ("b", 5)):
        decide_by(write_set(folder / name, ROWS, 4, decided=False), {"caption_words": {"min": words}})
    for name, words in (("low", 3), ("high", 6)):
        (folder / f"{name}.toml").write_text(CONFIG.format(words=words))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the data sets a and b and the configs low.toml and high.toml."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, object]:
    assert main(["compare", *arguments]) == code
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("arguments", "gained", "lost", "names"),
    [
        (["a", "b"], 0, 2, ["a", "b"]),
        (["b", "a"], 2, 0, ["b", "a"]),
        (["a", "high.toml"], 0, 3, ["a", "high.toml"]),
        (["high.toml", "a"], 3, 0, ["high.toml", "a"]),
        (["high.toml", "low.toml", "--on", "b"], 3, 0, ["high.toml on b", "low.toml on b"]),
        (["a", "a"], 0, 0, ["a", "a"]),
    ],
)
def test_a_and_b_are_data_sets_or_configs(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], gained: int, lost: int, names: list[str]
) -> None:
    found = answer(capsys, *arguments, "--exit-code", code=int(gained + lost > 0))
    (row,) = found["summary"]  # type: ignore[misc]
    assert (row["gained"], row["lost"], row["rows_a"], row["rows_b"]) == (gained, lost, 9, 9)
    assert [found["a"], found["b"]] == names
    assert found["differ"] == (gained + lost > 0)


def test_differences_are_no_failure_unless_asked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "a", "b")["differ"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["low.toml", "high.toml"], "are configs; name the data set to compare them on: --on DIR"),
        (["a", "b", "--on", "a"], "--on is for two configs"),
        (["a", "nowhere"], "has no shards; name the folder of a data set"),
        (["a", "nowhere.toml"], "no config nowhere.toml"),
        (["a", "b", "--html", "no/such/folder/x.html"], "choose another --html"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["compare", *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_decisions_of_a_run_that_was_stopped_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "a", "b")["troubles"] == []
    decide_by(Storage("b"), {"caption_words": {"min": 6}}, stops_after=1)
    (told,) = answer(capsys, "a", "b")["troubles"]  # type: ignore[misc]
    assert told.startswith("b: decisions on 1 of 3 shards are not in its manifest: a run was stopped")
    assert answer(capsys, "low.toml", "high.toml", "--on", "b")["troubles"] == [], "configs decide anew"
    decide_by(Storage("b"), {"caption_words": {"min": 6}})
    assert answer(capsys, "a", "b")["troubles"] == []


def test_a_damaged_record_is_an_error_in_words(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "b" / "run.json").write_text("{")
    assert main(["compare", "a", "b"]) == 2
    assert "run.json" in capsys.readouterr().err
    record = json.loads((place / "a" / "run.json").read_text())
    record["decisions"][0]["filters"][0]["settings"] = 3
    (place / "b" / "run.json").write_text(json.dumps(record))
    assert main(["compare", "a", "b"]) == 2
    assert "b is damaged: a value in it is of another type" in capsys.readouterr().err


def test_settings_too_deep_to_be_told_are_an_error_in_words(place: Path) -> None:
    a, b = (data_side(name, Storage(name)) for name in "ab")
    deep: dict[str, object] = {}
    for _ in range(2_000):
        deep = {"a": deep}
    assert b.record is not None
    with pytest.raises(StorageError, match=r"run\.json of a or b is damaged: maximum recursion"):
        compare(a, replace(b, record=replace(b.record, created_by={"config": {"fetch": deep}})))


def test_a_terminal_gets_tables(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a", "b", "--format", "table"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "kept 6 4 -2 in one only 0 0 in both 9" in told
    assert "too_few_words the caption has too few words, or there is none 3 5 2" in told
    assert "filter caption_words (samples) min changed 3 5" in told


def test_nothing_of_a_data_set_moves_the_cursor(tmp_path: Path) -> None:
    rows = [replace(row, verdict="\x1b[2Jred\u202e") for row in ROWS]
    sets = [data_side("\x1b]0;title\a", write_set(tmp_path / name, own, 9)) for name, own in (("a", rows), ("b", ROWS))]
    undecided = [replace(row, verdict="") for row in ROWS[:4]]
    sets[1] = data_side("b", write_set(tmp_path / "c", undecided))
    told = str(dict(terminal(compare(*sets))).values())
    assert "red" in told
    assert not [letter for letter in ("\\x1b", "\x1b", "\u202e", "\\u202e", "\a") if letter in told]


def test_long_tables_are_cut_on_a_terminal(tmp_path: Path) -> None:
    rows = [replace(row, verdict=f"reason {n}") for n, row in enumerate(ROWS)]
    kept = [replace(row, verdict="") for row in ROWS]
    sets = [data_side(name, write_set(tmp_path / name, own)) for name, own in (("a", rows), ("b", kept))]
    tables = dict(terminal(compare(*sets), most=5))
    assert len(tables["dropped, by reason (5 of 9; all of them in JSON)"]) == 5


def test_the_page_is_written_beside_the_answer(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "a", "high.toml", "--html", "page.html")
    assert "a against high.toml" in (place / "page.html").read_text()
