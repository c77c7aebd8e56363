"""What training gets: shards of several data sets, stages that say how they are used, a manifest with their lineage.

sample.py of curate   Sample, Document, Conversation: what one example is
layout.py             how each kind lies in a tar, and back
compose.py            several data sets and sets of others as one folder of shards
carried.py            conversations and texts of others, unchanged
tokenizers.py         tokens of every example
stages.py             stages.toml: objectives, what is trainable, resolution, mixture
resolution.py         how many tokens a picture is, by its width and height
augment.py            crops and flips, drawn by row
needs.py              which stages data can feed, what is missing, how long they are
manifest.py           manifest.json, which tells where every shard came from; verify.py hashes it all again
shards.py             where each example lies, for a loader
"""
