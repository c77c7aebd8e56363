"""What the default rules find on real pages that the preset `obelics` loses, and the other way round, by cause.

    python -m bench.preset_differences [FOLDER]         FOLDER of real data, ../shared/data by default

Both modes read the same page, its comments taken out beforehand, so that a picture or a text is the same node for both.
What the preset lacks is put down to the outermost node that it dropped around it and the rule that did; what the
default lacks, to the region or reason that it gives. Texts are counted in words, and a page that several archives hold
is counted once.
"""

from __future__ import annotations

import json
import sys
import tarfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

from curate.archive.reader import read_records
from curate.document.extract import extract
from curate.document.extraction import Dropped, Extraction, ImageSlot, TextBlock
from curate.document.obelics_tree import without_comments
from curate.document.parse import parse
from curate.document.settings import DocumentSettings
from curate.document.tree import Tree

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
RESULTS = Path(__file__).parent / "results" / "preset_differences.json"
UTF8 = "text/html; charset=utf-8"
BYTE_ORDER_MARK = "\ufeff"
KEPT = "kept"
SIDES = ("both", "other address", "default only", "preset only")
SHOWN = 15
"""Causes of a side that are printed; the file has all."""

Row: TypeAlias = tuple[str, str]
"""Side and cause."""


class Page(NamedTuple):
    """A page at hand. `group`: the folder it came from."""

    group: str
    url: str | None
    body: bytes
    content_type: str | None


def pages(folder: Path) -> Iterator[Page]:
    """Pages of the gold set, the books and the archives, each body once."""
    seen: set[bytes] = set()
    for page in _all_pages(folder):
        if page.body and page.body not in seen:
            seen.add(page.body)
            yield page


