"""What a report shows rather than counts: samples of every fate, documents, copies, captions, as thumbnails.

A gallery is a draw, and a draw must not flatter: every row has the same chance, wherever it lies. So rows are drawn by
a keyed hash of what they are (`curate.dedup.identity`), in one pass over the columns of the decision that holds a few
rows a gallery; then only the drawn rows' texts and pictures are read. Pictures that were flagged as unsafe, or must not
be seen by anybody, are not read from the tar at all. Nothing here raises for a data set that is damaged: a shard whose
columns cannot be read is passed over, and a picture that is not there is a tile without one.

    galleries(shards, decision, filters, draw)   kept, dropped by reason, nearest to each bound
    documents(shards, draw)                      pages as a reader sees them
    copies(shards, draw)                         clusters of every kind of copies
    captions(shards, draw)                       web and synthetic texts of every view
    watch(shards)                                what hides pictures here; each of these may be given it
    withheld(shards)                             rows whose pictures are not shown, by what flagged them
    withheld_keys(shard)                         which ones these are; a browser of the data asks too
    thumbnail(image, side_px)                    a small still picture of any bytes, or none
"""

from curate.report.pictures.caption_views import captions
from curate.report.pictures.copy_clusters import copies
from curate.report.pictures.document_pages import documents
from curate.report.pictures.drawing import Draw
from curate.report.pictures.fates import galleries
from curate.report.pictures.thumbnails import thumbnail
from curate.report.pictures.withholding import watch, withheld, withheld_keys

__all__ = ["Draw", "captions", "copies", "documents", "galleries", "thumbnail", "watch", "withheld", "withheld_keys"]
