"""What tests of the pages look at: their blocks of code, their links, the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
]


@dataclass(frozen=True)
class Block:
    """A block of code: the page, its first line there, its language ("" for one that is indented), its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, fenced and indented ones."""
    lines = page.read_text("utf-8").splitlines()
    found, at = [], 0
    while at < len(lines):
        fence = re.match(r"( *)```(\w*)", lines[at])
        indented = lines[at].startswith("    ") and not (at and lines[at - 1].strip())
        end = at + 1
        if fence:
            while end < len(lines) and lines[end].strip() != "```":
                end += 1
            text = "\n".join(line[len(fence[1]) :] for line in lines[at + 1 : end])
            found.append(Block(page.name, at + 1, fence[2], text))
        elif indented and not re.match(r"\s+([-*]|\d+\.) ", lines[at]):
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            text = "\n".join(line[4:] for line in lines[at:end]).rstrip()
            found.append(Block(page.name, at + 1, "", text))
        at = end + 1 if fence else end
    return found


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


def commands(block: Block) -> Iterator[list[str]]:
    """The `curate` commands of a block, as words without the first, those behind `ray job submit ... --` too."""
    for line in block.text.replace("\\\n", " ").splitlines():
        found = re.match(r"(?:\$ )?(?:.* -- )?curate (.*)", line.strip())
        if found and not line.startswith(("    ", "curate-vl")):
            yield shlex.split(found[1], comments=True)


def anchors(page: Path) -> set[str]:
    """What a link to a place of a page may say, by GitHub's rule."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", head)).strip().lower() for head in heads)
    return {head.replace(" ", "-") for head in plain}
