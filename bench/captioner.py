"""Captions of a BLIP beside transformers' own `generate`: same weights, same batch, same settings.

    python -m bench.captioner --small       BLIP-base on one CPU core, 8 pictures, 10 tokens: two CPU minutes
    python -m bench.captioner               the same, 24 pictures and 20 tokens: eight CPU minutes
    python -m bench.captioner --cuda        BLIP-large on a GPU, the matching head too: about four minutes

Weights are random, of the real architectures and at 384 px, made here: speed does not depend on them, but for the head,
whose words are drawn wide enough that a nucleus has some 70 tokens, as that of a trained model has tens. The end is
forbidden, so all texts are of full length. A trained model ends earlier, and both sides then compute less. transformers
gets its pixels as floats that lie ready; ours starts from bytes. CPU seconds are those of one thread; nothing else is
counted out. Needs torch, transformers, pyarrow and fsspec (which torch brings along); not ray, open_clip, cv2,
simplejpeg, pycurl or numba.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.models.blip import BlipCaptioner, open_captioner
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Sampling, seeds_of

ROOT = Path(__file__).resolve().parents[1]
SIDE = 384
WORDS = 30_522
PROMPT = "a picture of"
CASES = (("greedy", 1), ("nucleus", 1), ("nucleus", 10))
SIZES = {
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
"""Of the picture tower; the text model is BERT-base in both."""


def main() -> None:
    """Run both, print the table, keep the numbers under bench/results/."""
    parser = argparse.ArgumentParser(description="captions of a BLIP beside transformers' generate")
    parser.add_argument("--small", action="store_true", help="8 pictures, 10 tokens")
    parser.add_argument("--cuda", action="store_true", help="BLIP-large on a GPU")
    parser.add_argument("--precision", default="", help="fp32 or bf16 (default: fp32 on a CPU, bf16 on a GPU)")
    parser.add_argument("--data", type=Path, default=ROOT / "bench" / "data" / "captioner")
    options = parser.parse_args()
    options.precision = options.precision or ("bf16" if options.cuda else "fp32")
    if options.cuda:
        from bench.captioner_gpu import on_gpu

        rows, name = on_gpu(options), "captioner_large_gpu"
    else:
        torch.set_num_threads(1)
        rows, name = on_cpu(options), f"captioner_base_cpu_{options.precision}"
    (ROOT / "bench" / "results" / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")


def on_cpu(options: argparse.Namespace) -> list[dict[str, Any]]:
    """CPU seconds of both for each case, and on how many texts they agree where nothing is drawn."""
    folder = written(options.data / "base", "base")
    count, tokens = (8, 10) if options.small else (24, 20)
    views = pictures(count)
    found = timed_cases(partial(ours, opened(folder, options.precision, "cpu"), views), tokens)
    gc.collect()
    theirs = timed_cases(partial(Peer(folder, options.precision, "cpu").texts, views), tokens)
    titles = ("captions", "program", "CPU s", "captions per CPU s", "ratio", "same texts")
    print(f"BLIP-base at {SIDE} px, {count} pictures, {tokens} tokens, {options.precision}, batch 8, one thread")
    print("| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
    rows = []
    for case in CASES:
        (cpu_s, texts), (their_s, their_texts) = found[case], theirs[case]
        same = sum(a == b for a, b in zip(texts, their_texts, strict=True))
        agree = f"{same} of {len(texts)}" if case[0] == "greedy" else ""
        for program, spent in (("transformers", their_s), ("curate", cpu_s)):
            row = {"method": case[0], "captions": case[1], "program": program, "cpu_s": round(spent, 2)}
            rows.append(row | {"pictures": count, "tokens": tokens, "ratio": round(their_s / spent, 2)})
            rate = f"{spent:.1f} | {len(texts) / spent:.2f} | {their_s / spent:.2f}x"
            print(f"| {case[0]}, {case[1]} | {program} | {rate} | {agree} |")
    return rows


def timed_cases(work: Callable[..., list[str]], tokens: int) -> dict[tuple[str, int], tuple[float, list[str]]]:
    """CPU seconds of all threads for each case, and the texts."""
    found = {}
    for case in CASES:
        started = time.process_time()
        texts = work(case, tokens)
        found[case] = time.process_time() - started, texts
    return found


def opened(folder: Path, precision: Any, where: Any, batch: int = 0) -> BlipCaptioner:
    """Our captioner."""
    settings = CaptionerSettings(weights=str(folder), precision=precision, device=where, batch=batch)
    return open_captioner(settings)


def sampling_of(method: Any, tokens: int) -> Sampling:
    """All texts of full length."""
    return Sampling(method, max_tokens=tokens, min_tokens=tokens, prompt=PROMPT)


def ours(captioner: BlipCaptioner, views: list[Any], case: tuple[str, int], tokens: int) -> list[str]:
    """Texts, those of one picture together."""
    seeds = seeds_of([str(number) for number in range(len(views))], 0)
    found = captioner.generate(views, case[1], sampling_of(case[0], tokens), seeds)
    return [text.text for row in found for text in row]


class Peer:
    """transformers' `generate` as its documentation has it."""

    def __init__(self, folder: Path, precision: str, where: str, batch: int = 8) -> None:
        from transformers import AutoTokenizer, BlipForConditionalGeneration

        self.kind, self.where, self.batch = getattr(torch, {"fp32": "float32"}.get(precision, "bfloat16")), where, batch
        self.model = BlipForConditionalGeneration.from_pretrained(folder, dtype=self.kind).to(where).eval()
        self.words = AutoTokenizer.from_pretrained(folder)

    def pixels(self, views: list[Any]) -> torch.Tensor:
        """What its processor makes of them, on the device."""
        mean, std = (torch.tensor(rgb, device=self.where).view(1, 3, 1, 1) for rgb in (MEAN, STD))
        values = torch.from_numpy(np.stack(views)).to(self.where).permute(0, 3, 1, 2).float() / 255
        return ((values - mean) / std).to(self.kind)

    def texts(self, views: list[Any], case: tuple[str, int], tokens: int) -> list[str]:
        """Batch by batch."""
        found: list[str] = []
        for start in range(0, len(views), self.batch):
            found += self.texts_of(self.pixels(views[start : start + self.batch]), case, tokens)
        return found

    def texts_of(self, pixels: torch.Tensor, case: tuple[str, int], tokens: int) -> list[str]:
        """Of one batch."""
        method, n = case
        ids = self.words([PROMPT] * len(pixels), return_tensors="pt")["input_ids"].to(self.where)
        more: dict[str, Any] = {"do_sample": False}
        if method == "nucleus":
            more = {"do_sample": True, "top_p": 0.9, "top_k": 0, "num_return_sequences": n}
        with torch.inference_mode():
            out = self.model.generate(
                pixels, input_ids=ids, max_new_tokens=tokens, min_new_tokens=tokens, repetition_penalty=1.1, **more
            )
        return list(self.words.batch_decode(out[:, ids.shape[1] - 1 :], skip_special_tokens=True))


MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def pictures(count: int) -> list[Any]:
    """Squares of coloured noise, uint8 (384, 384, 3), as `prepare` gives them."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)
    return [np.kron(view, np.ones((16, 16, 1), np.uint8)) for view in coarse]


def written(folder: Path, size: str, kind: str = "BlipForConditionalGeneration") -> Path:
    """The folder of a random BLIP, in half precision on disk, made once."""
    if (folder / "done").exists():
        return folder
    import transformers

    text = {"num_attention_heads": 12, "vocab_size": WORDS + 2, "bos_token_id": WORDS, "sep_token_id": 102}
    vision = SIZES[size] | {"image_size": SIDE, "patch_size": 16}
    torch.manual_seed(8)
    model = getattr(transformers, kind)(transformers.BlipConfig(text_config=text, vision_config=vision))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            else:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding) and module.num_embeddings > WORDS:
                module.weight.normal_(0, 0.15)
    model.to(torch.bfloat16).save_pretrained(folder)
    _write_words(folder)
    about: dict[str, Any] = {"image_processor_type": "BlipImageProcessor", "size": {"height": SIDE, "width": SIDE}}
    about |= {"do_resize": True, "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    about |= {"image_mean": MEAN, "image_std": STD, "do_convert_rgb": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    (folder / "done").touch()
    return folder


def _write_words(folder: Path) -> None:
    """A vocabulary as large as BERT's, with its special tokens at their places and made-up words at the others."""
    from transformers import BertTokenizer

    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    words = [special.get(number, f"word{number}") for number in range(WORDS)]
    words[1000 : 1000 + len(PROMPT.split())] = PROMPT.split()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)


if __name__ == "__main__":
    main()
