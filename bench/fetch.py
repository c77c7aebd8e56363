"""Fetch, resize and write: img2dataset and curate side by side over the same list from the same loopback server.

What is compared is CPU time per picture of the whole process tree, because on a real crawl the CPU is what is paid
for and wall time on a shared machine says little. Each program runs each case `--rounds` times in turn, and the best
counts. Two lists are run, one three times as long, both with a shard for each worker. `whole` is the longer one with
its start-up (imports, workers); `steady` is what one more picture costs: the difference of the two, divided by the
difference of their lengths.

    python -m bench.fetch                 all cases, 3 rounds: about 15 minutes on 2 cores
    python -m bench.fetch --case http --rounds 1 --images 900
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.contenders import Contender, Curate, Img2dataset, Work
from bench.measure import Usage, measure
from bench.pictures import SETS, figures, picture_folder
from bench.quality import resize_psnr, stored_psnr
from bench.server import Server, serving

RESULTS = Path(__file__).resolve().parent / "results"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
QUALITY_PICTURES = 300
FACTORS = (2.0, 1.5, 1.25, 1.0)


@dataclass(frozen=True)
class Case:
    """One row of the table: a set of pictures over a scheme in a resize mode."""

    name: str
    pictures: str
    scheme: str
    resize_mode: str
    contenders: tuple[Contender, ...] = (Img2dataset(), Curate())


EVERY = (
    Img2dataset(),
    Img2dataset("img2dataset, 64 threads", 64),
    Curate(),
    Curate("curate, decode factor 1.25", 1.25),
    Curate("curate, decode factor 1", 1.0),
)
CASES = (
    Case("http", "photos_0.6mp", "http", "border", EVERY),
    Case("http keep_ratio_largest", "photos_0.6mp", "http", "keep_ratio_largest"),
    Case("https", "photos_0.6mp", "https", "border"),
    Case("http 3 MP", "photos_3.1mp", "http", "border"),
)


@dataclass(frozen=True)
class Run:
    """One program, once, over one list."""

    images: int
    succeeded: int
    usage: Usage
    server_cpu_s: float
    bytes_on_disk: int


@dataclass(frozen=True)
class Row:
    """The best of the rounds for one program. `_ms` are CPU milliseconds per image, `images_s` is by the wall clock."""

    case: str
    program: str
    images: int
    succeeded: int
    whole_ms: float
    steady_ms: float
    images_s: float
    worker_mb: float
    tree_pss_mb: float
    sample_bytes: float
    server_ms: float


def bench_case(case: Case, images: int, rounds: int, work: Path) -> Iterator[Row]:
    """Run the case and yield a row for each of its programs."""
    pictures = picture_folder(SETS[case.pictures])
    runs: dict[str, list[Run]] = {c.name: [] for c in case.contenders}
    with serving(pictures, work / "server") as server:
        trust = _trust(server, work)
        for _ in range(rounds):
            for contender in case.contenders:
                for length in (images // 3, images):
                    runs[contender.name].append(_run(contender, case, length, (server, trust), work))
    for name, found in runs.items():
        yield _row(case.name, name, found)


def _trust(server: Server, work: Path) -> Path:
    """The machine's certificates and the server's own: as many to load as on a real crawl."""
    bundle = work / "trust.pem"
    known = CERTIFICATES.read_bytes() if CERTIFICATES.is_file() else b""
    bundle.write_bytes(known + server.certificate.read_bytes())
    return bundle


def _run(contender: Contender, case: Case, length: int, site: tuple[Server, Path], work: Path) -> Run:
    server, trust = site
    base = server.https if case.scheme == "https" else server.http
    order = Work(work / "list.parquet", work / "out", case.resize_mode, trust)
    _write_list(order.table, base, SETS[case.pictures].count, length)
    shutil.rmtree(order.out, ignore_errors=True)
    before_s = server.cpu_s()
    usage = measure(contender.command(order), work / "usage.json", contender.environment(order))
    stats = [json.loads(p.read_text()) for p in order.out.glob("*_stats.json")]
    size = sum(p.stat().st_size for p in order.out.rglob("*") if p.is_file())
    run = Run(length, sum(s["successes"] for s in stats), usage, server.cpu_s() - before_s, size)
    if usage.exit_code or run.succeeded != length:
        log = (work / "usage.log").read_text("utf-8", "replace")[-2000:]
        raise SystemExit(f"{contender.name}, {case.name}: {run.succeeded} of {length}, see\n{log}")
    return run


def _write_list(path: Path, base: str, pictures: int, length: int) -> None:
    urls = [f"{base}/{i % pictures:05d}.jpg?copy={i // pictures}" for i in range(length)]
    captions = [f"an alt text of a few words for picture {i}" for i in range(length)]
    pq.write_table(pa.table({"url": urls, "caption": captions}), path)


def _row(case: str, program: str, runs: list[Run]) -> Row:
    longest = max(r.images for r in runs)
    long = min((r for r in runs if r.images == longest), key=lambda r: r.usage.cpu_s)
    short = min((r for r in runs if r.images != longest), key=lambda r: r.usage.cpu_s)
    steady_s = (long.usage.cpu_s - short.usage.cpu_s) / (long.images - short.images)
    return Row(
        case=case,
        program=program,
        images=long.images,
        succeeded=long.succeeded,
        whole_ms=round(1000 * long.usage.cpu_s / long.images, 2),
        steady_ms=round(1000 * steady_s, 2),
        images_s=round(max(r.images / r.usage.wall_s for r in runs if r.images == longest)),
        worker_mb=max(r.usage.worker_mb for r in runs),
        tree_pss_mb=max(r.usage.tree_pss_mb for r in runs),
        sample_bytes=round(long.bytes_on_disk / long.images),
        server_ms=round(1000 * long.server_cpu_s / long.images, 2),
    )


def bench_quality(work: Path) -> list[dict[str, Any]]:
    """PSNR of the resize alone per set and decode factor, and of what both programs store."""
    found: list[dict[str, Any]] = []
    for chosen in SETS.values():
        files = sorted(picture_folder(chosen).glob("*.jpg"))[:QUALITY_PICTURES]
        found += [
            {"what": f"resize, decode factor {factor:g}", "set": chosen.name, **resize_psnr(files, factor)}
            for factor in FACTORS
        ]
    case = Case("quality", "photos_0.6mp", "http", "keep_ratio_largest")
    pictures = picture_folder(SETS[case.pictures])
    with serving(pictures, work / "server") as server:
        for contender in case.contenders:
            _run(contender, case, QUALITY_PICTURES, (server, _trust(server, work)), work)
            stored = stored_psnr(work / "out", pictures, QUALITY_PICTURES)
            found.append({"what": f"stored by {contender.name}", "set": case.pictures, **stored})
    return found


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    load = [round(x, 1) for x in os.getloadavg()]
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "load_before": load}


def table(rows: list[Row]) -> str:
    """Markdown: each program against the first one of its case."""
    lines = [
        "| case | program | ok | CPU ms/image, whole | ratio | CPU ms/image, steady | ratio | images/s "
        "| worker MB | tree MB (PSS) | bytes/sample |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        peer = next(r for r in rows if r.case == row.case)
        lines.append(
            f"| {row.case} | {row.program} | {row.succeeded}/{row.images} "
            f"| {row.whole_ms:.2f} | {peer.whole_ms / row.whole_ms:.2f}x "
            f"| {row.steady_ms:.2f} | {peer.steady_ms / row.steady_ms:.2f}x | {row.images_s:.0f} "
            f"| {row.worker_mb:.0f} | {row.tree_pss_mb:.0f} | {row.sample_bytes:,.0f} |"
        )
    return "\n".join(lines)


def quality_table(found: list[dict[str, Any]]) -> str:
    """Markdown: one line per measurement of `bench_quality`."""
    lines = ["| PSNR against full decode and area resize | set | median dB | 5th percentile dB |", "|---|---|---|---|"]
    lines += [f"| {f['what']} | {f['set']} | {f['median_db']} | {f['p5_db']} |" for f in found]
    return "\n".join(lines)


def compile_as_installed() -> None:
    """Byte-compile our packages, as pip does with what it installs (the peers): a checkout may never get to it."""
    root = Path(__file__).resolve().parents[1]
    for package in ("curate", "filters", "pipelines"):
        compileall.compile_dir(root / package, quiet=1)


def main() -> None:
    """Measure, print the tables and write `bench/results/fetch.json`."""
    parser = argparse.ArgumentParser(description="img2dataset and curate, side by side")
    parser.add_argument("--case", choices=[c.name for c in CASES], action="append", help="default: all of them")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    compile_as_installed()
    host = machine()
    rows: list[Row] = []
    sets = {name: figures(picture_folder(chosen)) for name, chosen in SETS.items()}
    with tempfile.TemporaryDirectory(prefix="curate-bench-") as folder:
        for case in (c for c in CASES if not options.case or c.name in options.case):
            rows += bench_case(case, options.images, options.rounds, Path(folder) / case.name.replace(" ", "-"))
            print(table([r for r in rows if r.case == case.name]), flush=True)
        quality = bench_quality(Path(folder) / "quality")
    print(quality_table(quality))
    RESULTS.mkdir(exist_ok=True)
    result = {"machine": host, "sets": sets, "rounds": options.rounds, "fetch": [asdict(r) for r in rows]}
    (RESULTS / "fetch.json").write_text(json.dumps(result | {"quality": quality}, indent=1) + "\n")


if __name__ == "__main__":
    main()
