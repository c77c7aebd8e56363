"""Whether what compiles and clusters is installed, asked before a run starts and not on its first shard."""

from __future__ import annotations

from importlib.util import find_spec

from curate.errors import ConfigError

__all__ = ["require_modules"]


def require_modules(who: str, extra: str, *modules: str) -> None:
    """Raise ConfigError unless these modules can be imported; `extra` is the one of this distribution that has them."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ConfigError(f"{who} needs {', '.join(missing)}; install the extra: pip install 'curate-vl[{extra}]'")
