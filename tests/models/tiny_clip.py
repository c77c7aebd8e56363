"""Architectures of open_clip small enough to build in a blink, as folders with random weights; and real pairs."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import curate.models  # noqa: F401 - before open_clip

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
SIGLIP = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}

KINDS: Mapping[str, Mapping[str, Any]] = {
    "clip": {},
    "quickgelu": {"model": {"quick_gelu": True}, "preprocess": {"interpolation": "bilinear"}},
    "custom_text": {"model": {"custom_text": True}, "preprocess": {"resize_mode": "longest", "fill_color": 200}},
    "no_projection": {"model": {"custom_text": True}, "text": {"proj_type": "none"}},
    "projection_with_bias": {"model": {"custom_text": True}, "text": {"proj_bias": True}},
    "eos": {"text": {"pool_type": "eos", "eos_id": 49407}},
    "siglip_last": {
        "model": {"custom_text": True, "init_logit_bias": -10},
        "text": {"no_causal_mask": True, "pool_type": "last", "proj_bias": True},
        "preprocess": SIGLIP,
    },
    "siglip_first": {
        "model": {"custom_text": True},
        "text": {"no_causal_mask": True, "pool_type": "first"},
        "preprocess": SIGLIP,
    },
    "causal_last": {"text": {"pool_type": "last"}},
    "bidirectional_argmax": {"model": {"custom_text": True}, "text": {"no_causal_mask": True}},
    "coca": {
        "model": {
            "custom_text": True,
            "multimodal_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
        },
        "text": {"embed_cls": True, "output_tokens": True},
        "vision": {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    },
    "resnet": {"vision": {"layers": [1, 1, 1, 1], "width": 32, "head_width": 32, "image_size": 64}},
}
TRIMS = {"clip", "quickgelu", "custom_text", "no_projection", "projection_with_bias", "eos", "resnet"}
"""Those whose text towers may do without padding."""


def make(folder: Path, kind: str = "clip", seed: int = 0) -> Path:
    """Write open_clip's config and random weights; of vectors too, which open_clip leaves at 0 and 1, and of
    what it leaves as it finds the memory."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    changes = KINDS[kind]
    vision = {**VISION, **changes.get("vision", {})}
    if isinstance(vision["layers"], list):
        vision.pop("patch_size")
    model = {
        "embed_dim": 32,
        "vision_cfg": vision,
        "text_cfg": {**TEXT, **changes.get("text", {})},
        **changes.get("model", {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    about = {"model_cfg": model, "preprocess_cfg": changes.get("preprocess", {})}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        with torch.no_grad():
            for parameter in built.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
            if kind == "coca":
                built.text_decoder.text_projection.normal_()
    tensors = {name: tensor.contiguous() for name, tensor in built.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    return folder


@cache
def openstax() -> list[tuple[str, bytes]]:
    """Captions and encoded pictures."""
    path = DATA / "pairs" / "openstax.jsonl"
    if not path.exists():
        pytest.skip("the shared pairs are not beside the checkout")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return list(_pairs(path.parent, rows))


def _pairs(folder: Path, rows: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    for row in rows:
        yield str(row["alt"]), (folder / row["image"]).read_bytes()


def drawn(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A picture of soft and hard edges, uint8 (height, width, 3)."""
    from PIL import Image

    rng = np.random.default_rng([seed, width, height])
    coarse = rng.integers(0, 256, (height // 7 + 1, width // 7 + 1, 3), dtype=np.uint8)
    soft = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    soft[: height // 3] = np.where(soft[: height // 3] > 127, 255, 0)
    return soft
