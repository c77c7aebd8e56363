"""Copies in a whole run: planted ones are found, on local processes and on a Ray of two nodes with the same labels,
after a kill as well, and a cluster can be looked at."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_clusters import cluster

from curate.cli import main
from curate.shard import Shard, list_shards
from curate.storage import Storage
from curate.tar import TarWriter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CURATE = Path(sys.executable).parent / "curate"
CONFIG = """
pipeline = "image_text_pairs"
[source]
kind = "toy_web"
samples = 240
seed = 5
[source.shares]
exact_copy = 0.10
near_reencoded = 0.10
near_resized = 0.10
trickle = 0.0
[shards]
samples = 40
[fetch]
per_host_rate = 0
backoff_s = 0.1
[filters.pair_duplicate]
shards_per_part = 2
[filters.bytes_duplicate]
prefer = ["largest picture"]
shards_per_part = 2
[filters.pixels_duplicate]
shards_per_part = 2
[filters.near_image_duplicate]
prefer = ["largest picture"]
shards_per_part = 2
[filters.near_caption_duplicate]
min_similarity = 0.9
shards_per_part = 2
[run]
workers = 2
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "copies.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def local(config: Path) -> tuple[Path, dict[str, Any]]:
    """The data set of an undisturbed run on local processes, and what the run told."""
    out = config.parent / "local"
    return out, call(config, out)


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    with cluster({"num_cpus": 1}, {"num_cpus": 1}) as made:
        yield made.address


def call(config: Path, out: Path, *more: str, **environment: str) -> dict[str, Any]:
    command = [str(CURATE), "run", str(config), "--out", str(out), *more]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def files(folder: Path) -> dict[str, bytes]:
    """Everything that dedup wrote, between its steps and at its end; a kill may leave attempts that nobody reads."""
    found = [*folder.rglob("*.rows"), *folder.glob("*_clusters.parquet"), *folder.glob("*.select.parquet")]
    names = {path.relative_to(folder): path for path in found}
    return {str(name): path.read_bytes() for name, path in names.items() if name.parts[0] != "_attempts"}


def test_planted_copies_are_found_with_a_precision_of_one(local: tuple[Path, dict[str, Any]]) -> None:
    rows = {(row["copies_by"], row["planted"]): row for row in local[1]["copies_against_truth"]}
    assert rows["bytes", "all"]["precision"] == rows["bytes", "all"]["recall"] == 1
    assert rows["bytes", "all"]["to_catch"] > 10
    assert rows["near_image", "all"]["precision"] == 1
    for sort in ("near_reencoded", "near_resized"):
        assert rows["near_image", sort]["recall"] == 1
        assert rows["near_image", sort]["to_catch"] > 5
    notes = {row["step"]: row["note"] for row in local[1]["notes"]}
    assert "At the threshold of 0.9 itself" in notes["near_caption_gather"]


def test_ray_on_two_nodes_writes_the_same_bytes(
    config: Path, local: tuple[Path, dict[str, Any]], ray_address: str, tmp_path: Path
) -> None:
    answer = call(config, tmp_path / "ray", "--on", "ray", RAY_ADDRESS=ray_address)
    assert answer["samples"] == local[1]["samples"]
    expected = files(local[0])
    assert len(expected) > 40
    assert files(tmp_path / "ray") == expected


