"""Random models of the real architectures that take a picture and write text, a few ten thousand numbers each.

A tokenizer of some forty whole words goes with them, and weights drawn wide enough for pictures and words to make a
difference: as transformers draws them, every answer is the same to three digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import curate.models  # noqa: F401 - lets transformers import torchvision

WORDS = tuple(
    word
    for words in (
        "a an the dog cat bird house tree man woman street water sky red blue green two three on in of with and small",
        "large sits runs . , caption en user assistant picture Describe this image one sentence What does describe ?",
        "Locate phrases : is shown",
    )
    for word in words.split()
)
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<end>")
PAD, BOS, EOS, END = 0, 2, 3, 4
CHAT = (
    "{{ bos_token }}{% for message in messages %}user : {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %} {{ part['text'] }} {% endif %}{% endfor %}</s> {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
COLOURS = {"image_mean": [0.48, 0.45, 0.40], "image_std": [0.26, 0.25, 0.27]}
KINDS = ("llava", "llava_onevision", "idefics3", "qwen2_vl", "florence2", "paligemma")
MORE_KINDS = ("qwen2_5_vl", "qwen3_vl", "git", "smolvlm")
"""The processor of the last needs the package num2words."""


def tokenizer(*more: str, locations: int = 0, **named: str) -> Any:
    """Of whole words, the start before them. `more` and `named` are special tokens; `locations` `<loc_N>` follow."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    made = PreTrainedTokenizerFast(tokenizer_object=plain, extra_special_tokens=named, **names)
    made.add_special_tokens({"additional_special_tokens": list(more)})
    if locations:
        made.add_tokens([f"<loc_{number}>" for number in range(locations)])
    return made


def write(folder: Path, kind: str, seed: int = 0) -> Path:
    """One of KINDS or MORE_KINDS, `blip2_opt` or `blip2_t5`, as transformers saves it; the same one each time."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = globals()[f"_{kind}"]()
    _save(folder, model, seed)
    processor.save_pretrained(folder)
    return folder


def _chat(image: str) -> str:
    return CHAT.replace("IMAGE", image)


def _llava() -> tuple[Any, Any]:
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    words = tokenizer("<image>")
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, **VISION},
        text_config={"model_type": "llama", "vocab_size": len(words), **TEXT},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-2,
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, **COLOURS)
    processor = LlavaProcessor(
        pictures,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=_chat("<image>"),
        num_additional_image_tokens=1,
    )
    return LlavaForConditionalGeneration(config), processor


def _llava_onevision() -> tuple[Any, Any]:
    """The whole picture and, in another resolution, its parts."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    words, grids = tokenizer("<image>", "<video>"), [[32, 32], [32, 64], [64, 32], [64, 64]]
    config = LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8, **VISION},
        text_config={"model_type": "qwen2", "vocab_size": len(words), **TEXT},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grids,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    size = {"height": 32, "width": 32}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grids, **COLOURS),
        words,
        LlavaOnevisionVideoProcessor(size=size, **COLOURS),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=_chat("<image>"),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _smolvlm() -> tuple[Any, Any]:
    from transformers import SmolVLMVideoProcessor

    frames = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 32}}
    sizes = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}
    return _tiled("SmolVLM", SmolVLMVideoProcessor(video_sampling=frames, **sizes, **COLOURS))


def _idefics3() -> tuple[Any, Any]:
    return _tiled("Idefics3")


def _tiled(name: str, *videos: Any) -> tuple[Any, Any]:
    """Tiles of a large picture and the whole."""
    import transformers

    def kind(suffix: str) -> Any:
        return getattr(transformers, f"{name}{suffix}")

    rows = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    words = tokenizer("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<video>", *rows)
    config = kind("Config")(
        vision_config={"image_size": 16, "patch_size": 4, **VISION},
        text_config={"model_type": "llama", "vocab_size": len(words), **TEXT},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    pictures = kind("ImageProcessor")(size={"longest_edge": 32}, max_image_size={"longest_edge": 16}, **COLOURS)
    processor = kind("Processor")(pictures, words, *videos, image_seq_len=4, chat_template=_chat("<image>"))
    return kind("ForConditionalGeneration")(config), processor


def _qwen2_vl() -> tuple[Any, Any]:
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 8}
    return _qwen("Qwen2VL", "Qwen2VL", vision)


def _qwen2_5_vl() -> tuple[Any, Any]:
    vision = {"depth": 2, "out_hidden_size": 32, "num_heads": 2, "patch_size": 8, "window_size": 32}
    more = {"hidden_size": 32, "intermediate_size": 64, "fullatt_block_indexes": [1]}
    return _qwen("Qwen2_5_VL", "Qwen2VL", vision | more)


def _qwen3_vl() -> tuple[Any, Any]:
    vision = {"depth": 2, "out_hidden_size": 32, "num_heads": 2, "patch_size": 8, "num_position_embeddings": 64}
    more = {"hidden_size": 32, "intermediate_size": 64, "deepstack_visual_indexes": [0, 1]}
    return _qwen("Qwen3VL", "Qwen3VL", vision | more, 8)


