"""A small web with known truth: for the demo, the tests, and the toy models. A toy, named so wherever it shows."""
