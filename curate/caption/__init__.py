"""Synthetic captions: what is wrong with a text, which texts a picture keeps, and what that comes to."""
