"""The project's pages, and `docs.generate`, which makes the parts of them that are made from the code."""
