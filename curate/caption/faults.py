"""What is wrong with a generated text, whoever judges it: loops, artefacts, refusals, an echo of the prompt, a cut.

Captioners fail in ways that web texts do not, and a matcher does not see all of them: BLIP-large says "arafed", BLIP
"dai dai dai" and "ray ban ray ban" (LAVIS#472), "a hat on top of a hat on top of a hat" (LAVIS#713), chat models refuse
or repeat what they were asked. A faulty caption stays in its column, with the reason beside it; a view may refuse it.
The words stand here in one place; 100,000 captions of 12 words take 3 CPU seconds. Of 2,485 texts that people wrote for
pictures of text books and recipes one has a fault (a photographer named twice), of 10,000 alt texts of the web 84.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pyarrow as pa

from curate.filter import Batch, Scorer
from curate.models.caption_settings import CaptionerSettings
from curate.models.open_captioner import asked_prompt

__all__ = ["FAULTS", "FindFaults", "fault_of", "faults_column"]

FAULTS: Mapping[str, str] = {
    "empty_text": "a generated text without a letter or digit",
    "refusal": "the model refused to describe the picture, or said it saw none",
    "prompt_echo": "a generated text repeats what the model was asked",
    "artefact": "a generated text has a word that is a captioner's artefact, or a token of its vocabulary",
    "repetition_loop": "a generated text repeats itself",
    "truncated": "a generated text was cut off in the middle of a sentence",
}
"""Reasons, the first that fits is given, each with the words that a report shows."""

MOST_CHARS = 4_096
"""What is looked at of a text: so much of its beginning, and for a loop of its end too, where long captions have it."""
MOST_PERIOD = 12
"""Words in the longest phrase whose repetition is looked for."""
WORD_RUN = 3
"""A word this often in a row is a loop; twice is a place name (Bora Bora, Walla Walla)."""
PHRASE_RUN = 2
"""A phrase of two words or more this often in a row is one; across the end of a sentence as often as a word, for
"the Clan na Gael. Clan na Gael was" is good English. A sentence or a row of them is a phrase."""
ECHO_WORDS = 4
"""Words of the shortest prompt that is looked for in a text: "a picture of" is also good English."""

_WORD = re.compile(r"\d+(?:[.,:/-]\d+)*(?![^\W_])|[^\W_]+(?:['’][^\W_]+)*")
"""55,000,000,000 and 5-5.5 are one word each."""
_SENTENCE_END = re.compile(r"""[.!?…]["'”’)]*\s|[。！？।؟]|\n""")
_LETTER_RUN = re.compile(r"(.{1,16}?)\1{5,}", re.DOTALL)
"""Six times the same: loops in scripts without spaces, and within a word. One without a letter is none: the noughts of
10000000, white space, dots."""
_ARTEFACT = re.compile(
    r"\bara(?:f|ff)(?:e|ed|es|y|ing|ic)?\b|(?-i:\[(?:unused\d+|PAD|UNK|CLS|SEP|MASK|ENC|DEC)\])"
    r"|<\|?(?:unk|pad|s|/s|bos|eos|image|im_start|im_end|endoftext|end_of_text|start_of_text|eot_id|loc_\d+)\|?>"
    r"|(?<!\S)##\w",
    re.IGNORECASE,
)
_DOES = (
    r"(?:(?:actually|directly|really|fully|even|be able to) )*(?:see|view|describe|help|assist|tell|identify"
    r"|recogni[sz]e|determine|provide|generate|create|write|answer|comply|fulfill?|process|analy[sz]e|access|display|open"
    r"|discern|comment|caption|interpret|do (?:that|this)|make out)\b"
)
_REFUSAL = re.compile(
    r"^\W*(?:(?:unfortunately|sorry|apologies),? (?:but )?)?(?:"
    r"i(?:['’]m| am) (?:very |really |so |just |only )*(?:sorry|unable|not able|an ai|a (?:large )?language model"
    r"|afraid (?:that )?(?:i|there|the image|the picture))\b"
    rf"|i (?:can(?:['’]t|not| not)|could(?:n['’]t| not)|won['’]t|will not) {_DOES}"
    r"|i (?:don['’]t|do not) (?:see (?:an?|any|the) (?:image|picture|photo)|have (?:the ability|access))\b"
    r"|(?:i )?apologi[sz]e\b|as an? (?:ai|(?:large )?language model)\b"
    r"|(?:there is|i (?:can )?see) no (?:image|picture|photo)(?: (?:here|provided|attached|given|uploaded|available"
    r"|to \w+)\b|\W*$)"
    r"|no (?:image|picture|photo) (?:was |is |has been )?(?:provided|attached|given|uploaded)\b"
    r"|please (?:provide|upload|attach|share) (?:an?|the) (?:image|picture|photo)\b)"
    r"|\bas an ai (?:language |visual |assistant|model)|^\W*sorry, (?:but )?i\b",
    re.IGNORECASE,
)
_ENDS = (".", "!", "?", "…", '"', "”", ")", "。", "！", "？", "।", "؟")


