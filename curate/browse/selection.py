"""What was found, as a config that `curate run` runs: the tars as they are, and the condition as a filter.

The columns that the condition names are taken over from where they lie, so that nothing is scored again and the rows
that are kept are those that the browser found. Of these a row without a picture is dropped, for nothing can be trained
on it. Documents cannot be adopted from shards, so a selection of them is a filter in the config that made them.
"""

from __future__ import annotations

import json

from curate.column_files import ColumnFiles
from curate.condition import read_condition
from curate.errors import ConfigError
from curate.storage import Storage

__all__ = ["selection_config"]

CONFIG = """# A selection of a data set: the rows with a picture for which the condition is true.
#
# source   the shards of the data set, hard-linked where it lies on the same disk; its columns are read where they are
# run      curate run THIS_FILE --out NEW_FOLDER

pipeline = "image_text_pairs"

[source]
kind = "webdataset"
path = {root}

[filters.condition]
sql = {sql}
data_set = {root}
"""


def selection_config(storage: Storage, unit: str, condition: str) -> str:
    """The config as TOML. Raises ConfigError for a condition that is refused or empty, and for documents."""
    files = ColumnFiles(storage)
    if unit != "samples" or files.has_parts:
        raise ConfigError(
            "a selection of documents cannot be written as a config: shards of documents are not adopted. Add a filter "
            "to the config that made them, such as [document_filters.condition], and run it again"
        )
    read_condition(condition, files.fields)
    return CONFIG.format(root=_toml(storage.root), sql=_toml(condition.strip()))


def _toml(text: str) -> str:
    """A basic string of TOML; JSON's is one, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
