"""Templates of chats as strangers write them: they end, they say what is asked, and they do not depend on the day."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_language_model import save_causal, save_tokenizer

import curate.models  # noqa: F401  (lets torchvision be imported)
from curate.errors import ConfigError
from curate.models import chat_template
from curate.models.chat_template import chat_prompt, require_chat
from curate.models.language_model import Decoding, LanguageModel, require_language_model

SAID = "{{ messages[0]['content'] }}"
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}" + (
    "{% endfor %}{% endfor %}"
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"), chat=True)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('no system message') }}", "fails: no system message; mend or remove it"),
        ("{% for %}", "fails: Expected an expression"),
        ("{{ messages[5].content.text }}", "fails: list object has no element 5"),
        ("{% include '/etc/passwd' %}" + SAID, "fails: no loader"),
        ("{{ ''.__class__.__mro__ }}" + SAID, "fails: access to attribute '__class__'"),
        ("hello", "leaves out what is asked"),
        ("{{ messages[0]['content'][0]['text'] }}", "leaves out what is asked"),
        (SAID + "{{ 'x' * 100000 }}y", "makes 100,020 characters of 19"),
        (SAID + "{{ 'x' * 100_001 }}", "fails: it has the number 100_001, and 100,000 is the most"),
        (SAID + "{{ 'x' * 3000000000 }}", "fails: it has the number 3000000000"),
        (SAID + "{{ 'x' * (3e9 | int) }}", "fails: it has the number 3e9"),
        (SAID + "{{ 10 ** 9 ** 9 }}", "fails: it has a power"),
        (LOOPS + SAID, "fails: it takes more than 0.2 s"),
    ],
)
def test_a_template_that_cannot_be_used_is_told(
    tokenizer: Any, template: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if template.startswith(LOOPS):
        monkeypatch.setattr(chat_template, "TEMPLATE_S", 0.2)
    monkeypatch.setattr(tokenizer, "chat_template", template)
    traced, start_s = sys.gettrace(), time.thread_time()
    with pytest.raises(ConfigError, match="the chat template of ") as error:
        require_chat(tokenizer)
    assert words in str(error.value)
    assert time.thread_time() - start_s < 5
    assert sys.gettrace() is traced


def test_a_template_that_adds_its_most_is_used(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", SAID + "{{ 'x' * 100000 }}")
    require_chat(tokenizer)
    monkeypatch.setattr(tokenizer, "chat_template", None)
    require_chat(tokenizer)


@pytest.mark.parametrize("start", ["", "  {% if true %}a{% endif %}", "\n"])
def test_the_day_has_no_say(tokenizer: Any, monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    """And nothing else changes in what the template says."""
    said = []
    for day in ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"):
        monkeypatch.setattr(tokenizer, "chat_template", f"{start}{day} {SAID}")
        said.append(chat_prompt(tokenizer, "w1"))
    assert said[0] == said[1]
    assert said[0].endswith("26 Jul 2024 w1")


def test_a_folder_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    folder = save_causal(tmp_path / "m", chat=True)
    require_language_model(str(folder))
    for name, content, words in (
        ("chat_template.jinja", "hello", "leaves out what is asked"),
        ("tokenizer.json", "{}", "no tokenizer that transformers can read"),
    ):
        broken = Path(shutil.copytree(folder, tmp_path / name))
        (broken / name).write_text(content)
        with pytest.raises(ConfigError, match=words):
            require_language_model(str(broken))


def test_no_end_of_a_prompt_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word of more letters than were looked at is one token, and what stands behind it is asked too, or nothing."""
    model = LanguageModel(save_causal(tmp_path, chat=False), "fp32", "cpu")
    space = " " * (16 * 8_192)
    found = dict(model.answer(["w1" + space[:-4] + "w2", "w1" + space + "w2"], [0, 0], Decoding(2)))
    assert found[0] is not None
    assert found[1] is None