def faults_column(captioner: str) -> str:
    """The column with the fault of each of a captioner's captions, list of string; null for a sound one."""
    return f"{captioner}_faults"


def fault_of(text: str | None, finish: str | None, prompt: str = "") -> str | None:
    """The first of FAULTS that a generated text has; None for a sound one. `finish`: `stop`, `length` or unknown."""
    seen = (text or "")[:MOST_CHARS]
    words = _words(seen)
    if not words:
        return "empty_text"
    if _REFUSAL.search(seen):
        return "refusal"
    if _echoes(words, prompt):
        return "prompt_echo"
    if _ARTEFACT.search(seen):
        return "artefact"
    if _loops(seen) or (text and len(text) > MOST_CHARS and _loops(text[-MOST_CHARS:])):
        return "repetition_loop"
    if finish == "length" and not (text or "").rstrip().endswith(_ENDS):
        return "truncated"
    return None


def _echoes(words: Sequence[str], prompt: str) -> bool:
    asked = _words(prompt)
    if len(asked) < ECHO_WORDS:
        return False
    return f" {' '.join(asked)} " in f" {' '.join(words)} "


def _loops(text: str) -> bool:
    """Whether letters, a word, a phrase or sentences stand several times in a row."""
    if any(letter.isalpha() for run in _LETTER_RUN.finditer(text) for letter in run[1]):
        return True
    sentences = [_words(part) for part in _SENTENCE_END.split(text)]
    if any(_repeats(own, WORD_RUN, PHRASE_RUN) for own in sentences):
        return True
    longer = [" ".join(own) for own in sentences if len(own) > 1]
    every = [word for own in sentences for word in own]
    return len(sentences) > 1 and (_repeats(longer, PHRASE_RUN, PHRASE_RUN) or _repeats(every, WORD_RUN, WORD_RUN))


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _repeats(items: Sequence[str], one: int, several: int) -> bool:
    """Whether an item stands `one` times in a row, or some items `several` times."""
    for period in range(1, min(MOST_PERIOD, len(items) // PHRASE_RUN) + 1):
        most = period * ((one if period == 1 else several) - 1)
        run = 0
        for item, before in zip(items[period:], items, strict=False):
            run = run + 1 if item == before else 0
            if run >= most:
                return True
    return False


@dataclass(frozen=True)
class FindFaults(Scorer):
    """Faults of the captions of `captioner`, which was asked with `prompt`, or where that is empty with what `model`
    asks of itself (which the captions' own fingerprint covers). Null for a row without captions."""

    captioner: str
    prompt: str = ""
    model: CaptionerSettings | None = field(default=None, metadata={"runtime": True})

    version: ClassVar[int] = 2

    @property
    def name(self) -> str:
        return f"{self.captioner}_faults"

    @property
    def reads(self) -> tuple[str, ...]:
        return (f"{self.captioner}_captions", f"{self.captioner}_finish")

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {faults_column(self.captioner): pa.list_(pa.string())}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        prompt = self.prompt or (asked_prompt(self.model) if self.model else "")
        known: dict[tuple[str | None, str | None], str | None] = {}
        rows: list[list[str | None] | None] = []
        for texts, ends in zip(*(batch.columns[name].to_pylist() for name in self.reads), strict=True):
            own = None if texts is None else list(zip(texts, ends or [None] * len(texts), strict=True))
            for pair in own or ():
                if pair not in known:
                    known[pair] = fault_of(*pair, prompt)
            rows.append(None if own is None else [known[pair] for pair in own])
        return {faults_column(self.captioner): pa.array(rows, pa.list_(pa.string()))}
