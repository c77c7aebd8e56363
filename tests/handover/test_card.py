"""A hand-over's dataset card: read back by the readers that it is written for, and by none that it should fool."""

from __future__ import annotations

import fnmatch
import hashlib
import html
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from handover_sets import make_handover, page, pair, prose, talk
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.cli import main
from curate.errors import ConfigError, ShardError
from curate.handover.card import Publication, publication, write_card
from curate.handover.card_facts import read_facts, shard_globs
from curate.handover.card_front import _size, front_matter
from curate.handover.card_licences import card_licence, hub_licence, spdx_address
from curate.handover.card_reading import braced
from curate.handover.card_tables import captions_section, funnel_section
from curate.handover.card_words import cleaned, escaped, table, yaml_lines
from curate.handover.verify import verify
from curate.sample import Conversation, Text, Turn
from curate.storage import Storage

MEAN = "</td></table><script>alert(1)</script> | [x](javascript:x) ![i](http://h/i) `c` *b* # h\n\n# h\n---\n\u202eabc"
FUNNEL = [
    {"stage": "adopt", "in": 12, "kept": 11, "dropped": {"image_broken": 1}},
    {"stage": "select", "in": 12, "kept": 7, "dropped": {MEAN: 2, "image_broken": 1, "too_few_words": 2}},
]


