"""The stage that has pictures made for captions, and writes them as a shard of pairs, marked as synthetic.

What a model painted goes through the same guard as what the crawl brought: limits on the header before anything is
decoded, one decode, one encoder. A question is the digest of model, settings and prompt: equal ones of a shard are
asked once, and a picture is kept, as it came, before the next is read, so that a run killed in the middle asks for the
rest alone. Kept pictures cost their bytes twice (2 MB each at 1,024 px) until `_pictures/` is deleted. At 2 s a picture
on each of four GPUs a shard of 10,000 takes 83 minutes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pyarrow as pa

from curate.caption.asking import question_key, require_success
from curate.caption.fuse_texts import cut_text, plain_texts
from curate.config import require_range
from curate.errors import StageError
from curate.fetch.endpoint import FIRST_FAILURES, Question, Reply, ReplyStatus
from curate.fetch.endpoint_key import read_key
from curate.fetch.endpoint_settings import host_of, require_base_url, require_extra, sent_to
from curate.fetch.image import process
from curate.fetch.image_endpoint import ImageEndpoint, ImageRequests, MadePicture, read_picture
from curate.fetch.pair_writer import FETCH_COLUMNS, LOG_COLUMNS, SAMPLE_COLUMNS, PairWriter
from curate.fetch.picture import ImageSettings
from curate.fetch.status import FetchStatus
from curate.fetch.visit import Response
from curate.manifest import Attempt, fingerprint
from curate.models.captioner import seeds_of
from curate.shard import Shard
from curate.stage import Resources, Runtime, Stage, settings_of
from curate.storage import Storage

__all__ = ["IMAGE_COLUMNS", "Imagine", "ImagineSettings"]

RUNTIME = {"runtime": True}
CAPTION = "{caption}"
OWN = ("model", "prompt", "n", "size", "seed", "response_format")
SEED_BITS = 31
IMAGE_COLUMNS: Mapping[str, pa.DataType] = {
    "image_origin": pa.string(),
    "image_model": pa.string(),
    "image_seed": pa.int64(),
    "image_prompt": pa.string(),
    "image_revised_prompt": pa.string(),
}
"""What the sample table says of the making: "synthetic", the model as it was asked for, the seed that was sent (null
where none was), what was asked, and what the server says it asked its model in place of that."""
_FAILED = {
    ReplyStatus.TIMEOUT: FetchStatus.TIMEOUT,
    ReplyStatus.TOO_MANY_REQUESTS: FetchStatus.RATE_LIMITED,
    ReplyStatus.SERVER_ERROR: FetchStatus.SERVER_ERROR,
    ReplyStatus.NO_CONNECTION: FetchStatus.CONNECT_ERROR,
    ReplyStatus.REFUSED: FetchStatus.GENERATION_REFUSED,
    ReplyStatus.BAD_REQUEST: FetchStatus.CLIENT_ERROR,
    ReplyStatus.TOO_MANY_BYTES: FetchStatus.TOO_MANY_BYTES,
}


@dataclass(frozen=True)
class ImagineSettings:
    """Who paints, and how. Raises ValueError for what does not go together.

    `model`: its name at the endpoint `base_url` (`/images/generations` is added; the address may be private, for it is
    the user's own); `api_key_file`: a file that holds the key and nothing else. `prompt` has `{caption}`, where the
    caption goes in, cut to `most_text_chars`. `size`: width x height in px, as the server takes it. Each caption has a
    seed of its own, from `seed`. `extra`: more members of the request, such as `{num_inference_steps = 30}`;
    `leave_out`: those of size, seed and response_format that the server does not take. `max_failed_ratio`: the share of
    captions, 0 to 1, that may go without a picture.
    """

    model: str
    base_url: str = field(metadata=RUNTIME)
    api_key_file: str = field(default="", metadata=RUNTIME)
    prompt: str = CAPTION
    size: str = "1024x1024"
    seed: int = 0
    most_text_chars: int = 1_000
    extra: Mapping[str, Any] = field(default_factory=dict)
    leave_out: tuple[Literal["size", "seed", "response_format"], ...] = ()
    max_failed_ratio: float = field(default=0.2, metadata=RUNTIME)
    requests: ImageRequests = field(default=ImageRequests(), metadata=RUNTIME)

    def __post_init__(self) -> None:
        require_base_url(self.base_url)
        require_range("seed", self.seed, 0, 2**63 - 1)
        require_range("most_text_chars", self.most_text_chars, 1, 100_000)
        require_range("max_failed_ratio", self.max_failed_ratio, 0, 1)
        require_extra(self.extra, OWN)
        if not self.model:
            raise ValueError('model = "" is no model; name one of the endpoint')
        if self.prompt.count(CAPTION) != 1:
            raise ValueError(f"prompt must have {CAPTION} once, where the caption is to stand")

    def asked(self) -> Mapping[str, Any]:
        """What decides a picture beside its prompt."""
        names = ("model", "size", "seed", "extra", "leave_out")
        return {name: settings_of(getattr(self, name)) for name in names}

    def body(self, prompt: str, seed: int) -> bytes:
        """A request as JSON, in ASCII: no text can break it."""
        own = {"size": self.size, "seed": seed, "response_format": "b64_json"}
        told = {name: value for name, value in own.items() if name not in self.leave_out}
        return json.dumps({"model": self.model, "prompt": prompt, "n": 1, **told, **self.extra}).encode("ascii")


@dataclass(frozen=True)
class Imagine(Stage):
    """Reads `source` (captions), writes the tar, the sample table with IMAGE_COLUMNS, and the fetch columns, in which
    a row without a picture says why. Raises StageError where more than `max_failed_ratio` of the captions are without:
    of fewer than 20, without an answer."""

    imagine: ImagineSettings
    image: ImageSettings
    samples_per_shard: int = 10_000

    name: ClassVar[str] = "imagine"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("image", *SAMPLE_COLUMNS, *FETCH_COLUMNS, *LOG_COLUMNS, *IMAGE_COLUMNS)

    @property
    def about(self) -> str:
        return f"sends captions to {sent_to(self.imagine.base_url, bool(self.imagine.api_key_file))}"

    @property
    def resources(self) -> Resources:
        return Resources(cpus=0.25)

    def identity(self) -> Any:
        own = {"prompt": self.imagine.prompt, "most_text_chars": self.imagine.most_text_chars}
        host = host_of(self.imagine.base_url)
        question = {"question": self.imagine.asked(), "host": host, **own}
        shape = {"image": settings_of(self.image), "samples_per_shard": self.samples_per_shard}
        return {"stage": self.name, "version": self.version, **question, **shape}

    def require(self, runtime: Runtime) -> None:
        read_key(self.imagine.api_key_file)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        source = shard.source()
        prompts = self._prompts(source["caption"])
        decides = fingerprint(self.imagine.asked())
        keys = [question_key(decides, prompt) if prompt else "" for prompt in prompts]
        rows: dict[str, list[int]] = {}
        for row, key in enumerate(keys):
            rows.setdefault(key, []).append(row)
        writer = PairWriter(shard.id, source, self.samples_per_shard, attempt.scratch)
        failed: dict[str, str] = {}
        revised: dict[str, str] = {}
        wanted = {key: prompts[own[0]] for key, own in rows.items() if key}
        unanswered: set[str] = set()
        for key, made in self._pictures(wanted, attempt, runtime):
            if isinstance(made, MadePicture):
                failed |= self._put(writer, rows[key], key, made)
                revised[key] = made.revised_prompt
            else:
                failed |= self._put_failure(writer, rows[key], key, *made)
                if made[0] is not FetchStatus.GENERATION_REFUSED:
                    unanswered.add(key)
        self._put_failure(writer, rows.get("", []), "", FetchStatus.NO_CAPTION, "no letter or digit in the caption")
        asked = [key for key in keys if key]
        where = f"captions of shard {shard.id} have no picture"
        require_success(self.imagine.max_failed_ratio, where, asked, failed, unanswered)
        writer.source = self._told(source, keys, prompts, revised)
        writer.finish(attempt)

    def _prompts(self, captions: pa.ChunkedArray) -> list[str]:
        texts = (cut_text(text, self.imagine.most_text_chars) for text in plain_texts(captions))
        return [self.imagine.prompt.replace(CAPTION, text) if text else "" for text in texts]

    def _pictures(
        self, prompts: Mapping[str, str], attempt: Attempt, runtime: Runtime
    ) -> Iterator[tuple[str, MadePicture | tuple[FetchStatus, str]]]:
        """What came of each question: first those that an earlier attempt got, then as they come."""
        kept = _Kept(attempt.storage, f"_pictures/{attempt.stage}/{attempt.shard}")
        missing = dict(prompts)
        for key, made in kept.read(prompts):
            del missing[key]
            yield key, made
        for key, reply in self._replies(missing, runtime, answered=len(missing) < len(prompts)):
            if reply.status is not ReplyStatus.ANSWERED:
                yield key, (_FAILED[reply.status], reply.detail)
                continue
            found = read_picture(reply.body)
            if isinstance(found, MadePicture):
                kept.write(key, found)
                yield key, found
            else:
                yield key, (FetchStatus.NOT_AN_IMAGE, found)

    def _replies(self, prompts: Mapping[str, str], runtime: Runtime, answered: bool) -> Iterator[tuple[str, Reply]]:
        """Raises StageError where the first answers hold no picture, as those of another service do."""
        own = self.imagine
        seeds = _seeds(prompts, own.seed)
        questions = (Question(key, own.body(prompt, seeds[key])) for key, prompt in prompts.items())
        endpoint = ImageEndpoint(own.base_url, own.requests, read_key(own.api_key_file), max(1, runtime.workers))
        strange = 0
        try:
            for reply in endpoint.ask(questions, answered):
                found = read_picture(reply.body) if reply.status is ReplyStatus.ANSWERED and not answered else None
                strange += isinstance(found, str)
                answered = answered or isinstance(found, MadePicture)
                if strange == FIRST_FAILURES and not answered:
                    raise StageError(f"{own.base_url}: the first {strange} answers hold no picture: {found}")
                yield reply.key, reply
        finally:
            endpoint.close()

    def _put(self, writer: PairWriter, rows: Sequence[int], key: str, made: MadePicture) -> dict[str, str]:
        """Store a picture in its rows; why it cannot be, by its key, where it is none or beyond the limits."""
        picture = process(made.data, self.image)
        for row in rows:
            writer.put(Response(row, "", picture.status, started=0.0), picture)
        if picture.status is FetchStatus.SUCCESS:
            return {}
        return {key: f"{picture.status}: {picture.detail}"}

    @staticmethod
    def _put_failure(
        writer: PairWriter, rows: Iterable[int], key: str, status: FetchStatus, detail: str
    ) -> dict[str, str]:
        for row in rows:
            writer.put(Response(row, "", status, detail, started=0.0), None)
        return {key: f"{status}: {detail}"}

    def _told(
        self, source: pa.Table, keys: Sequence[str], prompts: Sequence[str], revised: Mapping[str, str]
    ) -> pa.Table:
        """The source's columns with IMAGE_COLUMNS."""
        seeds = {} if "seed" in self.imagine.leave_out else _seeds([key for key in keys if key], self.imagine.seed)
        values: tuple[list[Any], ...] = (
            ["synthetic"] * len(keys),
            [self.imagine.model] * len(keys),
            [seeds.get(key) for key in keys],
            [prompt or None for prompt in prompts],
            [revised.get(key) or None for key in keys],
        )
        for (name, kind), own in zip(IMAGE_COLUMNS.items(), values, strict=True):
            source = source.append_column(name, pa.array(own, kind))
        return source


class _Kept:
    """Pictures that are there already, as the server sent them: a line of JSON, and the bytes."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage, self._folder = storage, folder

    def read(self, keys: Iterable[str]) -> Iterator[tuple[str, MadePicture]]:
        """Those of these questions that are there, one at a time."""
        there = self._storage.files(self._folder)
        for key in keys:
            if self._name(key) in there:
                head, _, data = self._storage.read(self._name(key)).partition(b"\n")
                yield key, MadePicture(data, str(json.loads(head)))

    def write(self, key: str, made: MadePicture) -> None:
        """Keep one, whole or not at all."""
        self._storage.write(self._name(key), json.dumps(made.revised_prompt).encode("ascii") + b"\n" + made.data)

    def _name(self, key: str) -> str:
        return f"{self._folder}/{key}.picture"


def _seeds(keys: Iterable[str], seed: int) -> dict[str, int]:
    """A seed of 31 bits for each question."""
    names = list(dict.fromkeys(keys))
    return dict(zip(names, (own >> (64 - SEED_BITS) for own in seeds_of(names, seed)), strict=True)) if names else {}
