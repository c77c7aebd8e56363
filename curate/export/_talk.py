"""Any example as a conversation that a trainer can read: a person shows pictures and asks, the model answers.

    pairs         the picture with a prompt, and its caption
    chat          the turns as they are
    interleaved   a person shows the next picture, the model goes on with the text: all text behind the first picture
                  is learnt, what stands before it is given
    text          the model says it all, unasked; for the formats that take that

Trainers find a picture's place by a literal `<image>` in the text and drop, or crash on, an example whose places are
not as many as its files; a page that quotes the word is one. So such words are taken out of texts here (`[image]`), and
every example is checked before anything is written: 0.08 ms for a pair, most of it the picture's header.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from curate.export._interleave import NEVER_ASKED, readable, runs, settle
from curate.fetch.header import read_header
from curate.handover.layout import Example
from curate.sample import Conversation, Document, Picture, Sample, Text, Turn

__all__ = ["CONTROL", "ESCAPED", "IMAGE", "PROMPTS", "Rules", "Said", "Shown", "Talk", "clean", "talk_of"]

IMAGE = "<image>"
"""What trainers take for a picture's place."""
CONTROL = ("</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<video>", "<audio>")
"""What chat templates end a turn with, and the places of other media: in a text they would end or misplace it."""
ESCAPED = "texts_with_marks"
"""Counts texts out of which a mark was taken."""
UNHEARD = "left_out.picture_without_text_behind"
"""Counts pictures at the end of a document, about which nothing is said."""
WRITTEN = ("jpg", "png")

PROMPTS = (
    "Describe this picture in a few words.",
    "What does this picture show?",
    "Write a short caption for this image.",
    "Say briefly what can be seen here.",
    "Give a brief description of the image.",
    "What is in this image? Answer in short.",
    "Sum up what the picture shows.",
    "Tell in short what this image is about.",
)
"""One of them asks for a caption, as in LLaVA's first stage (Liu et al. 2023): which, the pair itself decides."""


@dataclass(frozen=True)
class Shown:
    """A picture that its readers can open: JPEG or PNG, `width` and `height` in px as displayed."""

    data: bytes
    extension: str
    width: int
    height: int


@dataclass(frozen=True)
class Said:
    """One turn: texts and pictures in order, two texts never in a row. `role` is "system", "user" or "assistant"."""

    role: str
    parts: tuple[str | Shown, ...]

    def value(self, place: Callable[[Shown], str]) -> str:
        """Its text with `place` of each picture, each on a line of its own where the text has no space around it."""
        told = ""
        for part in self.parts:
            piece = part if isinstance(part, str) else place(part)
            told += "\n" * bool(told and not told[-1].isspace() and not piece[:1].isspace()) + piece
        return told


@dataclass(frozen=True)
class Talk:
    """A conversation that was checked. User and assistant alternate, an answer is last, no turn is empty, and pictures
    are the user's alone; before them maybe a system turn. Of a text alone it is one turn of the assistant."""

    turns: tuple[Said, ...]

    @property
    def pictures(self) -> list[Shown]:
        """All pictures, in the order of their places."""
        return [part for turn in self.turns for part in turn.parts if isinstance(part, Shown)]


@dataclass(frozen=True)
class Rules:
    """What a format asks of a conversation.

    `prompt`: "describe" (one of PROMPTS), "plain" (the picture alone), or the text itself. `marks` are taken out of
    texts. Without `system`, what the system says is put before the first thing that the user says.
    """

    prompt: str = "describe"
    marks: tuple[str, ...] = (IMAGE,)
    system: bool = False


def talk_of(example: Example, kind: str, rules: Rules, counts: Counter[str]) -> Talk | str:
    """The conversation of an example of this kind, or the reason why it must stay out: `no_caption`, `picture_missing`,
    `no_picture`, `no_text`, `no_text_behind_a_picture`, `empty_turn`, `picture_in_answer`, `roles_do_not_alternate`.

    Counts `slots`, `missing.<status>` of pictures that cannot be
    read, ESCAPED, UNHEARD, and `reencoded`.
    """
    turns = _turns(example, kind, rules, counts)
    if isinstance(turns, str):
        return turns
    said = [_said(turn, rules.marks, counts) for turn in turns]
    if not isinstance(example, Document):
        pictures = [part for turn in said for part in turn.parts if not isinstance(part, str)]
        counts["slots"] += len(pictures)
        counts.update(f"missing.{p.status or NEVER_ASKED}" for p in pictures if isinstance(p, Picture))
    if any(isinstance(part, Picture) for turn in said for part in turn.parts):
        return "picture_missing"
    ready = [Said(turn.role, tuple(p for p in turn.parts if not isinstance(p, Picture))) for turn in said]
    if not rules.system and ready and ready[0].role == "system":
        ready = _folded(ready)
    return _fault(ready, kind) or Talk(tuple(ready))


