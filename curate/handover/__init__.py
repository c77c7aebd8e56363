"""What training gets: shards of several data sets, stages that say how they are used, a manifest with their lineage.

sample.py of curate   Sample, Document, Conversation: what one example is
layout.py             how each kind lies in a tar, and back
stages.py             stages.toml: objectives, what is trainable, resolution, mixture
"""
