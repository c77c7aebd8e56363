"""What was found, as a config that `curate run` runs.

Pairs: the tars as they are, and the condition as a filter. The columns that it names are taken over from where they
lie, so that nothing is scored again and the rows that are kept are those that the browser found; of these a row without
a picture is dropped, for nothing can be trained on it.

Documents cannot be adopted from shards. Their selection is the config that made them with the condition among its
document filters: it keeps what the browser finds by `keep and (condition)`, but that rounds decide in order, so a page
may stay that was a copy of one which the condition leaves out now. On the same folder no page is read again; copies are
counted anew, and the pictures that are still wanted are fetched anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.column_files import ColumnFiles
from curate.condition import Condition, read_condition
from curate.errors import ConfigError
from curate.report.page.toml import toml_lines
from curate.run_record import RunRecord, read_record
from curate.storage import Storage
from curate.toml_text import toml_value

__all__ = ["selection_config"]

PAIRS = """# A selection of a data set: the rows with a picture for which the condition is true.
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

DOCUMENTS = """# A selection of documents: those that the run keeps and for which the condition is true.
#
# source   as in the run that made them; secrets and [run] were not kept, add them where they are needed
# differs  a page may stay that was a copy of one which the condition leaves out
# run      curate run THIS_FILE --out FOLDER; in {root}
#          pages are not read again, copies are counted and pictures are fetched anew
"""
SECTION, NAME = "document_filters", "condition"


def selection_config(storage: Storage, unit: str, condition: str) -> str:
    """The config as TOML. Raises ConfigError for a condition that is refused or empty; for documents also where it
    names what the run decides, or no run is recorded; for parts always."""
    files = ColumnFiles(storage)
    if unit == "parts":
        raise ConfigError("parts are chosen by [text_filters] and [picture_filters]; a selection is of documents")
    found = read_condition(condition, files.fields)
    if not files.has_parts:
        return PAIRS.format(root=toml_value(storage.root), sql=toml_value(condition.strip()))
    return _of_documents(storage, found, read_record(storage))


def _of_documents(storage: Storage, condition: Condition, record: RunRecord | None) -> str:
    if record is None:
        raise ConfigError(f"{storage.root} has no run.json, which says what made its documents; run its config again")
    prefixes = {decision.prefix for decision in record.decisions}
    decided = {prefix + name for prefix in prefixes for name in ("keep", "drop_reason", "drop_reasons")}
    early = next((name for name in condition.columns if name in decided), None)
    if early is not None:
        raise ConfigError(f"{early} is what this run decides, and the condition is one of its filters; leave it out")
    table = _with_filter(record.config, {"sql": condition.text.strip()})
    lines = "\n".join(toml_lines(table))
    return f"{DOCUMENTS.format(root=toml_value(storage.root))}\n{lines}\n"


def _with_filter(config: Mapping[str, Any], filter: Mapping[str, str]) -> dict[str, Any]:
    """The config with one more filter of documents, under a name that is free."""
    filters = config.get(SECTION, {})
    names = (NAME, *(f"{NAME}-selection{number}" for number in range(2, len(filters) + 3)))
    return {**config, SECTION: {**filters, next(name for name in names if name not in filters): filter}}
