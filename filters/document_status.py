"""Drops rows of pages that gave no document, by kind of cause.

The column `document_status` has some sixty causes, from `http_404` to `bad_chunks`, and is there to be counted; as
reasons they come in nine groups that a report can show. A page that was cut off but has text is `ok`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.fetch.status import FetchStatus
from curate.filter import Filter, Verdict
from curate.source.raw_page import OK

OTHER = "page_not_extracted"
GROUPS: Mapping[str, str] = {
    "page_not_html": "not_html not_a_page",
    "page_elsewhere": "revisit bad_redirect",
    "page_answer_is_error": "not_found gone rate_limited client_error server_error",
    "page_record_broken": "truncated bad_chunks bad_coding unknown_coding bad_length bad_header not_a_record "
    "bad_compression zstd_dictionary bad_zip not_an_archive archive_unreadable bad_pointer file_gone file_unreadable",
    "page_too_large": "too_large too_many_bytes",
    "page_too_complex": "too_deep too_many_nodes",
    "page_empty": "empty empty_body",
}
"""Statuses of each group. Further ones: `http_3xx` is elsewhere, other `http_` an error; a fetch's: not fetched."""
GROUP_OF = {status: group for group, statuses in GROUPS.items() for status in statuses.split()}


@dataclass(frozen=True)
class DocumentStatus(Filter):
    """Keeps pages whose `document_status` is `ok`."""

    reads: ClassVar[tuple[str, ...]] = ("document_status",)
    reasons: ClassVar[Mapping[str, str]] = {
        "page_not_html": "there is no HTML: a picture, a feed, a record of another kind",
        "page_elsewhere": "a redirect or a revisit record: the page is elsewhere",
        "page_answer_is_error": "the server answered with an error",
        "page_record_broken": "the archive's record or file cannot be read",
        "page_too_large": "the page has too many bytes",
        "page_too_complex": "the page is nested too deeply or has too many elements",
        "page_empty": "the page has no content",
        "page_not_fetched": "the page could not be fetched",
        OTHER: "the page could not be turned into a document",
    }

    def judge(self, columns: pa.Table) -> Verdict:
        status = columns["document_status"].combine_chunks().dictionary_encode()
        number = {reason: i for i, reason in enumerate(self.reasons)}
        codes = [None if s == OK else number[group_of(s)] for s in status.dictionary.to_pylist()]
        indices = pa.array(codes, pa.int32()).take(status.indices)
        indices = pc.if_else(pc.is_null(status.indices), number[OTHER], indices)
        return pa.DictionaryArray.from_arrays(indices.cast(pa.int32()), pa.array(list(self.reasons), pa.string()))


def group_of(status: str) -> str:
    """The reason for a status that is not "ok"."""
    if status.startswith("http_"):
        return "page_elsewhere" if status.startswith("http_3") else "page_answer_is_error"
    if status in GROUP_OF:
        return GROUP_OF[status]
    return "page_not_fetched" if status in set(FetchStatus) else OTHER