def mean(folder: Path) -> None:
    """Put words of strangers wherever a manifest takes some."""
    path = folder / "manifest.json"
    record = json.loads(path.read_bytes())
    lineage = {"dataset_id": MEAN, "stages": [], "funnel": FUNNEL, "models": []}
    record["sources"]["web"] |= {"licence": MEAN, "about": MEAN, "path": MEAN, "lineage": lineage}
    record["sources"]["web"]["left_out"] = {"no_caption": 3}
    record["warnings"] = [MEAN, "- # 1. no list"]
    record["licence_policy"] = record["created_by"]["package"] = MEAN
    record["opt_out_date"] = "2026-02-03"
    record["decontamination"] = [{"source": "web", "sets": MEAN, "method": MEAN, "dropped": {"in_evaluation": 4}}]
    scores = [{"column": MEAN, "model": MEAN}]
    column = {"source": "web", "name": MEAN, "origin": "captioner", "about": {"model": MEAN, "seed": "0"}}
    record["columns"] = [{**column, "scores": scores}]
    record["views"] = [{"source": "web", "view": MEAN, "rule": MEAN, "parameters": {MEAN: MEAN}}]
    path.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven pairs in two shards, pages of one, two and three pictures, talk, prose; with a card."""
    pairs = [pair(n, (f"a {n}", f"one {n}"), ("web", "synthetic")) for n in range(11)]
    sources = {
        "web": pairs,
        "pages": [page(n, images=n + 1) for n in range(3)],
        "vqa": [talk(n) for n in range(3)],
        "prose": [prose(n) for n in range(2)],
    }
    folder = make_handover(tmp_path_factory.mktemp("card") / "out", sources)
    storage = Storage(str(folder))
    write_card(storage, storage, Publication(name="Toy: *shapes*", published="2026-01-02", version="1.2.3"))
    return folder


@pytest.fixture(scope="module")
def front(handed: Path) -> dict[str, Any]:
    """The head of the card, as the hub reads it."""
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load((handed / "README.md").read_text("utf-8").split("---\n")[1])
    return found


def as_html(markdown: str) -> str:
    parser = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False, "html": True})
    rendered: str = parser.render(markdown)
    return rendered


def tags(page: str) -> set[str]:
    return set(re.findall(r"<(\w+)", page))


@pytest.mark.parametrize(
    "text", [MEAN, "1. a", "- a", "+ a", "12) a", "= a", "a | b", "&lt;b&gt;", "\\", "`", "www.h.test a@b.test", "$x$"]
)
def test_words_of_strangers_are_shown_in_their_cell_and_do_nothing(text: str) -> None:
    shown = as_html("\n".join(table(("a", "b"), [(escaped(text), "end")])))
    cells = re.findall(r"<td>(.*?)</td>", shown, re.DOTALL)
    assert [html.unescape(cell) for cell in cells] == [cleaned(text), "end"]
    assert tags(shown) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert tags(as_html(f"- {escaped(text)}")) == {"ul", "li"}
    assert not re.search(r"https?:|www\.|@", escaped(text))


@settings(max_examples=75, deadline=None)
@given(st.text(max_size=60))
def test_any_text_stays_in_its_cell(text: str) -> None:
    shown = as_html("\n".join(table(("a", "b"), [(escaped(text), "end")])))
    cells = re.findall(r"<td>(.*?)</td>", shown, re.DOTALL)
    assert [html.unescape(cell) for cell in cells] == [cleaned(text), "end"]


@pytest.mark.parametrize(
    ("text", "most", "shown"), [("abcdef", 6, "abcdef"), ("abcdefg", 6, "ab ..."), ("a\r\n b\0", 6, "a b")]
)
def test_words_are_one_line_of_bounded_length(text: str, most: int, shown: str) -> None:
    assert cleaned(text, most) == shown


@settings(max_examples=75, deadline=None)
@given(
    st.recursive(
        st.text(max_size=8) | st.sampled_from(["no", "y", "1.0", "2026-01-01", "null", "- a", "a: b", "\U0001f600"]),
        lambda own: (
            st.lists(own, min_size=1, max_size=3) | st.dictionaries(st.text(max_size=5), own, min_size=1, max_size=3)
        ),
    ).filter(lambda own: not isinstance(own, str))
)
def test_yaml_reads_back_what_was_meant(value: Any) -> None:
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load("\n".join(yaml_lines(value))) == value


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 1200), min_size=1), st.integers(0, 400), st.integers(0, 500))
def test_patterns_match_the_shards_and_no_other(some: set[int], start: int, more: int) -> None:
    wanted = {f"{n:05d}" for n in some | set(range(start, start + more))}
    globs = shard_globs(sorted(wanted))
    every = [f"{n:05d}" for n in range(1300)]
    assert {name for name in every if any(fnmatch.fnmatchcase(name, glob) for glob in globs)} == wanted


def test_many_shards_take_few_patterns() -> None:
    assert shard_globs([f"{n:05d}" for n in range(2000)]) == ["00[0-9][0-9][0-9]", "01[0-9][0-9][0-9]"]
    assert braced([f"{n:05d}" for n in range(2000)]) == "{00000..01999}.tar"
    assert [braced(own) for own in (["7"], ["a", "b"], ["8", "10"])] == ["7.tar", "{a,b}.tar", "{8,10}.tar"]


@pytest.mark.parametrize(
    ("licence", "hub", "spdx"),
    [
        ("CC-BY-4.0", "cc-by-4.0", "CC-BY-4.0"),
        ("cc by sa 4.0", "cc-by-sa-4.0", "CC-BY-SA-4.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0/deed.en", "cc-by-nc-4.0", "CC-BY-NC-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0", "CC0-1.0"),
        ("odbl", "odbl", "ODbL-1.0"),
        ("ODC-By-1.0", "odc-by", "ODC-By-1.0"),
        ("CC-BY-9.0", "", ""),
        ("as each page says", "", ""),
        ("", "", ""),
    ],
)
def test_a_licence_is_known_by_its_name_or_address(licence: str, hub: str, spdx: str) -> None:
    assert hub_licence(licence) == hub
    assert spdx_address(licence) == (f"https://spdx.org/licenses/{spdx}" if spdx else "")


@pytest.mark.parametrize(
    ("licences", "told"),
    [
        (["CC0-1.0", "cc0 1.0"], {"license": "cc0-1.0"}),
        (["CC0-1.0", "MIT"], {"license": "other", "license_name": "several"}),
        (["CC0-1.0", ""], {"license": "other", "license_name": "several"}),
        (["", ""], {"license": "unknown"}),
        (["Our own: v2!"], {"license": "other", "license_name": "our-own-v2"}),
        (["許可"], {"license": "other", "license_name": "as-told-by-its-source"}),
    ],
)
def test_the_card_has_a_licence_where_all_sources_have_it(licences: list[str], told: dict[str, str]) -> None:
    assert card_licence(licences) == told


@pytest.mark.parametrize(
    ("samples", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (9999, "1K<n<10K"), (10**12 - 1, "100B<n<1T"), (10**12, "n>1T")],
)
def test_the_hub_has_names_for_sizes(samples: int, size: str) -> None:
    assert _size(samples) == size


def test_the_head_says_what_the_hub_asks(front: dict[str, Any]) -> None:
    assert (front["license"], front["size_categories"]) == ("cc0-1.0", ["n<1K"])
    assert front["pretty_name"] == "Toy: *shapes*"
    assert {"image-to-text", "visual-question-answering", "text-generation"} <= set(front["task_categories"])
    files = {own["config_name"]: own["data_files"][0]["path"] for own in front["configs"]}
    assert files == {
        "web": ["00000.tar", "00001.tar"],
        "pages": ["00002.tar"],
        "vqa": ["00003.tar"],
        "prose": ["00004.tar"],
    }


STAGES = """
[[stages]]
name = "first"
objectives = {contrastive = 1.0}
steps = 2
resolution = {size = 32, patch = 8}
mixture = {sources = [{name = "web", kind = "pairs"}]}
"""


def test_the_lines_that_a_card_shows_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = make_handover(tmp_path / "out", {"web": [pair(n) for n in range(5)]}, shard_samples=2)
    (folder / "stages.toml").write_text(STAGES)
    record = json.loads((folder / "manifest.json").read_bytes())
    digest = hashlib.sha256(STAGES.encode()).hexdigest()
    record["stages"] = {"file": "stages.toml", "sha256": digest, "bytes": len(STAGES), "names": ["first"]}
    (folder / "manifest.json").write_text(json.dumps(record))
    write_card(Storage(str(folder)), Storage(str(folder)), Publication())
    shown = re.findall(r"(?:^    .*\n)+", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    wanted = [textwrap.dedent(lines) for lines in shown if "webdataset.Web" in lines or "Loader(" in lines]
    names: dict[str, Any] = {"DIR": str(folder)}
    exec(wanted[0].replace("webdataset.Web", "tars = webdataset.Web"), names)
    exec(wanted[1], names)
    keys = [f"0000{shard}0000{row}" for shard, row in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0))]
    assert sorted(row["__key__"] for row in names["tars"]) == keys
    assert len(next(iter(names["batches"])).rows) == 256
    assert any("--train-data 'DIR/{00000..00002}.tar' --train-num-samples 5" in lines for lines in shown)


@pytest.mark.parametrize(("images", "task"), [(1, "visual-question-answering"), (0, "text-generation")])
def test_talk_is_about_pictures_where_it_has_some(tmp_path: Path, images: int, task: str) -> None:
    said = talk(0) if images else Conversation("hi", (Turn("user", (Text("hi"),)), Turn("assistant", (Text("ho"),))))
    folder = make_handover(tmp_path / "out", {"vqa": [said]})
    head = "\n".join(front_matter(read_facts(Storage(str(folder))), "Toy"))
    assert f"task_categories:\n- {task}\ntags:" in head


@pytest.mark.parametrize(("name", "rows"), [("web", 11), ("pages", 3), ("vqa", 3), ("prose", 2)])
def test_datasets_reads_each_source(handed: Path, tmp_path: Path, name: str, rows: int) -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(handed), name, split="train", cache_dir=str(tmp_path))
    assert len(found) == rows
    first, last = found[0], found[rows - 1]
    if name == "web":
        assert (first["txt"], first["json"]["captions"]) == ("a 0", ["a 0", "one 0"])
        assert first["jpg"].size == (32, 24)
        assert last["txt"] == "a 10"
    elif name == "pages":
        assert first["json"]["images"] == [None, "1.jpg", None]
        assert first["json"]["texts"][1:] == [None, "w0 w0 w0 w0 w0 w0"]
        assert (first["1.jpg"].size, first["3.jpg"], last["5.jpg"].size) == ((32, 24), None, (32, 24))
    elif name == "vqa":
        asked, answered = first["json"]["messages"]
        assert (asked["content"][0]["image"], answered["content"][0]["text"]) == ("0.jpg", "It is 0.")
        assert first["0.jpg"].size == (32, 24)
    else:
        assert first["json"]["text"].startswith("t0 t0")


def test_the_same_manifest_gives_the_same_bytes(handed: Path, tmp_path: Path) -> None:
    words = Publication(name="Toy: *shapes*", published="2026-01-02", version="1.2.3")
    write_card(Storage(str(handed)), Storage(str(tmp_path)), words)
    for name in ("README.md", "croissant.json"):
        assert (tmp_path / name).read_bytes() == (handed / name).read_bytes()
    assert str(handed) not in (handed / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def meant(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The card of a manifest that is full of words of strangers, without its head."""
    folder = make_handover(tmp_path_factory.mktemp("mean") / "out", {"web": [pair(n) for n in range(2)]})
    mean(folder)
    storage = Storage(str(folder))
    write_card(storage, storage, Publication(creator=MEAN))
    assert b"<" not in (folder / "croissant.json").read_bytes()
    json.loads((folder / "croissant.json").read_bytes())
    return (folder / "README.md").read_text("utf-8").split("\n---\n", 1)[1]


