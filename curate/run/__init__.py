"""The scheduler, and where stages execute."""
