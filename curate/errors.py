"""Every error this project raises on purpose, so that a caller can tell a wrong config from a broken disk.

    CurateError
    ├── ConfigError      the TOML file: unknown key, wrong type, value out of range, no writer for a column
    ├── PluginError      a filter or pipeline that is missing, broken, or somebody else's
    ├── SourceError      the list of samples cannot be read: no such file, no such column, not that format
    ├── StorageError     the folder or bucket refuses: no permission, disk full, an object that vanished
    ├── AuditError       a run that its own audit stops: what it would make is expected to be worse than what is there
    ├── ShardError       a shard's files do not fit together: no such column, no such key, a broken tar
    └── StageError       work on one shard failed; the shard is set aside and the rest goes on

A bad *sample* is never an exception: it is a row with a status. Each message says what happened, to which
file and key, and what to change.
"""

__all__ = [
    "AuditError",
    "ConfigError",
    "CurateError",
    "PluginError",
    "ShardError",
    "SourceError",
    "StageError",
    "StorageError",
]


class CurateError(Exception):
    """Root of the tree above; the command line prints it as one line, without a traceback."""


class ConfigError(CurateError):
    """A config that cannot be run as it is written."""


class PluginError(CurateError):
    """A filter, scorer or pipeline that cannot be loaded."""


class SourceError(CurateError):
    """An input that cannot be read as what the config says it is."""


class StorageError(CurateError):
    """The file system or object store failed an operation."""


class ShardError(CurateError):
    """A shard whose files are missing, broken or at odds with one another."""


class AuditError(CurateError):
    """A run that stops because its own measurement speaks against it."""


class StageError(CurateError):
    """A stage that could not finish one shard."""
