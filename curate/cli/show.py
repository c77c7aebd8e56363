"""Show a shard, one of its samples or documents, or a page: what came of it, and why the rest did not.

A shard is named as data/demo/00000; a page as a local HTML file, or as ARCHIVE@OFFSET."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from curate.cli._output import add_format, show

if TYPE_CHECKING:
    from curate.sample import Document
    from curate.shard import Shard

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="WHAT", help="a shard, e.g. s3://bucket/set/00000; page.html; a.warc.gz@1234")
    parser.add_argument("key", nargs="?", metavar="KEY", help="a sample's or document's key, e.g. 000000012")
    parser.add_argument("--why", action="store_true", help="list what is in the document and what is not, with reasons")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write the document as one HTML page with its pictures"
    )
    parser.add_argument("--url", help="the address that a local HTML file is read as")
    parser.add_argument(
        "--cluster",
        nargs="?",
        const="",
        metavar="KIND",
        help="list the copies of a sample, by bytes, caption, text, image ...; with --html FILE show their pictures",
    )
    parser.add_argument(
        "--captions",
        metavar="VIEW",
        help="list web and synthetic texts of a shard's pictures side by side; with --html FILE beside the pictures",
    )
    parser.add_argument("--image", type=Path, metavar="FILE", help="also write the sample's picture to FILE")
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    from curate.document.open_page import is_page
    from curate.document.why import why_document
    from curate.errors import ConfigError
    from curate.report.cluster import refuse_hidden_copies
    from curate.report.shard import find_shard, has_documents, overview, sample_row, write_picture
    from curate.tombstones import refuse_hidden

    if is_page(options.what):
        return _page(options)
    shard = find_shard(options.what)
    documents = has_documents(shard)
    if options.key is not None:
        refuse_hidden(shard, [options.key])
    if options.cluster is not None:
        return _cluster(shard, options)
    if options.captions is not None:
        return _captions(shard, options)
    if (options.html or options.why) and not (documents and options.key):
        raise ConfigError("--why and --html are for pages and documents; name a shard of documents and a KEY")
    if options.key is None:
        show(overview(shard), options.format)
    elif documents:
        from curate.document.missing import read_with_missing
        from curate.document.read import read_document

        _refuse_image(options)
        if options.why:
            show(why_document(read_document(shard, options.key, kept=False)), options.format)
        else:
            _render(read_with_missing(shard, options.key), options)
    else:
        found = sample_row(shard, options.key)
        refuse_hidden_copies(shard, options.key)
        if options.image is not None:
            write_picture(shard, options.key, options.image)
        show(found, options.format)
    return 0


def _page(options: argparse.Namespace) -> int:
    """A page of its own: what is in its document, or why."""
    from curate.document.open_page import open_page
    from curate.document.why import why_page

    _refuse_image(options)
    page = open_page(options.what, options.url)
    if options.why:
        show(why_page(page.found), options.format)
    else:
        _render(page.document(), options)
    return 0


def _cluster(shard: Shard, options: argparse.Namespace) -> int:
    """The copies of a sample: told, and with --html also shown."""
    from curate.document.render import as_html
    from curate.errors import ConfigError
    from curate.report.cluster import cluster_document, cluster_rows
    from curate.report.shard import write

    if not options.key:
        raise ConfigError("--cluster lists the copies of one sample; name its KEY behind the shard")
    cluster = cluster_rows(shard, options.key, options.cluster)
    if options.html is not None:
        write(options.html, as_html(cluster_document(shard, cluster)).encode("utf-8", "replace"), "--html")
    show(cluster, options.format)
    return 0


def _captions(shard: Shard, options: argparse.Namespace) -> int:
    """The texts that a view judged, of one sample or of a shard's first hundred."""
    from itertools import islice

    from curate.document.render import as_html
    from curate.errors import ShardError
    from curate.report.captions import MOST_ROWS, caption_rows, captions_document
    from curate.report.shard import write

    found = (row for row in caption_rows(shard, options.captions) if options.key in (None, row["key"]))
    rows = list(islice(found, MOST_ROWS))
    if not rows:
        raise ShardError(f"shard {shard.id} has no text" + (f" of key {options.key!r}" if options.key else ""))
    if options.html is not None:
        page = captions_document(shard, options.captions, rows)
        write(options.html, as_html(page).encode("utf-8", "replace"), "--html")
    show({"texts": rows}, options.format)
    return 0


def _refuse_image(options: argparse.Namespace) -> None:
    from curate.errors import ConfigError

    if options.image is not None:
        raise ConfigError("--image writes the picture of a pair; --html FILE writes a document with its pictures")


def _render(document: Document, options: argparse.Namespace) -> None:
    """As HTML into a file, as text on a terminal, as JSON elsewhere."""
    from curate.document.render import as_html, as_text
    from curate.report.shard import document_rows, write

    if options.html is not None:
        write(options.html, as_html(document).encode("utf-8", "replace"), "--html")
    elif options.format == "json" or (options.format == "auto" and not sys.stdout.isatty()):
        show(document_rows(document), "json")
    else:
        sys.stdout.write(as_text(document))
