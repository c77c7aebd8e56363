"""How many are drawn, by which seed, and how many bytes their pictures may have."""

from __future__ import annotations

from dataclasses import dataclass

from curate.config import require_range

__all__ = ["Draw"]


@dataclass(frozen=True)
class Draw:
    """What all galleries of one report are drawn by.

    `seed`: another one draws other rows, the same one the same rows however they are packed into shards. `tiles`: of a
    gallery, at most. `side_px`: the longer side of a thumbnail. `picture_bytes`: of all thumbnails of a report,
    before base64; each kind of gallery has a share of it, and where that does not do, its larger pictures are made
    smaller. Raises ValueError for what is out of range.
    """

    seed: int = 0
    tiles: int = 12
    side_px: int = 160
    picture_bytes: int = 2_800_000

    def __post_init__(self) -> None:
        require_range("seed", self.seed, 0, (1 << 63) - 1)
        require_range("tiles", self.tiles, 0, 100)
        require_range("side_px", self.side_px, 16, 1_024)
        require_range("picture_bytes", self.picture_bytes, 0)