def _all_pages(folder: Path) -> Iterator[Page]:
    with tarfile.open(folder / "htmlonly" / "readability-dev.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith("source.html") else None
            if file is not None:
                yield Page("readability", "http://fakehost.com/test/page.html", file.read(), UTF8)
    for group in ("openstax", "sites"):
        for path in sorted((folder / "web" / group).rglob("*.htm*")):
            name = path.relative_to(folder / "web").as_posix()
            yield Page(group, f"https://books.example.org/{name}", path.read_bytes(), None)
    for path in sorted((folder / "web" / "warc").iterdir()):
        with path.open("rb") as file:
            for record in read_records(file):
                content_type = record.http_headers.get("content-type")
                if content_type and "html" in content_type:
                    yield Page("warc", record.url, record.payload, content_type)


class Fates:
    """What one mode made of each node of a page."""

    def __init__(self, tree: Tree, found: Extraction) -> None:
        self.tree = tree
        self.slots = {block.node: block for block in reversed(found.blocks) if isinstance(block, ImageSlot)}
        self.blocks: dict[int, set[str | None]] = {}
        for block in found.blocks:
            if isinstance(block, TextBlock):
                self.blocks.setdefault(block.node, set()).add(block.reason)
        self._dropped: list[Dropped] = []
        for one in sorted(found.dropped, key=lambda dropped: dropped.node):
            is_outside = not self._dropped or one.node >= tree.ends[self._dropped[-1].node]
            if is_outside and one.reason != "empty_element":
                self._dropped.append(one)
        self._starts = [one.node for one in self._dropped]

    def around(self, node: int) -> Dropped | None:
        """The outermost dropped node that holds this one."""
        at = bisect_right(self._starts, node) - 1
        return self._dropped[at] if at >= 0 and node < self.tree.ends[self._starts[at]] else None

    def cause(self, node: int) -> str:
        """Why a node gave nothing: `rule: tag`."""
        one = self.around(node)
        return "no block" if one is None else f"{one.reason}: {self.tree.tags[one.node].removeprefix('#')}"

    def of_text(self, node: int) -> str:
        """KEPT, or why a text is not in the document: the nearest element around it that gave blocks tells."""
        one, at = self.around(node), node
        while one is None and at >= 0 and at not in self.blocks:
            at = self.tree.parents[at]
        reasons = self.blocks.get(at, set()) if one is None else set()
        return KEPT if None in reasons else next((str(reason) for reason in reasons), self.cause(node))


def in_whole_tree(found: Extraction, html: str, whole: Tree) -> Extraction:
    """The default's extraction with the numbers that nodes have in the whole tree: it reads one without blank texts."""
    lean, numbers, at = parse(html, blanks=False), [], -1
    for tag, text in zip(lean.tags, lean.texts, strict=True):
        at += 1
        while whole.tags[at] != tag or whole.texts[at] != text:
            at += 1
        numbers.append(at)
    blocks = tuple(replace(block, node=numbers[block.node]) for block in found.blocks)
    return replace(found, blocks=blocks, dropped=tuple(replace(d, node=numbers[d.node]) for d in found.dropped))


class Differences:
    """Pictures and words by side (`both`, `default only`, `preset only`, `other address`) and cause."""

    def __init__(self) -> None:
        self.pages: Counter[str] = Counter()
        self.counts: dict[str, Counter[Row]] = {"pictures": Counter(), "words": Counter()}
        self.pages_with: dict[str, Counter[Row]] = {"pictures": Counter(), "words": Counter()}

    def add(self, page: Page) -> None:
        """Read one page in both modes."""
        charset = extract(page.body, page.url, page.content_type, DocumentSettings(), None).charset
        whole = page.body.decode(charset or "utf-8", "replace").removeprefix(BYTE_ORDER_MARK)
        html = without_comments(whole)
        body = html.encode("utf-8", "replace")
        found = [extract(body, page.url, UTF8, DocumentSettings(mode=mode), None) for mode in ("default", "obelics")]
        self.pages[page.group if found[0].status == found[1].status == "ok" else found[0].status] += 1
        if found[0].status == found[1].status == "ok":
            tree = parse(html)
            default, preset = Fates(tree, in_whole_tree(found[0], html, tree)), Fates(tree, found[1])
            words = _words(default, preset)
            words["default only", "between two scripts with <!-- and -->"] = _words_in(parse(whole)) - _words_in(tree)
            for kind, rows in (("pictures", _pictures(default, preset)), ("words", +words)):
                self.counts[kind].update(rows)
                self.pages_with[kind].update(rows.keys())

    def table(self, kind: str, side: str) -> list[dict[str, str | int]]:
        """Causes of a side, most frequent first: how often, and on how many pages."""
        found = [(row, count) for row, count in self.counts[kind].most_common() if row[0] == side]
        pages_with = self.pages_with[kind]
        return [{"cause": row[1], "count": count, "pages": pages_with[row]} for row, count in found]


def _pictures(default: Fates, preset: Fates) -> Counter[Row]:
    pictures: Counter[Row] = Counter()
    for node in default.slots.keys() | preset.slots.keys():
        ours, theirs = default.slots.get(node), preset.slots.get(node)
        is_ours = ours is not None and ours.reason is None
        if ours and theirs and is_ours:
            change = _change_of_address(ours, theirs)
            pictures["other address" if change else "both", change] += 1
        elif is_ours:
            pictures["default only", preset.cause(node)] += 1
        elif theirs:
            pictures["preset only", (ours.reason if ours else None) or default.cause(node)] += 1
    return pictures


def _words(default: Fates, preset: Fates) -> Counter[Row]:
    words: Counter[Row] = Counter()
    for node, text in enumerate(default.tree.texts):
        count = len(text.split()) if text else 0
        if count:
            ours = default.of_text(node)
            theirs = KEPT if preset.around(node) is None else preset.cause(node)
            sides = {(True, True): "both", (True, False): "default only", (False, True): "preset only"}
            side = sides.get((ours == KEPT, theirs == KEPT), "")
            words[side, {"default only": theirs, "preset only": ours}.get(side, "")] += count
    return words


def _words_in(tree: Tree) -> int:
    """Words of a page outside scripts and styles."""
    texts = zip(tree.texts, tree.parents, strict=True)
    return sum(len(text.split()) for text, parent in texts if text and tree.tags[parent] not in ("script", "style"))


def _change_of_address(ours: ImageSlot, theirs: ImageSlot) -> str:
    """ "" where both modes ask for the same picture."""
    if unquote(ours.url) == unquote(theirs.url):
        return ""
    if ours.found_in != theirs.found_in:
        return f"{theirs.found_in} where the default takes {ours.found_in}"
    if unquote(ours.url).partition(":")[2] == unquote(theirs.url).partition(":")[2]:
        return "another scheme"
    return "joined to the domain's root"


def show(differences: Differences, kind: str) -> dict[str, list[dict[str, str | int]]]:
    """Print the table of one kind; returns all of it."""
    print(f"\n{kind:<58}{'count':>9}{'pages':>7}")
    tables = {side: differences.table(kind, side) for side in SIDES}
    for side, rows in tables.items():
        print(f"  {side:<56}{sum(int(row['count']) for row in rows):9,}")
        for row in rows[:SHOWN] if side != "both" else ():
            print(f"    {row['cause']:<54}{row['count']:9,}{row['pages']:7,}")
    return tables


def main(folder: Path) -> None:
    """Read all pages, print the two tables and write them down."""
    differences = Differences()
    for page in pages(folder):
        differences.add(page)
    print(" ".join(f"{group}: {count}" for group, count in differences.pages.items()))
    written = {"pages": dict(differences.pages), **{kind: show(differences, kind) for kind in differences.counts}}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
