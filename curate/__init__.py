"""curate-vl: from the web to training data for vision-language models. See README.md for the map of this package."""

__version__ = "0.1.0"