def test_a_mean_manifest_makes_a_plain_page(meant: str) -> None:
    shown = as_html(meant)
    known = {"h1", "h2", "h3", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "strong"}
    assert tags(shown) <= known
    assert "\u202e" not in meant
    assert "<script" not in meant
    heads = re.findall(r"<h[12]>(.*?)</h[12]>", shown)
    assert "h" not in heads
    assert len(heads) == len(set(heads))
    for body in re.findall(r"<table>.*?</table>", shown, re.DOTALL):
        assert len({row.count("<td") + row.count("<th>") + row.count("<th ") for row in body.split("</tr>")[:-1]}) == 1


def test_the_card_tells_the_funnel_and_its_limits(meant: str) -> None:
    assert "| `adopt` | 12 | 11 | `image_broken` 1 |" in meant
    assert "`too_few_words` 2" in meant
    assert "| **packed here** | 5 | 2 | `no_caption` 3 |" in meant
    assert "Opt-outs were honoured up to 2026-02-03." in meant
    assert "curate export --verify DIR" in meant


def test_languages_and_histograms_are_told_where_they_are_known(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = make_handover(tmp_path / "out", {"web": [pair(n) for n in range(200)]}, shard_samples=200)
    rows = pq.read_table(folder / "00000.parquet")
    spoken = ["en"] * 150 + ["no"] * 48 + ["de"] + ["{x}"]
    pq.write_table(rows.append_column("language", pa.array(spoken)), folder / "00000.parquet")
    path = folder / "manifest.json"
    record = json.loads(path.read_bytes())
    record["shards"][0] |= {"aspect": [0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 0], "width_px": [199, 1, *[0] * 14]}
    record["shards"][0]["captions"] = {"web": {"texts": 200, "words": [0, 0, 0, 200, *[0] * 10]}}
    record["shards"][0]["scores"] = {"clip_similarity": {"values": 9, "min": 0.25, "max": 0.5}}
    path.write_text(json.dumps(record))
    facts = read_facts(Storage(str(folder)))
    assert facts.sources["web"].languages == ("en", "no")
    write_card(Storage(str(folder)), Storage(str(folder)), Publication())
    card = (folder / "README.md").read_text("utf-8")
    assert 'language:\n- en\n- "no"\n' in card
    assert "| 0 to 63 | ████████████████ | 199 | 99.5 % |" in card
    assert "| 64 to 127 | █ | 1 | 0.5 % |" in card
    assert "| 1.3333 to 1.5 | ████████████████ | 200 | 100.0 % |" in card
    assert "| 3 to 4 | ████████████████ | 200 | 100.0 % |" in card
    assert "| `web` | `clip_similarity` | 9 | 0.25 | 0.5 |" in card


def test_what_no_card_can_be_made_of_is_told(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"has no manifest\.json"):
        read_facts(Storage(str(tmp_path)))
    folder = make_handover(tmp_path / "out", {"web": [pair(n) for n in range(4)]}, shard_samples=2)
    path = folder / "manifest.json"
    record = json.loads(path.read_bytes())
    odd = json.dumps(record).replace('"web"', '"a/b"')
    path.write_text(odd)
    with pytest.raises(ConfigError, match="source 'a/b'"):
        read_facts(Storage(str(folder)))
    record["shards"][0]["aspect"], record["shards"][1]["aspect"] = [1], [1, 2]
    path.write_text(json.dumps(record))
    with pytest.raises(ShardError, match=r"shard 00001 .* other histograms"):
        read_facts(Storage(str(folder)))


@pytest.mark.parametrize("kept_only", [False, True])
def test_a_source_with_what_was_dropped_says_so(tmp_path: Path, kept_only: bool) -> None:
    folder = make_handover(tmp_path / "out", {"web": [pair(0)]})
    mean(folder)
    record = json.loads((folder / "manifest.json").read_bytes())
    record["sources"]["web"]["settings"] = {"kept_only": kept_only}
    (folder / "manifest.json").write_text(json.dumps(record))
    told = "\n".join(funnel_section(read_facts(Storage(str(folder)))))
    assert ("is handed over too" in told) is not kept_only


def test_histograms_of_other_lengths_are_left_out(tmp_path: Path) -> None:
    """A manifest of somebody else: two sources that count words in other bins."""
    folder = make_handover(tmp_path / "out", {"a": [pair(0)], "b": [pair(1)]})
    record = json.loads((folder / "manifest.json").read_bytes())
    for shard, words in zip(record["shards"], ([0] * 5 + [7] + [0] * 8, [1, 2, 3]), strict=True):
        shard["captions"] = {"web": {"texts": 1, "words": words}}
    (folder / "manifest.json").write_text(json.dumps(record))
    told = "\n".join(captions_section(read_facts(Storage(str(folder)))))
    assert "| 8 to 11 |" in told
    assert told.count("100.0 %") == 1


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("names=x", "did you mean 'name'"),
        ("name", "KEY=VALUE"),
        ("published=soon", "YYYY-MM-DD"),
        ("version=1", "1.2.3"),
        ("url=javascript:x", "https://"),
        ("url=https://h/><b>", "https://"),
    ],
)
def test_a_wrong_description_is_refused(entry: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        publication([entry])


def test_the_command_writes_into_the_hand_over_and_keeps_what_others_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_handover(tmp_path / "out", {"web": [pair(0)]})
    assert main(["export", str(folder), "--to", "card", "--describe", "name=Mine"]) == 0
    assert json.loads(capsys.readouterr().out)["written_to"] == str(folder)
    assert "\n# Mine\n" in (folder / "README.md").read_text("utf-8")
    assert main(["export", str(folder), "--to", "card"]) == 0
    assert not verify(Storage(str(folder))).problems
    (folder / "README.md").write_text("mine")
    assert main(["export", str(folder), "--to", "card"]) == 2
    assert "somebody's own" in capsys.readouterr().err
    assert (folder / "README.md").read_text("utf-8") == "mine"
    assert main(["export", str(folder), "--to", "card", "--out", str(tmp_path / "other")]) == 0
    assert main(["export", str(folder), "--to", "trl", "--describe", "name=Mine"]) == 2