def test_a_run_killed_between_its_barriers_goes_on(
    config: Path, local: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    process = subprocess.Popen([CURATE, "run", config, "--out", out], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (out / "commits/near_image_gather/").exists() and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    made_before = sum(1 for _ in (out / "commits").rglob("*.json"))
    answer = call(config, out)
    made = int(answer["work"].split()[0])
    assert 0 < made <= sum(1 for _ in (out / "commits").rglob("*.json")) - made_before + 4
    assert files(out) == files(local[0])


def test_a_cluster_is_told_and_shown(
    local: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = [
        (shard.id, row["key"], row["bytes_duplicate_of"], row["bytes_cluster_size"])
        for shard in list_shards(Storage(str(local[0])))
        for row in shard.columns(["key", "bytes_duplicate_of", "bytes_cluster_size"]).to_pylist()
        if row["bytes_duplicate_of"]
    ]
    shard, key, kept, size = copies[0]
    page = tmp_path / "cluster.html"
    assert main(["show", f"{local[0]}/{shard}", key, "--cluster", "bytes", "--html", str(page)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cluster"], told["kept"], told["rows"]) == ("bytes", kept, size)
    assert told["members"][0]["key"] == kept
    assert key in [member["key"] for member in told["members"]]
    html = page.read_text()
    assert html.count("<img ") == size
    assert f"{size} copies by bytes, of which {kept} is kept" in html
    for arguments, words in (
        ([f"{local[0]}/{shard}", "--cluster"], "name its KEY"),
        ([f"{local[0]}/{shard}", key, "--cluster", "face"], "it knows copies by"),
        ([f"{local[0]}/{shard}", "nokey", "--cluster"], "has no key 'nokey'"),
    ):
        assert main(["show", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_real_photographs_known_to_be_copies(tmp_path: Path, ray_address: str) -> None:
    """imagededup's own test pictures: the same photograph in grey, with alpha, resized and in other formats is one
    cluster, turned and mirrored it is not; and photographs that two textbooks print. Ray says the same."""
    shared = Path(__file__).parents[2] / "shared/data"
    pictures = sorted((shared / "neardup/imagededup").rglob("*.*g")) + sorted((shared / "neardup").rglob("*.webp"))
    books = shared / "pairs/openstax/life-liberty-and-pursuit-happiness"
    pictures += [*sorted(books.glob("*WashCross*")), *sorted(books.glob("*BossTweed*")), *sorted(books.glob("*Iwo*"))]
    if len(pictures) < 30:
        pytest.skip("the shared pictures of neardup/imagededup and pairs/openstax are not here")
    (tmp_path / "in").mkdir()
    with open(tmp_path / "in/00000.tar", "wb") as target:
        tar = TarWriter(target)
        for number, path in enumerate(pictures):
            tar.add(f"{number:04d}{path.suffix.lower()}", path.read_bytes())
            tar.add(f"{number:04d}.txt", path.name.encode())
        tar.finish()
    config = tmp_path / "real.toml"
    config.write_text(f"""
pipeline = "image_text_pairs"
[source]
kind = "webdataset"
path = "{tmp_path}/in/*.tar"
[filters.near_image_duplicate]
""")
    call(config, tmp_path / "out")
    call(config, tmp_path / "ray", "--on", "ray", RAY_ADDRESS=ray_address)
    assert files(tmp_path / "ray") == files(tmp_path / "out")
    rows = Shard(Storage(str(tmp_path / "out")), "00000").columns(["key", "near_image_duplicate_of"]).to_pylist()
    name_of = {f"{number:04d}": path.name for number, path in enumerate(pictures)}
    clusters: dict[str, set[str]] = {}
    for row in rows:
        clusters.setdefault(row["near_image_duplicate_of"] or row["key"], set()).add(name_of[row["key"]])
    (upright,) = [names for names in clusters.values() if "ukbench00120.jpg" in names]
    assert upright >= {
        "ukbench00120.jpg",
        "ukbench00120_gray.jpg",
        "ukbench00120_resize.jpg",
        "alpha_channel_image.png",
    }
    assert not upright & {"ukbench00120_hflip.jpg", "ukbench00120_rotation.jpg"}
    assert {"ukbench09380.jpg", "ukbench09380.png", "ukbench09380.webp"} in [
        {n for n in names if "09380" in n and not n.endswith("jpeg")} for names in clusters.values()
    ]
    assert {"BRI_APUSH_03_03_WashCross.jpg", "BRI_APUSH_03_06_WashCross1.jpg"} in clusters.values()
    for names in clusters.values():
        assert len({name[:12] for name in names if name.startswith("ukbench")}) <= 1, "two photographs are no copies"


def test_a_cluster_whose_kept_row_is_in_an_earlier_data_set(
    config: Path, local: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both data sets have the same keys; the row that is told and shown as kept is the other one's."""
    again = tmp_path / "again.toml"
    again.write_text(
        CONFIG.replace("seed = 5", "seed = 5\n")
        .replace("samples = 240", "samples = 80")
        .replace("[filters.bytes_duplicate]", f'[filters.bytes_duplicate]\nagainst = ["{local[0]}"]')
        .replace("[filters.pair_duplicate]\nshards_per_part = 2\n", "")
    )
    call(again, tmp_path / "again")
    shard = Shard(Storage(str(tmp_path / "again")), "00000")
    rows = shard.columns(["key", "bytes_duplicate_of", "bytes_duplicate_in", "sha256"]).to_pylist()
    copies = [row for row in rows if row["bytes_duplicate_in"]]
    assert len(copies) > 20
    for row in copies[:3]:
        page = tmp_path / "cluster.html"
        where = f"{tmp_path}/again/00000"
        assert main(["show", where, row["key"], "--cluster", "bytes", "--html", str(page)]) == 0
        told = json.loads(capsys.readouterr().out)
        first = told["members"][0]
        assert (first["data_set"], first["key"]) == (str(local[0]), row["bytes_duplicate_of"])
        assert {member["sha256"] for member in told["members"]} == {row["sha256"]}
        assert page.read_text().count("<img ") == len(told["members"]) >= 2
