"""The README says what is there: its tree, its verbs, its files."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def tree() -> dict[str, set[str]]:
    """Folder to entries, as the README draws them."""
    lines = README.split("## The tree")[1].split("Apache-2.0")[0].splitlines()
    found: dict[str, set[str]] = {"": set()}
    folder = ""
    for line in lines:
        entry = re.match(r"    (  )?([\w./]+)\s{2,}\S", line)
        if entry and entry[1]:
            found[folder].add(entry[2])
        elif entry:
            found[""].add(entry[2])
            folder = entry[2]
            found[folder] = set()
    return found


def test_the_tree_is_the_tree() -> None:
    drawn = tree()
    assert drawn["curate/"] == {f"{p.parent.name}/" for p in (ROOT / "curate").glob("*/__init__.py")}
    assert drawn[""] == {"curate/", "filters/", "pipelines/", "configs/", "docs/", "bench/", "tests/"}
    assert all((ROOT / folder).is_dir() for folder in drawn[""])


def test_it_is_short_and_shows_every_verb() -> None:
    assert len(README.splitlines()) <= 130
    verbs = {p.stem for p in (ROOT / "curate/cli").glob("[a-z]*.py")}
    assert all(f"$ curate {verb} " in README or f"$ curate {verb}\n" in README for verb in verbs)


def test_files_that_it_names_are_there() -> None:
    for name in re.findall(r"`((?:configs|docs|bench|tests)/[\w./]+)`", README):
        assert (ROOT / name).exists(), name
