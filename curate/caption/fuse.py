"""Has a language model fuse two texts of a picture into one: the names and facts of the web's, what the synthetic says.

CapsFusion (Yu et al. 2023) found that synthetic captions alone stop helping as data grow, for they are all alike and
know no names, and that the web's text brings both back; BLIP3-KALE (Awadalla et al. 2024) did the same with dense
captions. There it was a script for one model. Here it is a stage over any OpenAI-compatible endpoint or a local model
(`curate.caption.asking`). A row without a sound answer has a status and no text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from curate.caption.answers import AnswerStatus, Verdict, judge
from curate.caption.asking import AskSettings, ask_and_keep, question_key, require_success
from curate.caption.fuse_texts import (
    PROMPT,
    cut_text,
    filled,
    first_sound,
    has_both_places,
    instruction_of,
    plain_texts,
)
from curate.manifest import Attempt, fingerprint
from curate.shard import Shard
from curate.stage import Resources, Runtime, Stage

__all__ = ["Fuse", "FuseSettings", "fused_columns"]


@dataclass(frozen=True)
class FuseSettings(AskSettings):
    """Who fuses what, and how. Raises ValueError for what does not go together.

    `captioner`: whose captions are fused; of each row the first without a fault. `prompt`: has `{web}` and
    `{synthetic}`, where the texts go in. Who is asked: as `AskSettings`.
    """

    captioner: str = "synthetic"
    prompt: str = PROMPT

    def __post_init__(self) -> None:
        super().__post_init__()
        if not has_both_places(self.prompt):
            raise ValueError("prompt needs {web} and {synthetic}, where the two texts are to stand")

    def asked(self) -> Mapping[str, Any]:
        """What decides an answer beside the texts. Raises ConfigError for the folder of a model that is incomplete."""
        return {"prompt": self.prompt, **self.decides()}


def fused_columns(column: str) -> tuple[str, str, str, str]:
    """The columns of fused texts, their statuses, what was wrong, and which model answered."""
    return column, f"{column}_status", f"{column}_detail", f"{column}_model"


@dataclass(frozen=True)
class Fuse(Stage):
    """Writes `COLUMN` (string, null unless the status is `ok`), `COLUMN_status` (of AnswerStatus), `COLUMN_detail`
    (string, null where nothing was wrong) and `COLUMN_model` (string: the model as the server names itself, and `@` its
    fingerprint where it tells; null without an answer).

    Bytes depend on the answers, which a server need not give twice alike; those that are kept decide. Raises StageError
    where more than `max_failed_ratio` of the asked rows are without a text: of fewer than 20, without an answer.
    """

    column: str
    settings: FuseSettings

    name: ClassVar[str] = "fuse"

    @property
    def label(self) -> str:
        return f"{self.name}_{self.column}"

    @property
    def reads(self) -> tuple[str, ...]:
        captioner = self.settings.captioner
        return "caption", f"{captioner}_captions", f"{captioner}_faults"

    @property
    def writes(self) -> tuple[str, ...]:
        return fused_columns(self.column)

    @property
    def about(self) -> str:
        return self.settings.sends("captions of web pages and of pictures")

    @property
    def resources(self) -> Resources:
        return self.settings.worker

    def identity(self) -> Any:
        own = {"max_chars": self.settings.max_chars, "captioner": self.settings.captioner, "host": self.settings.host}
        return {"stage": self.label, "version": self.version, "question": self.settings.asked(), **own}

    def require(self, runtime: Runtime) -> None:
        self.settings.require_answerer()

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        columns = shard.columns(["key", *self.reads])
        pairs = self._pairs(columns)
        prompts = {key: prompt for key, prompt in pairs if key}
        answers, failures = ask_and_keep(self.settings, prompts, attempt, runtime)
        instruction = instruction_of(self.settings.prompt)
        verdicts = {key: judge(answer, self.settings.max_chars, instruction) for key, answer in answers.items()}
        verdicts |= failures
        rows = [verdicts[key] if key else NOT_ASKED for key, _ in pairs]
        asked = [key for key, _ in pairs if key]
        useless = {key: f"{v.status}: {v.detail}" for key, v in verdicts.items() if v.status is not AnswerStatus.OK}
        require_success(
            self.settings.max_failed_ratio, f"rows of shard {shard.id} have no fused text", asked, useless, failures
        )
        models = [answers[key].model or self.settings.shown_model if key in answers else None for key, _ in pairs]
        attempt.write_table(shard.table_name(self.label), self._table(columns["key"], rows, models))
        attempt.counts["in"] = len(rows)
        attempt.counts.update(f"fused_{row.status}" for row in rows)

    def _pairs(self, columns: pa.Table) -> list[tuple[str, str]]:
        """Of each row the key and the words of its question; both empty where a text is missing."""
        most, decides = self.settings.most_text_chars, fingerprint(self.settings.asked())
        web, captions, faults = (plain_texts(columns[name]) for name in self.reads)
        found = []
        for own, written, wrong in zip(web, captions, faults, strict=True):
            texts = (cut_text(own, most), cut_text(first_sound(written, wrong), most))
            if all(texts):
                found.append((question_key(decides, *texts), filled(self.settings.prompt, *texts)))
            else:
                found.append(("", ""))
        return found

    def _table(self, keys: pa.Array, rows: Sequence[Verdict], models: Sequence[str | None]) -> pa.Table:
        arrays = [
            pa.array([row.text if row.status is AnswerStatus.OK else None for row in rows], pa.string()),
            pa.array([str(row.status) for row in rows], pa.string()),
            pa.array([row.detail or None for row in rows], pa.string()),
            pa.array(models, pa.string()),
        ]
        told = self.settings.told(self.settings.asked(), self.settings.prompt)
        fields = [pa.field(name, pa.string(), metadata=told) for name in self.writes]
        return pa.table([keys, *arrays], schema=pa.schema([pa.field("key", keys.type), *fields]))


NOT_ASKED = Verdict(AnswerStatus.NOT_ASKED, "", "one of the two texts is missing")