def _qwen(name: str, video_name: str, vision: dict[str, Any], head_dim: int | None = None) -> tuple[Any, Any]:
    import transformers

    def kind(suffix: str) -> Any:
        return getattr(transformers, f"{name}{suffix}")

    names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    words = tokenizer(*names)
    image, video, start, end = (words.convert_tokens_to_ids(name) for name in names)
    config = kind("Config")(
        vision_config=vision,
        text_config={
            "vocab_size": len(words),
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0},
            **TEXT,
            **({"head_dim": head_dim} if head_dim else {}),
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    sizes = {"size": {"shortest_edge": 16 * 16, "longest_edge": 48 * 48}, "patch_size": 8, **COLOURS}
    processor = kind("Processor")(
        transformers.Qwen2VLImageProcessor(**sizes),
        words,
        getattr(transformers, f"{video_name}VideoProcessor")(**sizes),
        chat_template=_chat("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return kind("ForConditionalGeneration")(config), processor


def _florence2() -> tuple[Any, Any]:
    from transformers import CLIPImageProcessor, Florence2Config, Florence2ForConditionalGeneration, Florence2Processor

    words = tokenizer(locations=1000, image_token="<image>")
    config = Florence2Config(
        vision_config={
            "depths": [1, 1],
            "patch_size": [7, 3],
            "patch_stride": [4, 2],
            "patch_padding": [3, 1],
            "patch_prenorm": [False, True],
            "embed_dim": [16, 32],
            "num_heads": [2, 2],
            "num_groups": [2, 2],
            "window_size": 4,
            "projection_dim": 32,
        },
        text_config={
            "model_type": "bart",
            "vocab_size": len(words),
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 256,
            "pad_token_id": PAD,
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "decoder_start_token_id": EOS,
        },
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    pictures = CLIPImageProcessor(
        size={"height": 32, "width": 32}, do_center_crop=False, image_seq_length=17, **COLOURS
    )
    pictures.image_seq_length = 17
    model = Florence2ForConditionalGeneration(config)
    model.generation_config.update(forced_bos_token_id=BOS, no_repeat_ngram_size=3, num_beams=3, early_stopping=True)
    return model, Florence2Processor(pictures, words)


def _paligemma() -> tuple[Any, Any]:
    from transformers import (
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessor,
    )

    words = tokenizer("<image>", locations=1024)
    config = PaliGemmaConfig(
        vision_config={"model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8, **VISION},
        text_config={"model_type": "gemma", "vocab_size": len(words), "head_dim": 8, **TEXT},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
    )
    pictures = SiglipImageProcessor(size={"height": 32, "width": 32}, image_seq_length=16, **COLOURS)
    pictures.image_seq_length = 16
    return PaliGemmaForConditionalGeneration(config), PaliGemmaProcessor(pictures, words)


def _git() -> tuple[Any, Any]:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    words = tokenizer()
    words.cls_token = "<s>"
    own = {name: value for name, value in TEXT.items() if name != "num_key_value_heads"}
    vision = {"image_size": 32, "patch_size": 8, **VISION}
    config = GitConfig(vision_config=vision, vocab_size=len(words), **own)
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, **COLOURS)
    return GitForCausalLM(config), GitProcessor(pictures, words)


def _blip2(language: dict[str, Any], words: Any) -> tuple[Any, Any]:
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, BlipImageProcessor

    former = {**VISION, "vocab_size": len(words), "encoder_hidden_size": 32, "cross_attention_frequency": 2}
    config = Blip2Config(
        vision_config={"image_size": 32, "patch_size": 8, **VISION},
        qformer_config=former,
        text_config=language,
        num_query_tokens=4,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    pictures = BlipImageProcessor(size={"height": 32, "width": 32}, **COLOURS)
    return Blip2ForConditionalGeneration(config), Blip2Processor(pictures, words, num_query_tokens=4)


def _blip2_opt() -> tuple[Any, Any]:
    words = tokenizer("<image>")
    own = {
        "model_type": "opt",
        "vocab_size": len(words),
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 96,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
    }
    return _blip2(own, words)


def _blip2_t5() -> tuple[Any, Any]:
    words = tokenizer("<image>")
    own = {
        "model_type": "t5",
        "vocab_size": len(words),
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        "decoder_start_token_id": PAD,
    }
    return _blip2(own, words)


def picture(seed: int, width: int = 48, height: int = 40) -> np.ndarray:
    """A decoded picture of coloured squares, uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (-(-height // 9), -(-width // 9), 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((9, 9, 1), np.uint8))[:height, :width])


def _save(folder: Path, model: Any, seed: int) -> None:
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
            else:
                wide = 0.3 if "embed" in name or "shared" in name else parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * wide)
    model.save_pretrained(folder)
