"""A loader for the stages of a hand-over, whose order is a function of (seed, epoch) alone. docs/loader.md says how."""

from curate.handover.shards import Handover, open_handover
from curate.train.data.loader import Batch, Loader
from curate.train.data.masks import block_mask, block_positions
from curate.train.data.plan import Plan, PlannedBatch, PlanOptions
from curate.train.data.reading import OK, Drawn, Unread
from curate.train.data.torch_dataset import HandoverDataset

__all__ = [
    "OK",
    "Batch",
    "Drawn",
    "Handover",
    "HandoverDataset",
    "Loader",
    "Plan",
    "PlanOptions",
    "PlannedBatch",
    "Unread",
    "block_mask",
    "block_positions",
    "open_handover",
]
