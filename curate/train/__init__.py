"""Training: the toy models from nothing, and small filters from a clean set. Imports torch, once it is asked for."""
