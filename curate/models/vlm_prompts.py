"""What a model of pictures and text is asked, and how the picture stands in the question.

A model that chats has a template in its folder, with a place for the picture; others have a processor that puts it
where it belongs; the rest get the token for a picture before the words. A config that asks nothing has a default, which
is part of the model's digest, because captions depend on it: Florence-2 knows tasks and no questions, PaliGemma was
trained on `caption en`, BLIP-2 goes on from the picture itself.

A template is a program that a stranger wrote. transformers runs it in a sandbox, which bounds neither its time nor its
memory, and tells it the date. Here it has one date for all days, two seconds of a core (real ones take .1 ms), and no
powers or large numbers, by which one line could fill the memory or take hours. One that grows a text line by line can
still fill the memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from curate.errors import ConfigError

__all__ = ["default_prompt", "prompt_text"]

CHAT = "Describe this image in one sentence."
DEFAULTS = {"florence2": "<CAPTION>", "paligemma": "caption en", "blip-2": "", "git": "", "vision-encoder-decoder": ""}
PLACES_ITSELF = ("florence2", "blip-2", "instructblip")
"""Types of models whose processors put the picture before the words themselves."""
MOST_CHARS = 20_000
MOST_TEMPLATE_CHARS, MOST_NUMBER, MOST_S = 200_000, 100_000, 2.0
"""Length of a template, a number that stands in it, and seconds of a core that it may take. The longest that are
published have some 20,000 characters."""
DATE = "26 Jul 2024"
"""Today's date, to a template that asks: Llama 3's own, where there is no clock. With the true one, captions of a run
that goes on after midnight would be others."""
DATED = "{% macro strftime_now(form) %}" + DATE + "{% endmacro %}{{ '' }}"


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
    _require_small(template)
    if "strftime_now" in template:
        template = DATED + template
    parts = [{"type": "image"}] + ([{"type": "text", "text": words}] if words else [])
    with _bounded():
        return str(
            processor.apply_chat_template(
                [{"role": "user", "content": parts}], chat_template=template, add_generation_prompt=True
            )
        )


def _require_small(template: str) -> None:
    from jinja2 import Environment

    if len(template) > MOST_TEMPLATE_CHARS:
        raise ValueError(f"it has {len(template):,} characters, and {MOST_TEMPLATE_CHARS:,} are the most")
    for _, kind, value in Environment(autoescape=False).lex(template):  # noqa: S701 - nothing is rendered
        if kind == "operator" and value == "**":
            raise ValueError("it raises to a power")
        digits = value.replace("_", "")
        if kind == "integer" and (len(digits) > 6 or int(digits, 0) > MOST_NUMBER):
            raise ValueError(f"it has the number {value[:20]}, and {MOST_NUMBER:,} is the most")


@contextmanager
def _bounded() -> Iterator[None]:
    """Raises TimeoutError in what this thread does after MOST_S of its processor time."""
    until, before = time.thread_time() + MOST_S, sys.gettrace()

    def watch(frame: Any, event: str, argument: Any) -> Any:
        if time.thread_time() > until:
            raise TimeoutError(f"it takes more than {MOST_S:g} seconds")
        return watch if frame.f_code.co_filename == "<template>" else None  # of all others each call is enough

    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(before)


def _image_token(processor: Any, model_type: str) -> str:
    for owner in (processor, getattr(processor, "tokenizer", None)):
        token = getattr(owner, "image_token", None)
        if token is not None:
            return str(token)
    raise ConfigError(
        f"models of type {model_type!r} have no chat template here and no token for a picture; take one that has, such "
        "as Florence-2, SmolVLM or Qwen2-VL"
    )
