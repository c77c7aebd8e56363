"""Captioners and matchers that a process keeps open, loaded once, whichever thread asks first.

A ConfigError is kept too: every picture of a shard asks, and to read a gigabyte again each time takes seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from curate.errors import ConfigError, CurateError, StageError
from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.models.captioner import Captioner, Matcher
from curate.models.device import work_number
from curate.models.kept_models import KeptModels
from curate.models.open_captioner import captioner_digest, matcher_digest, open_captioner, open_matcher

__all__ = ["opened_captioner", "opened_matcher"]

Model = TypeVar("Model")
_opening = threading.Lock()
_captioners: KeptModels[Captioner | ConfigError] = KeptModels()
_matchers: KeptModels[Matcher | ConfigError] = KeptModels()


def opened_captioner(settings: CaptionerSettings) -> Captioner:
    """The captioner of these settings. Raises ConfigError, and StageError for what may go better next time."""
    with _opening:
        work = work_number()
        digest = _captioner_digest(settings, work)
        found = _captioners.get(settings, digest, work, lambda: _tried(lambda: open_captioner(settings), settings))
    return _or_raise(found)


def opened_matcher(settings: MatcherSettings) -> Matcher:
    """The matcher of these settings. Raises as `opened_captioner`."""
    with _opening:
        work = work_number()
        digest = _matcher_digest(settings, work)
        found = _matchers.get(settings, digest, work, lambda: _tried(lambda: open_matcher(settings), settings))
    return _or_raise(found)


@lru_cache(maxsize=64)
def _captioner_digest(settings: CaptionerSettings, work: int) -> str:
    """Asked for once per piece of work: it looks at every file of the model."""
    return captioner_digest(settings)


@lru_cache(maxsize=64)
def _matcher_digest(settings: MatcherSettings, work: int) -> str:
    return matcher_digest(settings)


def _tried(load: Callable[[], Model], settings: CaptionerSettings | MatcherSettings) -> Model | ConfigError:
    try:
        return load()
    except ConfigError as error:
        return error
    except CurateError:
        raise
    except Exception as error:
        raise StageError(f"cannot load the model {settings.weights!r}: {type(error).__name__}: {error}") from error


def _or_raise(found: Model | ConfigError) -> Model:
    if isinstance(found, ConfigError):
        raise found
    return found
