"""curate-vl: from the web to training data for vision-language models. See README.md for the map of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from curate.dataset import Dataset

__all__ = ["__version__", "open"]
__version__ = "0.1.0"


def open(place: str | PathLike[str]) -> Dataset:  # the name that the docs use: curate.open("data/demo")
    """The data set in a folder or at an fsspec URL, to be read: its shards, and its columns as Arrow, pandas, DuckDB,
    PyTorch, Hugging Face and Ray Data see them (`curate.dataset`). Raises ShardError where there is none."""
    from curate.dataset import open_dataset

    return open_dataset(place)
