"""Small CoCas of open_clip with random weights that have something to say: their captions differ from picture to
picture and from place to place, where those of plainly random ones repeat one token."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tiny_clip import VISION

from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Generated, Sampling, seeds_of

LIVELY = {"text.positional_embedding": 60.0, "text.token_embedding.weight": 40.0, "cross_attn.0.attn.out_proj": 8.0}


def make_coca(folder: Path, seed: int = 0) -> Path:
    """A folder with open_clip's config and weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    tower = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    pool = {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    model = {"embed_dim": 32, "custom_text": True, "vision_cfg": VISION | pool, "multimodal_cfg": tower}
    model["text_cfg"] = tower | {"embed_cls": True, "output_tokens": True}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        with torch.no_grad():
            built.text_decoder.text_projection.normal_()
            for parameter in built.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1 * (parameter.ndim == 1))
    tensors = {name: tensor.contiguous() for name, tensor in built.state_dict().items()}
    for part, factor in LIVELY.items():
        tensors |= {name: tensor * factor for name, tensor in tensors.items() if part in name}
    save_file(tensors, folder / "open_clip_model.safetensors")
    return folder


def change_config(folder: Path, **changes: Any) -> Path:
    """Write other values into the model's config: `text_cfg={"embed_cls": False}`; None removes a table."""
    path = folder / "open_clip_config.json"
    told = json.loads(path.read_text())
    for table, values in changes.items():
        if values is None:
            del told["model_cfg"][table]
        else:
            told["model_cfg"][table] = {**told["model_cfg"][table], **values}
    path.write_text(json.dumps(told))
    return folder


def settings(folder: Path, **changes: Any) -> CaptionerSettings:
    """Of a folder, greedy, exact and on the CPU unless told otherwise."""
    told: dict[str, Any] = {"weights": str(folder), "precision": "fp32", "device": "cpu", "method": "greedy"}
    told |= {"max_tokens": 12, "min_tokens": 0, "repetition_penalty": 1.0}
    return CaptionerSettings(**(told | changes))


def pictures(count: int, size: int = 32, seed: int = 0) -> list[np.ndarray]:
    """Prepared pictures, uint8 (size, size, 3)."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)]


def captions(model: Any, views: Sequence[Any], n: int, sampling: Sampling) -> list[list[Generated]]:
    """Captions of pictures, each with the seed of what is in it."""
    return model.generate(views, n, sampling, seeds_of([view.tobytes().hex() for view in views], 7))


def with_generation(patch: Any) -> None:
    """Have open_clip's `generate` run beside transformers 5: of the names that it imports at once one is no longer
    there (BeamSearchScorer), so that it takes all of them for missing. Sampling needs the others alone."""
    import transformers
    from open_clip import coca_model
    from transformers import generation

    names = ("LogitsProcessorList", "RepetitionPenaltyLogitsProcessor", "MinLengthLogitsProcessor")
    names += ("MaxLengthCriteria", "StoppingCriteriaList")
    for name in names:
        found = getattr(generation, name, None) or getattr(transformers, name)
        patch.setattr(coca_model, name, found, raising=False)
    kinds = {"top_k": generation.TopKLogitsWarper, "top_p": generation.TopPLogitsWarper}
    patch.setattr(coca_model, "GENERATION_TYPES", kinds)
    patch.setattr(coca_model, "_has_transformers", True)
