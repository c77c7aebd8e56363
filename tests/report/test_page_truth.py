"""Documents against known pages: what counts as right, in which order."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.document.columns import PART_COLUMNS
from curate.report.page_truth import against_page_truth, in_order
from curate.shard import Shard
from curate.storage import Storage

TRUTH = [
    ("text", "a title"),
    ("text", "one"),
    ("image", "http://x.test/1"),
    ("text", "two"),
    ("image", "http://x.test/2"),
]


@pytest.mark.parametrize(
    ("given", "right"),
    [
        (TRUTH, 5),
        ([], 0),
        (TRUTH[:2], 2),
        ([*TRUTH, ("text", "more")], 5),
        (TRUTH[::-1], 1),
        ([TRUTH[0], TRUTH[2], TRUTH[1], TRUTH[3], TRUTH[4]], 4),
        ([("text", "http://x.test/1")], 0),
    ],
)
def test_pieces_count_where_they_stand_in_the_same_order(given, right):
    assert len(in_order(TRUTH, given)) == right


def write(tmp_path, given, reasons, truth=TRUTH):
    shard = Shard(Storage(str(tmp_path)), "00000")
    rows = {name: [None] * len(given) for name in PART_COLUMNS}
    rows["document"] = [0] * len(given)
    rows["kind"] = [kind for kind, _ in given]
    rows["text"] = [value if kind == "text" else None for kind, value in given]
    rows["url"] = [value if kind == "image" else None for kind, value in given]
    rows["region_reason"] = reasons
    label = {"toy_parts": [[{"kind": k, "value": v} for k, v in truth]]} if truth else {}
    for name, table in (("00000", {"key": ["0"], **label}), ("00000_parts", rows)):
        storage = shard.storage
        with open(storage.path(f"{name}.parquet"), "wb") as handle:
            pq.write_table(pa.table(table), handle)
    return shard


def test_precision_and_recall_count_what_extraction_calls_content(tmp_path):
    given = [*TRUTH, ("text", "buy now"), ("image", "http://ads.test/3")]
    shard = write(tmp_path, given, [None, "navigation", None, None, None, "advertisement", None])
    assert against_page_truth([shard]) == [
        {"part": "text", "expected": 3, "found": 2, "right": 2, "precision": 1.0, "recall": 0.667},
        {"part": "image", "expected": 2, "found": 3, "right": 2, "precision": 0.667, "recall": 1.0},
    ]


def test_white_space_does_not_count(tmp_path):
    shard = write(tmp_path, [("text", "a\n title")], [None], [("text", "a title")])
    assert against_page_truth([shard])[0]["right"] == 1


def test_without_labels_there_is_no_table(tmp_path):
    assert against_page_truth([write(tmp_path, [("text", "a")], [None], ())]) == []
