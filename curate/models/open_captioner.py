"""Which back end a captioner or matcher of the config is, and its fingerprint; each back end is a file of its own.

A back end is a module with the functions that the protocols below name. It is imported only when a config asks for it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from curate.errors import ConfigError
from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.models.captioner import Captioner, Matcher
from curate.models.settings import TOY

__all__ = [
    "asked_prompt",
    "captioner_digest",
    "matcher_digest",
    "open_captioner",
    "open_matcher",
    "require_captioner",
    "require_matcher",
]


class CaptionerModule(Protocol):
    """What a back end of captioners defines at its top level."""

    def open_captioner(self, settings: CaptionerSettings) -> Captioner:
        """The model, loaded onto `curate.models.device.device(settings.device)`. Raises ConfigError."""

    def captioner_digest(self, settings: CaptionerSettings) -> str:
        """Digest of the files that decide what the model says (weights, configuration, vocabulary), without loading
        them. Raises ConfigError for a folder that is incomplete."""

    def require_captioner(self, settings: CaptionerSettings) -> None:
        """Raise ConfigError for what would fail on every shard: files missing, another architecture, tensors that do
        not fit, a sampling that the model cannot do. Cheap next to `open_captioner`."""


class MatcherModule(Protocol):
    """What a back end of matchers defines at its top level, likewise."""

    def open_matcher(self, settings: MatcherSettings) -> Matcher: ...

    def matcher_digest(self, settings: MatcherSettings) -> str: ...

    def require_matcher(self, settings: MatcherSettings) -> None: ...


CAPTIONERS = {"blip": "blip", "blip-2": "blip2"}
"""Back ends of captioners by `model_type` in a folder's config.json; any other is of the generic one."""
WITH_DEFAULT = ("blip2", "vlm", "vllm_captioner")
"""Back ends that ask with a prompt of their own where the config has none."""
MATCHERS = {"blip": "blip_match", "blip-2": "blip2_match"}


def open_captioner(settings: CaptionerSettings) -> Captioner:
    """The captioner of these settings. Raises ConfigError."""
    return _captioners(settings).open_captioner(settings)


def captioner_digest(settings: CaptionerSettings) -> str:
    """Digest of its files. Raises ConfigError."""
    return _captioners(settings).captioner_digest(settings)


def require_captioner(settings: CaptionerSettings) -> None:
    """Raise ConfigError for what would fail on every shard."""
    _captioners(settings).require_captioner(settings)


def asked_prompt(settings: CaptionerSettings) -> str:
    """What the model is asked with: the config's prompt, or where it has none the one of the model's kind, which its
    digest covers. Raises ConfigError."""
    if settings.prompt or _captioner_kind(settings) not in WITH_DEFAULT:
        return settings.prompt
    from curate.models.vlm_prompts import default_prompt

    return default_prompt(_model_type(settings.weights, settings.revision))


def open_matcher(settings: MatcherSettings) -> Matcher:
    """The matcher of these settings. Raises ConfigError."""
    return _matchers(settings).open_matcher(settings)


def matcher_digest(settings: MatcherSettings) -> str:
    """Digest of its files. Raises ConfigError."""
    return _matchers(settings).matcher_digest(settings)


def require_matcher(settings: MatcherSettings) -> None:
    """Raise ConfigError for what would fail on every shard."""
    _matchers(settings).require_matcher(settings)


def _captioners(settings: CaptionerSettings) -> CaptionerModule:
    module: CaptionerModule = _module(_captioner_kind(settings))
    return module


def _captioner_kind(settings: CaptionerSettings) -> str:
    if settings.engine == "vllm":
        return "vllm_captioner"
    if _is_toy(settings.weights):
        return "toy_captioning"
    if settings.architecture or (Path(settings.weights) / "open_clip_config.json").is_file():
        return "coca"
    return CAPTIONERS.get(_model_type(settings.weights, settings.revision), "vlm")


def _matchers(settings: MatcherSettings) -> MatcherModule:
    module: MatcherModule = _module(_matcher_kind(settings))
    return module


def _matcher_kind(settings: MatcherSettings) -> str:
    if _is_toy(settings.weights):
        return "toy_matching"
    if settings.head == "vqa":
        return "vqa_match"
    kind = _model_type(settings.weights, settings.revision)
    if kind not in MATCHERS:
        raise ConfigError(
            f"{settings.weights} is a model of type {kind!r}, which has no matching head known here; name a "
            f'{" or ".join(MATCHERS)} model, or write head = "vqa", which asks any model a question'
        )
    return MATCHERS[kind]


def _is_toy(weights: str) -> bool:
    """The toy as it comes, or one trained here, whose folder says so."""
    return weights == TOY or (Path(weights) / "toy.json").is_file()


def _model_type(weights: str, revision: str) -> str:
    from curate.models.hf_config import told_config
    from curate.models.hf_folder import model_folder

    return str(told_config(model_folder(weights, revision))["model_type"])


def _module(name: str) -> Any:
    return import_module(f"curate.models.{name}")
