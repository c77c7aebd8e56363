"""Whether a captioner and the matcher that judges it have weights in common, which makes the judge a friend.

Li et al. 2022 (BLIP, table 4): a filter that shares its parameters with the captioner rejects 8 % of the captions
instead of 25 %, and the model trained on what is left is worse (CIDEr 129.0 instead of 129.7). A common start is no
harm: after training apart hardly a number is the same. Only tensors that are equal as a whole count, since rows of
words that no text has are moved the same way in both.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from curate.errors import ConfigError
from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.models.settings import TOY
from curate.models.weights import TOY_FILES

__all__ = ["MOST_SHARED", "require_weights", "shared_weights", "warn_if_coupled"]

MOST_SHARED = 0.1
"""Share of equal parameters above which a pair is called coupled."""
PREFIXES = (("text_decoder.bert.", "text."), ("text_encoder.", "text."))
NAMES = {"words.weight": "text.words.weight", "positions": "text.positions"}
"""The same layers under the names of a captioner and of a matcher."""


def shared_weights(captioner: str | Path, matcher: str | Path) -> float:
    """The share (0 to 1) of parameters that are equal, bit for bit and by whole tensors, among those that both have by
    name and shape; 0 where they have none in common. Of two folders with safetensors, or `toy`. Raises ConfigError."""
    with ExitStack() as files:
        ours, theirs = (
            _tensors(where, files) for where in (_files(captioner, "captioner"), _files(matcher, "matcher"))
        )
        common = equal = 0
        for name in ours.keys() & theirs.keys():
            one, other = ours[name](), theirs[name]()
            if name.endswith("words.weight") and one.ndim == other.ndim == 2:
                one, other = one[: len(other)], other[: len(one)]
            if one.shape == other.shape and one.is_floating_point():
                common += one.numel()
                equal += one.numel() if bool((one == other).all()) else 0
    return equal / common if common else 0.0


def require_weights(where: str | Path) -> None:
    """Raise ConfigError unless there is a model whose weights can be compared."""
    with ExitStack() as files:
        _tensors(_files(where, "captioner"), files)


def warn_if_coupled(captioner: CaptionerSettings | str | Path, matcher: MatcherSettings | str | Path) -> str | None:
    """What to tell people about a captioner and a matcher with equal weights; None for two that are independent, or of
    which nothing is known because they are not on this machine."""
    names = [str(found.weights if hasattr(found, "weights") else found) for found in (captioner, matcher)]
    if names[0] == names[1] != TOY:
        return _words(names[0], names[1], 1.0)
    if not all(name == TOY or Path(name).is_dir() for name in names):
        return None
    try:
        share = shared_weights(*names)
    except ConfigError:
        return None
    return _words(names[0], names[1], share) if share > MOST_SHARED else None


def _words(captioner: str, matcher: str, share: float) -> str:
    return (
        f"captioner {captioner} and matcher {matcher} are coupled: {share:.0%} of their common weights are equal. A "
        "filter that shares weights with the captioner lets its mistakes through (BLIP: 8 % of captions rejected "
        "instead of 25 %, and worse models); train the matcher apart: curate train matcher"
    )


def _files(where: str | Path, kind: str) -> list[Path]:
    if str(where) == TOY:
        return [TOY_FILES[kind]]
    found = sorted(Path(where).glob("model*.safetensors"))
    if not found:
        raise ConfigError(f"{where} has no model.safetensors; name the folder of a model")
    return found


def _tensors(paths: list[Path], files: ExitStack) -> dict[str, Any]:
    """A call that reads it, by the name of each tensor."""
    from safetensors import safe_open

    found: dict[str, Any] = {}
    for path in paths:
        try:
            file = files.enter_context(safe_open(path, framework="pt"))
        except Exception as error:
            raise ConfigError(f"{path} is damaged: {error}; save or fetch it anew") from error
        for name in file.keys():  # noqa: SIM118 - no mapping
            found[_common(name)] = _reader(file, name)
    return found


def _reader(file: Any, name: str) -> Any:
    return lambda: file.get_tensor(name)


def _common(name: str) -> str:
    for prefix, plain in PREFIXES:
        if name.startswith(prefix):
            return plain + name.removeprefix(prefix)
    return NAMES.get(name, name)
