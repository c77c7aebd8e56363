"""The shipped toy models on the toy web: AUC of right captions against wrong ones, at seeds that no training saw.

    python -m bench.toy [--rows 2000] [--seeds 11 12 13]

30 % of the captions are of another scene, 15 % have one attribute wrong; pictures are encoded, stored and decoded as in
a run. Also what the demo's thresholds keep and drop.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from curate.models.toy import MIN_PROBABILITY, MIN_SIMILARITY, load_toy_clip, load_toy_matcher
from curate.toyweb.defects import CLEAN
from curate.train.toy_evaluation import Pairs, draw_pairs, evaluate, probabilities, similarities

RESULT = Path(__file__).resolve().parent / "results" / "toy.json"


def main() -> None:
    """Print a table per seed, and keep the numbers."""
    parser = argparse.ArgumentParser(description="the toy models on the toy web")
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    options = parser.parse_args()
    clip, matcher = load_toy_clip(), load_toy_matcher()
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        pairs = draw_pairs(seed, options.rows)
        kept = {
            "toy clip": similarities(clip, pairs) >= MIN_SIMILARITY,
            "toy matcher": probabilities(matcher, pairs) >= MIN_PROBABILITY,
        }
        rows += [
            {"seed": seed, **row, **threshold(kept[row["model"]], pairs, row["wrong_caption"])}
            for row in evaluate(clip, matcher, pairs)
        ]
    titles = list(rows[0])
    print("| " + " | ".join(titles) + " |")
    print("|---" * len(titles) + "|")
    for row in rows:
        print("| " + " | ".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    RESULT.write_text(json.dumps(rows, indent=1) + "\n")


def threshold(kept: np.ndarray, pairs: Pairs, wrong: str) -> dict[str, float]:
    """Share of right captions kept and of this kind of wrong ones dropped, at the demo's threshold."""
    return {
        "right_kept": float(kept[pairs.labels == CLEAN].mean()),
        "wrong_dropped": float((~kept[pairs.labels == wrong]).mean()),
    }


if __name__ == "__main__":
    main()
