"""The command line as a user meets it: what it prints, where, and how it exits."""

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest

from curate.cli import main
from curate.manifest import write_parquet
from curate.shard import Shard
from curate.storage import Storage

HEAVY = {"numpy", "pyarrow", "pandas", "cv2", "PIL", "ray", "pycurl", "fsspec", "fasttext", "torch", "tqdm"}
CURATE = Path(sys.executable).parent / "curate"
ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
pipeline = "image_text_pairs"
[source]
kind = "toy_web"
samples = {samples}
[shards]
samples = 8
[fetch]
per_host_rate = 0
least_rate_window_s = 1.0
most_bytes = 8_000_000
backoff_s = 0.1
[filters.caption_words]
min = {words}
[filters.image_size]
min_side_px = 100
[run]
workers = 2
"""


def put_config(folder: Path, samples: int = 24, words: int = 3) -> Path:
    path = folder / "tiny.toml"
    path.write_text(CONFIG.format(samples=samples, words=words))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return put_config(tmp_path)


class Called(NamedTuple):
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: object) -> Called:
    """A command as the program runs it, in this process: not on a terminal, its work done inline."""
    words = [*map(str, arguments), *(["--on", "inline"] if arguments[0] == "run" else [])]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(words)
    return Called(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Called]:
    """A data set that a run has made, and what it printed."""
    folder = tmp_path_factory.mktemp("first")
    ran = call("run", put_config(folder), "--out", folder / "set")
    assert ran.returncode == 0, ran.stderr
    return folder / "set", ran


@pytest.fixture
def made(first_run: tuple[Path, Called], tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(first_run[0], tmp_path / "set"))


def test_help_loads_nothing_heavy_and_names_every_verb() -> None:
    script = (
        "import sys\nfrom curate.cli import main\n"
        "try:\n main(['--help'])\nexcept SystemExit as e:\n assert e.code == 0\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    text, _, loaded = done.stdout.partition("LOADED")
    assert all(f"    {verb} " in text for verb in ("export", "filters", "plan", "run", "show"))
    assert not HEAVY & {name.split(".")[0] for name in loaded.split()}


def test_run_plan_show_export(config: Path, first_run: tuple[Path, Called], made: Path, tmp_path: Path) -> None:
    before = json.loads(call("plan", config, "--out", tmp_path / "none").stdout)["plan"]
    assert before[0]["step"] == "fetch"
    assert {row["shards"] for row in before} == {"not cut yet"}
    out, result = made, json.loads(first_run[1].stdout)
    assert {"funnel", "against_truth", "samples", "work", "written_to"} == set(result)
    assert result["funnel"][0]["came_in"] == 24
    steps = json.loads(call("plan", config, "--out", out).stdout)["plan"]
    assert {(row["done"], row["to_run"]) for row in steps} == {(3, 0)}
    again = json.loads(call("run", config, "--out", out).stdout)
    assert again["work"].startswith("0 commits made")
    assert again["funnel"] == result["funnel"]
    shown = json.loads(call("show", out / "00001.tar").stdout)
    assert shown["rows"] == 8
    key = "000010"
    sample = json.loads(call("show", out / "00001", key).stdout)
    assert sample["key"] == key
    dropped = next(k for k in range(24) if reasons(out, k))
    table = call("show", out / f"0000{dropped // 8}", f"0000{dropped // 8}{dropped % 8}", "--format", "table").stdout
    assert f"drop_reasons: {', '.join(reasons(out, dropped))}" in table
    assert "----" in call("show", out / "00001", "--format", "table").stdout
    exported = json.loads(call("export", out, "--to", "webdataset", "--shard-samples", 5).stdout)
    kept = int(result["samples"].split()[0])
    sizes = json.loads((tmp_path / "set-webdataset/sizes.json").read_text())
    assert sum(sizes.values()) == kept
    assert max(sizes.values()) <= 5
    assert exported["written_to"] == str(out) + "-webdataset"


def reasons(out: Path, row: int) -> list[str]:
    table = Shard(Storage(str(out)), f"0000{row // 8}").columns(["drop_reasons"])
    given: list[str] = table["drop_reasons"].to_pylist()[row % 8]
    return given


def test_a_changed_threshold_redoes_only_the_decision(made: Path, tmp_path: Path) -> None:
    config = put_config(tmp_path, words=9)
    plan = {row["step"]: row for row in json.loads(call("plan", config, "--out", made).stdout)["plan"]}
    assert {step: row["to_run"] for step, row in plan.items() if row["to_run"]} == {"select": 3}
    assert plan["select"]["outdated"] == 3
    assert json.loads(call("run", config, "--out", made).stdout)["work"].startswith("3 commits made")


def test_limit_takes_the_first_rows(config: Path, tmp_path: Path) -> None:
    result = json.loads(call("run", config, "--out", tmp_path / "set", "--limit", 5).stdout)
    assert result["samples"].endswith("of 5")


def test_a_plan_says_what_a_run_would_say(config: Path, tmp_path: Path) -> None:
    """Another source, another cut and a smaller limit are refused; with a larger limit the source is to be read on."""
    out = tmp_path / "set"
    call("run", config, "--out", out, "--limit", 9)
    larger = json.loads(call("plan", config, "--out", out).stdout)["plan"]
    assert {(row["shards"], row["done"], row["to_run"]) for row in larger} == {("not cut yet", None, None)}
    text = config.read_text()
    for change, arguments in (
        (text, ("--limit", 8)),
        (text.replace("samples = 24", "samples = 25"), ("--limit", 9)),
        (text.replace("samples = 8", "samples = 9"), ("--limit", 9)),
    ):
        config.write_text(change)
        plan, run = (call(verb, config, "--out", out, *arguments) for verb in ("plan", "run"))
        assert (plan.returncode, run.returncode) == (2, 2)
        assert plan.stderr == run.stderr.splitlines(keepends=True)[-1]
        assert "choose another --out" in plan.stderr


def test_a_failed_shard_is_told_and_exits_with_1(made: Path, tmp_path: Path) -> None:
    (made / "00001.parquet").write_bytes(bytes((made / "00001.parquet").stat().st_size))
    failed = call("run", put_config(tmp_path, words=4), "--out", made)
    assert failed.returncode == 1
    rows = json.loads(failed.stdout)["failed_shards"]
    assert rows[0]["shard"] == "00001"
    assert "00001.parquet" in rows[0]["error"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("[filterz.x]", "has no key 'filterz'; did you mean 'filters'?"),
        ("[filters.caption_word]", "no filter 'caption_word'; did you mean 'caption_words'?"),
        ("[subset]\nuid_colum = 'x'", "[subset] has no key 'uid_colum'; did you mean 'uid_column'?"),
        ("[run.x]", "[run] has no key 'x'"),
    ],
)
def test_a_wrong_config_is_one_line_and_exits_with_2(config: Path, change: str, message: str) -> None:
    config.write_text(config.read_text().replace("[run]\nworkers = 2", "") + change)
    done = call("run", config)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("pipeline", "rest", "message"),
    [
        ("image_text_pairs", "kind = 'toy_pages'", "kind = 'toy_pages' gives pages, and this pipeline takes pairs"),
        ("interleaved", "kind = 'toy_web'", "kind = 'toy_web' gives no pages; this pipeline makes documents"),
        ("interleaved", "kind = 'toy_pages'\n[image_filters.blur]", "write [picture_filters.blur]"),
        ("interleaved", "kind = 'toy_pages'\n[document_filters.image_size]", "write [picture_filters.image_size]"),
        ("interleaved", "kind = 'toy_pages'\n[text_filters.caption_words]", "write [image_filters.caption_words]"),
        ("interleaved", "kind = 'toy_pages'\n[image_filters.text_words]", "write [text_filters.text_words]"),
        (
            "interleaved",
            "kind = 'toy_pages'\n[picture_filters.animated]",
            "[picture_filters] judge pictures, and fetch_images = false gets none",
        ),
    ],
)
def test_what_does_not_fit_together_is_told_before_anything_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pipeline: str, rest: str, message: str
) -> None:
    path = tmp_path / "odd.toml"
    pictures = "fetch_images = false" if pipeline == "interleaved" else ""
    path.write_text(f"pipeline = '{pipeline}'\n{pictures}\n[source]\n{rest}")
    assert main(["run", str(path), "--out", str(tmp_path / "set"), "--on", "inline"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_missing_things_are_named(tmp_path: Path) -> None:
    assert "no config" in call("run", tmp_path / "none.toml").stderr
    (tmp_path / "a.toml").write_text("x = ")
    assert "is not TOML" in call("plan", tmp_path / "a.toml").stderr
    (tmp_path / "b.toml").write_text("pipeline = 'image_text_pair'")
    assert "did you mean 'image_text_pairs'?" in call("plan", tmp_path / "b.toml").stderr
    missing = call("show", tmp_path / "00000")
    assert missing.returncode == 2
    assert "00000.parquet" in missing.stderr
    unknown = call("export", tmp_path, "--to", "webdatase")
    assert unknown.returncode == 2
    assert "did you mean 'webdataset'?" in unknown.stderr


def test_what_cannot_be_done_is_one_line(config: Path, first_run: tuple[Path, Called], tmp_path: Path) -> None:
    out = first_run[0]
    for arguments, words in (
        (("run", tmp_path), "name a TOML file"),
        (("run", config, "--limit", 0), "--limit 0 is out of range: at least 1"),
        (("plan", config, "--limit", -3), "--limit -3 is out of range: at least 1"),
        (("export", tmp_path / "typo", "--to", "webdataset"), "typo holds no data set"),
        (("show", out), "is a whole data set; name one of its shards"),
        (("show", f"{out}/"), "is a whole data set; name one of its shards"),
        (("show", out / "99999"), f"{out} has no shard 99999; its shards go from 00000 to 0000"),
        (("show", out / "00000", kept_key(out), "--image", tmp_path / "no/x.jpg"), "choose another --image"),
    ):
        done = call(*arguments)
        assert done.returncode == 2, arguments
        assert words in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_the_program_ends_with_the_code_and_one_line(tmp_path: Path) -> None:
    write_parquet(pa.table({"key": pa.array([], pa.string())}), tmp_path / "00000.parquet")
    command = [CURATE, "show", tmp_path / "00000", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stderr == "curate: shard 00000 has no key '7'; it has no rows\n"
    assert (done.returncode, done.stdout) == (2, "")


def kept_key(out: Path) -> str:
    return next(Shard(Storage(str(out)), "00000").samples()).key


def test_a_filter_is_decided_on_columns_that_the_source_brings(config: Path, tmp_path: Path) -> None:
    """Named columns are taken as they are. What comes unnamed with `all` gives way to what is measured here."""
    (tmp_path / "list.csv").write_text("url,caption,language\nnone:,a cat sits on a red mat in the sun,de\n")
    text = 'pipeline = "image_text_pairs"\n[source]\nkind = "url_table"\npath = "{}"\ncaption_column = "caption"\n'
    text += "columns = {}\n[filters.language]\nlanguages = ['en']\n[fetch]\ncontact = 'a@example.org'\n"
    for columns, steps, language in (
        ('["language"]', ["fetch", "select"], "de"),
        ('"all"', ["fetch", "score_language", "select"], "en"),
    ):
        out = tmp_path / language
        config.write_text(text.format(tmp_path / "list.csv", columns))
        assert [row["step"] for row in json.loads(call("plan", config, "--out", out).stdout)["plan"]] == steps
        ran = json.loads(call("run", config, "--out", out).stdout)
        assert "against_truth" not in ran
        row = Shard(Storage(str(out)), "00000").columns(["language", "drop_reasons"]).to_pylist()[0]
        assert row["language"] == language
        assert ("wrong_language" in row["drop_reasons"]) == (language == "de")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_run_that_goes_on(config: Path, tmp_path: Path, number: signal.Signals) -> None:
    config.write_text(CONFIG.format(samples=400, words=3))
    command = [str(CURATE), "run", str(config), "--out", str(tmp_path / "set")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests that run in the background ignore it
    with subprocess.Popen(command, preexec_fn=heard, **pipes) as process:
        while not (tmp_path / "set/commits/fetch").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "run the same command again" in err
    assert "Traceback" not in err


def test_filters_are_listed_with_columns_reasons_and_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filters", "--format", "table"]) == 0
    text = capsys.readouterr().out
    assert "caption_words" in text
    assert "too_few_words" in text


def test_every_shipped_config_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    configs = sorted((ROOT / "configs").glob("*.toml"))
    assert {c.stem for c in configs} >= {"demo", "pairs", "datacomp_basic", "laion400m"}
    for path in configs:
        assert main(["plan", str(path)]) == 0
        header = path.read_text().split("pipeline =")[0]
        assert all(word in header for word in ("# source", "# out", "# hours")), path
