"""Asks a language model behind HTTP: `POST {base_url}/chat/completions`, by `curate.fetch.endpoint`."""

from __future__ import annotations

from typing import ClassVar

from curate.fetch.endpoint import FIRST_FAILURES, Endpoint, Question, Reply, ReplyStatus
from curate.fetch.endpoint_settings import EndpointSettings, require_base_url

__all__ = [
    "FIRST_FAILURES",
    "ChatEndpoint",
    "ChatSettings",
    "Question",
    "Reply",
    "ReplyStatus",
    "require_base_url",
]

ChatSettings = EndpointSettings


class ChatEndpoint(Endpoint):
    """An endpoint of chat completions."""

    path: ClassVar[str] = "/chat/completions"
