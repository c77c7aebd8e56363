"""How a model's folder words a chat: a template that a stranger wrote, run in a sandbox and against a clock.

transformers runs it by jinja, which keeps it from files and from Python's own objects, but not from looping for ever:
three loops in each other are 10^15 rounds. So a clock looks at every line that it runs (0.1 ms more a prompt), what
comes out may not be much longer than what went in, and powers and numbers above 100,000, by which one line could fill
the memory, are refused; a template that doubles a text again and again can still fill it. One that asks for the date
(Llama 3 does) gets one that is always the same, for an answer may not depend on the day.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from curate.errors import ConfigError
from curate.models.memory import is_memory

__all__ = ["chat_prompt", "clock", "require_chat", "tamed"]

TEMPLATE_S = 2.0
"""Of a core; real ones take .1 ms."""
MOST_TEMPLATE_CHARS = 200_000
"""The longest that are published have some 20,000 characters."""
MOST_CHARS_ADDED = MOST_NUMBER = 100_000
PROBE = "Is this a question?"
NOW = "strftime_now"
SAME_DAY = f"{{% macro {NOW}(format) %}}26 Jul 2024{{% endmacro %}}\n"
"""Set before a template that asks for the date; jinja takes away the line's end."""


def chat_prompt(tokenizer: Any, words: str) -> str:
    """A user's first message by the tokenizer's template, and the beginning of the answer. Raises ConfigError for a
    template that fails, that takes more than 2 s, or that adds more than 100,000 characters."""
    asked = [{"role": "user", "content": words}]
    try:
        with clock():
            told = tamed(tokenizer.get_chat_template())
            said = tokenizer.apply_chat_template(asked, chat_template=told, tokenize=False, add_generation_prompt=True)
    except Exception as error:
        if is_memory(error):
            raise
        why = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise ConfigError(f"{_whose(tokenizer)} fails: {why}; mend or remove it") from error
    if len(said) > len(words) + MOST_CHARS_ADDED:
        raise ConfigError(f"{_whose(tokenizer)} makes {len(said):,} characters of {len(words):,}; mend or remove it")
    return str(said)


def require_chat(tokenizer: Any) -> None:
    """Raise ConfigError for a template, where there is one, that cannot be used: it fails, or says nothing of what is
    asked."""
    if getattr(tokenizer, "chat_template", None) and PROBE not in chat_prompt(tokenizer, PROBE):
        raise ConfigError(f"{_whose(tokenizer)} leaves out what is asked; mend or remove it")


def tamed(template: str) -> str:
    """The template, with one date for all days. Raises ValueError for one that is too long, or could make much of one
    line."""
    from jinja2 import Environment

    if len(template) > MOST_TEMPLATE_CHARS:
        raise ValueError(f"it has {len(template):,} characters, and {MOST_TEMPLATE_CHARS:,} are the most")
    for _, kind, word in Environment(autoescape=True).lex(template):
        if kind == "operator" and word == "**":
            raise ValueError("it has a power (**)")
        whole = kind == "integer" and (len(word) > 7 or int(word.replace("_", ""), 0) > MOST_NUMBER)
        if whole or (kind == "float" and float(word) > MOST_NUMBER):
            raise ValueError(f"it has the number {word[:20]}, and {MOST_NUMBER:,} is the most")
    return SAME_DAY + template if NOW in template else template


def _whose(tokenizer: Any) -> str:
    return f"the chat template of {getattr(tokenizer, 'name_or_path', '') or 'this model'}"


@contextmanager
def clock() -> Iterator[None]:
    """Raise TimeoutError in Python code of this thread that is still called or running after TEMPLATE_S on a core."""
    end_s, before = time.thread_time() + TEMPLATE_S, sys.gettrace()

    def look(frame: FrameType, event: str, value: object) -> Any:
        if time.thread_time() > end_s:
            raise TimeoutError(f"it takes more than {TEMPLATE_S:g} s")
        return look if frame.f_code.co_filename == "<template>" else None  # of all others each call is enough

    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)
