"""Has a language model make talk about pictures from their captions, as columns beside the tars (LLaVA-Instruct).

Only rows that the filters keep are asked for, because a conversation costs ten times what a caption does: some 700
tokens in and 300 out. Which kind a picture gets, and with which words its user asks for a description, is drawn by what
the picture is and by a seed, so that neither order nor packing nor another filter changes it. Pixels are not looked at:
what a caption gets wrong, a conversation repeats. Who is asked, and how answers are kept: `curate.caption.asking`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.caption.answers import Answer, Verdict, fault_name
from curate.caption.asking import AskSettings, ask_and_keep, question_key, require_success
from curate.config import require_range
from curate.dedup.identity import CAPTION, IDENTITY, finish, identities_of, keyed
from curate.errors import ShardError
from curate.instruct.dialogue import MOST_TURNS, Bounds, Dialogue, dialogue_of
from curate.instruct.notes import Notes, TextColumn, notes_of
from curate.instruct.prompts import CONTEXT, DETAIL_QUESTIONS, INSTRUCTIONS, KINDS, PROMPTS, Kind, filled_prompt
from curate.manifest import Attempt, fingerprint
from curate.shard import Shard
from curate.stage import Resources, Runtime, Stage, settings_of

__all__ = ["TURNS", "Instruct", "InstructSettings", "instruction_columns"]

TURNS = pa.list_(pa.struct({"role": pa.string(), "text": pa.string()}))
"""The type of `NAME_conversation`: roles are "user" and "assistant", in turn."""
NOT_KEPT, NO_NOTES, NOT_DRAWN = "the picture is dropped", "no caption", "not drawn"


@dataclass(frozen=True)
class InstructSettings(AskSettings):
    """What is asked for, of which pictures. Raises ValueError for what does not go together.

    `captions`: views, captioners or columns whose texts describe the picture; `boxes`: columns of words with boxes.
    Either all pictures get `kind`, or each one of `probabilities` by a draw; what these lack to 1 is not asked for, so
    that `{detail = 0.1}` asks for every tenth. `min_turns` and `max_turns` (those of both speakers, included) of a
    conversation; `prompts`: your own for some kinds, each with `{context}`, where the notes go in; `questions`: what
    the user says before a description, of which one is drawn. Who is asked: as `AskSettings`.
    """

    captions: tuple[str, ...] = ("caption",)
    boxes: tuple[str, ...] = ()
    kind: Kind | None = None
    probabilities: Mapping[Kind, float] = field(default_factory=dict)
    min_turns: int = 4
    max_turns: int = 20
    prompts: Mapping[Kind, str] = field(default_factory=dict)
    questions: tuple[str, ...] = DETAIL_QUESTIONS
    temperature: float = 0.7
    max_tokens: int = 1_200
    max_chars: int = 8_000

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("min_turns", self.min_turns, 2, MOST_TURNS)
        require_range("max_turns", self.max_turns, self.min_turns, MOST_TURNS)
        if not self.captions:
            raise ValueError("captions = [] names nothing that describes the pictures; name a view or a column")
        if not self.questions or not all(map(str.strip, self.questions)):
            raise ValueError("questions must be texts, at least one: what the user says before a description")
        if bool(self.kind) == bool(self.probabilities):
            raise ValueError(f"needs either kind, one of {', '.join(KINDS)}, or probabilities of kinds")
        for name in (*self.probabilities, *self.prompts):
            if name not in KINDS:
                raise ValueError(f"{name!r} is no kind; the kinds are {', '.join(KINDS)}")
        for name, share in self.probabilities.items():
            require_range(f"probabilities.{name}", share, 0, 1)
        if sum(self.probabilities.values()) > 1 + 1e-9:
            raise ValueError(f"probabilities add to {sum(self.probabilities.values()):g}, and must to 1 at most")
        for name, prompt in self.prompts.items():
            if prompt.count(CONTEXT) != 1:
                raise ValueError(f"prompts.{name} must have {CONTEXT} once, where the notes are to stand")

    @property
    def shares(self) -> Mapping[str, float]:
        """The probability of each kind that may come up."""
        return {self.kind: 1.0} if self.kind else {str(kind): share for kind, share in self.probabilities.items()}

    def prompt(self, kind: str) -> str:
        """What is asked for this kind."""
        own = {str(name): prompt for name, prompt in self.prompts.items()}
        return own.get(kind, PROMPTS[kind])

    def asked(self) -> Mapping[str, Any]:
        """What decides an answer beside kind and notes. Raises ConfigError for an incomplete folder of a model."""
        return {"prompts": {kind: self.prompt(kind) for kind in sorted(self.shares)}, **self.decides()}


def instruction_columns(name: str) -> tuple[str, str, str, str, str]:
    """The columns of conversations, their kinds, faults, what was wrong in words, and which model answered."""
    return f"{name}_conversation", f"{name}_kind", f"{name}_fault", f"{name}_detail", f"{name}_model"


@dataclass(frozen=True)
class Instruct(Stage):
    """Writes `NAME_conversation` (TURNS, null unless it is sound), `NAME_kind` (string, null for a row that was not
    drawn), `NAME_fault` (string, of `curate.instruct.dialogue.FAULTS` or why there is no answer; null just where there
    is a conversation), `NAME_detail` (string) and `NAME_model` (string, null without an answer).

    Bytes depend on the answers, which a server need not give twice alike; those that are kept decide. Raises StageError
    where more than `max_failed_ratio` of the asked rows came to nothing: of fewer than 20, without an answer.
    """

    column: str
    settings: InstructSettings
    texts: tuple[TextColumn, ...]

    name: ClassVar[str] = "instructions"

    @property
    def label(self) -> str:
        return f"{self.name}_{self.column}"

    @property
    def reads(self) -> tuple[str, ...]:
        texts = [name for column in self.texts for name in column.columns]
        return tuple(dict.fromkeys(("key", "keep", *IDENTITY, CAPTION, *texts, *self.settings.boxes)))

    @property
    def writes(self) -> tuple[str, ...]:
        return instruction_columns(self.column)

    @property
    def about(self) -> str:
        return self.settings.sends("captions of pictures")

    @property
    def resources(self) -> Resources:
        return self.settings.worker

    def identity(self) -> Any:
        own = self.settings
        bounds = [own.min_turns, own.max_turns, own.max_chars]
        drawn = {"shares": dict(own.shares), "questions": list(own.questions), "bounds": bounds, "host": own.host}
        read = {"texts": settings_of(self.texts), "boxes": list(own.boxes)}
        return {"stage": self.label, "version": self.version, "question": own.asked(), **read, **drawn}

    def require(self, runtime: Runtime) -> None:
        self.settings.require_answerer()

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        columns = shard.columns(self.reads)
        notes = self._notes(columns, shard)
        rows = self._rows(columns, notes)
        prompts = {row.key: filled_prompt(self.settings.prompt(row.kind), row.notes) for row in rows if row.key}
        answers, failures = ask_and_keep(self.settings, prompts, attempt, runtime)
        found = [self._dialogue(row, answers, failures) for row in rows]
        self._require_success(shard, rows, found, failures)
        models = [answers[row.key].model or self.settings.shown_model if row.key in answers else None for row in rows]
        attempt.write_table(shard.table_name(self.label), self._table(columns["key"], rows, found, models))
        attempt.counts.update({"in": len(rows), "boxes_left_out": notes.broken_boxes})
        attempt.counts.update(f"instructions_{dialogue.fault or 'ok'}" for dialogue in found)
        attempt.counts.update(f"ok.{row.kind}" for row, said in zip(rows, found, strict=True) if said.fault is None)

    def _notes(self, columns: pa.Table, shard: Shard) -> Notes:
        try:
            return notes_of(columns, self.texts, self.settings.boxes, self.settings.most_text_chars)
        except ShardError as error:
            raise ShardError(f"shard {shard.id}: {error}") from None

    def _rows(self, columns: pa.Table, notes: Notes) -> list[_Row]:
        draws = keyed(identities_of(columns), self.settings.seed)
        kinds = drawn_kinds(draws, self.settings.shares)
        questions = (finish(draws) % np.uint64(len(self.settings.questions))).tolist()
        decides = fingerprint(self.settings.asked())
        keep = columns["keep"].to_pylist()
        return [
            _row(decides, kept, words, kind, self.settings.questions[question])
            for kept, words, kind, question in zip(keep, notes.rows, kinds, questions, strict=True)
        ]

    def _dialogue(self, row: _Row, answers: Mapping[str, Answer], failures: Mapping[str, Verdict]) -> Dialogue:
        if not row.key:
            return Dialogue(fault="not_asked", detail=row.why)
        if row.key in failures:
            return Dialogue(fault=fault_name(failures[row.key]), detail=failures[row.key].detail)
        own = self.settings
        least, most = (2, 2) if row.kind == "reasoning" else (own.min_turns, own.max_turns)
        bounds = Bounds(least, most, own.max_chars)
        return dialogue_of(answers[row.key], row.kind, bounds, row.question, _longest_sentence(row.kind))

    def _require_success(
        self, shard: Shard, rows: Sequence[_Row], found: Sequence[Dialogue], failures: Mapping[str, Verdict]
    ) -> None:
        asked = [row.key for row in rows if row.key]
        faults = {row.key: said for row, said in zip(rows, found, strict=True) if row.key and said.fault}
        example: dict[str | None, str] = {}
        for said in faults.values():
            example.setdefault(said.fault, said.detail)
        useless = {key: f"{said.fault} ({example[said.fault]})" for key, said in faults.items()}
        where = f"rows of shard {shard.id} have no conversation"
        require_success(self.settings.max_failed_ratio, where, asked, useless, failures)

    def _table(
        self, keys: pa.Array, rows: Sequence[_Row], found: Sequence[Dialogue], models: Sequence[str | None]
    ) -> pa.Table:
        turns = [[{"role": r, "text": t} for r, t in said.turns] if said.fault is None else None for said in found]
        arrays = [
            pa.array(turns, TURNS),
            pa.array([row.kind or None for row in rows], pa.string()),
            pa.array([said.fault for said in found], pa.string()),
            pa.array([said.detail or None for said in found], pa.string()),
            pa.array(models, pa.string()),
        ]
        asked = self.settings.asked()
        told = self.settings.told(asked, fingerprint(asked["prompts"]))
        kinds = [array.type for array in arrays]
        fields = [pa.field(name, kind, metadata=told) for name, kind in zip(self.writes, kinds, strict=True)]
        return pa.table([keys, *arrays], schema=pa.schema([pa.field("key", keys.type), *fields]))


@dataclass(frozen=True)
class _Row:
    """What is asked of a row; without a `key` nothing is, and `why` says so."""

    kind: str
    key: str = ""
    notes: str = ""
    question: str = ""
    why: str = ""


def drawn_kinds(draws: npt.NDArray[np.uint64], shares: Mapping[str, float]) -> list[str]:
    """The kind of each draw (uint64, all values alike), "" for the share that the probabilities lack to 1. Kinds stand
    in the order of their names, whatever that of the config."""
    names = sorted(shares)
    ends = np.cumsum([shares[name] for name in names])
    if len(ends) and abs(ends[-1] - 1) <= 1e-9:
        ends[-1] = 1.0
    places = np.searchsorted(ends, (draws >> np.uint64(11)).astype(np.float64) * 2.0**-53, side="right")
    return [names[place] if place < len(names) else "" for place in places.tolist()]


def _row(decides: str, kept: bool | None, notes: str, kind: str, question: str) -> _Row:
    why = NOT_KEPT if not kept else NO_NOTES if not notes else NOT_DRAWN if not kind else ""
    if why:
        return _Row("", why=why)
    return _Row(kind, question_key(decides, kind, notes), notes, question)


def _longest_sentence(kind: str) -> str:
    """By which an answer that repeats the task is known."""
    return max(INSTRUCTIONS[kind].replace("\n", " ").split(". "), key=len)
