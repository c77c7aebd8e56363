"""BLIP at its real size: ViT-B/16 at 384 px (but 3 of 12 layers), 12 of text, 30,524 tokens; random weights."""

from pathlib import Path
from typing import Any

import pytest
import tiny_blip
import torch
from PIL import Image

from curate.models import blip
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Sampling

VOCABULARY = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "bert_vocab" / "bert-base-uncased"
PICTURES = [tiny_blip.picture(seed, 48, 40) for seed in (1, 2)]
PROMPT = "a picture of"
HEADS = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not VOCABULARY.is_dir():
        pytest.skip("BERT's vocabulary, of the shared data, is not beside this checkout")
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

    text = {"num_attention_heads": HEADS, "vocab_size": 30_524, "bos_token_id": 30_522, "sep_token_id": 102}
    config = BlipConfig(text_config=text, vision_config={"image_size": 384, "patch_size": 16, "num_hidden_layers": 3})
    torch.manual_seed(8)
    with torch.device("meta"):
        model = BlipForConditionalGeneration(config)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.1 + ("norm" in name.lower() and "weight" in name))
            else:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
    model.tie_weights()
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    BertTokenizer(str(VOCABULARY / "vocab.txt")).save_pretrained(tmp_path)
    tiny_blip.write_preprocessor(tmp_path, "BlipImageProcessor", 384)
    return tmp_path


def theirs(folder: Path, **more: Any) -> list[list[int]]:
    from transformers import AutoImageProcessor, AutoTokenizer, BlipForConditionalGeneration

    model = BlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    process = AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = process([Image.fromarray(p) for p in PICTURES], return_tensors="pt")["pixel_values"]
    ids = AutoTokenizer.from_pretrained(folder)([PROMPT] * len(PICTURES), return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        found = model.generate(pixels, input_ids=ids, do_sample=False, **more)
    return found[:, ids.shape[1] - 1 :].tolist()


@pytest.mark.slow
def test_captions_are_those_of_transformers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By beams, which turn the kept keys and values over at each step; the tiny models are compared greedily too."""
    monkeypatch.setattr(blip, "CPU_UNIT", 2)
    captioner = blip.open_captioner(CaptionerSettings(weights=str(folder), precision="fp32", device="cpu"))
    told: list[Any] = []
    monkeypatch.setattr(captioner, "_told", lambda found: told.extend(found) or found)
    sampling = Sampling("beam", beams=3, max_tokens=10, min_tokens=10, prompt=PROMPT)
    captioner.generate([captioner.prepare(p) for p in PICTURES], 1, sampling, [0, 1])
    del captioner
    ours = [row[0].tokens for row in told]
    assert ours == theirs(folder, max_new_tokens=10, min_new_tokens=10, repetition_penalty=1.1, num_beams=3)
    assert ours[0] != ours[1]
