"""Captions by CoCa with a cache, beside open_clip's own `generate`, which has none.

    OMP_NUM_THREADS=1 python -m bench.coca                      coca_ViT-B-32, 16 pictures, 20 and 30 tokens, one core
    python -m bench.coca --architecture coca_ViT-L-14 --pictures 256 --device cuda

Weights are random, of the real architecture, the same for both; so are the pictures. Both make greedy texts that do not
end before their length (a random model hardly ever says the end), open_clip by `generation_type="top_k", top_k=1`. What
is compared is CPU seconds on a CPU and the clock on a GPU, picture tower included, the best of `--times`; a part of the
table says what both spend in the picture tower alone. open_clip's generate does not run beside transformers 5, of whose
names it misses one that only beams need: the others are handed to it here.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import curate.models  # noqa: F401  (lets torchvision be imported)

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "bench" / "data" / "coca"


def main() -> None:
    """Make weights and pictures, time both, print the table, keep the numbers."""
    parser = argparse.ArgumentParser(description="CoCa captions, cached and not")
    parser.add_argument("--architecture", default="coca_ViT-B-32")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--tokens", type=int, nargs="+", default=[20, 30])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--times", type=int, default=2)
    options = parser.parse_args()
    rows = list(measured(options))
    title = f"{options.architecture}, {options.pictures} pictures, {options.device}, {options.precision}"
    print(title)
    print("| tokens | open_clip s | ours s | ratio | same texts | picture tower s |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        same = f"{row['same']} of {options.pictures}"
        times = f"{row['open_clip_s']:.2f} | {row['ours_s']:.2f} | {row['ratio']:.1f}x"
        print(f"| {row['tokens']} | {times} | {same} | {row['tower_s']:.2f} |")
    kept = {"what": title, "rows": rows}
    target = ROOT / "bench" / "results" / f"{options.architecture}_{options.device}_{options.precision}.json"
    target.write_text(json.dumps(kept, indent=1) + "\n")


def measured(options: argparse.Namespace) -> Any:
    """One row for each length."""
    import torch

    from curate.models.caption_settings import CaptionerSettings
    from curate.models.coca import open_captioner

    model, path = weights(options.architecture)
    told: dict[str, Any] = {"precision": options.precision, "device": options.device, "repetition_penalty": 1.0}
    told |= {"weights": str(path), "architecture": options.architecture, "method": "greedy", "min_tokens": 0}
    captioner = open_captioner(CaptionerSettings(**told))
    model = model.to(options.device, torch.bfloat16 if options.precision == "bf16" else torch.float32)
    rng = np.random.default_rng(0)
    size = model.visual.image_size[0]
    views = [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(options.pictures)]
    images = normalised(model, views).to(options.device, next(model.parameters()).dtype)
    clock = Clock(options.device)
    for tokens in options.tokens:
        sampling = CaptionerSettings(**told, max_tokens=tokens).sampling
        own, own_s = clock.best(lambda: captioner.generate(views, 1, sampling, [0] * len(views)), options.times)  # noqa: B023
        other, other_s = clock.best(lambda: generated(model, images, tokens), options.times)  # noqa: B023
        _, tower_s = clock.best(lambda: looked_at(model, images), options.times)
        same = sum(one.text == text for (one,), text in zip(own, other, strict=True))
        seconds = {"open_clip_s": round(other_s, 3), "ours_s": round(own_s, 3), "tower_s": round(tower_s, 3)}
        yield {"tokens": tokens, **seconds, "ratio": round(other_s / own_s, 2), "same": same}


class Clock:
    """Seconds of the CPU, of all threads; of the wall where a GPU does the work."""

    def __init__(self, device: str) -> None:
        self.device = device

    def best(self, work: Callable[[], Any], times: int) -> tuple[Any, float]:
        """What it gives, and the fewest seconds; once before without counting, on a GPU."""
        found = work() if self.device == "cuda" else None
        taken = []
        for _ in range(times):
            begun = self.now()
            found = work()
            taken.append(self.now() - begun)
        return found, min(taken)

    def now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()


def weights(architecture: str) -> tuple[Any, Path]:
    """open_clip's model with random weights whose texts differ, and the file of them."""
    import open_clip
    import torch
    from safetensors.torch import load_file, save_file

    path = DATA / f"{architecture}.safetensors"
    model = open_clip.create_model(architecture, load_weights=False).eval()
    if not path.exists():
        torch.manual_seed(0)
        path.parent.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            model.text_decoder.text_projection.normal_(std=0.05)
            model.text.positional_embedding.mul_(60)
            for block in model.text_decoder.cross_attn:
                block.attn.out_proj.weight.mul_(8)
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    model.load_state_dict(load_file(path))
    return model, path


def normalised(model: Any, views: list[Any]) -> Any:
    """Prepared pictures as open_clip's transform gives them."""
    import torch

    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.visual.image_mean, model.visual.image_std))
    return (torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2) / 255 - mean) / std


def generated(model: Any, images: Any, tokens: int) -> list[str]:
    """Greedy texts of open_clip: with the start, and an end that it sets itself, two tokens more."""
    import open_clip

    complete_imports()
    out = model.generate(images, seq_len=tokens + 2, generation_type="top_k", top_k=1, min_seq_len=0)
    texts = (open_clip.decode(row).split("<end_of_text>")[0] for row in out)
    return [text.replace("<start_of_text>", "").strip() for text in texts]


def complete_imports() -> None:
    """Hand open_clip what it would import of transformers."""
    import transformers
    from open_clip import coca_model
    from transformers import generation

    names = ["LogitsProcessorList", "RepetitionPenaltyLogitsProcessor", "MinLengthLogitsProcessor"]
    for name in [*names, "MaxLengthCriteria", "StoppingCriteriaList"]:
        setattr(coca_model, name, getattr(generation, name, None) or getattr(transformers, name))
    coca_model.GENERATION_TYPES |= {"top_k": generation.TopKLogitsWarper, "top_p": generation.TopPLogitsWarper}
    coca_model._has_transformers = True


def looked_at(model: Any, images: Any) -> Any:
    """The picture tower alone."""
    import torch

    with torch.inference_mode():
        return model.visual(images)[1]


if __name__ == "__main__":
    main()