def _turns(example: Example, kind: str, rules: Rules, counts: Counter[str]) -> Sequence[Turn] | str:
    if isinstance(example, Conversation):
        return example.turns
    if isinstance(example, Document):
        return [Turn("assistant", example.parts)] if kind == "text" else _of_document(example, counts)
    if not (example.caption or "").strip():
        return "no_caption"
    status = "success" if example.image else "no_picture"
    shown = Picture("", example.image or None, example.extension, status)
    prompt = _prompt(example, rules.prompt)
    asked = (shown, Text(prompt)) if prompt else (shown,)
    return [Turn("user", asked), Turn("assistant", (Text(example.caption or ""),))]


def _prompt(pair: Sample, prompt: str) -> str:
    """The same for the same picture and caption, wherever they lie."""
    if prompt != "describe":
        return "" if prompt == "plain" else prompt
    digest = hashlib.blake2b(pair.image + (pair.caption or "").encode("utf-8", "replace"), digest_size=8).digest()
    return PROMPTS[int.from_bytes(digest) % len(PROMPTS)]


def _of_document(document: Document, counts: Counter[str]) -> Sequence[Turn] | str:
    """Before each text that follows a picture the user shows the pictures, and first of all what stands before them."""
    document, reason = settle(document, "drop_slot", lambda picture: _usable(picture, counts), counts)
    if reason is not None:
        return reason
    turns: list[Turn] = []
    shown: list[Text | Picture] = []
    for run in runs(document):
        if isinstance(run, Picture) or not (turns or shown):
            shown.append(Text(run) if isinstance(run, str) else run)
        else:
            turns += [Turn("user", tuple(shown)), Turn("assistant", (Text(run),))]
            shown = []
    counts[UNHEARD] += sum(isinstance(part, Picture) for part in shown)
    return turns or "no_text_behind_a_picture"


@dataclass(frozen=True)
class _Half:
    """A turn whose pictures were opened; a Picture is one that could not be."""

    role: str
    parts: tuple[str | Shown | Picture, ...]


def _said(turn: Turn, marks: Sequence[str], counts: Counter[str]) -> _Half:
    whole = runs(Document("", turn.parts))
    return _Half(turn.role, tuple(clean(p, marks, counts) if isinstance(p, str) else _shown(p, counts) for p in whole))


def clean(text: str, marks: Sequence[str], counts: Counter[str]) -> str:
    """A text in which nothing is a mark, nor half of a character."""
    found = text.encode("utf-8", "replace").decode()
    for mark in marks:
        found = found.replace(mark, f"[{mark.strip('<>/|')}]")
    counts[ESCAPED] += any(mark in text for mark in marks)
    return found


def _usable(picture: Picture, counts: Counter[str]) -> Picture:
    """The picture as its readers take it; counts those that had to be made JPEGs."""
    found = readable(picture, WRITTEN)
    counts["reencoded"] += found.image is not None and found.image is not picture.image
    return found


def _shown(picture: Picture, counts: Counter[str]) -> Shown | Picture:
    """The same with its size."""
    picture = _usable(picture, counts)
    if picture.image is None:
        return picture
    header = read_header(picture.image)
    return Shown(picture.image, header.extension, header.width, header.height)


def _folded(turns: Sequence[Said]) -> list[Said]:
    """The system's text before the user's first."""
    if len(turns) < 2 or turns[1].role != "user":
        return list(turns)
    texts = [part for part in turns[0].parts if isinstance(part, str)]
    first, *rest = turns[1].parts or ("",)
    started = (f"{texts[0]}\n\n{first}", *rest) if texts and isinstance(first, str) else (*texts, *turns[1].parts)
    return [Said("user", started), *turns[2:]]


def _fault(turns: Sequence[Said], kind: str) -> str | None:
    """Why a trainer would not take these turns."""
    if any(not "".join(_texts(turn)).strip() and not _has_picture(turn) for turn in turns):
        return "empty_turn"
    if kind == "text":
        return None
    if any(_has_picture(turn) and turn.role != "user" for turn in turns):
        return "picture_in_answer"
    talk = turns[1:] if turns and turns[0].role == "system" else turns
    wanted = ["user", "assistant"] * (len(talk) // 2)
    return None if talk and [turn.role for turn in talk] == wanted else "roles_do_not_alternate"


def _texts(turn: Said) -> Iterator[str]:
    return (part for part in turn.parts if isinstance(part, str))


def _has_picture(turn: Said) -> bool:
    return any(isinstance(part, Shown) for part in turn.parts)
