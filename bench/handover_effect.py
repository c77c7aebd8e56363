"""What curation is worth: the same tiny model, trained for the same number of steps on raw and on curated data.

    python -m bench.handover_effect [--out FILE] [--seeds 0 1 2] [--samples 5000] [--steps 600] [--work FOLDER]
    python -m bench.handover_effect --table          only print what FILE has

Each seed is a toy web of its own, which goes the whole way by the commands that a user types: `curate run` crawls and
filters it (configs/demo.toml with other numbers), `curate run` recaptions what arrived (configs/capfilt_demo.toml),
`curate run` hands over three sources, and `curate train` trains a model from nothing on each. `raw`: every picture that
arrived, with the web's caption; `filtered`: those that the filters keep; `curated`: all whose web or synthetic caption
CapFilt keeps. Measured on clean scenes of a seed that no data has: R@1 of 100 both ways, and how many greedy captions
are exact. The table has means over seeds, the lowest and the highest, and of the differences the smallest.

A seed takes some 12 CPU minutes and 500 MB; its result is a line of FILE, so several processes may share the seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "handover_effect.jsonl"
VARIANTS = ("raw", "filtered", "curated")
MEASURES = ("retrieval_at_1_of_100", "exact_captions")
SOURCES: Mapping[str, str] = {
    "raw": 'path = "{folder}/web"\nkept_only = false',
    "filtered": 'path = "{folder}/web"',
    "curated": 'path = "{folder}/capfilt"\ncaptions = "capfilt"',
}
HANDOVER = """
pipeline = "handover"
{sources}
[tokenizers.toy]
kind = "toy"
[shards]
samples = 1000
[stages]
tokenizer = "toy"
seed = {seed}
[stages.model]
vision = "toy"
{stages}
"""
STAGE = """
[[stages.stages]]
name = "{name}"
objectives = {{contrastive = 1.0, lm = 1.0}}
trainable = {{vision = "full", projector = "full", language_model = "full"}}
resolution = {{policy = "fixed", size = 32, patch = 8}}
learning_rate = 2e-3
warmup_steps = 80
weight_decay = 0.02
steps = {steps}
batch = 128
[stages.stages.mixture]
sources = [{{name = "{name}", kind = "pairs"}}]
"""


def curate(*words: object) -> dict[str, Any]:
    """What a command answers, as JSON."""
    start = "from curate.cli import main; raise SystemExit(main())"
    done = subprocess.run([sys.executable, "-c", start, *map(str, words)], stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def changed(name: str, *changes: tuple[str, str]) -> str:
    """A config of the demo with other lines; a line that is not there is an error."""
    text = (ROOT / "configs" / name).read_text("utf-8")
    for old, new in changes:
        if old not in text:
            raise SystemExit(f"configs/{name} has no line {old!r} any more; mend bench/handover_effect.py")
        text = text.replace(old, new)
    return text


def run_seed(seed: int, samples: int, steps: int, folder: Path) -> dict[str, Any]:
    """One seed from the web to three models; what each was measured at."""
    web = changed(
        "demo.toml",
        ("samples = 720", f"samples = {samples}"),
        ("samples = 120", "samples = 1000"),
        ("seed = 1\n", f"seed = {seed + 1_000}\n"),
    )
    sources = "\n".join(f"[sources.{name}]\n{text.format(folder=folder)}" for name, text in SOURCES.items())
    stages = "\n".join(STAGE.format(name=name, steps=steps) for name in VARIANTS)
    configs = {
        "web": web,
        "capfilt": changed("capfilt_demo.toml", ('"data/demo"', f'"{folder}/web"')),
        "handover": HANDOVER.format(sources=sources, stages=stages, seed=seed),
    }
    for name, text in configs.items():
        (folder / f"{name}.toml").write_text(text, "utf-8")
        curate("run", folder / f"{name}.toml", "--out", folder / name)
    handover = folder / "handover"
    manifest = json.loads((handover / "manifest.json").read_bytes())
    pairs = {name: sum(s["samples"] for s in manifest["shards"] if s["source"] == name) for name in VARIANTS}
    report = curate(
        "train", "stages", handover / "stages.toml", "--data", handover, "--out", folder / "models", "--evaluate", "toy"
    )
    found = {row["stage"]: {name: row[name] for name in MEASURES} for row in report["stages"]}
    return {
        "seed": seed,
        "samples": samples,
        "steps": steps,
        **{name: {"pairs": pairs[name], **found[name]} for name in VARIANTS},
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Means over seeds with the lowest and the highest, and how far each is above raw at least."""
    lines = [
        "| steps | trained on | pairs | R@1 of 100 | lowest | highest | above raw, least "
        "| exact captions | lowest | highest | above raw, least |",
        "|" + "---|" * 11,
    ]
    for steps in sorted({row["steps"] for row in rows}):
        own = [row for row in rows if row["steps"] == steps]
        for name in VARIANTS:
            cells = [str(steps), name, f"{mean(row[name]['pairs'] for row in own):,.0f}"]
            for measure in MEASURES:
                found = [row[name][measure] for row in own]
                least = min(row[name][measure] - row["raw"][measure] for row in own)
                cells += [f"{value:.3f}" for value in (mean(found), min(found), max(found), least)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def mean(values: Iterable[float]) -> float:
    """Of numbers that may come one at a time."""
    found = list(values)
    return sum(found) / len(found)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=5_000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--work", type=Path, default=None, help="keep what is made in this folder")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    for seed in [] if options.table else options.seeds:
        with TemporaryDirectory(prefix="curate-effect-") as made:
            folder = (options.work / f"seed{seed}").absolute() if options.work else Path(made)
            folder.mkdir(parents=True, exist_ok=True)
            found = run_seed(seed, options.samples, options.steps, folder)
        with open(options.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
    print(table([json.loads(line) for line in options.out.read_text("utf-8").splitlines()]))


if __name__ == "__main__":
    main()
