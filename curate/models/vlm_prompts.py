"""What a model of pictures and text is asked, and how the picture stands in the question.

A model that chats has a template in its folder, with a place for the picture; others have a processor that puts it
where it belongs; the rest get the token for a picture before the words. A config that asks nothing has a default, which
is part of the model's digest, because captions depend on it: Florence-2 knows tasks and no questions, PaliGemma was
trained on `caption en`, BLIP-2 goes on from the picture itself.

A template is a program that a stranger wrote; it is run within bounds (`curate.models.chat_template`).
"""

from __future__ import annotations

from typing import Any

from curate.errors import ConfigError
from curate.models.chat_template import clock, tamed

__all__ = ["default_prompt", "prompt_text"]

CHAT = "Describe this image in one sentence."
DEFAULTS = {"florence2": "<CAPTION>", "paligemma": "caption en", "blip-2": "", "git": ""}
PLACES_ITSELF = ("florence2", "blip-2", "instructblip")
"""Types of models whose processors put the picture before the words themselves."""
MOST_CHARS = 20_000


def default_prompt(model_type: str) -> str:
    """What a model of this type is asked where a config has no prompt."""
    return DEFAULTS.get(model_type, CHAT)


def prompt_text(processor: Any, model_type: str, prompt: str) -> tuple[str, dict[str, Any]]:
    """What the processor is given as text for one picture, and its options. Raises ConfigError.

    As transformers' own `apply_chat_template` with a user's message of a picture and the prompt, and the start of the
    answer.
    """
    words = prompt or default_prompt(model_type)
    if len(words) > MOST_CHARS:
        raise ConfigError(f"prompt has {len(words):,} characters; {MOST_CHARS:,} are the most")
    place = str(getattr(processor, "image_token", None) or "")
    if place and place in words:
        raise ConfigError(f"prompt = {words!r} has {place}, the place of the picture, which it is given by itself")
    if model_type in PLACES_ITSELF:
        return words, {}
    if model_type == "git":  # the picture is apart, and an end behind the prompt would be the end of the caption
        return f"{processor.tokenizer.cls_token or ''}{words}", {"add_special_tokens": False}
    if not getattr(processor, "chat_template", None):
        return f"{_image_token(processor, model_type)}{words}", {}
    try:
        text = _chat(processor, words)
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(f"the chat template of this {model_type} model fails: {first}; mend or remove it") from error
    start = getattr(processor.tokenizer, "bos_token", None)
    return str(text), {"add_special_tokens": False} if start and text.startswith(start) else {}


def _chat(processor: Any, words: str) -> str:
    """Raises what the template raises, ValueError and TimeoutError for one that asks for too much."""
    template = processor.chat_template
    if isinstance(template, dict):
        if "default" not in template:
            raise ValueError(f"of its {len(template)} templates none has the name default")
        template = template["default"]
    template = tamed(template)
    parts = [{"type": "image"}] + ([{"type": "text", "text": words}] if words else [])
    with clock():
        return str(
            processor.apply_chat_template(
                [{"role": "user", "content": parts}], chat_template=template, add_generation_prompt=True
            )
        )


def _image_token(processor: Any, model_type: str) -> str:
    for owner in (processor, getattr(processor, "tokenizer", None)):
        token = getattr(owner, "image_token", None)
        if token is not None:
            return str(token)
    raise ConfigError(
        f"models of type {model_type!r} have no chat template here and no token for a picture; take one that has, such "
        "as Florence-2, SmolVLM or Qwen2-VL"
    )
