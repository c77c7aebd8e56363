"""A small web with known truth: scenes, captions, pictures, pages and faults, all from one seed.

No public crawl says which of its captions are wrong, so nobody can state a filter's precision on one. Here every row
carries a label, so precision and recall of each filter are counted, not guessed. `scene`, `caption` and `render` stand
alone and know nothing of the web around them: models are trained on them, too.
"""
