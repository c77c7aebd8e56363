"""The four barriers in a job: the plan accepts them, their columns are read afterwards, a rerun skips them."""

from dataclasses import dataclass
from typing import ClassVar

from document_shards import Doc, bytes_of, image, tables, text

from curate.dedup.image_sets import ImageSets
from curate.dedup.image_urls import ImageUrlFrequency
from curate.dedup.paragraphs import ParagraphFrequency
from curate.dedup.urls import UrlDuplicates
from curate.document.columns import part_names
from curate.plan import Job, check
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.shard import Shard, Slice
from curate.stage import Stage
from curate.storage import Storage

PAGE = [text("Subscribe now"), image("http://a.test/logo.png"), text("A story."), image("http://a.test/1.jpg")]
SHARDS = {
    "00000": [Doc("http://a.test/1", PAGE, date="2024-01-01T00:00:00Z"), Doc("http://b.test/", [text("other")])],
    "00001": [],
    "00002": [
        Doc("http://a.test:80/1#x", PAGE, date="2024-02-01T00:00:00Z"),
        Doc("http://a.test/2", [*PAGE[:2], image("http://a.test/1.jpg"), text("subscribe  NOW")]),
    ],
}


@dataclass(frozen=True)
class Make(Stage):
    """Writes the tables of a shard, without what the barriers write."""

    name: ClassVar[str] = "make"

    @property
    def reads(self):
        return ("source",)

    @property
    def writes(self):
        return (
            *("key", "url", "crawl_date", "source_file", "read_keep"),
            *part_names(["key", "document", "kind", "text", "url", "read_keep", "unique_keep"]),
        )

    def run(self, shard, attempt, runtime):
        for name, table in tables(shard.id, SHARDS[shard.id]).items():
            if "url_duplicates" not in name:
                attempt.write_table(name, table)


def job(keep="latest"):
    pieces = [Slice(name, len(documents), name) for name, documents in SHARDS.items()]
    steps = (Make(), UrlDuplicates(keep), ImageUrlFrequency(), ParagraphFrequency(), ImageSets())
    return Job(steps, lambda storage: iter(pieces), lambda storage: pieces)


def run(folder, work):
    check(work)
    return run_job(work, Storage(str(folder)), InlineEngine())


def test_columns_are_there_afterwards_and_a_rerun_does_nothing(tmp_path):
    first = run(tmp_path, job())
    assert (first.made, first.failed) == (3 + 4, {})
    one, empty, three = (Shard(Storage(str(tmp_path)), name) for name in SHARDS)
    names = ["url_duplicate_of", "image_set_duplicate_of"]
    assert one.columns(names).to_pydict() == {names[0]: ["00002000000", None], names[1]: [None, None]}
    assert three.columns(names).to_pydict() == {names[0]: [None, None], names[1]: [None, "00002000000"]}
    assert empty.columns(names).num_rows == 0
    names = ["image_url_count", "image_url_documents", "paragraph_count", "paragraph_documents"]
    assert list(zip(*three.parts.columns(names).to_pydict().values(), strict=True)) == [
        (None, None, 3, 2),
        (2, 2, None, None),
        (None, None, 1, 1),
        (2, 2, None, None),
        (None, None, 3, 2),
        (2, 2, None, None),
        (2, 2, None, None),
        (None, None, 3, 2),
    ]
    assert one.parts.columns(names)["paragraph_count"].to_pylist() == [None] * 4 + [1]
    assert not list(tmp_path.rglob("*.arrows"))

    again = run(tmp_path, job())
    assert (again.made, again.skipped) == (0, 7)


def test_another_setting_redoes_the_barrier_and_what_reads_it(tmp_path):
    run(tmp_path, job())
    before = bytes_of(tmp_path, "url_duplicates")
    assert run(tmp_path, job("earliest")).made == 4
    assert Shard(Storage(str(tmp_path)), "00002").columns(["url_duplicate_of"])[0].to_pylist() == ["00000000000", None]
    assert run(tmp_path, job()).made == 4
    assert bytes_of(tmp_path, "url_duplicates") == before
