"""Has a language model fuse two texts of a picture into one: the names and facts of the web's, what the synthetic says.

CapsFusion (Yu et al. 2023) found that synthetic captions alone stop helping as data grow, for they are all alike and
know no names, and that the web's text brings both back; BLIP3-KALE (Awadalla et al. 2024) did the same with dense
captions. There it was a script for one model. Here it is a stage over any OpenAI-compatible endpoint or a local model:
a question is the digest of model, prompt, decoding and both texts, is asked once in a shard, and its answer is kept in
`_answers/` of the data set before the next one is read, so that a run killed in the middle asks for the rest alone.
A row without a sound answer has a status and no text. At 40 requests a second a shard of 10,000 takes four minutes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa

from curate.caption.answers import Answer, AnswerStatus, Journal, Verdict, judge, read_answer
from curate.caption.fuse_texts import (
    PROMPT,
    cut_text,
    filled,
    first_sound,
    has_both_places,
    instruction_of,
    plain_texts,
)
from curate.config import require_range
from curate.errors import StageError
from curate.fetch.chat_endpoint import (
    FIRST_FAILURES,
    ChatEndpoint,
    ChatSettings,
    Question,
    ReplyStatus,
    require_base_url,
)
from curate.fetch.endpoint_key import read_key
from curate.manifest import Attempt, fingerprint
from curate.models.captioner import seeds_of
from curate.models.settings import Precision
from curate.shard import Shard
from curate.stage import Resources, Runtime, Stage, settings_of

__all__ = ["Fuse", "FuseSettings", "fused_columns"]

RUNTIME = {"runtime": True}
FEW_ROWS = 20
"""Below so many asked rows, useless answers say nothing of the model; an endpoint that fails does."""
SEED_BITS = 31
"""What every server takes for a seed."""
KEY_DIGITS = 32
OWN = ("model", "messages", "stream", "n")
"""Members of a request that `extra` may not set."""
_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")
_FAILED = {
    ReplyStatus.TIMEOUT: AnswerStatus.TIMEOUT,
    ReplyStatus.TOO_MANY_REQUESTS: AnswerStatus.TOO_MANY_REQUESTS,
    ReplyStatus.SERVER_ERROR: AnswerStatus.SERVER_ERROR,
    ReplyStatus.NO_CONNECTION: AnswerStatus.NO_CONNECTION,
    ReplyStatus.BAD_REQUEST: AnswerStatus.BAD_REQUEST,
    ReplyStatus.TOO_MANY_BYTES: AnswerStatus.BAD_ANSWER,
}


@dataclass(frozen=True)
class FuseSettings:
    """Who fuses what, and how. Raises ValueError for what does not go together.

    `model`: its name at the endpoint `base_url` (http or https; `/chat/completions` is added; the address may be
    private, for it is the user's own), or, without `base_url`, the folder of a model as transformers saves it, or its
    id on the Hugging Face hub with `revision`. `api_key_file`: a file that holds the key and nothing else.
    `captioner`: whose captions are fused; of each row the first without a fault. `prompt`: has `{web}` and
    `{synthetic}`, where the texts go in, each cut to `most_text_chars`.
    `temperature` 0 takes the likeliest token; above it `top_p` and `seed`, from which each pair of texts has its own.
    `max_tokens` of an answer; one of more than `max_chars` characters is no caption.
    `extra`: more members of the request, such as `{reasoning_effort = "low"}`; `leave_out`: those of temperature,
    top_p, max_tokens and seed that the server does not take. `max_failed_ratio`: the share of asked rows, 0 to 1, that
    may go without a text. `requests`: as `curate.fetch.chat_endpoint.ChatSettings`. `precision`, `batch`, `device`:
    of a local model, as `curate.models.settings.ModelSettings`; `batch` counts prompts.
    """

    model: str
    captioner: str = "synthetic"
    base_url: str = field(default="", metadata=RUNTIME)
    api_key_file: str = field(default="", metadata=RUNTIME)
    revision: str = ""
    prompt: str = PROMPT
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_tokens: int = 200
    max_chars: int = 1_000
    most_text_chars: int = 2_000
    extra: Mapping[str, Any] = field(default_factory=dict)
    leave_out: tuple[Literal["temperature", "top_p", "max_tokens", "seed"], ...] = ()
    max_failed_ratio: float = field(default=0.2, metadata=RUNTIME)
    requests: ChatSettings = field(default=ChatSettings(), metadata=RUNTIME)
    precision: Precision = "bf16"
    batch: int = field(default=0, metadata=RUNTIME)
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata=RUNTIME)

    def __post_init__(self) -> None:
        require_range("temperature", self.temperature, 0, 2)
        require_range("top_p", self.top_p, 1e-6, 1)
        require_range("seed", self.seed, 0, 2**63 - 1)
        require_range("max_tokens", self.max_tokens, 1, 8_192)
        require_range("max_chars", self.max_chars, 1, 20_000)
        require_range("most_text_chars", self.most_text_chars, 1, 100_000)
        require_range("max_failed_ratio", self.max_failed_ratio, 0, 1)
        require_range("batch", self.batch, 0, 65_536)
        if not self.model:
            raise ValueError('model = "" is no model; name one of the endpoint, or a folder')
        if not has_both_places(self.prompt):
            raise ValueError("prompt needs {web} and {synthetic}, where the two texts are to stand")
        if self.base_url:
            require_base_url(self.base_url)
            self._require_extra()
        elif self.api_key_file or self.extra or self.leave_out:
            raise ValueError("api_key_file, extra and leave_out go with base_url; a local model takes none of them")
        if self.base_url and self.revision:
            raise ValueError("revision is for an id of the hub; an endpoint has its model already")

    def _require_extra(self) -> None:
        for name in self.extra:
            if name in OWN:
                raise ValueError(f"extra may not set {name!r}, which is set here")
        try:
            json.dumps(dict(self.extra), allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("extra holds what JSON has no word for, such as a date or nan") from None

    @property
    def shown_model(self) -> str:
        """What columns call the model: a folder by its last name, for its place says nothing elsewhere."""
        return self.model if self.base_url else Path(self.model).name

    @property
    def host(self) -> str:
        """Whom the texts are sent to: the endpoint's host without port, path and key; "" for a local model."""
        return require_base_url(self.base_url).hostname or "" if self.base_url else ""

    @property
    def key_travels_open(self) -> bool:
        """Whether a key goes out over http to another machine."""
        return bool(self.api_key_file) and self.base_url.startswith("http:") and not _LOOPBACK.fullmatch(self.host)

    def identity(self) -> Mapping[str, Any]:
        """What decides an answer beside the texts. Raises ConfigError for the folder of a model that is incomplete."""
        names = ("prompt", "temperature", "top_p", "seed", "max_tokens", "most_text_chars", "extra", "leave_out")
        own = {name: settings_of(getattr(self, name)) for name in names}
        if self.base_url:
            return {"model": self.model, **own}
        from curate.models.language_model import language_model_digest

        return {"model": language_model_digest(self.model, self.revision), "precision": self.precision, **own}


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
        if not self.settings.base_url:
            return ""
        open_words = ", unencrypted, and the key" if self.settings.key_travels_open else ""
        return f"sends captions of web pages and of pictures to {self.settings.host}{open_words}"

    @property
    def resources(self) -> Resources:
        """An endpoint's worker waits; a local model wants a GPU."""
        if self.settings.base_url:
            return Resources(cpus=0.25)
        return Resources(gpus=0.0 if self.settings.device == "cpu" else 1.0)

    def identity(self) -> Any:
        own = {"max_chars": self.settings.max_chars, "captioner": self.settings.captioner, "host": self.settings.host}
        return {"stage": self.label, "version": self.version, "question": self.settings.identity(), **own}

    def require(self, runtime: Runtime) -> None:
        if self.settings.base_url:
            read_key(self.settings.api_key_file)
            return
        from curate.models.device import require_device
        from curate.models.language_model import require_language_model

        require_device(self.settings.device)
        require_language_model(self.settings.model, self.settings.revision)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        columns = shard.columns(["key", *self.reads])
        pairs = self._pairs(columns)
        prompts = {key: prompt for key, prompt in pairs if key}
        with Journal.of(attempt) as journal:
            answers = journal.read()
            failures: dict[str, Verdict] = {}
            unanswered = {key: prompt for key, prompt in prompts.items() if key not in answers}
            for key, said in self._ask(unanswered, runtime, answered=bool(answers)):
                if isinstance(said, Answer):
                    journal.add(key, said)
                    answers[key] = said
                else:
                    failures[key] = said
        instruction = instruction_of(self.settings.prompt)
        verdicts = {key: judge(answers[key], self.settings.max_chars, instruction) for key in prompts if key in answers}
        verdicts |= failures
        rows = [verdicts[key] if key else NOT_ASKED for key, _ in pairs]
        asked = [key for key, _ in pairs if key]
        useless = {key: verdict for key, verdict in verdicts.items() if verdict.status is not AnswerStatus.OK}
        self._require_success(shard, asked, useless if len(asked) >= FEW_ROWS else failures)
        models = [answers[key].model or self.settings.shown_model if key in answers else None for key, _ in pairs]
        attempt.write_table(shard.table_name(self.label), self._table(columns["key"], rows, models))
        attempt.counts["in"] = len(rows)
        attempt.counts.update(f"fused_{row.status}" for row in rows)

    def _pairs(self, columns: pa.Table) -> list[tuple[str, str]]:
        """Of each row the key and the words of its question; both empty where a text is missing."""
        most, decides = self.settings.most_text_chars, fingerprint(self.settings.identity())
        web, captions, faults = (plain_texts(columns[name]) for name in self.reads)
        found = []
        for own, written, wrong in zip(web, captions, faults, strict=True):
            texts = (cut_text(own, most), cut_text(first_sound(written, wrong), most))
            if not all(texts):
                found.append(("", ""))
                continue
            digest = hashlib.sha256(json.dumps([decides, *texts]).encode()).hexdigest()
            found.append((digest[:KEY_DIGITS], filled(self.settings.prompt, *texts)))
        return found

    def _ask(
        self, prompts: Mapping[str, str], runtime: Runtime, answered: bool
    ) -> Iterator[tuple[str, Answer | Verdict]]:
        """What is said to each question, as it comes. `answered`: others of this shard were."""
        seeds = [seed >> (64 - SEED_BITS) for seed in seeds_of(list(prompts), self.settings.seed)]
        if not prompts:
            return iter(())
        if self.settings.base_url:
            return _ask_endpoint(self.settings, prompts, seeds, runtime, answered)
        return _ask_local(self.settings, prompts, seeds, runtime)

    def _require_success(self, shard: Shard, asked: Sequence[str], verdicts: Mapping[str, Verdict]) -> None:
        """`asked`: the key of each row that was asked; `verdicts`: what counts as it stands."""
        failed = Counter((verdicts[key].status, verdicts[key].detail) for key in asked if key in verdicts)
        lost = failed.total()
        if lost <= self.settings.max_failed_ratio * len(asked):
            return
        (status, detail), often = failed.most_common(1)[0]
        raise StageError(
            f"{lost} of {len(asked)} asked rows of shard {shard.id} have no fused text, {often} of them "
            f"{status}: {detail}; mend that and run again, which asks for what has no answer alone, or raise "
            f"max_failed_ratio = {self.settings.max_failed_ratio:g}"
        )

    def _table(self, keys: pa.Array, rows: Sequence[Verdict], models: Sequence[str | None]) -> pa.Table:
        about = {
            "model": self.settings.shown_model,
            "model_revision": self.settings.revision,
            "endpoint": self.settings.host,
            "prompt_fingerprint": fingerprint(self.settings.prompt),
            "model_fingerprint": fingerprint(self.settings.identity()),
        }
        arrays = [
            pa.array([row.text if row.status is AnswerStatus.OK else None for row in rows], pa.string()),
            pa.array([str(row.status) for row in rows], pa.string()),
            pa.array([row.detail or None for row in rows], pa.string()),
            pa.array(models, pa.string()),
        ]
        told = {name: value for name, value in about.items() if value}
        fields = [pa.field(name, pa.string(), metadata=told) for name in self.writes]
        return pa.table([keys, *arrays], schema=pa.schema([pa.field("key", keys.type), *fields]))


NOT_ASKED = Verdict(AnswerStatus.NOT_ASKED, "", "one of the two texts is missing")


def _ask_endpoint(
    settings: FuseSettings, prompts: Mapping[str, str], seeds: Sequence[int], runtime: Runtime, answered: bool
) -> Iterator[tuple[str, Answer | Verdict]]:
    questions = (
        Question(key, _body(settings, prompt, seed)) for (key, prompt), seed in zip(prompts.items(), seeds, strict=True)
    )
    endpoint = ChatEndpoint(
        settings.base_url, settings.requests, read_key(settings.api_key_file), max(1, runtime.workers)
    )
    strange = 0
    try:
        for reply in endpoint.ask(questions, answered):
            if reply.status is not ReplyStatus.ANSWERED:
                yield reply.key, Verdict(_FAILED[reply.status], "", reply.detail)
                continue
            said = read_answer(reply.body)
            if isinstance(said, Answer):
                answered = True
                yield reply.key, said
                continue
            yield reply.key, Verdict(AnswerStatus.BAD_ANSWER, "", said)
            strange += 1
            if strange == FIRST_FAILURES and not answered:
                words = f"the first {strange} answers are no chat completions: {said}"
                raise StageError(f"{settings.base_url}: {words}; look at base_url")
    finally:
        endpoint.close()


def _ask_local(
    settings: FuseSettings, prompts: Mapping[str, str], seeds: Sequence[int], runtime: Runtime
) -> Iterator[tuple[str, Answer | Verdict]]:
    from curate.models.device import work_on
    from curate.models.language_model import Decoding, opened_language_model

    work_on(runtime.gpu, runtime.threads)
    model = opened_language_model(settings.model, settings.revision, settings.precision, settings.device)
    decoding = Decoding(settings.max_tokens, settings.temperature, settings.top_p)
    keys = list(prompts)
    for row, said in model.answer(list(prompts.values()), seeds, decoding, settings.batch):
        if said is None:
            yield keys[row], Verdict(AnswerStatus.BAD_REQUEST, "", "the prompt is longer than the model can read")
        else:
            yield keys[row], Answer(said.text, said.finish)


def _body(settings: FuseSettings, prompt: str, seed: int) -> bytes:
    """A request as JSON, in ASCII: no text can break it."""
    decoding = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_tokens,
        "seed": seed,
    }
    asked = {name: value for name, value in decoding.items() if name not in settings.leave_out}
    message = {"role": "user", "content": prompt}
    return json.dumps({"model": settings.model, "messages": [message], **asked, **settings.extra}).encode("ascii")
