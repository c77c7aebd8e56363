"""The pages say what is true: links lead somewhere, commands are commands, configs build, code compiles."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from page_blocks import PAGES, ROOT, Block, anchors, blocks, commands, prose

from curate.config import build, build_filters
from curate.errors import ConfigError
from curate.fetch.picture import ImageSettings
from curate.fetch.settings import FetchSettings
from curate.job import load_job
from curate.models.settings import build_models
from curate.run.scheduler import RunSettings
from docs.generate import PARTS, made_anew, stale
from docs.generate.cli_reference import parsers

ALL = [block for page in PAGES for block in blocks(page)]
SECTIONS = ("filters", "text_filters", "image_filters", "document_filters", "picture_filters")
PATHS = re.compile(r"`((?:configs|docs|bench|tests|curate|filters|pipelines)/[\w./]+)`")


def test_what_is_generated_is_fresh() -> None:
    found = [str(page.relative_to(ROOT)) for page in stale()]
    assert not found, (
        f"{', '.join(found)} says something else than the code; run `make docs`, or python -m docs.generate"
    )


def test_a_page_is_stale_when_the_code_has_changed() -> None:
    page = "a\n<!-- made: pipelines -->\nold\n<!-- end: pipelines -->\nb\n"
    anew = made_anew(page)
    assert anew != page
    assert "image_text_pairs" in anew
    assert (anew.startswith("a\n"), anew.endswith("b\n")) == (True, True)
    assert made_anew(anew) == anew
    with pytest.raises(KeyError, match="nonsense"):
        made_anew("<!-- made: nonsense -->\n<!-- end: nonsense -->")


def test_every_part_that_can_be_made_stands_on_a_page() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    assert {name for name in PARTS if f"<!-- made: {name} -->" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_places_that_are_there(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, place = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (place and place not in anchors(there)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    assert [name for name in PATHS.findall(page.read_text("utf-8")) if not (ROOT / name).exists()] == []


def refusal(words: list[str]) -> str:
    """Why the program's own parser refuses a command; empty where it takes it."""
    known = parsers()
    verb = known.get(f"curate {words[0]}")
    if verb is None:
        return "there is no such verb"
    try:
        for parser in known.values():
            parser.allow_abbrev = False  # a page writes options out
        verb.parse_args(words[1:])
    except SystemExit:
        return "refused"
    return ""


@pytest.mark.parametrize("block", [b for b in ALL if any(commands(b)) and "[" not in b.text.split("\n")[0]], ids=str)
def test_commands_are_taken_by_the_programs_own_parser(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    refused = {" ".join(words): refusal(words) + capsys.readouterr().err for words in commands(block)}
    assert {command: why for command, why in refused.items() if why} == {}


def test_a_command_that_is_none_would_be_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(["run", "configs/demo.toml", "--on", "ray"]) == ""
    assert refusal(["run", "configs/demo.toml", "--onn", "ray"]) == "refused"
    assert "--onn" in capsys.readouterr().err
    assert refusal(["run", "configs/demo.toml", "--lim", "3"]) == "refused"
    assert refusal(["walk", "configs/demo.toml"]) == "there is no such verb"
    block = Block(
        "a.md", 1, "", "$ ray job submit -- curate run a.toml --on ray   # goes on\ncurate show a \\\n  --why"
    )
    assert list(commands(block)) == [["run", "a.toml", "--on", "ray"], ["show", "a", "--why"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_within_a_line_have_verbs_and_options_that_there_are(page: Path) -> None:
    known = parsers()
    for command in re.findall(r"`curate ([a-z]+[^`]*)`", prose(page)):
        verb, *words = command.split()
        assert f"curate {verb}" in known, command
        options = {
            o for name, p in known.items() if name.split()[1] == verb for a in p._actions for o in a.option_strings
        }
        assert {word for word in words if re.fullmatch("--[a-z-]+", word)} <= options, command


def toml_of(block: Block) -> dict[str, Any] | None:
    """A block that is TOML, as a table; None for what is something else. One with a section must be TOML."""
    if block.language not in ("", "toml") or not re.match(r"(#.*\n)*(\[|\w+ = )", block.text):
        return None
    try:
        return tomllib.loads(block.text)
    except tomllib.TOMLDecodeError:
        if block.language == "toml":
            raise
        return None


CARRIED_OUT = ("writing_a_filter.md", "tutorial.md")
"""Pages whose configs are run by tests of their own."""
CONFIGS = [(block, table) for block in ALL if block.page not in CARRIED_OUT and (table := toml_of(block))]


@pytest.mark.parametrize(("block", "table"), CONFIGS, ids=[str(block) for block, _ in CONFIGS])
def test_configs_build(block: Block, table: dict[str, Any], tmp_path: Path) -> None:
    if "pipeline" in table:
        config = tmp_path / "page.toml"
        config.write_text(block.text)
        assert load_job(config).job.steps
        return
    for section in SECTIONS:
        build_filters(table.get(section, {}), section)
    build_models(table.get("models", {}))
    for section, settings in {"fetch": FetchSettings, "image": ImageSettings, "run": RunSettings}.items():
        build(settings, table.get(section, {}), section) if section in table else None


def test_a_config_that_does_not_build_would_be_found(tmp_path: Path) -> None:
    text = "[filters.caption_words]\nleast = 3"
    with pytest.raises(ConfigError, match="least"):
        test_configs_build(Block("a.md", 1, "toml", text), tomllib.loads(text), tmp_path)


PSEUDO = re.compile("audit|contents|page|image|image_cluster_centroids|.*: .*")
"""What a step writes that is no column of a shard."""


def as_the_page_writes(column: str, config: Mapping[str, Any]) -> str:
    """A column that is called by a config's own names as docs/formats.md writes it, with NAME, KIND and so on."""
    own = [n for section in ("models", "views", "instructions", "tokenizers") for n in config.get(section, {})]
    own += [view.get("captioner", "reworded") for view in config.get("views", {}).values()]
    column = re.sub("^(read|unique)_", "", column.removeprefix("part."))
    for name in own:
        column = re.sub(rf"_{name}_(?=(similarity|probability|reasons)$)", "_CAPTIONER_", column)
        column = re.sub(rf"^{name}_", "NAME_", re.sub(f"tokens_{name}$", "tokens_TOKENIZER", column))
    column = re.sub("^(pair|bytes|pixels|caption|near_caption|near_image)_(?=dup|clu|cap|hosts)", "KIND_", column)
    column = re.sub("^.*_left_(rank|above|total)$", "COLUMN_left_rank", column)
    return re.sub("^.*_(?=(rank|above|total|place|of_best_0_3)$)", "COLUMN_", column)


def test_every_column_that_a_preset_writes_is_told() -> None:
    known = set(re.findall("`(\\w+)`", (ROOT / "docs/formats.md").read_text("utf-8")))
    missing = set()
    for config in sorted((ROOT / "configs").glob("*.toml")):
        steps = load_job(config).job.steps
        named = {w for step in steps for w in step.writes if not PSEUDO.fullmatch(w.removeprefix("part."))}
        told = tomllib.loads(config.read_text("utf-8"))
        missing |= {(config.stem, name) for name in named if as_the_page_writes(name, told) not in known}
    assert missing == set()


CODE = [block for block in ALL if block.language == "python" or re.match(r"(from|import) \w", block.text)]


@pytest.mark.parametrize("block", CODE, ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")
