"""A mistake in a config is one clear line: where, what, and the nearest valid name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from curate.config import build, build_filters, read_toml, require_range
from curate.errors import ConfigError
from curate.registry import filter_names


@dataclass(frozen=True)
class Inner:
    """A table inside a section."""

    weight: float = 1.0


@dataclass(frozen=True)
class Section:
    """One field of every kind that sections use."""

    path: str
    timeout_s: float = 10.0
    retries: int = 2
    robots: bool = True
    mode: Literal["border", "keep_ratio", "no"] = "border"
    languages: tuple[str, ...] = ()
    columns: tuple[str, ...] | Literal["all"] = ()
    limit: int | None = None
    types: Mapping[str, Literal["int", "float"]] = field(default_factory=dict)
    inner: Inner = Inner()

    def __post_init__(self) -> None:
        require_range("timeout_s", self.timeout_s, 0.1, 600)
        require_range("retries", self.retries, 0)


def made(**table: Any) -> Section:
    return build(Section, {"path": "p", **table}, "fetch")


def test_every_kind_of_value() -> None:
    section = made(
        timeout_s=5,
        retries=0,
        robots=False,
        mode="no",
        languages=["en", "no"],
        columns="all",
        limit=3,
        types={"id": "int"},
        inner={"weight": 2},
    )
    assert section == Section("p", 5.0, 0, False, "no", ("en", "no"), "all", 3, {"id": "int"}, Inner(2.0))
    assert isinstance(section.timeout_s, float)
    assert made(columns=["a"]).columns == ("a",)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"timout_s": 5}, "[fetch] has no key 'timout_s'; did you mean 'timeout_s'?"),
        ({"zzz": 5}, "[fetch] has no key 'zzz'; known: columns, inner, languages, limit, mode, path, retries"),
        ({"retries": "2"}, "fetch.retries = '2' must be an integer"),
        ({"retries": 2.0}, "fetch.retries = 2.0 must be an integer"),
        ({"retries": True}, "fetch.retries = True must be an integer"),
        ({"timeout_s": True}, "fetch.timeout_s = True must be a number"),
        ({"robots": 1}, "fetch.robots = 1 must be true or false"),
        ({"path": 5}, "fetch.path = 5 must be a string"),
        (
            {"timeout_s": 10**400},
            "fetch.timeout_s = 10000000000000000000... is out of range: a whole number has",
        ),
        ({"retries": 2**63}, "fetch.retries = 9223372036854775808... is out of range: a whole number has"),
        (
            {"retries": -(2**63) - 1},
            "fetch.retries = -9223372036854775809... is out of range: a whole number has",
        ),
        ({"languages": "en"}, "fetch.languages = 'en' must be a list, each a string"),
        ({"languages": ["en", False]}, "fetch.languages[1] = False must be a string"),
        ({"mode": "boarder"}, "fetch.mode = 'boarder' is not one of them; did you mean 'border'?"),
        ({"limit": "all"}, "fetch.limit = 'all' must be an integer"),
        ({"types": {"id": "itn"}}, "fetch.types.id = 'itn' is not one of them; did you mean 'int'?"),
        ({"types": []}, "fetch.types = [] must be a table"),
        ({"inner": 5}, "fetch.inner = 5 must be a table"),
        ({"inner": {"wieght": 1}}, "[fetch.inner] has no key 'wieght'; did you mean 'weight'?"),
        ({"timeout_s": 0}, "[fetch] timeout_s = 0.0 is out of range: from 0.1 to 600"),
        ({"timeout_s": 601}, "[fetch] timeout_s = 601.0 is out of range: from 0.1 to 600"),
        ({"retries": -1}, "[fetch] retries = -1 is out of range: at least 0"),
    ],
)
def test_one_clear_line(table: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as told:
        made(**table)
    assert str(told.value).startswith(line)
    assert "\n" not in str(told.value)


def test_a_path_that_is_too_long_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^\[filters.language\] .*File name too long"):
        build_filters({"language": {"model": "x" * 300}})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match=re.escape("[fetch] needs a value for 'path'")):
        build(Section, {}, "fetch")


@pytest.mark.parametrize("value", [0.1, 600.0])
def test_bounds_are_included(value: float) -> None:
    assert made(timeout_s=value).timeout_s == value


@pytest.mark.parametrize(
    ("low", "high", "words"), [(1, None, "at least 1"), (None, -1, "at most -1"), (1, 2, "from 1 to 2")]
)
def test_range_in_words(low: float | None, high: float | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        require_range("x", 0, low, high)
    require_range("x", None, low, high)


def test_not_a_number_is_never_in_range() -> None:
    with pytest.raises(ConfigError, match=r"timeout_s = nan is out of range: from 0.1 to 600"):
        made(timeout_s=float("nan"))


@pytest.mark.parametrize("name", filter_names())
def test_an_unknown_filter_is_told_the_nearest(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"[filters.{name}x] no filter '{name}x'; did you mean '{name}'?")):
        build_filters({f"{name}x": {}})


@pytest.mark.parametrize("name", filter_names())
def test_an_unknown_key_of_a_filter_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"[filters.{name}] has no key 'no_such_key'; ")):
        build_filters({name: {"no_such_key": 1}})


def test_a_filter_must_be_a_table() -> None:
    with pytest.raises(
        ConfigError, match=re.escape("[filters] aspect_ratio must be a table; write [filters.aspect_ratio]")
    ):
        build_filters({"aspect_ratio": 3})


def test_filters_keep_their_order() -> None:
    names = [n for n in reversed(filter_names()) if n in ("aspect_ratio", "caption_words", "image_size", "opt_out")]
    assert list(build_filters({name: {} for name in names})) == names


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"a = 1\nb = \nc = 3", r"is not TOML: .*line 2"),
        (b"a = no", "is not TOML"),
        (b"a = 1\na = 2", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        pytest.param(b"a = " + b"1" * 5_000, "is not TOML", id="digits"),
        pytest.param(b"a = " + b"[" * 100_000, "is not TOML", id="brackets"),
    ],
)
def test_a_broken_file_is_told_with_its_line(tmp_path: Path, raw: bytes, words: str) -> None:
    path = tmp_path / "pairs.toml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match=words) as told:
        read_toml(path)
    assert str(told.value).startswith(str(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config"):
        read_toml(tmp_path / "pairs.toml")


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config .*: Is a directory; name a TOML file"):
        read_toml(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_languages_stay_words_also_behind_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.toml").write_text('languages = ["en", "no"]', encoding)
    assert read_toml(tmp_path / "a.toml") == {"languages": ["en", "no"]}
