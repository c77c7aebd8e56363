"""Who may import whom (the house rules), held by reading the imports."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted(p for package in ("curate", "filters", "pipelines") for p in (ROOT / package).rglob("*.py"))
LOW = {"stage", "filter", "gauge", "shard", "manifest", "sample", "text", "errors", "storage", "tar"}
MIDDLE = {
    "archive",
    "source",
    "fetch",
    "document",
    "score",
    "select",
    "rank",
    "cut",
    "imported",
    "decode",
    "dedup",
    "balance",
    "decontamination",
    "tombstones",
    "perceptual",
    "caption",
    "mixture",
    "export",
    "handover",
    "instruct",
    "report",
    "toyweb",
    "browse",
    "compare",
}


def name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    plain = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    return plain | {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}


def tops(path: Path) -> set[str]:
    return {i.split(".")[0] for i in imports(path)}


def parts(path: Path) -> set[str]:
    """Which parts of curate a file imports: `fetch`, `stage`, ..."""
    return {i.split(".")[1] for i in imports(path) if i.startswith("curate.")}


@pytest.mark.parametrize("path", CODE, ids=name)
def test_a_file_imports_only_what_it_may(path: Path) -> None:
    package, _, rest = name(path).partition(".")
    part = rest.split(".")[0]
    assert "tests" not in tops(path)
    if package == "curate":
        assert not {"filters", "pipelines"} & tops(path)
    if package == "filters":
        assert parts(path) <= {
            "filter",
            "gauge",
            "text",
            "grammar",
            "language",
            "models",
            "config",
            "errors",
            "source",
            "fetch",
            "document",
            "cut",
            "imported",
            "rank",
            "dedup",
            "balance",
            "decontamination",
            "tombstones",
            "shard",
            "manifest",
            "stage",
            "storage",
            "condition",
        }
        assert not {"filters", "pipelines"} & tops(path)
    if package == "pipelines":
        assert "filters" not in tops(path)
    if package == "curate" and part in LOW:
        assert parts(path) <= LOW
    if package == "curate" and part in MIDDLE:
        assert not parts(path) & {"cli", "run", "job", "plan"} or part == "export"
    if package == "curate" and part == "run":
        assert parts(path) <= LOW | {"run", "plan", "config"}
    if name(path) not in {"curate.run.ray", "curate.run.ray_train", "curate.run.ray_data"}:
        assert "ray" not in tops(path)
    if part not in {"models", "train"}:
        assert not {"torch", "open_clip", "transformers"} & tops(path)
    if part not in {"fetch", "source", "toyweb", "browse"}:
        assert not {"socket", "http", "urllib", "pycurl", "requests", "aiohttp"} & tops(path) - ALLOWED.get(
            name(path), set()
        )


ALLOWED = {
    "curate.manifest": {"socket"},
    "curate.run.ray": {"socket"},
    "curate.decontamination.lists": {"urllib"},  # escapes of a URL, by urllib.parse
    "curate.document.obelics_images": {"urllib"},  # its rules are those of urllib.parse
}
"""Names of modules that are imported for something that is not the network (the host's name)."""


@pytest.mark.parametrize("path", CODE, ids=name)
def test_only_the_command_line_prints_and_reads_the_environment(path: Path) -> None:
    if name(path).startswith("curate.cli"):
        return
    tree = ast.parse(path.read_text())
    assert not [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print"
    ]
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in {"environ", "getenv"}]


def test_the_two_package_names_stand_in_one_place() -> None:
    for path in CODE:
        if not name(path).startswith("curate") or name(path) == "curate.registry":
            continue
        strings = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
        assert "pipelines" not in strings, path


def test_nothing_dangerous_is_used() -> None:
    for path in CODE:
        assert not {"pickle", "marshal", "shelve", "dill"} & tops(path), path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "__import__"}, path
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(path)


def test_every_all_names_what_is_there() -> None:
    sys.path.insert(0, str(ROOT))
    for path in CODE:
        tree = ast.parse(path.read_text())
        exported = [n for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
        if not exported:
            continue
        defined = {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
        targets = [t for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
        assigned = {ast.unparse(e) for t in targets for e in (t.elts if isinstance(t, ast.Tuple) else [t])}
        assigned |= {ast.unparse(n.target) for n in tree.body if isinstance(n, ast.AnnAssign)}
        brought = {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom | ast.Import) for a in n.names}
        missing = set(ast.literal_eval(exported[0].value)) - defined - assigned - brought
        assert not missing, f"{path}: {missing}"
