"""docs/stages.md has every key of the file with its default, every recipe, and nothing else."""

import dataclasses
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from curate.handover.resolution import Resolution
from curate.handover.stages import (
    OBJECTIVES,
    Lora,
    Mixture,
    MixtureSource,
    Stages,
    Trainable,
    TrainingStage,
    read_stages,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/stages.md").read_text()
TABLES = {
    Stages: "### The whole file",
    TrainingStage: "### A stage",
    Trainable: "### What is trainable",
    Lora: "Adapters:",
    Mixture: "### Mixture",
    MixtureSource: "A source:",
    Resolution: "### Resolution",
}


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table behind a heading."""
    lines = PAGE.split(f"\n{heading}\n", 1)[1].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    table = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def default(field: dataclasses.Field[Any]) -> str:
    """A default as TOML has it; nothing where a value must be given, or a table stands for it."""
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING or dataclasses.is_dataclass(value):
        return ""
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


@pytest.mark.parametrize("cls", TABLES, ids=lambda cls: cls.__name__)
def test_every_key_and_its_default(cls: type[Any]) -> None:
    told = {row[0].strip("`"): row[1] for row in rows(TABLES[cls])}
    assert told == {field.name: default(field) for field in dataclasses.fields(cls)}


@pytest.mark.parametrize(
    ("cls", "name"),
    [(TrainingStage, "schedule"), (TrainingStage, "loss_on"), (TrainingStage, "loss_norm"), (Resolution, "policy")],
)
def test_every_word_that_a_key_takes(cls: type[Any], name: str) -> None:
    row = next(row for row in rows(TABLES[cls]) if row[0] == f"`{name}`")
    words = set(get_args(get_type_hints(cls)[name]))
    assert words <= set(re.findall(r'`"?([a-z_]+)"?`', " ".join(row[1:])))


def test_every_objective_and_tiling() -> None:
    told = next(row for row in rows("### A stage") if row[0] == "`objectives`")
    assert set(re.findall("`([a-z_]+)`", told[2])) == set(OBJECTIVES)
    tilings = re.findall(r"^\| `([a-z_]+)` \|", PAGE.split("| tiling | whose |")[1].split("\n\n")[0], re.M)
    assert set(tilings) == set(get_args(get_type_hints(Resolution)["tiling"]))


def test_every_recipe() -> None:
    recipes = {path.stem: read_stages(path) for path in sorted((ROOT / "configs/stages").glob("*.toml"))}
    expected = [[f"`{name}`", ", ".join(s.name for s in file.stages), file.about] for name, file in recipes.items()]
    assert rows("## Recipes") == expected
