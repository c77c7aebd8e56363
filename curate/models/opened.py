"""Captioners and matchers that a process keeps open."""

from __future__ import annotations

from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.models.captioner import Captioner, Matcher
from curate.models.kept_models import OpenModels
from curate.models.open_captioner import captioner_digest, matcher_digest, open_captioner, open_matcher

__all__ = ["opened_captioner", "opened_matcher"]

_captioners: OpenModels[CaptionerSettings, Captioner] = OpenModels(captioner_digest, open_captioner)
_matchers: OpenModels[MatcherSettings, Matcher] = OpenModels(matcher_digest, open_matcher)


def opened_captioner(settings: CaptionerSettings) -> Captioner:
    """The captioner of these settings, loaded once. Raises as `OpenModels.get`."""
    return _captioners.get(settings)


def opened_matcher(settings: MatcherSettings) -> Matcher:
    """The matcher of these settings, loaded once. Raises as `OpenModels.get`."""
    return _matchers.get(settings)
