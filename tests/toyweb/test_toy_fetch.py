"""The real client against the toy web: each of 600 rows ends as its label says, the odd ones among them unharmed."""

import pytest

from curate.fetch.crawl import crawl
from curate.fetch.image import ImageSettings
from curate.fetch.settings import FetchSettings
from curate.source.toy_web import ToyWeb
from curate.stage import Runtime
from curate.toyweb.defects import DEFECTS
from curate.toyweb.truth import surprises

SAMPLES = 600
QUICK = FetchSettings(contact="tests@curate.example", per_host_rate=0, backoff_s=0.2, retries=1, least_rate_window_s=2)


@pytest.mark.slow
def test_every_row_ends_as_its_label_says():
    web = ToyWeb(samples=SAMPLES)
    rows = [row for part in web.parts() for batch in part for row in batch.to_pylist()]
    defects, statuses = [row["toy_defect"] for row in rows], [None] * SAMPLES
    assert set(defects) == set(DEFECTS)
    with web.serve() as addresses:
        urls = enumerate(row["url"] for row in rows)
        for response, picture in crawl(urls, QUICK, ImageSettings(), {}, Runtime(threads=2, addresses=addresses)):
            statuses[response.row] = response.status if picture is None else picture.status
    assert surprises(defects, statuses) == []
