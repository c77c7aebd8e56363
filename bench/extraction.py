"""Text and images of real pages: this project, trafilatura and resiliparse over the same bytes, in one run.

Quality is measured on the 65 gold pages (`bench/extraction_gold.py`), speed on these and on the pages of a book and of
four old illustrated books, one core, CPU time. Each contender reads every page `--rounds` times, the best round counts;
all get bytes and make text and image addresses of them. Peers are run as their documentation says, without comments,
which the gold has not either.

    python -m bench.extraction [--rounds 3]           two minutes; also bench/results/extraction.json
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

from bench.extraction_gold import ARCHIVE, PAGE_URL, GoldPage, Summary, gold_pages, judge, srcset_of, summary

RESULTS = Path(__file__).resolve().parent / "results"
WEB = ARCHIVE.parents[1] / "web"
FOLDERS = ("openstax", "sites")

Found: TypeAlias = tuple[str, list[Iterable[str]]]
Extractor: TypeAlias = Callable[[bytes], Found]


@dataclass(frozen=True)
class Row:
    """One line of the table. `slowest_s`: the page that took longest, in the best round."""

    name: str
    pages: int
    pages_per_s: float
    gold_pages_per_s: float
    slowest_s: float
    quality: Summary


def ours(mode: str) -> Extractor:
    """This project's extraction in one of its modes; blocks and slots without a reason."""
    from curate.document.extract import extract
    from curate.document.extraction import ImageSlot, TextBlock
    from curate.document.settings import DocumentSettings

    settings = DocumentSettings(mode="obelics" if mode == "obelics" else "default")

    def run(html: bytes) -> Found:
        kept = [block for block in extract(html, PAGE_URL, settings=settings).blocks if block.reason is None]
        text = "\n".join(block.text for block in kept if isinstance(block, TextBlock))
        return text, [(block.url, *block.candidates) for block in kept if isinstance(block, ImageSlot)]

    return run


def trafilatura(fast: bool) -> Extractor:
    """trafilatura with images, as XML: text of all elements, addresses of `graphic`.

    It hands on a whole `data-srcset` as one address, which no reader can fetch; here it is taken apart in its favour.
    """
    from lxml import etree
    from trafilatura import extract

    def run(html: bytes) -> Found:
        xml = extract(
            html, url=PAGE_URL, fast=fast, output_format="xml", include_images=True, include_comments=False
        )  # fmt: skip
        if not xml:
            return "", []
        root = etree.fromstring(xml.encode(), etree.XMLParser(resolve_entities=False, recover=True))
        return "\n".join(root.itertext()), [srcset_of(graphic.get("src", "")) for graphic in root.iter("graphic")]

    return run


def resiliparse() -> Extractor:
    """resiliparse's main content; it has no images."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding
    from resiliparse.parse.html import HTMLTree

    def run(html: bytes) -> Found:
        tree = HTMLTree.parse_from_bytes(html, detect_encoding(html))
        return extract_plain_text(tree, main_content=True, alt_texts=False, list_bullets=False), []

    return run


CONTENDERS: dict[str, Callable[[], Extractor]] = {
    "ours": lambda: ours("default"),
    "ours, mode obelics": lambda: ours("obelics"),
    "trafilatura": lambda: trafilatura(False),
    "trafilatura, fast": lambda: trafilatura(True),
    "resiliparse": resiliparse,
}


def measured(name: str, extractor: Extractor, gold: list[GoldPage], others: list[bytes], rounds: int) -> Row:
    """Quality on the gold, and CPU time of the best round over all pages."""
    quality = summary([judge(page, *extractor(page.html)) for page in gold])
    best: list[float] = []
    for _ in range(rounds):
        gc.collect()
        times = []
        for html in [*(page.html for page in gold), *others]:
            started = time.process_time()
            extractor(html)
            times.append(time.process_time() - started)
        if not best or sum(times) < sum(best):
            best = times
    of_gold = len(gold) / sum(best[: len(gold)])
    return Row(name, len(best), len(best) / sum(best), of_gold, max(best), quality)


def other_pages() -> list[bytes]:
    """HTML of the two folders, in the order of their names."""
    paths = [path for folder in FOLDERS for path in sorted((WEB / folder).rglob("*.htm*"))]
    return [path.read_bytes() for path in paths]


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    head = (
        "| program | pages/s a core | gold pages/s | slowest page s | text F1 (P/R) | F1 micro | "
        "image recall | precision | macro recall | macro precision |"
    )
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    for row in rows:
        q = row.quality
        images = (q.image_recall, q.image_precision, q.macro_image_recall, q.macro_image_precision)
        shown = " | ".join(f"{value:.3f}" for value in images) if q.image_recall else "none | | |"
        lines.append(
            f"| {row.name} | {row.pages_per_s:.0f} | {row.gold_pages_per_s:.0f} | {row.slowest_s:.2f} | "
            f"{q.f1:.3f} ({q.precision:.3f}/{q.recall:.3f}) | {q.micro_f1:.3f} | {shown} |"
        )
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Of the interpreter, the peers and the parser; a peer that is not installed says so."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("selectolax", "trafilatura", "resiliparse"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def main() -> None:
    """Measure all, print the table, write the figures."""
    parser = argparse.ArgumentParser(description="extraction: ours and its peers on the same pages")
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    if not ARCHIVE.exists():
        raise SystemExit(f"no gold pages: {ARCHIVE} is not there")
    gold, others, rows = gold_pages(), other_pages(), []
    print(f"{len(gold)} gold pages, {len(others)} others, best of {rounds} rounds")
    for name, make in CONTENDERS.items():
        try:
            extractor = make()
        except ImportError as error:
            print(f"{name}: left out, {error.name or error} is not installed")
            continue
        rows.append(measured(name, extractor, gold, others, rounds))
        print(f"{name}: {rows[-1].pages_per_s:.0f} pages/s", flush=True)
    print(table(rows))
    RESULTS.mkdir(exist_ok=True)
    report = {"versions": versions(), "rounds": rounds, "rows": [asdict(row) for row in rows]}
    (RESULTS / "extraction.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
