"""Scoring pairs with CLIP, from tar to columns, beside the loop that users write around open_clip.

    python -m bench.clip                                             ViT-B/32 on the CPU, a few minutes
    python -m bench.clip --architecture ViT-L-14 --pairs 20000       on a GPU, where torch sees one

Weights are random, of the real architecture, the same file for all: speed does not depend on them. Both read the same
tars of real photos with their alt texts (`../shared/data/pairs`, else the toy web's), repeated to the number asked
for. The plain loop is README code: PIL, open_clip's transform, tokenizer, autocast on a GPU, batches of `--batch`; with
`loader` its pictures come from a DataLoader with a worker per core. Ours runs the stage `score` as a worker does, on
one shard after the other, and writes columns. The first shard warms up (loading, batch search, graph capture) and is
not counted. CPU time is that of all threads and child processes; on a GPU the wall time counts.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import curate.models  # noqa: F401  (lets torchvision be imported)

ROOT = Path(__file__).resolve().parents[1]
PAIRS = ROOT.parent / "shared" / "data" / "pairs"
FLOPS = {"ViT-B-32": 8.82e9, "ViT-L-14": 162.03e9, "ViT-H-14": 334.59e9}
"""Of one picture, forward (open_clip's model_profile.csv)."""
PEAK = 790e12
"""Dense bf16 FLOP/s of an H200 that large matrix products reach; 4,876 pictures/s of ViT-L/14 are the limit."""


def main() -> None:
    """Make shards and weights, run every contender in a process of its own, print the table, keep the numbers."""
    parser = argparse.ArgumentParser(description="CLIP scores from tar to columns, beside plain open_clip")
    parser.add_argument("--architecture", default="ViT-B-32")
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--shard", type=int, default=0, help="pairs a shard (default: a quarter of all)")
    parser.add_argument("--batch", type=int, default=64, help="of the plain loop")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--data", type=Path, default=ROOT / "bench" / "data" / "clip")
    parser.add_argument("--only", help="run one contender here and print its numbers")
    options = parser.parse_args()
    options.shard = options.shard or max(1, options.pairs // 4)
    if options.only:
        print(json.dumps(CONTENDERS[options.only](options)))
        return
    prepare(options)
    rows = []
    for name in CONTENDERS:
        command = [sys.executable, "-m", "bench.clip", "--only", name, *sys.argv[1:]]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            print(f"{name} failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        rows.append({"program": name, **json.loads(done.stdout.strip().splitlines()[-1])})
    report(rows, options)


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """The table, and `bench/results/clip_<architecture>_<device>.json`."""
    on_gpu = bool(rows) and rows[0]["device"] != "cpu"
    key = "wall_s" if on_gpu else "cpu_s"
    plain = dict(next((row for row in rows if row["program"] == "plain"), rows[0]))
    print(f"{options.architecture}, {plain['pairs']} pairs, {plain['device']}")
    titles = ("program", "pairs", "CPU ms/pair", "pairs/s", "against plain", "of the limit", "max diff", "rank corr")
    print("| " + " | ".join(titles) + " |")
    print("|---" * len(titles) + "|")
    reference = np.load(plain["scores"])
    for row in rows:
        own = np.load(row.pop("scores"))
        row["max_difference"] = float(np.abs(own - reference).max())
        row["rank_correlation"] = float(np.corrcoef(*(np.argsort(np.argsort(s)) for s in (own, reference)))[0, 1])
        rate = row["pairs"] / row["wall_s"]
        row["ratio"] = round((plain[key] / plain["pairs"]) / (row[key] / row["pairs"]), 2)
        share = f"{rate * FLOPS[options.architecture] / PEAK:.2f}" if on_gpu and options.architecture in FLOPS else ""
        cpu = 1000 * row["cpu_s"] / row["pairs"]
        speed = f"{cpu:.2f} | {rate:.1f} | {row['ratio']}x | {share}"
        agreement = f"{row['max_difference']:.1e} | {row['rank_correlation']:.5f}"
        print(f"| {row['program']} | {row['pairs']} | {speed} | {agreement} |")
    kind = "gpu" if on_gpu else "cpu"
    target = ROOT / "bench" / "results" / f"clip_{options.architecture}_{kind}.json"
    target.write_text(json.dumps(rows, indent=1) + "\n")


def prepare(options: argparse.Namespace) -> None:
    """Shards of pairs, and weights."""
    import torch

    weights = weights_of(options)
    if not weights.exists():
        import open_clip
        from safetensors.torch import save_file

        torch.manual_seed(0)
        weights.parent.mkdir(parents=True, exist_ok=True)
        model = open_clip.create_model(options.architecture, load_weights=False)
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights)
    folder = shards_of(options)
    if not (folder / "done").exists():
        write_shards(folder, options.pairs + options.shard, options.shard)
        (folder / "done").touch()


def weights_of(options: argparse.Namespace) -> Path:
    """The file of random weights."""
    return Path(options.data / f"{options.architecture}.safetensors")


def shards_of(options: argparse.Namespace) -> Path:
    """The folder of the shards."""
    return Path(options.data / f"{options.pairs}x{options.shard}")


def write_shards(folder: Path, pairs: int, per_shard: int) -> None:
    """Tars and sample tables, the first of them for warming up."""
    from curate.tar import TarWriter

    folder.mkdir(parents=True, exist_ok=True)
    found = list(source())
    for start in range(0, pairs, per_shard):
        shard = f"{start // per_shard:05d}"
        rows = [
            (f"{shard}{row:06d}", *found[(start + row) % len(found)]) for row in range(min(per_shard, pairs - start))
        ]
        with open(folder / f"{shard}.tar", "wb") as out:
            tar = TarWriter(out)
            for key, image, caption in rows:
                tar.add(f"{key}.jpg", image)
                tar.add(f"{key}.txt", caption.encode())
            tar.finish()
        table = {"key": [key for key, _, _ in rows], "caption": [caption for _, _, caption in rows]}
        pq.write_table(pa.table(table), folder / f"{shard}.parquet")


def source() -> Iterator[tuple[bytes, str]]:
    """JPEG and caption of real pairs, else of the toy web."""
    if (PAIRS / "openstax.jsonl").exists():
        for line in (PAIRS / "openstax.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            if row["image"].endswith(".jpg"):
                yield (PAIRS / row["image"]).read_bytes(), row["alt"] or row["caption"] or ""
        return
    from curate.toyweb.picture import encode_row
    from curate.toyweb.plan import Plan

    plan = Plan(0, {})
    for row in plan.rows(0, 2000):
        if row.defect == "clean" and row.extension == "jpg":
            yield encode_row(plan, row), row.caption


def counted(work: Callable[[Path], list[float]], options: argparse.Namespace) -> dict[str, Any]:
    """Run `work` on every shard; the first one is not counted."""
    shards = sorted(shards_of(options).glob("*.tar"))
    work(shards[0])
    cpu, wall, scores = _cpu(), time.perf_counter(), []
    for shard in shards[1:]:
        scores += work(shard)
    spent, taken = _cpu() - cpu, time.perf_counter() - wall
    kept = shards_of(options) / f"{options.only}.npy"
    np.save(kept, np.array(scores), allow_pickle=False)
    return {
        "pairs": len(scores),
        "cpu_s": round(spent, 3),
        "wall_s": round(taken, 3),
        "device": _device(),
        "scores": str(kept),
    }


def _cpu() -> float:
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def _device() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"


def pairs_of(tar: Path) -> Iterator[tuple[bytes, str]]:
    """Picture and caption of each sample, as users read a tar."""
    with tarfile.open(tar) as members:
        image = b""
        for member in members:
            data = members.extractfile(member)
            assert data is not None
            if member.name.endswith(".jpg"):
                image = data.read()
            else:
                yield image, data.read().decode()


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """The loop that users write."""
    return counted(_plain_work(options, workers=0), options)


def loader(options: argparse.Namespace) -> dict[str, Any]:
    """The same with a DataLoader."""
    return counted(_plain_work(options, workers=options.threads), options)


class _Decoded:
    """A data set for torch's DataLoader."""

    def __init__(self, tar: Path, transform: Any) -> None:
        self.rows, self.transform = list(pairs_of(tar)), transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[Any, str]:
        from PIL import Image

        return self.transform(Image.open(io.BytesIO(self.rows[place][0])).convert("RGB")), self.rows[place][1]


def _plain_work(options: argparse.Namespace, workers: int) -> Callable[[Path], list[float]]:
    import open_clip
    import torch

    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, _, transform = open_clip.create_model_and_transforms(
        options.architecture, pretrained=str(weights_of(options)), device=device
    )
    tokenizer = open_clip.get_tokenizer(options.architecture)
    model.eval()

    def work(tar: Path) -> list[float]:
        scores: list[float] = []
        batches = torch.utils.data.DataLoader(
            _Decoded(tar, transform), options.batch, num_workers=workers, pin_memory=device == "cuda"
        )
        for images, texts in batches:
            with torch.no_grad(), torch.autocast(device, enabled=device == "cuda"):
                seen = model.encode_image(images.to(device))
                said = model.encode_text(tokenizer(list(texts)).to(device))
                seen, said = (x / x.norm(dim=-1, keepdim=True) for x in (seen, said))
                scores += (seen * said).sum(dim=-1).float().cpu().tolist()
        return scores

    return work


def ours(precision: str) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """The stage `score`, as a worker runs it."""

    def run(options: argparse.Namespace) -> dict[str, Any]:
        from curate.manifest import Attempt
        from curate.models.pair_scores import ScorePairs
        from curate.models.settings import ModelSettings
        from curate.score import Score
        from curate.shard import Shard
        from curate.stage import Runtime
        from curate.storage import Storage

        settings = ModelSettings("clip", options.architecture, str(weights_of(options)), precision)  # type: ignore[arg-type]
        stage = Score(ScorePairs("clip", settings))
        storage = Storage(str(shards_of(options)))

        def work(tar: Path) -> list[float]:
            shard = Shard(storage, tar.stem)
            attempt = Attempt(storage, "score_clip", tar.stem, f"{time.time_ns():016x}"[-16:])
            stage.run(shard, attempt, Runtime(threads=options.threads))
            attempt.commit()
            return [s for s in shard.table("clip")["clip_similarity"].to_pylist() if s is not None]

        return counted(work, options)

    return run


CONTENDERS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "plain": plain,
    "loader": loader,
    "curate fp32": ours("fp32"),
    "curate bf16": ours("bf16"),
}

if __name__ == "__main__":
    main()
