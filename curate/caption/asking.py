"""Has a language model answer prompts, and keeps what it says: what fused captions, rewordings and instructions share.

Who answers is an OpenAI-compatible endpoint or a model of a local folder, and nobody behind this file sees which. A
question is the digest of all that decides its answer; equal ones of a shard are asked once, and an answer is kept
before the next is read, so that a run killed in the middle asks for the rest alone. At 40 requests a second 10,000
questions take four minutes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from curate.caption.answers import Answer, AnswerStatus, Journal, Verdict, read_answer
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
from curate.fetch.endpoint_settings import host_of, require_extra, sent_to
from curate.manifest import Attempt, fingerprint
from curate.models.captioner import seeds_of
from curate.models.settings import Precision
from curate.stage import Resources, Runtime, settings_of

__all__ = ["AskSettings", "ask_and_keep", "question_key", "require_success"]

RUNTIME = {"runtime": True}
FEW_ROWS = 20
"""Below so many asked rows, useless answers say nothing of the model; an endpoint that fails does."""
SEED_BITS = 31
"""What every server takes for a seed."""
KEY_DIGITS = 32
OWN = ("model", "messages", "stream", "n")
"""Members of a request that `extra` may not set."""
DECIDES = ("temperature", "top_p", "seed", "max_tokens", "most_text_chars", "extra", "leave_out")
_FAILED = {
    ReplyStatus.TIMEOUT: AnswerStatus.TIMEOUT,
    ReplyStatus.TOO_MANY_REQUESTS: AnswerStatus.TOO_MANY_REQUESTS,
    ReplyStatus.SERVER_ERROR: AnswerStatus.SERVER_ERROR,
    ReplyStatus.NO_CONNECTION: AnswerStatus.NO_CONNECTION,
    ReplyStatus.BAD_REQUEST: AnswerStatus.BAD_REQUEST,
    ReplyStatus.TOO_MANY_BYTES: AnswerStatus.BAD_ANSWER,
}


@dataclass(frozen=True)
class AskSettings:
    """Who is asked, and how. Raises ValueError for what does not go together.

    `model`: its name at the endpoint `base_url` (http or https; `/chat/completions` is added; the address may be
    private, for it is the user's own), or, without `base_url`, the folder of a model as transformers saves it, or its
    id on the Hugging Face hub with `revision`. `api_key_file`: a file that holds the key and nothing else.
    `temperature` 0 takes the likeliest token; above it `top_p` and `seed`, from which each question has its own.
    `max_tokens` of an answer; one of more than `max_chars` characters is of no use. Each text goes into a prompt cut to
    `most_text_chars`. `extra`: more members of the request, such as `{reasoning_effort = "low"}`; `leave_out`: those of
    temperature, top_p, max_tokens and seed that the server does not take. `max_failed_ratio`: the share of asked rows,
    0 to 1, that may go without a text. `requests`: as `curate.fetch.chat_endpoint.ChatSettings`. `precision`, `batch`,
    `device`: of a local model, as `curate.models.settings.ModelSettings`; `batch` counts prompts.
    """

    model: str
    base_url: str = field(default="", metadata=RUNTIME)
    api_key_file: str = field(default="", metadata=RUNTIME)
    revision: str = ""
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
        if self.base_url:
            require_base_url(self.base_url)
            require_extra(self.extra, OWN)
        elif self.api_key_file or self.extra or self.leave_out:
            raise ValueError("api_key_file, extra and leave_out go with base_url; a local model takes none of them")
        if self.base_url and self.revision:
            raise ValueError("revision is for an id of the hub; an endpoint has its model already")

    @property
    def shown_model(self) -> str:
        """What columns call the model: a folder by its last name, for its place says nothing elsewhere."""
        return self.model if self.base_url else Path(self.model).name

    @property
    def host(self) -> str:
        """Whom the texts are sent to: the endpoint's host without port, path and key; "" for a local model."""
        return host_of(self.base_url) if self.base_url else ""

    @property
    def worker(self) -> Resources:
        """An endpoint's worker waits; a local model wants a GPU."""
        if self.base_url:
            return Resources(cpus=0.25)
        return Resources(gpus=0.0 if self.device == "cpu" else 1.0)

    def decides(self) -> Mapping[str, Any]:
        """What decides an answer beside the prompt. Raises ConfigError for the folder of a model that is incomplete."""
        own = {name: settings_of(getattr(self, name)) for name in DECIDES}
        if self.base_url:
            return {"model": self.model, **own}
        from curate.models.language_model import language_model_digest

        return {"model": language_model_digest(self.model, self.revision), "precision": self.precision, **own}

    def told(self, asked: Any, prompt: str) -> dict[str, str]:
        """What columns say of their making; `asked` is all that decides an answer."""
        about = {
            "model": self.shown_model,
            "model_revision": self.revision,
            "endpoint": self.host,
            "prompt_fingerprint": fingerprint(prompt),
            "model_fingerprint": fingerprint(asked),
        }
        return {name: value for name, value in about.items() if value}

    def sends(self, what: str) -> str:
        """Where `what` goes, in words for people; "" where it stays."""
        return f"sends {what} to {sent_to(self.base_url, bool(self.api_key_file))}" if self.base_url else ""

    def require_answerer(self) -> None:
        """Raise ConfigError for what would fail on every shard: a key that is not there, a model that is none."""
        if self.base_url:
            read_key(self.api_key_file)
            return
        from curate.models.device import require_device
        from curate.models.language_model import require_language_model

        require_device(self.device)
        require_language_model(self.model, self.revision)


def question_key(decides: str, *texts: str) -> str:
    """What a question is known by: of the fingerprint of what decides its answer, and of the texts that go into it."""
    return hashlib.sha256(json.dumps([decides, *texts]).encode()).hexdigest()[:KEY_DIGITS]


def ask_and_keep(
    settings: AskSettings, prompts: Mapping[str, str], attempt: Attempt, runtime: Runtime
) -> tuple[dict[str, Answer], dict[str, Verdict]]:
    """The answers to these prompts, by their keys, of which those that an earlier attempt got are not asked for; and
    why others have none. Raises ConfigError and StageError where going on asking would be in vain."""
    failures: dict[str, Verdict] = {}
    with Journal.of(attempt) as journal:
        answers = journal.read()
        unanswered = {key: prompt for key, prompt in prompts.items() if key not in answers}
        for key, said in _ask(settings, unanswered, runtime, answered=bool(answers)):
            if isinstance(said, Answer):
                journal.add(key, said)
                answers[key] = said
            else:
                failures[key] = said
    return {key: answers[key] for key in prompts if key in answers}, failures


def require_success(
    max_failed_ratio: float, where: str, asked: Sequence[str], useless: Mapping[str, str], failures: Collection[str]
) -> None:
    """Raise StageError where more than `max_failed_ratio` of what was `asked` (a key a row) has nothing to show for it.
    `where`: "rows of shard 00000 have no fused text"; `useless`: what was wrong by key; of fewer than 20 asked rows
    only `failures`, those without an answer, count."""
    counts = useless if len(asked) >= FEW_ROWS else {key: useless[key] for key in failures}
    failed = Counter(counts[key] for key in asked if key in counts)
    lost = failed.total()
    if lost <= max_failed_ratio * len(asked):
        return
    reason, often = failed.most_common(1)[0]
    raise StageError(
        f"{lost} of {len(asked)} asked {where}, {often} of them {reason}; mend that and run again, which asks for what "
        f"has no answer alone, or raise max_failed_ratio = {max_failed_ratio:g}"
    )


def _ask(
    settings: AskSettings, prompts: Mapping[str, str], runtime: Runtime, answered: bool
) -> Iterator[tuple[str, Answer | Verdict]]:
    """What is said to each question, as it comes. `answered`: others of this shard were."""
    seeds = [seed >> (64 - SEED_BITS) for seed in seeds_of(list(prompts), settings.seed)]
    if not prompts:
        return iter(())
    if settings.base_url:
        return _ask_endpoint(settings, prompts, seeds, runtime, answered)
    return _ask_local(settings, prompts, seeds, runtime)


def _ask_endpoint(
    settings: AskSettings, prompts: Mapping[str, str], seeds: Sequence[int], runtime: Runtime, answered: bool
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
            if reply.status is ReplyStatus.REFUSED:
                yield reply.key, Answer("", "content_filter", refused=True)
                continue
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
    settings: AskSettings, prompts: Mapping[str, str], seeds: Sequence[int], runtime: Runtime
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


def _body(settings: AskSettings, prompt: str, seed: int) -> bytes:
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
