"""Pipelines: one file each, with one function of the same name that says which stages run, in which order."""
