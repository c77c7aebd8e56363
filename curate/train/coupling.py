"""Whether a captioner and the matcher that judges it have weights in common, which makes the judge a friend.

Li et al. 2022 (BLIP, table 4): a filter that shares its parameters with the captioner rejects 8 % of the captions
instead of 25 %, and the model trained on what is left is worse (CIDEr 129.0 instead of 129.7). A common start is no
harm: after training apart hardly a number is the same. Only tensors that are equal as a whole count, since rows of
words that no text has are moved the same way in both.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

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
            one, other = ours[name], theirs[name]
            shape = _common_shape(one, other, by_rows=name.endswith("words.weight"))
            if shape is not None:
                common += math.prod(shape)
                equal += math.prod(shape) if _equal(one, other, shape) else 0
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


class _Stored(NamedTuple):
    """A tensor in a file that is open."""

    file: Any
    name: str

    def shape(self) -> list[int]:
        found: list[int] = self.file.get_slice(self.name).get_shape()
        return found

    def is_floating(self) -> bool:
        return bool(self.file.get_slice(self.name).get_dtype().startswith(("F", "BF")))

    def rows(self, count: int) -> Any:
        """The first rows, read alone; a single number is itself."""
        return self.file.get_slice(self.name)[:count] if self.shape() else self.file.get_tensor(self.name)


def _common_shape(one: _Stored, other: _Stored, by_rows: bool) -> list[int] | None:
    """The shape of what is compared, None where shapes differ or one holds no weights. `by_rows`: of two matrices, the
    rows that both have."""
    shape, theirs = one.shape(), other.shape()
    if by_rows and len(shape) == len(theirs) == 2:
        shape[0] = theirs[0] = min(shape[0], theirs[0])
    return shape if shape == theirs and one.is_floating() and other.is_floating() else None


def _equal(one: _Stored, other: _Stored, shape: list[int]) -> bool:
    """Of models that are apart the first row says so, which spares the start of a run the gigabytes behind it."""
    counts = (1, shape[0]) if shape else (1,)
    return all(bool((one.rows(count) == other.rows(count)).all()) for count in counts)


def _tensors(paths: list[Path], files: ExitStack) -> dict[str, _Stored]:
    """What is in the files, by the name of each tensor."""
    from safetensors import safe_open

    found: dict[str, _Stored] = {}
    for path in paths:
        try:
            file = files.enter_context(safe_open(path, framework="pt"))
        except Exception as error:
            raise ConfigError(f"{path} is damaged: {error}; save or fetch it anew") from error
        for name in file.keys():  # noqa: SIM118 - no mapping
            found[_common(name)] = _Stored(file, name)
    return found


def _common(name: str) -> str:
    for prefix, plain in PREFIXES:
        if name.startswith(prefix):
            return plain + name.removeprefix(prefix)
    return NAMES.get(name, name)
