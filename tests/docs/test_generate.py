"""The generator of the pages: bounds asked of filters, arguments of parsers, heads of configs."""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from curate.filter import Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.registry import filter_class, filter_names
from docs.generate import cli_reference, filter_page, format_tables, preset_table, tree
from docs.generate.markdown import cell, table


@dataclass(frozen=True)
class Sharp(Bounded):
    """Invented: one number that must be given, one that may be, and a file that is nowhere."""

    file: str
    min: float
    most_px: int | None = None

    reads: ClassVar[tuple[str, ...]] = ("sharpness",)
    reasons: ClassVar[dict[str, str]] = {"not_sharp": "it is not sharp"}

    def __post_init__(self) -> None:
        check_bounds(self.min, None, least=-1, most=40_000)
        check_bounds(None, self.most_px, least=2, name="most_px")
        if not Path(self.file).is_dir():
            raise ValueError(f"file = {self.file!r} is no folder")

    @property
    def gauge(self) -> Gauge:
        return Gauge("sharpness", self.reads, min=self.min, too_low="not_sharp")


@pytest.mark.parametrize(
    ("name", "setting", "allowed"),
    [
        ("caption_words", "min", "0 or more"),
        ("aspect_ratio", "max", "1 or more"),
        ("faces", "max_area_ratio", "0 to 1"),
        ("near_image_duplicate", "radius", "0 to 63"),
        ("bytes_duplicate", "shards_per_part", "1 to 1,000,000"),
        ("clip_similarity", "count", "0 or more"),
        ("clip_similarity", "min", ""),
        ("caption_words", "rule", ""),
    ],
)
def test_bounds_are_those_that_the_filter_names(name: str, setting: str, allowed: str) -> None:
    rows = {row[0]: row for row in filter_page._settings(filter_class(name))}
    assert rows[f"`{setting}`"][3] == allowed


def test_bounds_and_gauges_are_found_where_a_file_is_missing() -> None:
    assert filter_page._settings(Sharp) == [
        ["`file`", "text", "must be given", ""],
        ["`min`", "number", "must be given", "-1 to 40,000"],
        ["`most_px`", "whole number", "none", "2 or more"],
    ]
    assert [gauge.name for gauge in filter_page.gauges_of(Sharp)] == ["sharpness"]


BY_SETTINGS = ("condition", "imported", "soft_cap")


@pytest.mark.parametrize("name", BY_SETTINGS)
def test_columns_that_only_settings_name_are_told_in_words(name: str) -> None:
    told = [line for line in filter_page._section(name).splitlines() if line.startswith(("- **Reads", "- **Gauges"))]
    assert told
    assert all("what its settings name" in line and "`x`" not in line for line in told)


def test_every_filter_has_one_section_with_all_its_reasons_and_columns() -> None:
    page = filter_page.filters()
    for name in filter_names():
        cls = filter_class(name)
        (section,) = re.findall(rf"^### {name}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        reads = set(cls.reads) - {"score"} if name in BY_SETTINGS else cls.reads
        assert all(f"`{word}`" in section for word in (*reads, *cls.reasons))
        assert f"[`{name}`](#{name})" in page


def test_a_filter_that_no_group_knows_is_among_the_others() -> None:
    assert filter_page.group_of("caption_words") == "Captions"
    assert filter_page.group_of("invented") == list(filter_page.GROUPS)[-1]


def test_a_column_without_words_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(format_tables.TABLES, "new", (lambda: {"key": pa.string(), "colour": pa.int8()}, {"key": "k"}))
    with pytest.raises(KeyError, match="colour"):
        format_tables.columns("new")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (pa.list_(pa.float16()), "list of float16"),
        (pa.dictionary(pa.int16(), pa.string()), "string (dictionary)"),
        (pa.map_(pa.string(), pa.int64()), "map of string to int64"),
        (pa.struct({"name": pa.string(), "bytes": pa.float64()}), "(name string, bytes float64)"),
    ],
)
def test_types_in_few_letters(kind: pa.DataType, words: str) -> None:
    assert format_tables.plain(kind) == words


def test_arguments_of_a_parser() -> None:
    parser = argparse.ArgumentParser(prog="curate walk", description="walk a dog")
    parser.add_argument("dog", nargs="*", metavar="DOG", help="who walks")
    parser.add_argument("--on", choices=("grass", "sand"), default="sand", help="where")
    parser.add_argument("--lead", required=True, metavar="M", help="its length (default: %(default)s)", default="2")
    more = parser.add_argument_group("for two dogs")
    more.add_argument("--swap", action="store_true", help="them")
    section = cli_reference._section("curate walk", parser)
    for line in (
        "## curate walk", "Walk a dog", "curate walk [DOG ...] --lead M [OPTIONS]", "For two dogs:",
        "| `[DOG ...]` | who walks |", "| `--on grass\\|sand` | where (`sand`) |", "| `--swap` | them |",
        "| `--lead M` | its length (default: 2) |",
    ):  # fmt: skip
        assert line in section.splitlines()
    assert "--help" not in section


def test_examples_in_a_description_stay_lines() -> None:
    text = "curate walk a   goes\ncurate walk b"
    assert cli_reference._paragraph(text) == "```\ncurate walk a   # goes\ncurate walk b\n```"
    assert cli_reference._paragraph("two\nlines") == "two lines"


def test_the_head_of_a_config(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text(
        "# What it is,\n# in words.\n#\n# source   this\n#          and that\n# size in  1 B\n#\n# more\n\na = 1\n"
    )
    assert preset_table.header(config) == ("What it is, in words.", {"source": "this and that", "size in": "1 B"})


def test_every_preset_says_what_goes_in_and_out_and_how_long_it_takes() -> None:
    for config in (Path(preset_table.__file__).resolve().parents[2] / "configs").glob("*.toml"):
        what, told = preset_table.header(config)
        assert what, config
        assert {"out", "hours"} <= set(told), config


def test_what_would_end_a_cell_does_not() -> None:
    assert cell("a | b\n<c> `<d>`") == "a \\| b &lt;c> `<d>`"
    assert table(["x"], [["1 | 2"]]).splitlines() == ["| x |", "| --- |", "| 1 \\| 2 |"]


def test_the_first_sentence_of_a_module(tmp_path: Path) -> None:
    module = tmp_path / "a.py"
    module.write_text('"""One: two,\nthree. Four.\n\nFive."""\n')
    assert tree.first_sentence(module) == "One: two, three."
    module.write_text("a = 1\n")
    assert tree.first_sentence(module) == ""


def test_a_filters_scorer_is_told_by_its_family() -> None:
    rows = format_tables.scorers().splitlines()
    assert "| `blur` | `image` | `laplacian_variance` float32 | `blur` |" in rows
    assert isinstance(filter_page.example(filter_class("blur")).scorer(), Scorer)
