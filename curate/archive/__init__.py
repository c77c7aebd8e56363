"""Reads web archives (WARC, ARC), record by record, whatever is broken in them. Knows no network and no HTML."""
