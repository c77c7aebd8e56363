"""The tree of the library: the first sentence of every module, read from its docstring without importing it."""

from __future__ import annotations

import ast
from pathlib import Path

from docs.generate.markdown import code, table, words

__all__ = ["first_sentence", "tree"]


def tree(root: Path) -> str:
    """A table for the library's own modules and for each package in it, then for the pipelines."""
    packages = [root / "curate", *sorted(p.parent for p in (root / "curate").rglob("__init__.py"))]
    parts = []
    for package in dict.fromkeys([*packages, root / "pipelines"]):
        modules = [p for p in sorted(package.glob("*.py")) if p.name != "__init__.py"]
        name = f"{package.relative_to(root).as_posix()}/"
        rows = [[code(module.name), first_sentence(module)] for module in modules]
        parts += [f"## {name}", first_sentence(package / "__init__.py")]
        parts += [table(["module", "what it is for"], rows)] if rows else []
    return "\n\n".join(part for part in parts if part)


def first_sentence(module: Path) -> str:
    """The first paragraph of a module's docstring, up to the end of its first sentence; empty where it has none."""
    told = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
    paragraph = words(told.partition("\n\n")[0])
    end = paragraph.find(". ")
    return paragraph if end < 0 else paragraph[: end + 1]
