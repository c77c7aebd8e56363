"""Carries out a page: its files are written, its commands run in order, and what it shows is held against what comes.

A file is a block whose last line of text before it ends in "`NAME`:". Commands stand in blocks of the language
`console`, each behind `$ `, with what it prints below. A line `...` stands for any lines, `...` at the end of a line
for the rest of it, and times, sizes and the folder's path for any others. A command without output shown may print
what it likes; each must end with code 0, or the one that a comment `# exit code N` names. Tables
are what a terminal shows. "In `FILE`, write `NEW` in place of `OLD`" is done to the file.
"""

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Collection
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from page_blocks import Block, blocks

from curate.cli import main

BIN = Path(sys.executable).parent
MASKS = [
    (r"\b\d+\.\d{3}\b", "NUMBER"),
    (r"\b\d+(\.\d+)?(e-\d+)? ?(s|ms|min|h)\b", "TIME"),
    (r"\b\d[\d,.]* (B|kB|MB|GB)\b", "SIZE"),
    (r" +", " "),
]
"""What differs from run to run and from machine to machine."""


@dataclass(frozen=True)
class Shown:
    """A command of a page and the lines that are shown below it."""

    command: str
    output: tuple[str, ...]


def session(block: Block) -> list[Shown]:
    """The commands of a `console` block."""
    parts = re.split(r"^\$ ", block.text.replace("\\\n", " "), flags=re.MULTILINE)[1:]
    return [Shown(lines[0], tuple(lines[1:])) for part in parts if (lines := part.rstrip().splitlines())]


def file_name(page: Path, block: Block) -> str | None:
    """The name of the file that a block is; None for what is none."""
    before = page.read_text("utf-8").splitlines()[: block.line - 1]
    last = next((line for line in reversed(before) if line.strip()), "")
    found = re.search(r"`([\w./-]+)`(?:, [^`]*)?:$", last)
    return found[1] if found and block.language in ("python", "toml") else None


def edits(page: Path) -> list[tuple[int, str, str, str]]:
    """The changes of files that a page asks for: the line, the file, what goes in, what goes out."""
    text = page.read_text("utf-8")
    found = re.finditer(r"In\s`([\w./-]+)`,\swrite\s`([^`]+)`\sin\splace\sof\s`([^`]+)`", text)
    return [(text.count("\n", 0, one.start()) + 1, one[1], one[2], one[3]) for one in found]


def carry_out(page: Path, folder: Path, here: Collection[str] = ()) -> dict[str, str]:
    """All of a page in a folder; answers what each command printed. Raises AssertionError where it is otherwise.
    `here`: verbs of `curate` that are run in this process, which saves them their start."""
    printed = {}
    left = edits(page)
    for block in blocks(page):
        while left and left[0][0] < block.line:
            _, file, new, old = left.pop(0)
            before = (folder / file).read_text()
            assert before.count(old) == 1, f"{file} has {before.count(old)} times {old!r}"
            (folder / file).write_text(before.replace(old, new))
        name = file_name(page, block)
        if name:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text + "\n")
        for shown in session(block) if block.language == "console" else []:
            printed[shown.command] = run(shown, folder, here)
    return printed


def run(shown: Shown, folder: Path, here: Collection[str] = ()) -> str:
    """One command. `pip install` makes the package known without installing it."""
    words = shlex.split(shown.command, comments=True)
    if words[0] == "pip":
        return install(folder)
    words += ["--format", "table"] if words[0] == "curate" and "--format" not in words else []
    expected = re.search(r"# exit code (\d+)", shown.command)
    done = _in_this_process(words, folder) if words[0] == "curate" and words[1] in here else _as_program(words, folder)
    wanted = int(expected[1] if expected else 0)
    assert done.returncode == wanted, f"{shown.command}\n{done.stdout}{done.stderr[-3000:]}"
    if shown.output:
        compare(shown, done.stdout, folder)
    return done.stdout


def _as_program(words: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    program = str({"curate": BIN / "curate", "python": sys.executable}[words[0]])
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 300}
    return subprocess.run([program, *words[1:]], check=False, **options)


def _in_this_process(words: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    with chdir(folder), redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(words[1:])
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def compare(shown: Shown, printed: str, folder: Path) -> None:
    """Hold what is shown against what was printed, line by line."""
    wanted, got = (masked(lines, folder) for lines in (shown.output, printed.splitlines()))
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else _pattern(line) + "\n" for line in wanted)
    told = "\n".join(["", f"$ {shown.command}", "the page shows", *shown.output, "and now there comes", printed])
    assert re.fullmatch(pattern, "".join(line + "\n" for line in got)), told


def _pattern(line: str) -> str:
    """What a shown line may be."""
    cut = line.removesuffix("...")
    return re.escape(cut.rstrip()) + ".*" if cut != line else re.escape(line)


def masked(lines: tuple[str, ...] | list[str], folder: Path) -> list[str]:
    """Lines without what differs; empty ones are left out."""
    found = []
    for line in lines:
        plain = line.replace(str(folder) + os.sep, "").strip()
        for pattern, word in MASKS:
            plain = re.sub(pattern, word, plain)
        plain = "---" if plain and set(plain) <= {"-", " "} else plain
        found += [plain] if plain else []
    return found


def install(folder: Path) -> str:
    """What `pip install -e .` would leave for the entry points of a project."""
    import tomllib

    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    told = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    told.mkdir()
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (told / "entry_points.txt").write_text("\n".join(groups))
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    return ""
