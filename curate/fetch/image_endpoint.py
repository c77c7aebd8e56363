"""Asks a text-to-image model behind HTTP: `POST {base_url}/images/generations`, by `curate.fetch.endpoint`.

As OpenAI has it and LocalAI, vLLM-Omni, SGLang and others serve it. The picture comes as base64 inside JSON
(`b64_json`), a third larger than it is: 2 MB for 1,024 px. An answer that names a URL in its place is refused, because
fetching what a server points at is another thing than asking it.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import ClassVar

from curate.fetch.endpoint import Endpoint
from curate.fetch.endpoint_settings import RUNTIME, EndpointSettings

__all__ = ["ImageEndpoint", "ImageRequests", "MadePicture", "read_picture"]

MOST_PROMPT_CHARS = 4_000
"""What is kept of the prompt that a server says it used."""


@dataclass(frozen=True)
class ImageRequests(EndpointSettings):
    """As EndpointSettings; a picture takes seconds and megabytes where a text takes less."""

    concurrency: int = field(default=4, metadata=RUNTIME)
    total_timeout_s: float = field(default=300.0, metadata=RUNTIME)
    most_bytes: int = field(default=32_000_000, metadata=RUNTIME)


class ImageEndpoint(Endpoint):
    """An endpoint of pictures."""

    path: ClassVar[str] = "/images/generations"


@dataclass(frozen=True)
class MadePicture:
    """An encoded picture as the server sent it, nobody has looked at yet; and the prompt that it says it used."""

    data: bytes
    revised_prompt: str = ""


def read_picture(body: bytes) -> MadePicture | str:
    """The first picture of an answer; a string says what is wrong with a body that has none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return "the answer is no JSON"
    data = found.get("data") if isinstance(found, dict) else None
    first = data[0] if isinstance(data, list) and data else None
    if not isinstance(first, dict):
        return "the answer has no data[0]"
    encoded = first.get("b64_json")
    if not isinstance(encoded, str):
        told = "a URL in its place; " if isinstance(first.get("url"), str) else ""
        return f"data[0] has no b64_json, but {told or 'nothing; '}ask for response_format = b64_json"
    try:
        picture = base64.b64decode(encoded.removeprefix("data:image/png;base64,"), validate=True)
    except (binascii.Error, ValueError):
        return "data[0].b64_json is no base64"
    revised = first.get("revised_prompt")
    return MadePicture(picture, _plain(revised) if isinstance(revised, str) else "")


def _plain(text: str) -> str:
    """A text that a file can hold, cut."""
    return text[:MOST_PROMPT_CHARS].encode("utf-8", "replace").decode("utf-8")
