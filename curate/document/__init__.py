"""From the bytes of a page to an interleaved document: charset, one parse, one walk, regions, images, blocks."""
