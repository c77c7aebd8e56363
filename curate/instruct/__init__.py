"""Instruction data: talk about a picture, made by a language model from what is written about it (LLaVA-Instruct)."""
